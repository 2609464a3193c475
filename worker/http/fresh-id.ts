import type { RandomBytes } from "#contract/ids";

/** Chance from the platform. */
export const randomBytes: RandomBytes = (length) => crypto.getRandomValues(new Uint8Array(length));

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const REQUEST_ID_LENGTH = 20;

/** A name for one request: in its answer's `request-id` header, in problems, in the log. */
export function freshRequestId(): string {
  let id = "req_";
  for (const byte of randomBytes(REQUEST_ID_LENGTH)) id += ALPHABET[byte & 31];
  return id;
}
