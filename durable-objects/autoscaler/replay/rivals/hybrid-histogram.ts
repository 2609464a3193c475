import type { FleetPolicy } from "../engine.ts";
import { stopIdle } from "./per-request.ts";
import { concurrency } from "./rival.ts";

export interface HybridHistogramOptions {
  /** Width of a bin; default 60. */
  readonly binS?: number;
}

const BINS = 240;
const MARGIN = 0.1;
const PREWARM_QUANTILE = 0.05;
const KEEP_QUANTILE = 0.99;
/** Below this coefficient of variation of the bins' counts the histogram says nothing. */
const REPRESENTATIVE_CV = 2;
const OUT_OF_RANGE_MOST = 0.5;
const SERIES_MARGIN = 0.15;
const SERIES_DECAY = 0.3;

/**
 * The hybrid histogram policy of "Serverless in the Wild" (ATC '20) with a replica for each request: the idle times of an
 * endpoint say when to start one again and how long to keep it. Its time series for rare requests is an average here.
 */
export function hybridHistogram(options: HybridHistogramOptions = {}): FleetPolicy {
  const { binS = 60 } = options;
  const counts = new Float64Array(BINS);
  let inRange = 0;
  let outOfRange = 0;
  let averageGapS = 0;
  /** Since when nothing waits or runs; null while something does. */
  let idleSinceS: number | null = null;
  let plan = { warmAfterS: 0, keepS: BINS * binS };

  const learn = (gapS: number): void => {
    averageGapS = averageGapS === 0 ? gapS : averageGapS + SERIES_DECAY * (gapS - averageGapS);
    const bin = Math.floor(gapS / binS);
    if (bin < BINS) {
      counts[bin] = (counts[bin] ?? 0) + 1;
      inRange += 1;
    } else outOfRange += 1;
    plan = planned();
  };
  const quantile = (share: number): number => {
    let left = share * inRange;
    for (let bin = 0; bin < BINS; bin += 1) {
      left -= counts[bin] ?? 0;
      if (left <= 0) return bin;
    }
    return BINS - 1;
  };
  const planned = () => {
    if (outOfRange > OUT_OF_RANGE_MOST * (inRange + outOfRange)) {
      return { warmAfterS: averageGapS * (1 - SERIES_MARGIN), keepS: averageGapS * 2 * SERIES_MARGIN };
    }
    const mean = inRange / BINS;
    const variance = counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / BINS;
    if (Math.sqrt(variance) < REPRESENTATIVE_CV * mean) return { warmAfterS: 0, keepS: BINS * binS };
    // The head is rounded down to its bin, the tail up.
    const warmAfterS = quantile(PREWARM_QUANTILE) * binS * (1 - MARGIN);
    const untilS = (quantile(KEEP_QUANTILE) + 1) * binS * (1 + MARGIN);
    return { warmAfterS, keepS: untilS - warmAfterS };
  };

  return {
    decide: (fleet) => {
      const requests = concurrency(fleet);
      if (requests > 0) {
        if (idleSinceS !== null) learn(fleet.nowS - idleSinceS);
        idleSinceS = null;
        if (requests > fleet.replicas) fleet.launch(requests - fleet.replicas);
        stopIdle(fleet, plan.warmAfterS + plan.keepS, 0);
        return;
      }
      // Before the first request of all there is no gap to learn from.
      if (idleSinceS === null && fleet.replicas > 0) idleSinceS = fleet.nowS;
      if (idleSinceS === null) return;
      const warmAtS = idleSinceS + plan.warmAfterS;
      const endS = warmAtS + plan.keepS;
      if (plan.warmAfterS > 0 && fleet.nowS < warmAtS) {
        while (fleet.stopLongestIdle());
        fleet.lookAgainAt(warmAtS);
      } else if (fleet.nowS < endS) {
        if (plan.warmAfterS > 0 && fleet.replicas === 0) fleet.launch(1);
        stopIdle(fleet, plan.warmAfterS + plan.keepS, 0);
        fleet.lookAgainAt(endS);
      } else while (fleet.stopLongestIdle());
    },
  };
}
