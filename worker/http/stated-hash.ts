import { SHA256_HEADER } from "#contract/agent";
import { Sha256 } from "#contract/job";
import { Problem } from "#contract/problems";

/**
 * The sha256 a client states for the bytes it sends; undefined when it states none.
 * @throws Problem malformed_request when it is no sha256
 */
export function statedHash(request: Request): string | undefined {
  const header = request.headers.get(SHA256_HEADER);
  if (header === null) return undefined;
  const hash = Sha256.safeParse(header);
  if (!hash.success) throw new Problem("malformed_request", `${SHA256_HEADER} must be 64 hexadecimal digits.`);
  return hash.data;
}
