/** The jobs an endpoint has had, as arrivals to replay. */
import { type Job, RunningPhase } from "#contract/job";
import type { Arrival } from "./arrivals.ts";

/** What of a job the replay needs. */
export type PastJob = Pick<Job, "created_at" | "started_at" | "finished_at" | "lane" | "timeline">;

export interface JobHistory {
  /** In the order of their arrival; `t` counts from the first one. */
  readonly arrivals: readonly Arrival[];
  /** ISO; null when there are none. */
  readonly firstAt: string | null;
  /** Jobs that have not ended or never ran: nobody knows how long they would take. */
  readonly skipped: number;
}

const RUNNING_PHASES: ReadonlySet<string> = new Set(RunningPhase.options);

/** @param jobs in any order */
export function arrivalsFromJobs(jobs: readonly PastJob[]): JobHistory {
  const known = jobs.flatMap((job) => {
    const serviceS = serviceOf(job);
    return serviceS === null ? [] : [{ atMs: Date.parse(job.created_at), serviceS, lane: job.lane }];
  });
  known.sort((one, other) => one.atMs - other.atMs);
  const firstMs = known[0]?.atMs;
  return {
    arrivals: known.map(({ atMs, serviceS, lane }) => ({ t: (atMs - (firstMs ?? atMs)) / 1_000, serviceS, lane })),
    firstAt: firstMs === undefined ? null : new Date(firstMs).toISOString(),
    skipped: jobs.length - known.length,
  };
}

/** Seconds it held a replica, all attempts together; null when it never did or has not ended. */
function serviceOf({ started_at, finished_at, timeline }: PastJob): number | null {
  if (started_at === null || finished_at === null) return null;
  const held = timeline.filter(({ phase }) => RUNNING_PHASES.has(phase));
  // Old jobs have lost their timeline; then the whole time from the first start counts.
  if (held.length === 0) return Math.max(0, Date.parse(finished_at) - Date.parse(started_at)) / 1_000;
  return held.reduce((sum, { ms }) => sum + (ms ?? 0), 0) / 1_000;
}
