/** How long a level of demand stays unused before it is needed again, learned as a decaying histogram. */

/** Half octaves from a quarter of a second: the last bin starts at about 2 days. */
export const GAP_BINS = 40;
const FIRST_EDGE_S = 0.25;
/** Each new gap takes so much of the weight of all before it. */
const DECAY = 1 - 1 / 120;
/** What a gap counts for that hardly matters any more. */
const FADED = 0.1;
/** Gaps the prior counts for. */
const PRIOR_WEIGHT = 2;

/** Upper edge of each bin, seconds. */
const EDGES_S = Float64Array.from({ length: GAP_BINS }, (_, bin) => FIRST_EDGE_S * 2 ** (bin / 2));
/** Survival at each edge before anything is known: few gaps end late, but those that do end very late. */
const PRIOR_SURVIVAL = EDGES_S.map((edge) => (1 + edge / 20) ** -0.45);

export function gapBin(gapS: number): number {
  if (gapS <= FIRST_EDGE_S) return 0;
  return Math.min(GAP_BINS - 1, Math.ceil(2 * Math.log2(gapS / FIRST_EDGE_S)));
}

/** Adds one gap to the counts of a level, which lie in `counts` from `from` on. */
export function addGap(counts: Float64Array, from: number, gapS: number): void {
  for (let bin = 0; bin < GAP_BINS; bin++) counts[from + bin] = (counts[from + bin] ?? 0) * DECAY;
  const bin = from + gapBin(gapS);
  counts[bin] = (counts[bin] ?? 0) + 1;
}

/** What it costs instead after gaps of more than so many seconds, which end when that is expected. */
export interface Foreseen {
  readonly longerThanS: number;
  /** GPU-seconds. */
  readonly cost: number;
}

/** Scratch space: survival at each edge. */
const survivals = new Float64Array(GAP_BINS);

/**
 * How long an unused level is worth keeping: the T that makes E[min(gap, T)] + P(gap > T) × coldCost least.
 * @param coldCost GPU-seconds that it costs when the level is needed and not there
 * @returns seconds, 0 when it should go at once
 */
export function keepFor(
  counts: Float64Array,
  from: number,
  coldCost: number,
  foreseen: Foreseen | null = null,
): number {
  const total = PRIOR_WEIGHT + gapsKnown(counts, from);
  let below = 0;
  for (let bin = 0; bin < GAP_BINS; bin++) {
    below += counts[from + bin] ?? 0;
    survivals[bin] = (total - PRIOR_WEIGHT - below + PRIOR_WEIGHT * (PRIOR_SURVIVAL[bin] ?? 0)) / total;
  }
  const long = foreseen === null ? 0 : (survivals[gapBin(foreseen.longerThanS)] ?? 0);
  const longCost = foreseen?.cost ?? 0;
  const missing = (survival: number) => Math.min(survival, long) * longCost + Math.max(0, survival - long) * coldCost;
  let survivalBefore = 1;
  let edgeBefore = 0;
  let idle = 0;
  let best = missing(1);
  let bestAt = 0;
  for (let bin = 0; bin < GAP_BINS; bin++) {
    const edge = EDGES_S[bin] ?? 0;
    const survival = survivals[bin] ?? 0;
    idle += (edge - edgeBefore) * 0.5 * (survivalBefore + survival);
    const cost = idle + missing(survival);
    if (cost < best) {
      best = cost;
      bestAt = edge;
    }
    survivalBefore = survival;
    edgeBefore = edge;
  }
  return bestAt;
}

/** How many gaps are counted, older ones for less. */
export function gapsKnown(counts: Float64Array, from: number): number {
  let total = 0;
  for (let bin = 0; bin < GAP_BINS; bin++) total += counts[from + bin] ?? 0;
  return total;
}

/** The longest gap of a level that has not faded: of the last few hundred; 0 without any. */
export function longestGapS(counts: Float64Array, from: number): number {
  for (let bin = GAP_BINS - 1; bin >= 0; bin--) if ((counts[from + bin] ?? 0) >= FADED) return EDGES_S[bin] ?? 0;
  return 0;
}
