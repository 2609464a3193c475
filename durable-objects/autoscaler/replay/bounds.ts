/**
 * What GPUs would cost somebody who knows every arrival beforehand: what a policy's bill is measured against.
 * Cost is GPU-seconds from launch to stop, so that each start adds its own length, `bootS`.
 */

import { type Arrivals, TRACE_S_MAX } from "./arrivals.ts";

export interface ZeroWait {
  readonly gpuS: number;
  /** Replicas busy at the busiest moment. */
  readonly peak: number;
}

/**
 * The cheapest schedule in which nobody waits, exact and achievable. Capacity must cover the jobs in service, and the
 * cost falls apart into its levels: the k-th replica is kept through a gap or started again after it, whichever is
 * cheaper, and no level has a say in another's gaps.
 * @param warm replicas that are ready at second 0
 */
export function zeroWaitBound({ atS, serviceS }: Arrivals, bootS: number, warm = 0): ZeroWait {
  const ends = atS.map((at, job) => at + (serviceS[job] ?? 0)).sort();
  /** When each level was last left, the first one first. */
  const leftAt = Array.from({ length: warm }, () => 0);
  let busy = 0;
  let peak = 0;
  let ended = 0;
  let gpuS = 0;
  for (let job = 0; job < atS.length; job += 1) {
    const at = atS[job] ?? 0;
    while (ended < ends.length && (ends[ended] ?? 0) <= at) {
      busy -= 1;
      leftAt[busy] = ends[ended] ?? 0;
      ended += 1;
    }
    const left = leftAt[busy];
    gpuS += (serviceS[job] ?? 0) + (left === undefined ? bootS : Math.min(at - left, bootS));
    // The time is put right when the level is left.
    if (left === undefined) leftAt.push(at);
    busy += 1;
    peak = Math.max(peak, busy);
  }
  return { gpuS, peak };
}

/** Work that arrives in each second if nobody waits, whole GPU-seconds; what is left of a second goes to a later one. */
export interface SlottedDemand {
  readonly workOf: Uint32Array;
  /** All of it, GPU-seconds as they are. */
  readonly totalS: number;
  /** The most that any second holds. */
  readonly peak: number;
}

/** Bound of a table of seconds: twice the longest trace; 126 MB. */
export const DEMAND_SLOTS_MAX = 2 * TRACE_S_MAX;

/** @throws RangeError for a trace longer than DEMAND_SLOTS_MAX seconds */
export function slottedDemand({ atS, serviceS }: Arrivals): SlottedDemand {
  let last = 0;
  for (let job = 0; job < atS.length; job += 1) last = Math.max(last, (atS[job] ?? 0) + (serviceS[job] ?? 0));
  const slots = Math.ceil(last) + 1;
  if (slots > DEMAND_SLOTS_MAX) throw new RangeError(`a trace of ${slots} s is longer than ${DEMAND_SLOTS_MAX} s`);
  const exact = new Float64Array(slots);
  let totalS = 0;
  for (let job = 0; job < atS.length; job += 1) {
    const end = (atS[job] ?? 0) + (serviceS[job] ?? 0);
    let at = atS[job] ?? 0;
    totalS += end - at;
    while (at < end) {
      const slot = Math.floor(at);
      const until = Math.min(end, slot + 1);
      exact[slot] = (exact[slot] ?? 0) + until - at;
      at = until;
    }
  }
  const workOf = new Uint32Array(slots);
  let carried = 0;
  let peak = 0;
  for (let slot = 0; slot < slots; slot += 1) {
    carried += exact[slot] ?? 0;
    // A hair is added because sums of fractions fall short of whole numbers.
    const whole = Math.floor(carried + 1e-6);
    workOf[slot] = whole;
    peak = Math.max(peak, whole);
    carried -= whole;
  }
  return { workOf, totalS, peak };
}

/**
 * Least of GPU-seconds + `price` × Σ service × wait over all schedules, known beforehand or not: a dynamic program over
 * seconds whose state is (warm replicas, work that waits). It may split and preempt jobs, which no real policy may, so
 * that what it finds is below what any of them can have; the grid of seconds makes it exact to about a second per start.
 * @param price GPU-seconds for one second that one GPU-second of work waits
 * @param replicasMax as for the policies
 * @param warm replicas that are ready at second 0
 */
export function leastCost(demand: SlottedDemand, bootS: number, price: number, replicasMax: number, warm = 0): number {
  const { workOf } = demand;
  const most = Math.min(replicasMax, demand.peak);
  if (most === 0) return 0;
  const width = most + 1;
  /** cost[b × width + m]: the least so far with m replicas warm and b of work waiting; rows 0 … top hold states. */
  let cost = new Float64Array(width * 64).fill(Number.POSITIVE_INFINITY);
  let next = new Float64Array(width * 64).fill(Number.POSITIVE_INFINITY);
  const lowest = new Float64Array(width);
  cost[Math.min(warm, most)] = 0;
  let top = 0;
  let slot = 0;
  for (;;) {
    top = settle(cost, lowest, width, top, bootS);
    const arriving = workOf[slot] ?? 0;
    if (slot >= workOf.length && isDone(cost, width, top)) return least(cost, 0, width);
    if (arriving === 0 && top === 0) {
      // Nothing waits and nothing comes: what is worth keeping is kept through the whole gap.
      const from = slot;
      while (slot < workOf.length && workOf[slot] === 0) slot += 1;
      for (let warm = 0; warm < width; warm += 1) cost[warm] = (cost[warm] ?? 0) + warm * (slot - from);
      continue;
    }
    const rows = top + arriving + 1;
    if (rows * width > next.length) {
      const grown = new Float64Array(Math.max(rows * width, next.length * 2)).fill(Number.POSITIVE_INFINITY);
      grown.set(cost);
      cost = grown;
      next = new Float64Array(grown.length).fill(Number.POSITIVE_INFINITY);
    }
    for (let waiting = 0; waiting <= top; waiting += 1) {
      for (let warm = 0; warm < width; warm += 1) {
        const from = waiting * width + warm;
        const before = cost[from] ?? 0;
        cost[from] = Number.POSITIVE_INFINITY;
        if (before === Number.POSITIVE_INFINITY) continue;
        const left = Math.max(0, waiting + arriving - warm);
        const after = before + warm + price * left;
        const to = left * width + warm;
        if (after < (next[to] ?? 0)) next[to] = after;
      }
    }
    [cost, next] = [next, cost];
    top = rows - 1;
    slot += 1;
  }
}

/**
 * Lets each state start and stop replicas, and forgets states that another beats: the same replicas with less waiting
 * for no more money.
 * @returns the highest row that still holds one
 */
function settle(cost: Float64Array, lowest: Float64Array, width: number, top: number, bootS: number): number {
  lowest.fill(Number.POSITIVE_INFINITY);
  let highest = 0;
  for (let waiting = 0; waiting <= top; waiting += 1) {
    const row = waiting * width;
    let fewer = Number.POSITIVE_INFINITY;
    for (let warm = width - 1; warm >= 0; warm -= 1) {
      fewer = Math.min(fewer, cost[row + warm] ?? 0);
      cost[row + warm] = fewer;
    }
    let more = Number.POSITIVE_INFINITY;
    for (let warm = 0; warm < width; warm += 1) {
      more = Math.min(more + bootS, cost[row + warm] ?? 0);
      if (more < (lowest[warm] ?? 0)) {
        lowest[warm] = more;
        cost[row + warm] = more;
        highest = waiting;
      } else {
        cost[row + warm] = Number.POSITIVE_INFINITY;
      }
    }
  }
  return highest;
}

/** Whether no state in which work waits can still become the cheapest. */
function isDone(cost: Float64Array, width: number, top: number): boolean {
  return top === 0 || least(cost, 0, width) <= least(cost, width, (top + 1) * width);
}

function least(cost: Float64Array, from: number, to: number): number {
  let found = Number.POSITIVE_INFINITY;
  for (let at = from; at < to; at += 1) found = Math.min(found, cost[at] ?? 0);
  return found;
}

/** One point of the trade between GPUs and waiting. */
export interface PricedCost {
  readonly price: number;
  readonly cost: number;
}

/**
 * GPU-seconds below which no schedule has so little waiting. Each price of waiting gives a line below the true trade;
 * the highest of them counts.
 * @param waitingWorkS Σ service × wait of the schedule it is compared with, s²
 */
export function boundAtWait(points: readonly PricedCost[], waitingWorkS: number): number {
  return points.reduce((bound, { price, cost }) => Math.max(bound, cost - price * waitingWorkS), 0);
}
