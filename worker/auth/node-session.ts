/** What a node gets when it joins: a signed statement of which node it is. It opens the agent API and nothing else. */
import { errors, jwtVerify, SignJWT } from "jose";
import * as z from "zod";
import { NodeId, PodId, WorkspaceId } from "#contract/ids";
import { CATALOG_CACHE_MS, NODE_SESSION_S } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { NodeIdentity } from "#durable-objects/endpoint/rpc";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import { signingKey } from "#worker/auth/digest";

const ALGORITHM = "HS256";
const TYPE = "pilotlight-node+jwt";
const ISSUER = "pilotlight";
const AUDIENCE = "pilotlight-agent";

const Claims = z.object({ sub: NodeId, pod: PodId, ws: WorkspaceId, exp: z.number() });

export interface NodeSession extends NodeIdentity {
  /** Unix seconds. */
  readonly expires: number;
}

/** Signs a session of NODE_SESSION_S. */
export async function signNodeSession(secret: string, node: NodeIdentity): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ pod: node.podId, ws: node.workspaceId })
    .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
    .setSubject(node.nodeId)
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setIssuedAt(now)
    .setExpirationTime(now + NODE_SESSION_S)
    .sign(await signingKey(secret, "node session"));
}

const SESSIONS_CACHED_MAX = 10_000;
/**
 * Sessions this isolate has verified, by token, with the secret they were verified by: an agent sends its own with every
 * message. As with API keys, the time of a look-up does not tell a token.
 */
const verified = new ExpiringCache<{ readonly secret: string; readonly session: NodeSession }>(
  CATALOG_CACHE_MS,
  SESSIONS_CACHED_MAX,
);

/** @throws Problem unauthenticated for everything that is not a living session of ours */
export async function verifyNodeSession(secret: string, token: string): Promise<NodeSession> {
  const now = Date.now();
  const known = verified.get(token, now);
  if (known?.secret === secret && known.session.expires * 1000 > now) return known.session;
  const session = await verify(secret, token);
  verified.set(token, { secret, session }, now);
  return session;
}

async function verify(secret: string, token: string): Promise<NodeSession> {
  const key = await signingKey(secret, "node session");
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [ALGORITHM],
      typ: TYPE,
      issuer: ISSUER,
      audience: AUDIENCE,
      requiredClaims: ["exp", "iat", "sub"],
    });
    const { sub, pod, ws, exp } = Claims.parse(payload);
    return { nodeId: sub, podId: pod, workspaceId: ws, expires: exp };
  } catch (error) {
    if (!(error instanceof errors.JOSEError) && !(error instanceof z.ZodError)) throw error;
    throw new Problem("unauthenticated", "The node session is unknown or over; join again with a join token.");
  }
}

/** True when less than half of a session's time is left. */
export function nearsItsEnd(session: NodeSession, nowMs: number): boolean {
  return session.expires * 1000 - nowMs < (NODE_SESSION_S * 1000) / 2;
}
