/**
 * Looks one boot ahead: the queue and the arrivals expected by then, served by the replicas there are and by some more that
 * would be ready after a boot. What the waiting saved is worth says how many to start.
 */

/** Up to so many jobs are placed one by one; more flow like a liquid, which a long queue resembles. */
export const PLACED_ONE_BY_ONE_MAX = 96;

export interface Outlook {
  /** Seconds from now at which each replica is free, in any order; the first `replicas` entries count. */
  readonly freeInS: Float64Array;
  readonly replicas: number;
  readonly queued: number;
  /** Seconds that queued jobs have waited, the oldest first; read only where waits are free up to a bound. */
  readonly waitedS: Float64Array;
  readonly jobsPerS: number;
  readonly serviceS: number;
  readonly bootS: number;
  /** Arrivals are expected for so long. */
  readonly horizonS: number;
  /** Waits up to here cost nothing. */
  readonly freeWaitS: number;
  /** Each second that a wait lasts longer than a whole start counts so many times more. */
  readonly overlongWeight: number;
}

const heap = new Float64Array(2_048);

/** Seconds that everybody in sight waits from now on, overlong ones weighted, with `more` replicas started now; Infinity with none at all. */
export function waitAhead(outlook: Outlook, more: number): number {
  const size = Math.min(outlook.replicas + more, heap.length);
  if (size === 0) return Number.POSITIVE_INFINITY;
  for (let index = 0; index < size; index++) {
    heap[index] = index < outlook.replicas ? (outlook.freeInS[index] ?? 0) : outlook.bootS;
  }
  const expected = Math.floor(outlook.jobsPerS * outlook.horizonS);
  return outlook.queued + expected <= PLACED_ONE_BY_ONE_MAX
    ? placed(outlook, size, expected)
    : flowing(outlook, heap.subarray(0, size).sort());
}

/** How many replicas to start: the next one while the waiting it saves is worth more than it costs. */
export function startsWorth(outlook: Outlook, waitValue: number, costS: number, most: number): number {
  if (most <= 0) return 0;
  const worth = (more: number) => waitValue * (waitAhead(outlook, more - 1) - waitAhead(outlook, more)) > costS;
  if (!worth(1)) return 0;
  // What each further replica saves falls, so that the last one worth it is found by doubling and halving.
  let good = 1;
  let bad = 2;
  while (bad <= most && worth(bad)) {
    good = bad;
    bad *= 2;
  }
  bad = Math.min(bad, most + 1);
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (worth(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

function placed(outlook: Outlook, size: number, expected: number): number {
  const { freeWaitS, overlongWeight } = outlook;
  for (let index = (size >> 1) - 1; index >= 0; index--) sink(index, size);
  let total = 0;
  for (let job = 0; job < outlook.queued; job++) {
    const start = heap[0] ?? 0;
    const waited = outlook.waitedS[job] ?? 0;
    const wait = freeWaitS === 0 ? start : start - Math.max(0, freeWaitS - waited);
    if (wait > 0) total += wait;
    const over = Math.min(start, start + waited - outlook.bootS);
    if (over > 0) total += overlongWeight * over;
    heap[0] = start + outlook.serviceS;
    sink(0, size);
  }
  for (let job = 1; job <= expected; job++) {
    const at = job / outlook.jobsPerS;
    const start = Math.max(at, heap[0] ?? 0);
    const wait = start - at - freeWaitS;
    if (wait > 0) total += wait;
    if (start - at > outlook.bootS) total += overlongWeight * (start - at - outlook.bootS);
    heap[0] = start + outlook.serviceS;
    sink(0, size);
  }
  return total;
}

function sink(from: number, size: number): void {
  const value = heap[from] ?? 0;
  let hole = from;
  for (;;) {
    let child = 2 * hole + 1;
    if (child >= size) break;
    if (child + 1 < size && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child += 1;
    const at = heap[child] ?? 0;
    if (at >= value) break;
    heap[hole] = at;
    hole = child;
  }
  heap[hole] = value;
}

/**
 * The queue as a level: it rises with the arrivals until the horizon and falls with every replica that is free. The
 * integral of its length is the waiting; free waits are taken off as the part of it that is younger than their bound.
 */
function flowing(outlook: Outlook, freeAt: Float64Array): number {
  const { jobsPerS, serviceS, horizonS, overlongWeight } = outlook;
  let now = 0;
  let queue = outlook.queued;
  let total = 0;
  let serving = 0;
  let next = 0;
  for (;;) {
    while (next < freeAt.length && (freeAt[next] ?? 0) <= now) {
      next += 1;
      serving += 1;
    }
    const arriving = now < horizonS ? jobsPerS : 0;
    const slope = arriving - serving / serviceS;
    let until = next < freeAt.length ? (freeAt[next] ?? 0) : Number.POSITIVE_INFINITY;
    if (now < horizonS) until = Math.min(until, horizonS);
    if (slope < 0) until = Math.min(until, now + queue / -slope);
    if (until === Number.POSITIVE_INFINITY) break;
    const dt = until - now;
    const after = Math.max(0, queue + slope * dt);
    total += dt * Math.max(0, (queue + after) / 2 - (outlook.freeWaitS * serving) / serviceS);
    total += overlongWeight * dt * Math.max(0, (queue + after) / 2 - (outlook.bootS * serving) / serviceS);
    queue = after;
    now = until;
    if (queue <= 1e-9) {
      queue = 0;
      if (now >= horizonS) break;
      // With the queue gone nothing more waits unless arrivals outrun all who serve.
      if (next >= freeAt.length && jobsPerS <= serving / serviceS) break;
      if (jobsPerS <= serving / serviceS) now = Math.max(now, Math.min(horizonS, freeAt[next] ?? horizonS));
    }
  }
  return total;
}
