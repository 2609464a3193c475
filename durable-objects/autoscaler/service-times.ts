/** How long jobs take, learned as a decaying histogram: what one that has run for some time will still take. */

/** Quarter octaves from a quarter of a second: the last bin begins above three hours. */
export const SERVICE_BINS = 64;
const FIRST_EDGE_S = 0.25;
/** Each new duration takes so much of the weight of all before it. */
const DECAY = 1 - 1 / 256;
/** Durations that the guess counts for. */
const PRIOR_WEIGHT = 4;

/** Lower edge of each bin, and the last one's upper edge. */
const EDGES_S = Float64Array.from({ length: SERVICE_BINS + 1 }, (_, bin) =>
  bin === 0 ? 0 : FIRST_EDGE_S * 2 ** ((bin - 1) / 4),
);

export class ServiceTimes {
  /** Decayed count of durations by bin. */
  readonly counts = new Float64Array(SERVICE_BINS);
  /** Expected rest at each bin's lower edge; stale when negative. */
  readonly #rest = new Float64Array(SERVICE_BINS).fill(-1);

  add(serviceS: number): void {
    for (let bin = 0; bin < SERVICE_BINS; bin++) this.counts[bin] = (this.counts[bin] ?? 0) * DECAY;
    const bin = binOf(serviceS);
    this.counts[bin] = (this.counts[bin] ?? 0) + 1;
    this.forgetDerived();
  }

  forgetDerived(): void {
    this.#rest[0] = -1;
  }

  /**
   * Seconds that a job which has run for `elapsedS` is expected to go on.
   * @param meanS how long jobs take on average
   */
  restOf(elapsedS: number, meanS: number): number {
    if ((this.#rest[0] ?? -1) < 0) this.#derive(meanS);
    const bin = binOf(elapsedS);
    const from = EDGES_S[bin] ?? 0;
    const to = EDGES_S[bin + 1] ?? 1;
    const rest = this.#rest[bin] ?? meanS;
    const next = this.#rest[bin + 1] ?? rest;
    return rest + ((next - rest) * (Math.min(to, elapsedS) - from)) / (to - from);
  }

  #derive(meanS: number): void {
    let beyond = 0;
    let beyondSum = 0;
    for (let bin = SERVICE_BINS - 1; bin >= 0; bin--) {
      const count = this.counts[bin] ?? 0;
      beyond += count;
      beyondSum += count * middleOf(bin);
      const edge = EDGES_S[bin] ?? 0;
      // Before anything is known: what is left of the average, and never the end at once.
      const guess = Math.max(meanS - edge, meanS / 4);
      this.#rest[bin] = (beyondSum - beyond * edge + PRIOR_WEIGHT * guess) / (beyond + PRIOR_WEIGHT);
    }
  }
}

function binOf(seconds: number): number {
  if (seconds <= FIRST_EDGE_S) return 0;
  return Math.min(SERVICE_BINS - 1, Math.floor(4 * Math.log2(seconds / FIRST_EDGE_S)) + 1);
}

function middleOf(bin: number): number {
  return ((EDGES_S[bin] ?? 0) + (EDGES_S[bin + 1] ?? 0)) / 2;
}
