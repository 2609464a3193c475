/** A job as stored. Each state has only the fields of that state, so a queued job with a lease cannot be written. */
import type { ManifestEntry } from "#contract/agent";
import type { BatchId, JobId, NodeId } from "#contract/ids";
import type { JobError, JobPhase, Lane, RunningPhase, TerminalState } from "#contract/job";
import type { HeldLease, LeaseRecord } from "#durable-objects/queue/lease";

export interface JobEventRecord {
  readonly seq: number;
  readonly type: "queued" | "started" | "phase" | "retrying" | TerminalState;
  readonly at: number;
  /** JSON text. */
  readonly data: string;
}

/** An output in R2; `key` is its name there. */
export interface RecordedOutput extends ManifestEntry {
  readonly key: string;
}

export interface JobBase {
  readonly id: JobId;
  readonly release: number;
  readonly lane: Lane;
  readonly priority: number;
  /** Fixed place in the lane, see order.ts; a retried job keeps it. */
  readonly rank: number;
  /** Attempts begun, less those handed back for free. */
  readonly attempt: number;
  readonly attemptsMax: number;
  /** Leases that came back unfinished without costing an attempt. */
  readonly handbacks: number;
  readonly timeoutMs: number;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** When an agent first spoke under a lease of this job. */
  readonly startedAt: number | null;
  /** All of its leases, oldest first; bounded by the attempts and free handbacks. Only a running job's last one is open. */
  readonly leases: readonly LeaseRecord[];
  /** Numbered from 1 without gaps. */
  readonly events: readonly JobEventRecord[];
  readonly batchId: BatchId | null;
  /** The ended job that this one runs again. */
  readonly retryOf: JobId | null;
}

export interface QueuedJob extends JobBase {
  readonly state: "queued";
  /** Not before this; null when it is ready. */
  readonly availableAt: number | null;
  /** Another node is preferred until then. */
  readonly avoid: { readonly nodeId: NodeId; readonly until: number } | null;
}

export interface RunningJob extends JobBase {
  readonly state: "running";
  readonly phase: RunningPhase;
  readonly lease: HeldLease;
  /** The present phase must be over by then. */
  readonly deadlineAt: number;
  /** When the present attempt began to execute. */
  readonly executingAt: number | null;
}

export interface SucceededJob extends JobBase {
  readonly state: "succeeded";
  readonly finishedAt: number;
  readonly serviceMs: number;
  readonly outputs: readonly RecordedOutput[];
  readonly retriedAs: JobId | null;
}

export interface UnsuccessfulJob extends JobBase {
  readonly state: Exclude<TerminalState, "succeeded">;
  readonly finishedAt: number;
  readonly error: JobError | null;
  /** It failed, and nobody has redriven or dismissed it: it is in the dead-letter list. */
  readonly dead: boolean;
  /** The newest job that runs this one again. Beside `dead` the only thing that may change after the end. */
  readonly retriedAs: JobId | null;
}

export type EndedJob = SucceededJob | UnsuccessfulJob;
export type JobRecord = QueuedJob | RunningJob | EndedJob;

export function isEnded(job: JobRecord): job is EndedJob {
  return job.state !== "queued" && job.state !== "running";
}

/** Whether it is in the dead-letter list. */
export function isDead(job: EndedJob): boolean {
  return job.state !== "succeeded" && job.dead;
}

export function phaseOf(job: JobRecord): JobPhase | null {
  if (job.state === "running") return job.phase;
  if (job.state !== "queued") return null;
  return job.leases.length === 0 ? "waiting" : "retrying";
}

/** The job with one more event. */
export function withEvent<T extends JobBase>(
  job: T,
  type: JobEventRecord["type"],
  at: number,
  data: Readonly<Record<string, unknown>>,
): T {
  return { ...job, events: [...job.events, { seq: job.events.length + 1, type, at, data: JSON.stringify(data) }] };
}
