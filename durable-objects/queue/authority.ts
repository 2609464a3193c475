/** Whether a message may speak for a lease, judged when it is applied, never earlier. */
import type { NodeId } from "#contract/ids";
import type { JobRecord, RunningJob } from "#durable-objects/queue/job-record";
import type { LeaseRecord } from "#durable-objects/queue/lease";

export type Authority =
  /** The lease is the job's present one. */
  | { readonly type: "current"; readonly job: RunningJob; readonly lease: LeaseRecord }
  /** The message is genuine, but its lease is over: `lease.outcome` says how. */
  | { readonly type: "over"; readonly job: JobRecord; readonly lease: LeaseRecord }
  /** Nobody may say that: unknown lease, wrong token, or another node's. */
  | { readonly type: "none" };

/** @param nodeId the node of the session the message came with */
export function authorityOf(
  lease: LeaseRecord | null,
  job: JobRecord | null,
  token: string,
  nodeId: NodeId,
): Authority {
  if (lease === null || job === null || lease.token !== token || lease.nodeId !== nodeId) return { type: "none" };
  return job.state === "running" && job.lease.id === lease.id
    ? { type: "current", job, lease }
    : { type: "over", job, lease };
}
