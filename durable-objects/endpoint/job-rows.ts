/** A job's row and its record: the one place that knows both. */
import type { JobId, LeaseId, NodeId, ReplicaId } from "#contract/ids";
import type { JobError, JobState, Lane, RunningPhase } from "#contract/job";
import type {
  JobBase,
  JobEventRecord,
  JobRecord,
  QueuedJob,
  RecordedOutput,
  RunningJob,
} from "#durable-objects/queue/job-record";
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

/** Every column but the id, in the order of `columnsOf`. */
export const COLUMNS = [
  "state",
  "lane",
  "priority",
  "rank",
  "release",
  "attempt",
  "attempts_max",
  "handbacks",
  "timeout_ms",
  "created_at",
  "expires_at",
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
  "outputs",
  "progress",
] as const;

/** Values for `COLUMNS`; what a state does not have is null, and so is progress, which a running job writes apart. */
export function columnsOf(job: JobRecord): SqlValue[] {
  const queued = job.state === "queued" ? job : null;
  const running = job.state === "running" ? job : null;
  const ended = job.state === "queued" || job.state === "running" ? null : job;
  return [
    job.state,
    laneNumber(job.lane),
    job.priority,
    job.rank,
    job.release,
    job.attempt,
    job.attemptsMax,
    job.handbacks,
    job.timeoutMs,
    job.createdAt,
    job.expiresAt,
    job.startedAt,
    JSON.stringify(job.leases),
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
    ended?.state === "succeeded" ? JSON.stringify(ended.outputs) : null,
    null,
  ];
}

function baseOf(row: SqlRow): JobBase {
  return {
    id: text(row, "id") as JobId,
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
    leases: stored<LeaseId[]>(row, "leases"),
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
      };
    default:
      return {
        ...baseOf(row),
        state,
        finishedAt: integer(row, "finished_at"),
        error: storedOrNull<JobError>(row, "error"),
      };
  }
}
