/** A job's row and its record: the one place that knows both. */
import {
  type BatchId,
  type JobId,
  type KeyId,
  type LeaseId,
  leaseIdOf,
  type NodeId,
  type ReplicaId,
} from "#contract/ids";
import type { JobError, JobState, JobWebhook, Lane, RunningPhase } from "#contract/job";
import { numberOf } from "#durable-objects/endpoint/job-ids";
import type { StoredInputFile } from "#durable-objects/endpoint/rpc";
import type {
  JobBase,
  JobEventRecord,
  JobRecord,
  QueuedJob,
  RecordedOutput,
  RunningJob,
} from "#durable-objects/queue/job-record";
import type { LeaseRecord } from "#durable-objects/queue/lease";
import {
  integer,
  integerOrNull,
  type SqlRow,
  type SqlValue,
  stored,
  storedOrNull,
  text,
  textOrNull,
} from "#durable-objects/sql/database";

export const LANES: readonly Lane[] = ["interactive", "batch"];
export const laneNumber = (lane: Lane): number => LANES.indexOf(lane);
export const laneName = (number: number): Lane => (number === 0 ? "interactive" : "batch");

/** A payload of more characters than this has a row of its own, so that the job's row, which is written often, is small. */
export const INLINE_PAYLOAD_LENGTH_MAX = 4_096;

/** The part of a job that never changes and may be large. */
export interface JobPayload {
  readonly keyId: KeyId;
  /** Exact JSON text. */
  readonly inputs: string;
  readonly files: readonly StoredInputFile[];
  readonly tags: readonly string[];
  readonly webhook: JobWebhook | null;
}

/** Columns that are written once, in the order of `fixedOf`. */
export const FIXED_COLUMNS = [
  "number",
  "id",
  "release",
  "attempts_max",
  "timeout_ms",
  "created_at",
  "expires_at",
  "batch_id",
  "retry_of",
  "key_id",
  "webhook",
  "inputs",
  "files",
  "tags",
] as const;

/** Columns that every change writes, in the order of `changingOf`. */
export const CHANGING_COLUMNS = [
  "state",
  "lane",
  "priority",
  "rank",
  "attempt",
  "handbacks",
  "started_at",
  "leases",
  "events",
  "available_at",
  "avoid_node",
  "avoid_until",
  "lease_id",
  "replica_id",
  "node_id",
  "granted_at",
  "lease_until",
  "confirmed",
  "phase",
  "deadline_at",
  "executing_at",
  "finished_at",
  "service_ms",
  "error",
  "error_code",
  "dead",
  "retried_as",
  "outputs",
  "progress",
] as const;

/** The large parts of a payload as text. */
export interface PayloadText {
  readonly inputs: string;
  readonly files: string;
  readonly tags: string;
}

export function payloadText(payload: JobPayload): PayloadText {
  return { inputs: payload.inputs, files: JSON.stringify(payload.files), tags: JSON.stringify(payload.tags) };
}

export function isInline({ inputs, files, tags }: PayloadText): boolean {
  return inputs.length + files.length + tags.length <= INLINE_PAYLOAD_LENGTH_MAX;
}

/** Values for `FIXED_COLUMNS`. @param inline the payload's text when it belongs into the row, else null */
export function fixedOf(job: JobRecord, payload: JobPayload, inline: PayloadText | null): SqlValue[] {
  return [
    numberOf(job.id),
    job.id,
    job.release,
    job.attemptsMax,
    job.timeoutMs,
    job.createdAt,
    job.expiresAt,
    job.batchId,
    job.retryOf,
    payload.keyId,
    payload.webhook === null ? null : JSON.stringify(payload.webhook),
    inline?.inputs ?? null,
    inline?.files ?? null,
    inline?.tags ?? null,
  ];
}

/** The payload of a job's row. @param spilled its row in `payloads` when it has one, else the job's row again */
export function payloadOf(row: SqlRow, spilled: SqlRow): JobPayload {
  return {
    keyId: text(row, "key_id") as KeyId,
    webhook: storedOrNull<JobWebhook>(row, "webhook"),
    inputs: text(spilled, "inputs"),
    files: stored<StoredInputFile[]>(spilled, "files"),
    tags: stored<string[]>(spilled, "tags"),
  };
}

/** Values for `CHANGING_COLUMNS`; what a state does not have is null, and so is progress, which a running job writes apart. */
export function changingOf(job: JobRecord): SqlValue[] {
  const queued = job.state === "queued" ? job : null;
  const running = job.state === "running" ? job : null;
  const ended = job.state === "queued" || job.state === "running" ? null : job;
  return [
    job.state,
    laneNumber(job.lane),
    job.priority,
    job.rank,
    job.attempt,
    job.handbacks,
    job.startedAt,
    leasesText(job.leases),
    JSON.stringify(job.events),
    queued?.availableAt ?? null,
    queued?.avoid?.nodeId ?? null,
    queued?.avoid?.until ?? null,
    running?.lease.id ?? null,
    running?.lease.replicaId ?? null,
    running?.lease.nodeId ?? null,
    running?.lease.grantedAt ?? null,
    running?.lease.until ?? null,
    running === null ? null : running.lease.confirmed ? 1 : 0,
    running?.phase ?? null,
    running?.deadlineAt ?? null,
    running?.executingAt ?? null,
    ended?.finishedAt ?? null,
    ended?.state === "succeeded" ? ended.serviceMs : null,
    ended?.state === "failed" ? JSON.stringify(ended.error) : null,
    ended?.state === "failed" ? (ended.error?.code ?? null) : null,
    ended !== null && ended.state !== "succeeded" && ended.dead ? 1 : 0,
    ended?.retriedAs ?? null,
    ended?.state === "succeeded" ? JSON.stringify(ended.outputs) : null,
    null,
  ];
}

/** A lease's id follows from its place, so it is not stored. */
type StoredLease = Omit<LeaseRecord, "id">;

export function leasesText(leases: readonly LeaseRecord[]): string {
  return JSON.stringify(leases.map(({ id: _, ...lease }): StoredLease => lease));
}

export function leasesOf(row: SqlRow): LeaseRecord[] {
  const id = text(row, "id") as JobId;
  return stored<(Omit<StoredLease, "beganAt"> & Partial<StoredLease>)[]>(row, "leases").map((lease, index) => ({
    id: leaseIdOf(id, index + 1),
    ...lease,
    // Those from before leases were granted ahead do not say when they began.
    beganAt: lease.beganAt === undefined ? lease.grantedAt : lease.beganAt,
  }));
}

function baseOf(row: SqlRow): JobBase {
  return {
    id: text(row, "id") as JobId,
    batchId: textOrNull(row, "batch_id") as BatchId | null,
    retryOf: textOrNull(row, "retry_of") as JobId | null,
    release: integer(row, "release"),
    lane: laneName(integer(row, "lane")),
    priority: integer(row, "priority"),
    rank: integer(row, "rank"),
    attempt: integer(row, "attempt"),
    attemptsMax: integer(row, "attempts_max"),
    handbacks: integer(row, "handbacks"),
    timeoutMs: integer(row, "timeout_ms"),
    createdAt: integer(row, "created_at"),
    expiresAt: integer(row, "expires_at"),
    startedAt: integerOrNull(row, "started_at"),
    leases: leasesOf(row),
    events: stored<JobEventRecord[]>(row, "events"),
  };
}

/** A row whose state is known to be `queued`. */
export function queuedOf(row: SqlRow): QueuedJob {
  const nodeId = textOrNull(row, "avoid_node") as NodeId | null;
  return {
    ...baseOf(row),
    state: "queued",
    availableAt: integerOrNull(row, "available_at"),
    avoid: nodeId === null ? null : { nodeId, until: integer(row, "avoid_until") },
  };
}

/** A row whose state is known to be `running`. */
export function runningOf(row: SqlRow): RunningJob {
  return {
    ...baseOf(row),
    state: "running",
    phase: text(row, "phase") as RunningPhase,
    lease: {
      id: text(row, "lease_id") as LeaseId,
      replicaId: text(row, "replica_id") as ReplicaId,
      nodeId: text(row, "node_id") as NodeId,
      grantedAt: integer(row, "granted_at"),
      until: integer(row, "lease_until"),
      confirmed: integer(row, "confirmed") === 1,
    },
    deadlineAt: integer(row, "deadline_at"),
    executingAt: integerOrNull(row, "executing_at"),
  };
}

/** Any row. @throws TypeError when a column does not have the type that its state needs */
export function recordOf(row: SqlRow): JobRecord {
  const state = text(row, "state") as JobState;
  switch (state) {
    case "queued":
      return queuedOf(row);
    case "running":
      return runningOf(row);
    case "succeeded":
      return {
        ...baseOf(row),
        state,
        finishedAt: integer(row, "finished_at"),
        serviceMs: integer(row, "service_ms"),
        outputs: stored<RecordedOutput[]>(row, "outputs"),
        retriedAs: textOrNull(row, "retried_as") as JobId | null,
      };
    default:
      return {
        ...baseOf(row),
        state,
        finishedAt: integer(row, "finished_at"),
        error: storedOrNull<JobError>(row, "error"),
        dead: integer(row, "dead") === 1,
        retriedAs: textOrNull(row, "retried_as") as JobId | null,
      };
  }
}
