/** Every way in which a job changes. Whether a message may speak for a lease is checked before, in authority.ts. */
import { leaseIdOf } from "#contract/ids";
import { type JobError, RunningPhase } from "#contract/job";
import { phaseDeadline } from "#durable-objects/queue/deadlines";
import {
  type EndedJob,
  type JobBase,
  type QueuedJob,
  type RecordedOutput,
  type RunningJob,
  type SucceededJob,
  type UnsuccessfulJob,
  withEvent,
} from "#durable-objects/queue/job-record";
import { begun, granted, type LeaseOutcome, type LeaseRecord, renewed } from "#durable-objects/queue/lease";
import { finalError } from "#durable-objects/queue/poison";
import { AVOID_NODE_MS, FREE_HANDBACKS_MAX, isRetryable, retryDelayMs } from "#durable-objects/queue/retry";

const PHASE_ORDER = RunningPhase.options;

/** What is decided when a lease is granted; the rest of its record follows from the job. */
export type Grant = Pick<LeaseRecord, "token" | "replicaId" | "nodeId" | "pollId" | "grantedAt" | "boot"> & {
  /** The replica works on another job first. */
  readonly isAhead: boolean;
};

/** A waiting job gets its next lease. */
export function grantLease(job: QueuedJob, { isAhead, ...grant }: Grant): RunningJob {
  const attempt = job.attempt + 1;
  const id = leaseIdOf(job.id, job.leases.length + 1);
  const beganAt = isAhead ? null : grant.grantedAt;
  const lease: LeaseRecord = { ...grant, id, attempt, beganAt, endedAt: null, outcome: null, heard: false, phases: [] };
  const running: RunningJob = {
    ...base(job),
    state: "running",
    attempt,
    leases: [...job.leases, lease],
    phase: "assigned",
    lease: granted(lease),
    deadlineAt: phaseDeadline("assigned", lease.grantedAt, job.timeoutMs),
    executingAt: null,
  };
  return withEvent(running, "started", lease.grantedAt, { attempt, replica_id: lease.replicaId });
}

/**
 * A message arrived under the job's lease: it is renewed. A phase only moves forward, so that a late message cannot turn
 * the job's story back.
 * @param phase what the message says it is doing, null when it does not say
 */
export function hear(job: RunningJob, phase: RunningPhase | null, at: number): RunningJob {
  const lease = renewed(job.lease, at);
  const heard: RunningJob = { ...job, leases: begun(job.leases, at), lease, startedAt: job.startedAt ?? at };
  if (phase === null || PHASE_ORDER.indexOf(phase) <= PHASE_ORDER.indexOf(job.phase)) return heard;
  const moved: RunningJob = {
    ...heard,
    phase,
    deadlineAt: phaseDeadline(phase, at, job.timeoutMs),
    executingAt: phase === "executing" ? at : job.executingAt,
  };
  return withEvent(moved, "phase", at, { phase, attempt: job.attempt });
}

/** The outputs are stored and checked. */
export function complete(job: RunningJob, outputs: readonly RecordedOutput[], at: number): SucceededJob {
  const ended: SucceededJob = {
    ...base(job),
    state: "succeeded",
    startedAt: job.startedAt ?? at,
    finishedAt: at,
    serviceMs: Math.max(0, at - (job.executingAt ?? job.leases.at(-1)?.beganAt ?? job.lease.grantedAt)),
    outputs,
    retriedAs: null,
  };
  return withEvent(ended, "succeeded", at, { outputs: outputs.length });
}

/**
 * The attempt failed: again later, or for good when the error would come back or the attempts are used up.
 * @param by how its lease ends; one that was released says nothing against the job
 */
export function failAttempt(
  job: RunningJob,
  error: JobError,
  at: number,
  jitter: number,
  by: LeaseOutcome = "failed",
): QueuedJob | EndedJob {
  if (!isRetryable(error.code)) return endUnsuccessfully(job, "failed", error, at);
  if (job.attempt >= job.attemptsMax) return endUnsuccessfully(job, "failed", finalError(job, error, by), at);
  return requeue(job, error, at + retryDelayMs(job.attempt, jitter), at);
}

/**
 * The lease came back unfinished through no fault of the job. Free of charge, a bounded number of times.
 * @param by whether the agent released it or was found to have lost it
 */
export function handBack(
  job: RunningJob,
  reason: string,
  at: number,
  jitter: number,
  by: "released" | "lost" = "lost",
): QueuedJob | EndedJob {
  const error: JobError = { code: "lease_lost", message: reason };
  if (job.handbacks >= FREE_HANDBACKS_MAX) return failAttempt(job, error, at, jitter, by);
  const uncharged: RunningJob = { ...job, attempt: job.attempt - 1, handbacks: job.handbacks + 1 };
  return requeue(uncharged, error, job.handbacks === 0 ? at : at + retryDelayMs(job.handbacks, jitter), at);
}

/**
 * A lease that was granted ahead came back before its agent began: the job waits again as if it had not been granted. It is
 * not granted ahead a second time, so this happens to a job once.
 */
export function putBack(job: RunningJob, reason: string, at: number): QueuedJob {
  const error: JobError = { code: "lease_lost", message: reason };
  const uncharged: RunningJob = { ...job, attempt: job.attempt - 1 };
  const queued: QueuedJob = { ...base(uncharged), state: "queued", availableAt: null, avoid: null };
  return withEvent(queued, "retrying", at, { error, attempt: job.attempt, delay_ms: 0 });
}

/** Nothing was heard in time. Without a first message the lease reached nobody, which costs no attempt. */
export function loseLease(job: RunningJob, reason: string, at: number, jitter: number): QueuedJob | EndedJob {
  if (!job.lease.confirmed) return handBack(job, reason, at, jitter);
  return failAttempt(job, { code: "lease_lost", message: reason }, at, jitter);
}

/** The phase's deadline passed. */
export function overrun(job: RunningJob, at: number, jitter: number): QueuedJob | EndedJob {
  if (job.phase === "executing") {
    const message = `Execution took longer than ${job.timeoutMs / 1_000} s. Raise the job's timeout if it needs more.`;
    return failAttempt(job, { code: "execution_timeout", message }, at, jitter);
  }
  if (job.phase === "uploading") {
    return failAttempt(job, { code: "output_failed", message: "Uploading the outputs took too long." }, at, jitter);
  }
  return failAttempt(job, { code: "replica_failed", message: "The replica did not begin executing." }, at, jitter);
}

export function cancel(job: QueuedJob | RunningJob, at: number): EndedJob {
  return endUnsuccessfully(job, "canceled", null, at);
}

/** The job did not start in the time its caller gave it. */
export function expire(job: QueuedJob, at: number): EndedJob {
  return endUnsuccessfully(job, "expired", null, at);
}

function requeue(job: RunningJob, error: JobError, availableAt: number, at: number): QueuedJob {
  const queued: QueuedJob = {
    ...base(job),
    state: "queued",
    availableAt: availableAt > at ? availableAt : null,
    avoid: { nodeId: job.lease.nodeId, until: Math.max(availableAt, at) + AVOID_NODE_MS },
  };
  return withEvent(queued, "retrying", at, { error, attempt: job.attempt, delay_ms: Math.max(0, availableAt - at) });
}

function endUnsuccessfully(
  job: QueuedJob | RunningJob,
  state: UnsuccessfulJob["state"],
  error: JobError | null,
  at: number,
): UnsuccessfulJob {
  const dead = state === "failed";
  const ended: UnsuccessfulJob = { ...base(job), state, finishedAt: at, error, dead, retriedAs: null };
  return withEvent(ended, state, at, error === null ? {} : { error });
}

/** Only the fields that every state has. */
function base(job: JobBase): JobBase {
  return {
    id: job.id,
    release: job.release,
    lane: job.lane,
    priority: job.priority,
    rank: job.rank,
    attempt: job.attempt,
    attemptsMax: job.attemptsMax,
    handbacks: job.handbacks,
    timeoutMs: job.timeoutMs,
    createdAt: job.createdAt,
    expiresAt: job.expiresAt,
    startedAt: job.startedAt,
    leases: job.leases,
    events: job.events,
    batchId: job.batchId,
    retryOf: job.retryOf,
  };
}
