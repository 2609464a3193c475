interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** What will happen when, in true time (ms since the run began). What falls on one moment happens in the order it was planned. */
export class Agenda {
  now = 0;
  readonly #heap: Entry[] = [];
  #order = 0;

  in(ms: number, run: () => void): void {
    this.at(this.now + Math.max(0, ms), run);
  }

  at(at: number, run: () => void): void {
    const heap = this.#heap;
    const entry: Entry = { at: Math.max(at, this.now), order: this.#order, run };
    this.#order += 1;
    let child = heap.length;
    heap.push(entry);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, entry)) break;
      heap[child] = above;
      child = parent;
    }
    heap[child] = entry;
  }

  /** Lets the next thing happen. @returns false when nothing is planned */
  step(): boolean {
    const first = this.#take();
    if (first === undefined) return false;
    this.now = first.at;
    first.run();
    return true;
  }

  #take(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      let below = heap[child];
      if (below === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, below)) {
        child += 1;
        below = right;
      }
      if (isBefore(last, below)) break;
      heap[parent] = below;
      parent = child;
    }
    heap[parent] = last;
    return first;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
