import type { JobId } from "#contract/ids";
import { refusal } from "#contract/problems";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { snapshotOf } from "#durable-objects/endpoint/job-snapshots";
import { dispatch } from "#durable-objects/endpoint/matcher";
import type { JobSnapshot, Reply } from "#durable-objects/endpoint/rpc";
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

/** Cancels a job, and lets others begin in its place. One that has ended stays as it is. */
export function cancelJob(state: EndpointState, id: JobId, now: number): Reply<{ job: JobSnapshot }> {
  const found = state.jobs.find(id);
  if (found === null) return refusal("job_not_found", "There is no such job.");
  const canceled = cancelLiving(state, id, now) ?? found.job;
  dispatch(state, now);
  return { ok: true, job: snapshotOf(state, canceled, found.payload, now) };
}
