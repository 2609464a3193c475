/** Batch jobs whose start deadline comes near wait with the interactive ones: who gave a deadline means it. */
import type { Lane } from "#contract/job";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { rankOf } from "#durable-objects/queue/order";

/** So long before its start deadline a batch job joins the interactive lane: long enough for a start of a replica or two. */
export const BATCH_JOINS_BEFORE_MS = 5 * 60_000;
/** One that may not wait much longer than that in all stays a batch job for half of its time. */
export const SHORT_WAIT_MS = 2 * BATCH_JOINS_BEFORE_MS;

/** So much lower is the rank of one that joins and stays in its lane than of any job that has not, ms: three centuries. */
const AHEAD_OF_BATCH = 10_000_000_000_000;
/** Batch jobs of a lower rank than this have joined, or were put before one that has by hand. */
export const UNJOINED_RANK_MIN = 0;

/** The lanes that a pod serves. */
interface ServedLanes {
  readonly lanes: readonly Lane[];
}

type Wait = Pick<QueuedJob, "createdAt" | "expiresAt">;

/** When a batch job joins the interactive ones, Unix ms, unless it has started before. */
export function joinsAt({ createdAt, expiresAt }: Wait): number {
  const short = expiresAt - createdAt < SHORT_WAIT_MS;
  return short ? Math.floor((createdAt + expiresAt) / 2) : expiresAt - BATCH_JOINS_BEFORE_MS;
}

/**
 * In which lane jobs that have joined wait. Where a pod takes batch jobs and no interactive ones they stay in theirs, ahead
 * of all that have not joined: in the other one they would be out of the reach of that pod's replicas.
 */
export function laneOfJoined(pods: readonly ServedLanes[]): Lane {
  return pods.some(({ lanes }) => lanes.includes("batch") && !lanes.includes("interactive")) ? "batch" : "interactive";
}

/** Its place among the interactive jobs: behind those that came before it joined, it does not go ahead of them for its age. */
export function interactiveRank(job: Wait & Pick<QueuedJob, "priority">): number {
  return rankOf(joinsAt(job), job.priority);
}

/** The job as one that has joined. @param lane where those wait */
export function joined(job: QueuedJob, lane: Lane): QueuedJob {
  return { ...job, lane, rank: joinedRank({ ...job, lane }) };
}

/** Whether the job was a batch job and has joined. One that was moved by hand since has no longer. */
export function hasJoined(job: Wait & Pick<QueuedJob, "lane" | "rank" | "priority">): boolean {
  return job.rank === joinedRank(job);
}

function joinedRank(job: Wait & Pick<QueuedJob, "lane" | "priority">): number {
  return interactiveRank(job) - (job.lane === "batch" ? AHEAD_OF_BATCH : 0);
}
