import type { RandomBytes } from "#contract/ids";

/** Chance from the platform. */
export const randomBytes: RandomBytes = (length) => crypto.getRandomValues(new Uint8Array(length));

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const REQUEST_ID_LENGTH = 20;

/** Ids are drawn so many at once: asking for chance takes longer than all else of an id. */
const IDS_DRAWN = 64;
const drawn = new Uint8Array(IDS_DRAWN * REQUEST_ID_LENGTH);
let used = drawn.length;

/** A name for one request, which opens nothing: in its answer's `request-id` header, in problems, in the log. */
export function freshRequestId(): string {
  if (used === drawn.length) {
    crypto.getRandomValues(drawn);
    used = 0;
  }
  let id = "req_";
  for (const end = used + REQUEST_ID_LENGTH; used < end; used += 1) id += ALPHABET[(drawn[used] ?? 0) & 31];
  return id;
}
