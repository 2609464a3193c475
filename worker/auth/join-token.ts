/** What a machine that wants to join shows: a secret that opens a pod, to so many machines and so long. */
import { isWellFormedSecret } from "#contract/access";
import { makeId, NodeId, ownerKey } from "#contract/ids";
import { JOIN_TOKEN_USES_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { sha256Hex } from "#worker/auth/digest";
import { claimJoin, findJoin, findJoinToken, findJoinTokenById, type HeldJoinToken } from "#worker/catalog/join-tokens";
import type { Env } from "#worker/env";
import { randomBytes } from "#worker/http/fresh-id";

/**
 * The token of a secret, living or not.
 * @throws Problem unauthenticated for tokens nobody made: a malformed one is told before the catalog is asked
 */
export async function heldJoinToken(env: Env, secret: string): Promise<HeldJoinToken> {
  if (!isWellFormedSecret("plj", secret)) throw new Problem("unauthenticated", "The join token is malformed.");
  const token = await findJoinToken(env.CATALOG, await sha256Hex(secret));
  if (token === undefined) throw new Problem("unauthenticated", "The join token is unknown.");
  return token;
}

interface Admitted {
  readonly nodeId: NodeId;
  readonly isNew: boolean;
}

/**
 * Lets a machine in with its token and counts it, once for each join id: whoever sends the same one again is the same
 * machine, until its node is removed. Where the pod then refuses it, one that was counted by this call must be given back.
 * @param joinId drawn by the machine
 * @returns the node it becomes, and whether this call has counted it
 * @throws Problem join_token_used, join_token_expired, join_token_revoked
 */
export async function admitJoin(env: Env, token: HeldJoinToken, joinId: string): Promise<Admitted> {
  const now = Date.now();
  const nodeId = makeId(NodeId, "node", now, randomBytes, ownerKey(token.podId));
  if (await claimJoin(env.CATALOG, token.id, joinId, nodeId, now)) return { nodeId, isNew: true };
  // Counted before: an answer that got lost may come after the token's time, but a revoked one opens nothing any more.
  const known = await findJoin(env.CATALOG, token.id, joinId);
  if (known !== undefined && token.revokedAt === null) return { nodeId: known, isNew: false };
  throw closed((await findJoinTokenById(env.CATALOG, token.id)) ?? token, now);
}

/**
 * Whether a machine that was counted before still is that node: it may have been removed while it joined again.
 * @throws Problem join_token_used, join_token_expired, join_token_revoked when it is not
 */
export async function requireJoin(env: Env, token: HeldJoinToken, joinId: string, nodeId: NodeId): Promise<void> {
  if ((await findJoin(env.CATALOG, token.id, joinId)) !== nodeId) throw closed(token, Date.now());
}

const ANOTHER = "Ask the pod's operator for another one (pilotlight pods tokens create).";

/** Why a token lets nobody in, as it is after it did not: it may have been revoked a moment ago. */
function closed({ revokedAt, expiresAt, usesMax }: HeldJoinToken, now: number): Problem {
  if (revokedAt !== null) {
    return new Problem("join_token_revoked", `The join token was revoked at ${iso(revokedAt)}. ${ANOTHER}`);
  }
  if (expiresAt <= now) {
    return new Problem("join_token_expired", `The join token expired at ${iso(expiresAt)}. ${ANOTHER}`);
  }
  const uses = usesMax ?? JOIN_TOKEN_USES_MAX;
  const used =
    uses === 1 ? "is for one machine, and one has joined" : `is for ${uses} machines, and so many have joined`;
  return new Problem("join_token_used", `The join token ${used} with it. ${ANOTHER}`);
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString();
}
