/** What jobs and replicas do, told to scaling in the turn in which it happens. On every job's way: nothing is written. */
import type { ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { poolOfPod } from "#durable-objects/endpoint/pods-of-endpoint";
import type { JobRecord, QueuedJob, RunningJob } from "#durable-objects/queue/job-record";
import { hasJoined, joinsAt } from "#durable-objects/queue/joining";
import { type ReplicaRecord, startBegan } from "#durable-objects/replicas/replica-record";

/** A job waits, anew or again. Its place in the queue is taken already. */
export function noteArrived(state: EndpointState, lane: Lane, at: number): void {
  const atOnce = lane === "interactive" ? state.waiting.queued(lane) + state.runningIn(lane) : 0;
  state.scaling.arrived(lane, at, atOnce, lane === "interactive" && isDelayedByBatch(state));
}

/** Whether an interactive job that has just come would have a replica at once, if none were at a batch job. */
function isDelayedByBatch(state: EndpointState): boolean {
  const atBatch = state.runningIn("batch");
  if (atBatch === 0) return false;
  const idle = state.replicas
    .all()
    .filter(({ id, state: stands, draining }) => stands === "ready" && !draining && !state.works(id)).length;
  const behind = state.waiting.queued("interactive") - idle;
  return behind > 0 && behind <= atBatch;
}

/** A job has gone on. The counts have changed already. */
export function noteMoved(state: EndpointState, before: QueuedJob | RunningJob, after: JobRecord): void {
  const { scaling } = state;
  if (before.state === "queued") {
    if (after.state !== "running") {
      scaling.changed();
      return;
    }
    const { replicaId, grantedAt } = after.lease;
    // One that comes back waits anew: the time before was its first attempt's, and that of a batch job that joined its lane's.
    const since = before.leases.at(-1)?.endedAt ?? (hasJoined(before) ? joinsAt(before) : before.createdAt);
    const readyAt = readySince(state, replicaId);
    scaling.started(after.lane, grantedAt, Math.max(0, grantedAt - since), readyAt !== null && readyAt > since);
    return;
  }
  const lease = after.leases.at(-1);
  const endedAt = lease?.endedAt ?? null;
  if (lease === undefined || endedAt === null) return;
  const busyMs = Math.max(0, endedAt - (lease.beganAt ?? lease.grantedAt));
  scaling.finished(after.lane, endedAt, busyMs, lease.outcome === "lost");
  if (after.state === "queued") noteArrived(state, after.lane, endedAt);
}

/** A replica has got ready, so long after the pod placed it, or after it began to make itself another. */
export function noteBooted(state: EndpointState, replica: ReplicaRecord, now: number): void {
  const pool = poolOfPod(state, replica.podId);
  if (pool !== null) state.scaling.booted(pool.name, now, Math.max(0, now - startBegan(replica)));
}

function readySince(state: EndpointState, id: ReplicaId): number | null {
  return state.replicas.get(id)?.changes.findLast((change) => change.state === "ready")?.at ?? null;
}
