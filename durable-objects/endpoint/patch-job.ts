import type { JobId } from "#contract/ids";
import type { JobPatch, Lane } from "#contract/job";
import { refusal } from "#contract/problems";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { snapshotOf } from "#durable-objects/endpoint/job-snapshots";
import { dispatch } from "#durable-objects/endpoint/matcher";
import type { JobSnapshot, Reply } from "#durable-objects/endpoint/rpc";
import { isEnded, type QueuedJob } from "#durable-objects/queue/job-record";
import { hasJoined } from "#durable-objects/queue/joining";
import { rankOf } from "#durable-objects/queue/order";

/** Gives a waiting job another place. */
export function patchJob(
  state: EndpointState,
  jobId: JobId,
  patch: JobPatch,
  now: number,
): Reply<{ job: JobSnapshot }> {
  const found = state.jobs.find(jobId);
  if (found === null) return refusal("job_not_found", "There is no such job.");
  const { job, payload } = found;
  if (isEnded(job)) return refusal("job_finished", `The job has ended: ${job.state}.`);
  if (job.state !== "queued") return refusal("job_running", "The job has started; only a waiting job can be moved.");
  const lane = patch.lane ?? job.lane;
  const priority = patch.priority ?? job.priority;
  const moved: QueuedJob = { ...job, lane, priority, rank: placeOf(state, job, patch, lane, priority) };
  state.moved(job, moved);
  // A batch job that was held back beside a replica that waits is no longer.
  dispatch(state, now);
  return { ok: true, job: snapshotOf(state, state.jobs.get(jobId) ?? moved, payload, now) };
}

/** The job's rank: before the lane's head, by its priority, or, when neither is asked for, the one it has. */
function placeOf(state: EndpointState, job: QueuedJob, patch: JobPatch, lane: Lane, priority: number): number {
  // Where a batch job stands that has joined the interactive ones means nothing in another lane.
  const isPlace = patch.priority === undefined && (lane === job.lane || !hasJoined(job));
  const own = isPlace ? job.rank : rankOf(job.createdAt, priority);
  if (patch.position === undefined) return own;
  const [head] = state.queries.inOrder(lane, null, 2).filter(({ id }) => id !== job.id);
  return head === undefined ? own : Math.min(own, head.rank - 1);
}
