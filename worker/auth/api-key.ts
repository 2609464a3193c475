import { isWellFormedSecret } from "#contract/access";
import { CATALOG_CACHE_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import { sha256Hex } from "#worker/auth/digest";
import type { Principal } from "#worker/auth/principal";
import { findPrincipal, rememberedPrincipal } from "#worker/catalog/keys";
import type { Env } from "#worker/env";

const HASHES_CACHED_MAX = 1_000;
/**
 * Hashes of keys that proved good a moment ago: hashing takes as long as all else that is checked of a key. A revoked
 * key is still refused, because its hash leads nowhere then. Only texts with equal hashes of the engine's own, which a
 * stranger cannot foresee, are compared character by character, so that the time of a look-up does not tell a key.
 */
const hashes = new ExpiringCache<string>(CATALOG_CACHE_MS, HASHES_CACHED_MAX);

/**
 * Who calls, by `Authorization: Bearer pl_…`, `Authorization: Key pl_…` or `X-API-Key: pl_…`.
 * @throws Problem unauthenticated: no key, two of them, a malformed one (told before the catalog is asked), or one that
 *   is unknown, revoked or over
 */
export async function authenticate(env: Env, request: Request): Promise<Principal> {
  const secret = presentedKey(request);
  const now = Date.now();
  const hash = hashes.get(secret, now) ?? (await sha256Hex(secret));
  const known = rememberedPrincipal(hash, now);
  if (known !== undefined) return known;
  if (!isWellFormedSecret("pl", secret)) {
    throw new Problem("unauthenticated", "The API key is malformed; it starts with pl_ and has 36 characters.");
  }
  const principal = await findPrincipal(env.CATALOG, hash, now);
  if (principal === undefined) throw new Problem("unauthenticated", "The API key is unknown, revoked or expired.");
  hashes.set(secret, hash, now);
  return principal;
}

function presentedKey(request: Request): string {
  const authorization = request.headers.get("authorization");
  const header = request.headers.get("x-api-key");
  if (authorization !== null && header !== null) {
    throw new Problem("unauthenticated", "Send one credential, not Authorization and X-API-Key together.");
  }
  if (header !== null) return header;
  if (authorization === null) {
    throw new Problem("unauthenticated", "Send an API key: Authorization: Bearer pl_…");
  }
  const match = /^(?:Bearer|Key) +(\S+)$/i.exec(authorization);
  if (match?.[1] === undefined) {
    throw new Problem("unauthenticated", "Authorization must be `Bearer pl_…` or `Key pl_…`.");
  }
  return match[1];
}
