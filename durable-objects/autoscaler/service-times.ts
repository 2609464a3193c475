/** How long jobs take, learned as a decaying histogram: what one that has run for some time will still take. */

/** Quarter octaves from a quarter of a second: the last bin begins above four hours. */
export const SERVICE_BINS = 64;
const FIRST_EDGE_S = 0.25;
/** Each new duration takes so much of the weight of all before it. */
const DECAY = 1 - 1 / 256;
/** Durations that the guess, an exponential rest after the average, counts for. */
const PRIOR_WEIGHT = 4;

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
    const from = lowerEdge(bin);
    const to = lowerEdge(bin + 1);
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
      const edge = lowerEdge(bin);
      // What outlasts all that is known goes on for about half as long again as a job takes on average, or as it did.
      const guess = Math.max(meanS - edge, meanS / 4);
      this.#rest[bin] = (beyondSum - beyond * edge + PRIOR_WEIGHT * guess) / (beyond + PRIOR_WEIGHT);
    }
  }
}

function binOf(seconds: number): number {
  if (seconds <= FIRST_EDGE_S) return 0;
  return Math.min(SERVICE_BINS - 1, Math.floor(4 * Math.log2(seconds / FIRST_EDGE_S)) + 1);
}

function lowerEdge(bin: number): number {
  return bin === 0 ? 0 : FIRST_EDGE_S * 2 ** ((bin - 1) / 4);
}

function middleOf(bin: number): number {
  return (lowerEdge(bin) + lowerEdge(bin + 1)) / 2;
}
