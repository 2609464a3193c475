interface Entry<T> {
  readonly at: number;
  readonly value: T;
}

/** Things that are due at some time, the earliest first: a binary heap. Times are Unix ms. */
export class DueHeap<T> {
  readonly #entries: Entry<T>[] = [];

  get size(): number {
    return this.#entries.length;
  }

  nextDue(): number | null {
    return this.#entries[0]?.at ?? null;
  }

  push(at: number, value: T): void {
    const entries = this.#entries;
    const entry = { at, value };
    let place = entries.length;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = entries[parent];
      if (above === undefined || above.at <= at) break;
      entries[place] = above;
      place = parent;
    }
    entries[place] = entry;
  }

  /** Takes out what is due by `now`, the earliest first, at most `limit`. */
  take(now: number, limit: number): T[] {
    const taken: T[] = [];
    for (let first = this.#entries[0]; first !== undefined && first.at <= now && taken.length < limit; ) {
      taken.push(first.value);
      this.#removeFirst();
      first = this.#entries[0];
    }
    return taken;
  }

  #removeFirst(): void {
    const entries = this.#entries;
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      const left = entries[child];
      const right = entries[child + 1];
      if (left === undefined) break;
      let least = left;
      if (right !== undefined && right.at < left.at) {
        least = right;
        child += 1;
      }
      if (least.at >= last.at) break;
      entries[place] = least;
      place = child;
    }
    entries[place] = last;
  }
}
