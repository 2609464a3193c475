import { PodSimulation, type PodSimulationResult } from "./pod-simulation.ts";

/** Long enough for a world's rates to meet each other, short enough that a thousand worlds are seen. */
export const OPERATIONS_PER_SEED = 2_000;
/** After so many broken seeds more of them say nothing new. */
const VIOLATIONS_MAX = 5;

export interface PodSeedsSum {
  readonly operations: number;
  readonly seeds: number;
  readonly violations: readonly PodSimulationResult[];
  readonly hits: ReadonlyMap<string, number>;
}

/** Runs seeds one after the other. @param options.operations of all seeds together, at least */
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
  while (sum.seeds < options.seeds && violations.length < VIOLATIONS_MAX) {
    const result = new PodSimulation(options.first + sum.seeds, each).run();
    if (result.violation !== null) violations.push(result);
    for (const [what, times] of result.hits) hits.set(what, (hits.get(what) ?? 0) + times);
    sum = { ...sum, operations: sum.operations + result.operations, seeds: sum.seeds + 1 };
    options.onResult?.(sum);
  }
  return sum;
}
