import type { RandomBytes } from "#contract/ids";

/**
 * Chance that was drawn before, so that what is made of it is the same each time it is made.
 * @throws RangeError, from the function, when more bytes are taken than were drawn
 */
export function drawn(bytes: Uint8Array): RandomBytes {
  let taken = 0;
  return (length) => {
    if (taken + length > bytes.length) throw new RangeError("more chance is taken than was drawn");
    taken += length;
    return bytes.slice(taken - length, taken);
  };
}
