/** The jobs an endpoint has had, as arrivals to replay. */
import type { Job } from "#contract/job";
import type { UsageRow } from "#contract/usage";
import type { Arrival } from "./arrivals.ts";

/** What of a job the replay needs. */
export type PastJob = Pick<Job, "id" | "created_at" | "finished_at" | "lane">;
/** What of an attempt the replay needs. */
export type PastAttempt = Pick<UsageRow, "job_id" | "ms">;

export interface JobHistory {
  /** In the order of their arrival; `t` counts from the first one. */
  readonly arrivals: readonly Arrival[];
  /** ISO; null when there are none. */
  readonly firstAt: string | null;
  /** Jobs that have not ended or never ran: nobody knows how long they would take. */
  readonly skipped: number;
}

/**
 * Work is what usage counts, all attempts of a job together. A timeline says less: it has the replica's start under the
 * names of a job's own phases, and of a lease that was granted ahead the wait for the job before it.
 * @param jobs in any order
 * @param attempts of these jobs and perhaps of others, in any order
 */
export function arrivalsFromJobs(jobs: readonly PastJob[], attempts: readonly PastAttempt[]): JobHistory {
  const heldMs = new Map<string, number>();
  for (const { job_id, ms } of attempts) heldMs.set(job_id, (heldMs.get(job_id) ?? 0) + ms);
  const known = jobs.flatMap(({ id, created_at, finished_at, lane }) => {
    const ms = heldMs.get(id);
    return finished_at === null || ms === undefined
      ? []
      : [{ atMs: Date.parse(created_at), serviceS: ms / 1_000, lane }];
  });
  known.sort((one, other) => one.atMs - other.atMs);
  const firstMs = known[0]?.atMs;
  return {
    arrivals: known.map(({ atMs, serviceS, lane }) => ({ t: (atMs - (firstMs ?? atMs)) / 1_000, serviceS, lane })),
    firstAt: firstMs === undefined ? null : new Date(firstMs).toISOString(),
    skipped: jobs.length - known.length,
  };
}
