/** Links to outputs that work without a key: a MAC over method, path, expiry and workspace. */
import type { WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { base64url, hmac, sameText, signingKey } from "#worker/auth/digest";

/**
 * The query that opens `path` by GET and HEAD until `expires`.
 * @param path canonical path, without origin and query
 * @param expires Unix seconds
 */
export async function signedOutputQuery(
  secret: string,
  path: string,
  expires: number,
  workspaceId: WorkspaceId,
): Promise<string> {
  return `expires=${expires}&signature=${await signatureOf(secret, path, expires, workspaceId)}`;
}

/** True when a request brings a signed link, whole or broken: then no key is looked at. */
export function isSignedLink(url: URL): boolean {
  return url.searchParams.has("signature") || url.searchParams.has("expires");
}

/**
 * Checks a signed link.
 * @throws Problem invalid_signature when anything about it differs from what we signed, or it is over
 */
export async function verifySignedLink(secret: string, url: URL, workspaceId: WorkspaceId): Promise<void> {
  const expires = url.searchParams.get("expires") ?? "";
  const signature = url.searchParams.get("signature") ?? "";
  const exact = [...url.searchParams.keys()].toSorted().join(",") === "expires,signature";
  if (!exact || !/^[1-9][0-9]{0,11}$/.test(expires)) throw invalidLink();
  const expected = await signatureOf(secret, url.pathname, Number(expires), workspaceId);
  if (!sameText(expected, signature)) throw invalidLink();
  if (Number(expires) * 1000 <= Date.now()) {
    throw new Problem("invalid_signature", "The link has expired; read the job again for a fresh one.");
  }
}

/** The one refusal for every broken link. */
export function invalidLink(): Problem {
  return new Problem("invalid_signature", "The link was altered; read the job again for a fresh one.");
}

async function signatureOf(secret: string, path: string, expires: number, workspaceId: WorkspaceId): Promise<string> {
  const key = await signingKey(secret, "output link");
  return base64url(await hmac(key, `GET\n${path}\n${expires}\n${workspaceId}`));
}
