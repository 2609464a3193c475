/**
 * What waiting would be with exactly k replicas, for every k at once: each number of replicas keeps its own list of when
 * they are free, and every arrival joins all the lists. Sums of the waits decay over several windows.
 */

/** Levels of demand that are learned one by one; above them the queue alone decides. */
export const LEVELS_MAX = 64;
/** Windows over which waits are averaged, in boots. */
export const WINDOWS_BOOTS = [5, 20, 60] as const;
/** No wait is counted longer than so many boots: by then another replica would have come to help. */
const WAIT_BOOTS_MAX = 1.5;

const ROW = LEVELS_MAX + 1;

export class Staffing {
  /** From rowOf(k) on, for 1 ≤ k ≤ levels: k ascending times at which the replicas are free. */
  readonly freeAt = new Float64Array((LEVELS_MAX * (LEVELS_MAX + 1)) / 2);
  /** When the replica that is started anew for each busy spell, and stopped after it, is free. */
  coldFreeAt = 0;
  /** By window and number of replicas, 0 meaning the one started anew: decayed sum of waits. */
  readonly sums = new Float64Array(WINDOWS_BOOTS.length * ROW);
  /** By number of replicas: waiting that one more would have saved since that was last taken. */
  readonly untaken = new Float64Array(ROW);
  levels = 1;
  at = 0;

  /** One arrival, which joins every queue; waits up to `freeWaitS` count as none. `level`: lists to keep at least. */
  arrive(now: number, serviceS: number, bootS: number, freeWaitS: number, level: number): void {
    this.#decay(now, bootS);
    if (level > this.levels) this.#grow(Math.min(LEVELS_MAX, level));
    const waitMax = WAIT_BOOTS_MAX * bootS;
    if (this.coldFreeAt <= now) this.coldFreeAt = now + bootS;
    const coldWait = Math.min(waitMax, this.coldFreeAt - now);
    this.coldFreeAt = now + coldWait + serviceS;
    let waitBefore = Math.max(0, coldWait - freeWaitS);
    if (waitBefore > 0) this.#add(0, waitBefore);
    for (let k = 1; k <= this.levels; k++) {
      const wait = Math.max(0, this.#join(k, now, serviceS, waitMax) - freeWaitS);
      if (wait > 0) this.#add(k, wait);
      this.untaken[k] = (this.untaken[k] ?? 0) + waitBefore - wait;
      waitBefore = wait;
    }
  }

  /** Waiting saved by the kth replica since this was last asked. */
  takeSaved(k: number): number {
    const saved = this.untaken[k] ?? 0;
    this.untaken[k] = 0;
    return saved;
  }

  /**
   * Until when each level is worth a replica if nothing more arrives, into `until` (by level).
   * @param sinceS for how long there have been arrivals, which bounds how much of a window is known
   */
  worthUntil(windowIndex: number, waitValue: number, bootS: number, sinceS: number, until: Float64Array): void {
    const tau = (WINDOWS_BOOTS[windowIndex] ?? 1) * bootS;
    const known = 1 - Math.exp(-Math.max(bootS, sinceS) / tau);
    const scale = waitValue / (tau * known);
    const from = windowIndex * ROW;
    for (let k = 1; k <= LEVELS_MAX; k++) {
      const worth = k > this.levels ? 0 : ((this.sums[from + k - 1] ?? 0) - (this.sums[from + k] ?? 0)) * scale;
      until[k] = worth > 1 ? this.at + tau * Math.log(worth) : Number.NEGATIVE_INFINITY;
    }
  }

  #join(k: number, now: number, serviceS: number, waitMax: number): number {
    const freeAt = this.freeAt;
    const row = rowOf(k);
    const first = freeAt[row] ?? 0;
    const wait = first > now ? Math.min(waitMax, first - now) : 0;
    const end = now + wait + serviceS;
    let place = row + 1;
    while (place < row + k && (freeAt[place] ?? 0) < end) {
      freeAt[place - 1] = freeAt[place] ?? 0;
      place += 1;
    }
    freeAt[place - 1] = end;
    return wait;
  }

  #decay(now: number, bootS: number): void {
    const dt = now - this.at;
    if (dt <= 0) return;
    this.at = now;
    for (let window = 0; window < WINDOWS_BOOTS.length; window++) {
      const factor = Math.exp(-dt / ((WINDOWS_BOOTS[window] ?? 1) * bootS));
      for (let at = window * ROW; at <= window * ROW + this.levels; at++) this.sums[at] = (this.sums[at] ?? 0) * factor;
    }
  }

  #add(k: number, wait: number): void {
    for (let at = k; at < this.sums.length; at += ROW) this.sums[at] = (this.sums[at] ?? 0) + wait;
  }

  /** A level seen for the first time: its list is that of the level below, with one replica more that is free. */
  #grow(level: number): void {
    for (let k = this.levels + 1; k <= level; k++) {
      this.freeAt[rowOf(k)] = 0;
      for (let place = 0; place < k - 1; place++) {
        this.freeAt[rowOf(k) + 1 + place] = this.freeAt[rowOf(k - 1) + place] ?? 0;
      }
    }
    this.levels = level;
  }
}

export function rowOf(k: number): number {
  return (k * (k - 1)) / 2;
}
