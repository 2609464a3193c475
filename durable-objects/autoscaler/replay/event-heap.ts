/** What comes next: a binary heap of (time, payload), earliest first; equal times in the order they were put in. */
export class EventHeap {
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #payloads: number[] = [];
  #puts = 0;

  /** The time of the earliest event; Infinity when there is none. */
  get nextAt(): number {
    return this.#times[0] ?? Number.POSITIVE_INFINITY;
  }

  put(at: number, payload: number): void {
    const times = this.#times;
    const orders = this.#orders;
    const payloads = this.#payloads;
    const order = this.#puts++;
    let hole = times.length;
    times.push(at);
    orders.push(order);
    payloads.push(payload);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const parentAt = times[parent] ?? 0;
      if (parentAt < at || parentAt === at) break;
      times[hole] = parentAt;
      orders[hole] = orders[parent] ?? 0;
      payloads[hole] = payloads[parent] ?? 0;
      hole = parent;
    }
    times[hole] = at;
    orders[hole] = order;
    payloads[hole] = payload;
  }

  /** Takes the earliest event out; its payload, or -1 when there is none. */
  take(): number {
    const times = this.#times;
    const orders = this.#orders;
    const payloads = this.#payloads;
    const first = payloads[0];
    const at = times.pop();
    const order = orders.pop();
    const payload = payloads.pop();
    if (first === undefined || at === undefined || order === undefined || payload === undefined) return -1;
    const length = times.length;
    if (length === 0) return first;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= length) break;
      if (child + 1 < length && before(times, orders, child + 1, child)) child += 1;
      const childAt = times[child] ?? 0;
      if (childAt > at || (childAt === at && (orders[child] ?? 0) > order)) break;
      times[hole] = childAt;
      orders[hole] = orders[child] ?? 0;
      payloads[hole] = payloads[child] ?? 0;
      hole = child;
    }
    times[hole] = at;
    orders[hole] = order;
    payloads[hole] = payload;
    return first;
  }
}

function before(times: readonly number[], orders: readonly number[], a: number, b: number): boolean {
  const atA = times[a] ?? 0;
  const atB = times[b] ?? 0;
  return atA < atB || (atA === atB && (orders[a] ?? 0) < (orders[b] ?? 0));
}
