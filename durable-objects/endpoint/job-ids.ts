import { JobId, leastIdAt, makeId, type OwnerKey } from "#contract/ids";
import type { World } from "#durable-objects/sql/database";

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
/** What each digit is worth, by its character's code. */
const WORTH = Int8Array.from({ length: 128 }, (_, code) => Math.max(0, DIGITS.indexOf(String.fromCharCode(code))));
/** Where an id's time begins, behind `job_`. */
const TIME_AT = 4;
const TIME_LENGTH = 9;
const ID_LENGTH = 30;

/** So many bits at the end of an id count the jobs of its millisecond. */
const COUNT_BITS = 13;
const IDS_PER_MS = 2 ** COUNT_BITS;
/** Digits that hold them: the first of these has bits of chance as well. */
const COUNT_LENGTH = Math.ceil(COUNT_BITS / 5);
/** Numbers begin in 2025, so that they stay exact (below 2 ** 53) until 2059. */
const NUMBERS_SINCE = Date.UTC(2025, 0, 1);

/**
 * The number of a job's row, which its id alone tells: its time and its place within that millisecond. Jobs of one endpoint
 * have different numbers, in the order of their ids. An integer key keeps a row of up to 4 kB on one page, which a text
 * key does not, and needs no index beside it.
 */
export function numberOf(id: JobId): number {
  return (madeAt(id) - NUMBERS_SINCE) * IDS_PER_MS + (worth(id, ID_LENGTH - COUNT_LENGTH, ID_LENGTH) % IDS_PER_MS);
}

/**
 * Makes job ids that only grow, also within one millisecond, when the clock steps back and when the object was away: the
 * order of ids is the order of arrival, which the queue, the list of jobs and the numbers of rows rely on.
 */
export class JobIds {
  readonly #owner: OwnerKey;
  readonly #world: World;
  #last: JobId | null;

  /** @param last the newest one so far; null when there is none */
  constructor(owner: OwnerKey, world: World, last: JobId | null) {
    this.#owner = owner;
    this.#world = world;
    this.#last = last;
  }

  next(now: number): JobId {
    const lastAt = this.#last === null ? Number.NEGATIVE_INFINITY : madeAt(this.#last);
    // Those of one millisecond follow each other; when there are too many, they go on in the next one.
    const following = this.#last === null || lastAt < now ? null : successor(this.#last);
    const id = following ?? this.#drawn(Math.max(now, lastAt + (lastAt < now ? 0 : 1)));
    this.#last = id;
    return id;
  }

  /** The first one of a millisecond. */
  #drawn(at: number): JobId {
    const id = makeId(JobId, "job", at, (length) => this.#world.randomBytes(length), this.#owner);
    const tail = worth(id, ID_LENGTH - COUNT_LENGTH, ID_LENGTH);
    return withTail(id, tail - (tail % IDS_PER_MS));
  }
}

/** The next id of the same millisecond; null when it has no more. */
function successor(id: JobId): JobId | null {
  const tail = worth(id, ID_LENGTH - COUNT_LENGTH, ID_LENGTH) + 1;
  return tail % IDS_PER_MS === 0 ? null : withTail(id, tail);
}

/** The id with other last digits. */
function withTail(id: JobId, tail: number): JobId {
  let digits = "";
  for (let rest = tail, place = 0; place < COUNT_LENGTH; place += 1, rest = Math.floor(rest / 32)) {
    digits = DIGITS.charAt(rest % 32) + digits;
  }
  return `${id.slice(0, -COUNT_LENGTH)}${digits}` as JobId;
}

/** The number that some of an id's digits make. */
function worth(id: string, from: number, to: number): number {
  let sum = 0;
  for (let place = from; place < to; place += 1) sum = sum * 32 + (WORTH[id.charCodeAt(place)] ?? 0);
  return sum;
}

/** No job made at or after that moment has a lower id, and none made before it a higher one. @param at Unix ms */
export function firstIdAt(at: number): JobId {
  const known = Math.min(Math.max(0, at), 32 ** TIME_LENGTH - 1);
  return leastIdAt("job", known) as JobId;
}

/** When the thing was made, as its id tells, Unix ms. */
export function madeAt(id: JobId): number {
  return worth(id, TIME_AT, TIME_AT + TIME_LENGTH);
}
