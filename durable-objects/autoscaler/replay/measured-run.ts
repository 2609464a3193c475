/** One policy over one trace, in figures: GPU-seconds against waiting. */
import type { Arrivals } from "./arrivals.ts";
import { type FleetPolicy, finished, replayInParts } from "./engine.ts";
import { CountedWaits, type ReplayResult } from "./figures.ts";
import type { ReplayOptions } from "./options.ts";

/** The endpoints of a trace together; waits are of interactive jobs, in seconds. */
export interface MeasuredRun {
  readonly gpuS: number;
  /** Of gpuS: starting, and running jobs. The rest was idle. */
  readonly bootS: number;
  readonly busyS: number;
  readonly launches: number;
  /** Most replicas at once, endpoint by endpoint added up. */
  readonly peak: number;
  /** Jobs that count: `countFromS` leaves out those before. */
  readonly jobs: number;
  readonly p50S: number;
  readonly p95S: number;
  readonly p99S: number;
  readonly meanS: number;
  readonly totalS: number;
  /** Part of the jobs that waited for a start. */
  readonly coldShare: number;
  /** Σ service × wait over all jobs, s²: what the clairvoyant is allowed. */
  readonly waitingWorkS: number;
  readonly unserved: number;
  readonly batchJobs: number;
  readonly batchP95S: number;
  readonly batchMeanS: number;
  /** Batch jobs that began after their deadline, and that never began. */
  readonly batchMissed: number;
  readonly batchUnserved: number;
}

/**
 * @param endpoints the arrivals of each endpoint
 * @param make a new policy for each of them
 * @param see what to do with each endpoint's replay
 */
export function measureRun(
  endpoints: readonly Arrivals[],
  make: () => FleetPolicy,
  options: ReplayOptions,
  see?: (result: ReplayResult) => void,
): MeasuredRun {
  return finished(measureInParts(endpoints, make, options, see));
}

/** The same in parts, see {@link replayInParts}. */
export function* measureInParts(
  endpoints: readonly Arrivals[],
  make: () => FleetPolicy,
  options: ReplayOptions,
  see?: (result: ReplayResult) => void,
): Generator<number, MeasuredRun> {
  const { countFromS = 0 } = options;
  const sum = { gpuS: 0, bootS: 0, busyS: 0, launches: 0, peak: 0, unserved: 0, batchMissed: 0, batchUnserved: 0 };
  let waitingWorkS = 0;
  let cold = 0;
  const all = endpoints.reduce((jobs, { atS }) => jobs + atS.length, 0);
  const interactive = new CountedWaits(all);
  const batch = new CountedWaits(all);
  for (const [index, arrivals] of endpoints.entries()) {
    const parts = replayInParts(arrivals, make(), options);
    let part = parts.next();
    for (; part.done !== true; part = parts.next()) yield (index + part.value) / endpoints.length;
    const result = part.value;
    // Thousands of endpoints with a few jobs each are a long replay, too.
    if (index + 1 < endpoints.length) yield (index + 1) / endpoints.length;
    see?.(result);
    sum.gpuS += result.gpuSeconds;
    sum.bootS += result.bootSeconds;
    sum.busyS += result.busySeconds;
    sum.launches += result.launches;
    sum.peak += result.peakReplicas;
    sum.unserved += result.unserved;
    sum.batchMissed += result.batchMissed;
    sum.batchUnserved += result.batchUnserved;
    cold += result.interactive.coldShare * result.interactive.jobs;
    for (let job = 0; job < arrivals.atS.length; job += 1) {
      const wait = result.waitsS[job] ?? 0;
      waitingWorkS += wait * (arrivals.serviceS[job] ?? 0);
      if ((arrivals.atS[job] ?? 0) >= countFromS) (arrivals.batch?.[job] === 1 ? batch : interactive).add(wait);
    }
  }
  const { jobs, p50S, p95S, p99S, meanS, totalS } = interactive.figures();
  const ofBatch = batch.figures();
  return {
    ...sum,
    jobs,
    p50S,
    p95S,
    p99S,
    meanS,
    totalS,
    coldShare: jobs === 0 ? 0 : cold / jobs,
    waitingWorkS,
    batchJobs: ofBatch.jobs,
    batchP95S: ofBatch.p95S,
    batchMeanS: ofBatch.meanS,
  };
}

/** What a policy is judged by: GPU-seconds, and each second of waiting at its value. */
export function scoreOf(run: MeasuredRun, waitValue: number): number {
  return run.gpuS + waitValue * run.totalS;
}
