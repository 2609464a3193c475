/** The beginning of a lane in memory, so that taking the next job needs no look at storage. */
import { PlaceList } from "#durable-objects/queue/place-list";
import { compareKeys, type Key } from "#durable-objects/queue/queue-index";

/** Keys read at once. A lane that is worked off is read once for so many jobs, less those that are looked at together. */
export const HEAD_KEYS = 64;
/** More keys than this are not kept; what comes after them is in storage. */
const HEAD_KEYS_MAX = 2 * HEAD_KEYS;

/**
 * Invariant, named Q2 in the tests: what it holds are the first keys of the stored lane, without gaps, as long as each
 * change of the stored lane is told right after it, with `add` or `remove`. It reads when it is asked for more of them.
 */
export class LaneHead {
  readonly #first: (limit: number) => readonly Key[];
  #keys = new PlaceList();
  /** The lane has no other keys than these. */
  #isWhole = false;

  /** @param first reads the first keys of the stored lane, in order */
  constructor(first: (limit: number) => readonly Key[]) {
    this.#first = first;
  }

  /** The key that so many others come before; null when the lane has not so many. @param place below HEAD_KEYS */
  at(place: number): Key | null {
    if (place >= this.#keys.size && !this.#isWhole) {
      const keys = this.#first(HEAD_KEYS);
      this.#keys = new PlaceList(keys);
      this.#isWhole = keys.length < HEAD_KEYS;
    }
    return this.#keys.at(place);
  }

  /** The keys behind a place that are here already, so many at most. */
  after(place: number, limit: number): Key[] {
    const keys: Key[] = [];
    for (let next = place + 1; next <= place + limit; next += 1) {
      const key = this.#keys.at(next);
      if (key !== null) keys.push(key);
    }
    return keys;
  }

  /** The key is in the lane now. */
  add(key: Key): void {
    const last = this.#keys.at(this.#keys.size - 1);
    // Others may stand between the last one here and this one.
    if (!this.#isWhole && (last === null || compareKeys(key, last) > 0)) return;
    this.#keys.add(key);
    if (this.#keys.size <= HEAD_KEYS_MAX) return;
    this.#keys.removeLast();
    this.#isWhole = false;
  }

  /** The key is no longer in the lane. */
  remove(key: Key): void {
    this.#keys.remove(key);
  }
}
