import type { RandomBytes } from "#contract/ids";

/** Chance from the platform. */
export const randomBytes: RandomBytes = (length) => crypto.getRandomValues(new Uint8Array(length));

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const REQUEST_ID_LENGTH = 20;

/** A name for one request: in its answer's `request-id` header, in problems, in the log. */
export function freshRequestId(): string {
  return `req_${Array.from(randomBytes(REQUEST_ID_LENGTH), (byte) => ALPHABET[byte & 31]).join("")}`;
}
