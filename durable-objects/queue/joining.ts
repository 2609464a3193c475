/** Batch jobs whose start deadline comes near wait with the interactive ones: who gave a deadline means it. */
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { rankOf } from "#durable-objects/queue/order";

/** So long before its start deadline a batch job joins the interactive lane: long enough for a start of a replica or two. */
export const BATCH_JOINS_BEFORE_MS = 5 * 60_000;
/** One that may not wait much longer than that in all stays a batch job for half of its time. */
export const SHORT_WAIT_MS = 2 * BATCH_JOINS_BEFORE_MS;

type Wait = Pick<QueuedJob, "createdAt" | "expiresAt">;

/** When a batch job joins the interactive lane, Unix ms, unless it has started before. */
export function joinsAt({ createdAt, expiresAt }: Wait): number {
  const short = expiresAt - createdAt < SHORT_WAIT_MS;
  return short ? Math.floor((createdAt + expiresAt) / 2) : expiresAt - BATCH_JOINS_BEFORE_MS;
}

/** The job in the interactive lane, behind those that came before it joined: it does not go ahead of them for its age. */
export function joined(job: QueuedJob): QueuedJob {
  return { ...job, lane: "interactive", rank: rankOf(joinsAt(job), job.priority) };
}

/** Whether the job was a batch job and has joined. One that was moved by hand since has no longer. */
export function hasJoined({
  lane,
  rank,
  priority,
  ...wait
}: Wait & Pick<QueuedJob, "lane" | "rank" | "priority">): boolean {
  return lane === "interactive" && rank === rankOf(joinsAt(wait), priority);
}
