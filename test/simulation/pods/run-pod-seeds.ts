import { PodSimulation, type PodSimulationResult } from "./pod-simulation.ts";

/** Under faults: long enough for a world's rates to meet each other, short enough that many worlds are seen. */
export const OPERATIONS_PER_SEED = 1_000;
/** After so many broken seeds more of them say nothing new. */
const VIOLATIONS_MAX = 5;

export interface PodSeedsSum {
  readonly operations: number;
  readonly seeds: number;
  readonly violations: readonly PodSimulationResult[];
  readonly hits: ReadonlyMap<string, number>;
}

/** Runs seeds one after the other, until there are so many of them or of their operations, those after the faults included. */
export function runPodSeeds(options: {
  readonly first: number;
  readonly seeds: number;
  readonly operations: number;
  readonly onResult?: (so: PodSeedsSum) => void;
}): PodSeedsSum {
  const hits = new Map<string, number>();
  const violations: PodSimulationResult[] = [];
  let sum: PodSeedsSum = { operations: 0, seeds: 0, violations, hits };
  const each = Math.max(1, Math.ceil(options.operations / Math.max(1, options.seeds)));
  const isEnough = () => sum.seeds >= options.seeds || (options.seeds > 1 && sum.operations >= options.operations);
  while (!isEnough() && violations.length < VIOLATIONS_MAX) {
    const result = new PodSimulation(options.first + sum.seeds, each).run();
    if (result.violation !== null) violations.push(result);
    for (const [what, times] of result.hits) hits.set(what, (hits.get(what) ?? 0) + times);
    sum = { ...sum, operations: sum.operations + result.operations, seeds: sum.seeds + 1 };
    options.onResult?.(sum);
  }
  return sum;
}
