import { compareKeys, type Key } from "#durable-objects/queue/queue-index";

/** A few places of a lane, sorted, all of them in memory: for its head, and for the jobs in their backoff. */
export class PlaceList {
  readonly #keys: Key[];

  /** @param keys in order */
  constructor(keys: readonly Key[] = []) {
    this.#keys = [...keys];
  }

  get size(): number {
    return this.#keys.length;
  }

  /** The key that so many others come before. */
  at(place: number): Key | null {
    return this.#keys[place] ?? null;
  }

  add(key: Key): void {
    this.#keys.splice(this.ahead(key), 0, { rank: key.rank, id: key.id });
  }

  /** Does nothing when the key is not there. */
  remove(key: Key): void {
    const at = this.ahead(key);
    const found = this.#keys[at];
    if (found !== undefined && compareKeys(found, key) === 0) this.#keys.splice(at, 1);
  }

  removeLast(): void {
    this.#keys.pop();
  }

  /** How many come before this one. */
  ahead(key: Key): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#keys[middle];
      if (other !== undefined && compareKeys(other, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  leastId(): string | null {
    return this.#keys.reduce<string | null>((lowest, { id }) => (lowest === null || id < lowest ? id : lowest), null);
  }
}
