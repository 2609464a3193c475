import type { JobId } from "#contract/ids";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isEnded, type JobRecord } from "#durable-objects/queue/job-record";
import { cancel } from "#durable-objects/queue/transition";

/**
 * Cancels a job that lives, waiting or running.
 * @returns the job as it stands then; null when there is none
 */
export function cancelLiving(state: EndpointState, id: JobId, now: number): JobRecord | null {
  const job = state.jobs.get(id);
  if (job === null || isEnded(job)) return job;
  const canceled = cancel(job, now);
  if (job.state === "running") return state.leaseEnded(job, canceled, "canceled", [], now);
  state.moved(job, canceled);
  return canceled;
}
