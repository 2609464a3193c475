/** What agents say under a lease. Whether they may is judged when it is applied, never earlier. */
import type { CompleteLease, FailLease, LeaseProgress, LeaseProgressAnswer } from "#contract/agent";
import type { JobId } from "#contract/ids";
import { LEASE_MS, OUTPUT_RETENTION_DAYS, PROGRESS_PERSIST_MS } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { dispatch, nextFor } from "#durable-objects/endpoint/matcher";
import { isPodOf } from "#durable-objects/endpoint/pods-of-endpoint";
import { grantedTo, waitOn } from "#durable-objects/endpoint/replica-polls";
import type {
  Completed,
  LeaseProof,
  NodeIdentity,
  OutputGrant,
  Reply,
  StoredInputFile,
  StoredOutput,
} from "#durable-objects/endpoint/rpc";
import { tellHeard } from "#durable-objects/endpoint/telling";
import { type Authority, authorityOf } from "#durable-objects/queue/authority";
import type { RunningJob } from "#durable-objects/queue/job-record";
import { isHeldAhead } from "#durable-objects/queue/lease";
import { complete as completed, failAttempt, handBack, hear, putBack } from "#durable-objects/queue/transition";
import { chance } from "#durable-objects/sql/database";

const DONE = { ok: true } as const;

/** Progress or a heartbeat: the lease is renewed. */
export function progress(
  state: EndpointState,
  proof: LeaseProof,
  message: LeaseProgress,
  now: number,
): Reply<{ answer: LeaseProgressAnswer }> {
  const authority = judged(state, proof);
  if (authority.type === "none") return leaseLost();
  if (authority.type === "over") {
    // The server ended it: the agent is told to stop. A lease that went back to the queue is somebody else's now.
    const revoked = authority.lease.outcome === "canceled" || authority.lease.outcome === "timed_out";
    return revoked ? { ok: true, answer: { cancel: true, renew_within_ms: 0 } } : leaseLost();
  }
  hearUnder(state, authority.job, message, now);
  // Its GPU is free: what was not to be held ahead behind this job may begin.
  if (message.phase === "uploading" && state.waiters.has(authority.lease.replicaId)) dispatch(state, now);
  return { ok: true, answer: { cancel: false, renew_within_ms: LEASE_MS } };
}

/** Where an input file of the leased job is. */
export function inputFile(
  state: EndpointState,
  proof: LeaseProof,
  index: number,
  now: number,
): Reply<{ file: StoredInputFile }> {
  const authority = judged(state, proof);
  if (authority.type !== "current") return leaseLost();
  // Inputs are fetched ahead: that alone does not begin the attempt.
  if (isHeldAhead(authority.job.lease, authority.lease)) state.presence.seen(authority.lease.replicaId, now);
  else hearUnder(state, authority.job, null, now);
  const file = state.jobs.payload(authority.job.id)?.files.find((candidate) => candidate.index === index);
  return file === undefined ? refusal("file_not_found", `The job has no input file ${index}.`) : { ok: true, file };
}

/** Where the outputs of this lease belong. */
export function grantOutput(state: EndpointState, proof: LeaseProof, now: number): Reply<{ grant: OutputGrant }> {
  const authority = judged(state, proof);
  if (authority.type !== "current") return leaseLost();
  hearUnder(state, authority.job, null, now);
  const keyPrefix = `${outputPrefix(state, authority.job.id)}${authority.lease.token}/`;
  return { ok: true, grant: { keyPrefix, jobId: authority.job.id } };
}

/**
 * The job has succeeded, and the replica may get its next lease with the answer, or go on waiting for it.
 * @param outputs checked in R2
 */
export function complete(
  state: EndpointState,
  proof: LeaseProof,
  message: CompleteLease,
  outputs: readonly StoredOutput[],
  now: number,
): Reply<Completed> {
  const authority = judged(state, proof);
  if (authority.type === "none") return leaseLost();
  const { job, lease } = authority;
  if (authority.type === "over") {
    if (lease.outcome !== "completed") return leaseLost();
    const again =
      message.next_poll_id === undefined ? null : grantedTo(state, lease.replicaId, message.next_poll_id, now);
    return { ok: true, next: again, waits: null };
  }
  // Success without durable outputs cannot happen: each one named was checked, under this very token.
  const prefix = `${outputPrefix(state, job.id)}${lease.token}/`;
  if (outputs.length !== message.outputs.length || !outputs.every(({ key }) => key.startsWith(prefix))) {
    return refusal("output_missing", "Not every output of the manifest is stored under this lease.");
  }
  state.presence.seen(lease.replicaId, now);
  const done = completed(authority.job, outputs, now);
  state.leaseEnded(authority.job, done, "completed", message.phases, now);
  const next =
    message.next_poll_id === undefined
      ? null
      : nextFor(state, { replicaId: lease.replicaId, nodeId: lease.nodeId, pollId: message.next_poll_id }, now);
  dispatch(state, now);
  // After the match: a lease for a poll that nobody has heard of yet would be lost.
  const ms = next === null ? waitOn(state, lease.replicaId, message) : null;
  return { ok: true, next, waits: ms === null ? null : { replicaId: lease.replicaId, ms } };
}

/** The attempt has failed. */
export function fail(state: EndpointState, proof: LeaseProof, message: FailLease, now: number): Reply<object> {
  const authority = judged(state, proof);
  if (authority.type === "none") return leaseLost();
  if (authority.type === "over") return authority.lease.outcome === "failed" ? DONE : leaseLost();
  state.presence.seen(authority.lease.replicaId, now);
  const after = failAttempt(authority.job, message.error, now, chance(state.world));
  state.leaseEnded(authority.job, after, "failed", message.phases, now);
  dispatch(state, now);
  return DONE;
}

/** The agent gives the job back unfinished. */
export function release(state: EndpointState, proof: LeaseProof, reason: string, now: number): Reply<object> {
  const authority = judged(state, proof);
  if (authority.type === "none") return leaseLost();
  if (authority.type === "over") return authority.lease.outcome === "released" ? DONE : leaseLost();
  state.presence.seen(authority.lease.replicaId, now);
  const after = isHeldAhead(authority.job.lease, authority.lease)
    ? putBack(authority.job, reason, now)
    : handBack(authority.job, reason, now, chance(state.world), "released");
  state.leaseEnded(authority.job, after, "released", [], now);
  dispatch(state, now);
  return DONE;
}

/** Everything a job may have left in R2 lies under this. @throws Error when the endpoint is not configured */
export function outputPrefix({ config }: EndpointState, jobId: JobId): string {
  if (config === null) throw new Error("the endpoint is not configured");
  return `out/d${OUTPUT_RETENTION_DAYS}/${config.workspaceId}/${jobId}/`;
}

/** Whether the node is of one of the endpoint's pods, those it is leaving included. */
export function isOfEndpoint(state: EndpointState, node: NodeIdentity): boolean {
  return state.config?.workspaceId === node.workspaceId && isPodOf(state, node.podId);
}

/** Whether a message under the lease would be heard. Says nothing of the replica: hearing it is another matter. */
export function isCurrent(state: EndpointState, proof: LeaseProof): boolean {
  return judged(state, proof).type === "current";
}

/** Whether the message may speak for its lease, judged now; a living one as long as it really is. */
function judged(state: EndpointState, proof: LeaseProof): Authority {
  if (!isOfEndpoint(state, proof)) return { type: "none" };
  const found = state.leaseOf(proof.leaseId);
  const authority = authorityOf(found?.lease ?? null, found?.job ?? null, proof.token, proof.nodeId);
  if (authority.type !== "current") return authority;
  return { ...authority, job: state.live.renewed(authority.job) };
}

/** A message under a living lease: renews it, and writes it down when it matters or at the slow pace. */
function hearUnder(state: EndpointState, job: RunningJob, message: LeaseProgress | null, now: number): void {
  const { jobs, live } = state;
  state.presence.seen(job.lease.replicaId, now);
  const known = live.get(job.id);
  const after = hear(job, message?.phase ?? null, now);
  const progress = message?.progress ?? known.progress;
  const preview = message?.preview ?? known.preview;
  const news = progress !== known.progress || preview !== known.preview;
  const phaseMoved = after.phase !== job.phase;
  const write = phaseMoved || !job.lease.confirmed || now - known.writtenAt >= PROGRESS_PERSIST_MS;
  if (write) jobs.putRunning(after, progress);
  if (phaseMoved || !job.lease.confirmed) state.heard(after);
  live.set(job.id, {
    until: after.lease.until,
    writtenAt: write ? now : known.writtenAt,
    progress,
    preview,
    version: news ? live.nextVersion(now) : known.version,
  });
  state.due(Math.min(after.lease.until, after.deadlineAt));
  if (news || phaseMoved) state.effect({ type: "job_changed", jobId: job.id });
  tellHeard(state, job, after, progress === known.progress ? null : progress, now);
}

const leaseLost = (): Refusal => refusal("lease_lost", "The lease is over or was never given to this node.");
