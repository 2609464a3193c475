/** Judging a canary: pure. What each release did is counted in a few hundred numbers, however many jobs there are. */
import type { CanaryArm } from "#contract/canary";

/** As the Worker says it. Times in Unix ms. */
export interface CanaryConfig {
  /** Another one for each canary that is set, so that each begins to count anew. */
  readonly id: number;
  readonly release: number;
  /** Digest of the build that it needs; null: what is installed. Left out: nobody has said it. */
  readonly build?: string | null | undefined;
  /** Part of the new jobs that it gets, 0 to 1. */
  readonly weight: number;
  readonly maxErrorRateIncrease: number;
  readonly maxLatencyRatio: number;
  readonly minJobs: number;
}

/** Ended jobs of one release. */
export interface Arm {
  readonly succeeded: number;
  readonly failed: number;
  /** Sum over the jobs that succeeded. */
  readonly executionMs: number;
  /** How many of those took less than BUCKET_RATIO to the power of (index + 1) ms, and not less than of the index. */
  readonly buckets: readonly number[];
}

export interface CanaryRecord {
  readonly id: number;
  readonly canary: Arm;
  readonly active: Arm;
  /** When it was rolled back, and why; null while it runs. */
  readonly ended: { readonly at: number; readonly reason: string } | null;
}

export const NO_JOBS: Arm = { succeeded: 0, failed: 0, executionMs: 0, buckets: [] };
/** A quantile is known within a tenth, and a day of execution is the 192nd bucket. */
const BUCKET_RATIO = 1.1;
const BUCKETS_MAX = 256;
/** Of fewer runs the p95 is the slowest one or two, which says nothing about a release. */
export const P95_RUNS_MIN = 40;

/** The arm with one more job. @param executionMs of a job that succeeded; null: it failed */
export function counted(arm: Arm, executionMs: number | null): Arm {
  if (executionMs === null) return { ...arm, failed: arm.failed + 1 };
  const ms = Math.max(1, executionMs);
  const index = Math.min(BUCKETS_MAX - 1, Math.floor(Math.log(ms) / Math.log(BUCKET_RATIO)));
  const buckets = Array.from({ length: Math.max(arm.buckets.length, index + 1) }, (_, at) => arm.buckets[at] ?? 0);
  buckets[index] = (buckets[index] ?? 0) + 1;
  return { ...arm, succeeded: arm.succeeded + 1, executionMs: arm.executionMs + executionMs, buckets };
}

/** Why the canary must be rolled back now, in words; null: it may go on. */
export function verdict(config: CanaryConfig, { canary, active }: CanaryRecord): string | null {
  if (canary.succeeded + canary.failed < config.minJobs) return null;
  const [rate, usual] = [errorRate(canary), errorRate(active)];
  if (rate > usual + config.maxErrorRateIncrease) {
    const counts = `${canary.failed} of ${canary.failed + canary.succeeded} jobs failed`;
    return `${counts} on release ${config.release}, ${percent(rate)} against ${percent(usual)} on the active release.`;
  }
  return (
    slower(config, "on average", config.minJobs, [canary, active], meanMs) ??
    slower(config, "at the 95th percentile", Math.max(config.minJobs, P95_RUNS_MIN), [canary, active], p95Ms)
  );
}

/** Both must have run often enough: an active release that gets no jobs any more is no measure. */
function slower(
  config: CanaryConfig,
  what: string,
  runsMin: number,
  [canary, active]: readonly [Arm, Arm],
  msOf: (arm: Arm) => number | null,
): string | null {
  const [ms, usual] = [msOf(canary), msOf(active)];
  if (ms === null || usual === null || canary.succeeded < runsMin || active.succeeded < runsMin) return null;
  // Under a millisecond there is nothing to compare.
  if (ms <= Math.max(1, usual) * config.maxLatencyRatio) return null;
  return `Release ${config.release} executes ${Math.round(ms)} ms ${what}, the active release ${Math.round(usual)} ms.`;
}

/** Failed jobs of those that ended by themselves; 0 of none. */
function errorRate({ succeeded, failed }: Arm): number {
  return failed === 0 ? 0 : failed / (succeeded + failed);
}

function meanMs({ succeeded, executionMs }: Arm): number | null {
  return succeeded === 0 ? null : executionMs / succeeded;
}

/** The upper end of the bucket in which the 95th of a hundred runs lies. */
function p95Ms({ succeeded, buckets }: Arm): number | null {
  let left = Math.ceil(succeeded * 0.95);
  if (left === 0) return null;
  const index = buckets.findIndex((count) => {
    left -= count;
    return left <= 0;
  });
  return BUCKET_RATIO ** (index + 1);
}

function percent(rate: number): string {
  return `${Math.round(rate * 1_000) / 10} %`;
}

/** As callers see it. */
export function armView(arm: Arm): CanaryArm {
  const { succeeded, failed } = arm;
  return { succeeded, failed, execution_ms_mean: meanMs(arm), execution_ms_p95: p95Ms(arm) };
}
