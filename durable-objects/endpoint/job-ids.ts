import { JobId, leastIdAt, makeId, type OwnerKey } from "#contract/ids";
import type { World } from "#durable-objects/sql/database";

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const CHANCE_LENGTH = 9;
const TIME_LENGTH = 9;

/**
 * Makes job ids that only grow, also within one millisecond and when the clock steps back: the order of ids is the
 * order of arrival, which the queue and the list of jobs rely on.
 */
export class JobIds {
  readonly #owner: OwnerKey;
  readonly #world: World;
  #last: JobId | null = null;
  #lastAt = 0;

  constructor(owner: OwnerKey, world: World) {
    this.#owner = owner;
    this.#world = world;
  }

  next(now: number): JobId {
    const at = Math.max(now, this.#lastAt);
    // Those of one millisecond follow each other: most that were drawn would have to be replaced by the next one anyway.
    const id = this.#last !== null && at === this.#lastAt ? successor(this.#last) : this.#drawn(at);
    this.#last = id;
    this.#lastAt = at;
    return id;
  }

  #drawn(at: number): JobId {
    return makeId(JobId, "job", at, (length) => this.#world.randomBytes(length), this.#owner);
  }
}

/** The next id after this one: its chance part plus one. @throws RangeError when 2^45 ids of one millisecond are used up */
function successor(id: JobId): JobId {
  for (let place = id.length - 1; place >= id.length - CHANCE_LENGTH; place -= 1) {
    const digit = DIGITS.indexOf(id.charAt(place));
    if (digit === DIGITS.length - 1) continue;
    return `${id.slice(0, place)}${DIGITS.charAt(digit + 1)}${"0".repeat(id.length - 1 - place)}` as JobId;
  }
  throw new RangeError("no id is left in this millisecond");
}

/** No job made at or after that moment has a lower id, and none made before it a higher one. @param at Unix ms */
export function firstIdAt(at: number): JobId {
  const known = Math.min(Math.max(0, at), 32 ** TIME_LENGTH - 1);
  return leastIdAt("job", known) as JobId;
}

/** When the thing was made, as its id tells, Unix ms. */
export function madeAt(id: JobId): number {
  return Array.from(id.slice(4, 4 + TIME_LENGTH)).reduce((sum, digit) => sum * 32 + DIGITS.indexOf(digit), 0);
}
