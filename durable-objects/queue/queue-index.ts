/**
 * Places in a lane without reading the lane. The lane itself stays in storage, sorted; in memory is only where each
 * stretch of it begins and how many jobs stand in it. A job's place is then a sum over the stretches before it and one
 * count inside its own, which is short however many wait.
 */

/** Keys a stretch has when it is made. Larger means less memory and more rows read for a place. */
export const STRETCH_KEYS = 128;
/** A stretch of more keys than this is cut in two. */
export const STRETCH_KEYS_MAX = 2 * STRETCH_KEYS;
/** Neighbours of together no more keys than this become one. */
const STRETCH_KEYS_MIN = STRETCH_KEYS / 2;

/** A job's place in its lane: lower ranks first, then lower ids. */
export interface Key {
  readonly rank: number;
  readonly id: string;
}

/** The stored lane, in order. A bound that is null is the lane's own beginning or end. */
export interface LaneReader {
  /** The key `offset` places after the first one at or after `from`; null when there are not so many. */
  nth(from: Key | null, offset: number): Key | null;
  /** Keys from `from` on and before `to`. */
  count(from: Key | null, to: Key | null): number;
  /** The lowest id among those; null when there are none. */
  leastId(from: Key | null, to: Key | null): string | null;
}

interface Stretch {
  /** Where it begins; null for the first one, which takes whatever comes before the second. */
  from: Key | null;
  keys: number;
  /** The lowest id in it; null when it is empty, undefined when it must be read. */
  leastId: string | null | undefined;
}

export function compareKeys(a: Key, b: Key): number {
  return a.rank - b.rank || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/**
 * Invariant, named Q1 in the tests: `total` and every place equal what counting the stored lane would give, as long as
 * each change of the stored lane is told right after it, with `add` or `remove`.
 */
export class QueueIndex {
  readonly #lane: LaneReader;
  readonly #stretches: Stretch[];
  #total = 0;
  /** No key in the lane is above it; null when none ever was there. */
  #highest: Key | null = null;

  /** Reads the lane once, from one end to the other, stretch by stretch. */
  constructor(lane: LaneReader) {
    this.#lane = lane;
    this.#stretches = [{ from: null, keys: 0, leastId: null }];
    let last = this.#stretch(0);
    for (;;) {
      const next = lane.nth(last.from, STRETCH_KEYS);
      last.keys = next === null ? lane.count(last.from, null) : STRETCH_KEYS;
      last.leastId = last.keys === 0 ? null : undefined;
      this.#total += last.keys;
      if (next === null) break;
      last = { from: next, keys: 0, leastId: null };
      this.#stretches.push(last);
    }
    if (last.keys > 0) this.#highest = lane.nth(last.from, last.keys - 1);
  }

  get total(): number {
    return this.#total;
  }

  /** How many stretches there are, for those who measure. */
  get stretches(): number {
    return this.#stretches.length;
  }

  /** The key is in the lane now. */
  add(key: Key): void {
    const at = this.#find(key);
    const stretch = this.#stretch(at);
    const isHighest = this.#highest === null || compareKeys(key, this.#highest) > 0;
    this.#total += 1;
    if (isHighest) this.#highest = { rank: key.rank, id: key.id };
    if (isHighest && stretch.keys >= STRETCH_KEYS && at === this.#stretches.length - 1) {
      // Most jobs come last, so most stretches begin here, without a look at storage.
      this.#stretches.push({ from: { rank: key.rank, id: key.id }, keys: 1, leastId: key.id });
      return;
    }
    stretch.keys += 1;
    if (stretch.leastId !== undefined && (stretch.leastId === null || key.id < stretch.leastId)) {
      stretch.leastId = key.id;
    }
    if (stretch.keys > STRETCH_KEYS_MAX) this.#cut(at, stretch);
  }

  /** The key is no longer in the lane. */
  remove(key: Key): void {
    const at = this.#find(key);
    const stretch = this.#stretch(at);
    if (stretch.keys === 0) throw new RangeError("a key was removed that was not there");
    this.#total -= 1;
    stretch.keys -= 1;
    if (stretch.keys === 0) stretch.leastId = null;
    else if (stretch.leastId === key.id) stretch.leastId = undefined;
    const next = this.#stretches[at + 1];
    if (next !== undefined && stretch.keys + next.keys <= (stretch.keys === 0 ? next.keys : STRETCH_KEYS_MIN)) {
      stretch.leastId = least(stretch.leastId, next.leastId);
      stretch.keys += next.keys;
      this.#stretches.splice(at + 1, 1);
    }
  }

  /**
   * How many keys of the lane come before this one.
   * @param present whether it is in the lane itself
   */
  ahead(key: Key, present: boolean): number {
    if (this.#highest === null || compareKeys(key, this.#highest) >= 0) return this.#total - (present ? 1 : 0);
    const at = this.#find(key);
    const stretch = this.#stretch(at);
    return this.#before(at) + (stretch.keys === 0 ? 0 : this.#lane.count(stretch.from, key));
  }

  /** The lowest id in the lane. Reads the stretches that have lost theirs since the last time. */
  leastId(): string | null {
    let lowest: string | null = null;
    this.#stretches.forEach((stretch, at) => {
      if (stretch.leastId === undefined) {
        stretch.leastId = this.#lane.leastId(stretch.from, this.#stretches[at + 1]?.from ?? null);
      }
      if (stretch.leastId !== null && (lowest === null || stretch.leastId < lowest)) lowest = stretch.leastId;
    });
    return lowest;
  }

  /** Keys in the stretches before that one, summed up from the nearer end. */
  #before(at: number): number {
    let keys = 0;
    if (at <= this.#stretches.length / 2) {
      for (let index = 0; index < at; index += 1) keys += this.#stretch(index).keys;
      return keys;
    }
    for (let index = at; index < this.#stretches.length; index += 1) keys += this.#stretch(index).keys;
    return this.#total - keys;
  }

  #cut(at: number, stretch: Stretch): void {
    const half = stretch.keys >> 1;
    const from = this.#lane.nth(stretch.from, half);
    if (from === null) throw new RangeError("the lane has fewer keys than were told");
    this.#stretches.splice(at + 1, 0, { from, keys: stretch.keys - half, leastId: undefined });
    stretch.keys = half;
    stretch.leastId = undefined;
  }

  /** The stretch in which the key stands, or would. */
  #find(key: Key): number {
    let low = 0;
    let high = this.#stretches.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      const { from } = this.#stretch(middle);
      if (from !== null && compareKeys(from, key) > 0) high = middle - 1;
      else low = middle;
    }
    return low;
  }

  #stretch(at: number): Stretch {
    const stretch = this.#stretches[at];
    if (stretch === undefined) throw new RangeError(`no stretch ${at}`);
    return stretch;
  }
}

function least(a: string | null | undefined, b: string | null | undefined): string | null | undefined {
  if (a === undefined || b === undefined) return undefined;
  if (a === null) return b;
  return b === null || a < b ? a : b;
}
