import type { JobId, KeyId, OperationId } from "#contract/ids";
import type { Operation, OperationKind } from "#contract/queue";
import type { JobCriteria } from "#durable-objects/endpoint/job-queries";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  type SqlValue,
  stored,
  storedOrNull,
  text,
} from "#durable-objects/sql/database";

/** A bulk operation and how far it has come. */
export interface OperationRecord {
  readonly id: OperationId;
  readonly kind: OperationKind;
  readonly state: Operation["state"];
  /** Who asked for it; of a retry, the new jobs are his. */
  readonly keyId: KeyId;
  readonly criteria: JobCriteria;
  /** Only these jobs, in this order; null: all that fit the criteria. */
  readonly jobs: readonly JobId[] | null;
  /** The first id it may meet: where its progress is counted from. */
  readonly firstJob: JobId;
  /** Jobs made after the operation have higher ids than this. */
  readonly fence: JobId;
  /** The last job looked at; of a list, how many of it. */
  readonly cursor: JobId | number | null;
  readonly lookedAt: number;
  readonly changed: number;
  readonly skipped: number;
  readonly createdJobs: readonly JobId[];
  readonly createdAt: number;
  readonly finishedAt: number | null;
}

/** Operations: few rows, one write for each slice. */
export class OperationStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  put(operation: OperationRecord): void {
    this.#db.exec(
      `INSERT OR REPLACE INTO operations (id, kind, state, key_id, criteria, jobs, first_job, fence, cursor, looked_at,
         changed, skipped, created_jobs, created_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      operation.id,
      operation.kind,
      operation.state,
      operation.keyId,
      JSON.stringify(operation.criteria),
      operation.jobs === null ? null : JSON.stringify(operation.jobs),
      operation.firstJob,
      operation.fence,
      JSON.stringify(operation.cursor),
      operation.lookedAt,
      operation.changed,
      operation.skipped,
      JSON.stringify(operation.createdJobs),
      operation.createdAt,
      operation.finishedAt,
    );
  }

  get(id: OperationId): OperationRecord | null {
    const [row] = this.#db.exec("SELECT * FROM operations WHERE id = ?", id);
    return row === undefined ? null : operationOf(row);
  }

  /** Those that run, oldest first: few, see OPERATIONS_RUNNING_MAX. */
  running(): OperationRecord[] {
    return this.#db
      .exec("SELECT * FROM operations INDEXED BY operations_running WHERE state = 'running' ORDER BY id")
      .map(operationOf);
  }

  isAnyRunning(): boolean {
    return (
      this.#db.exec("SELECT 1 AS found FROM operations INDEXED BY operations_running WHERE state = 'running' LIMIT 1")
        .length > 0
    );
  }

  /** Newest first. */
  list(before: OperationId | null, limit: number): OperationRecord[] {
    const bindings: SqlValue[] = before === null ? [limit] : [before, limit];
    const where = before === null ? "" : "WHERE id < ?";
    return this.#db.exec(`SELECT * FROM operations ${where} ORDER BY id DESC LIMIT ?`, ...bindings).map(operationOf);
  }

  /** When the first of them ended. */
  firstFinishedAt(): number | null {
    const [row] = this.#db.exec(
      "SELECT min(finished_at) AS due FROM operations INDEXED BY operations_finished WHERE finished_at IS NOT NULL",
    );
    return row === undefined ? null : integerOrNull(row, "due");
  }

  deleteFinished(upTo: number, limit: number): void {
    this.#db.exec(
      `DELETE FROM operations WHERE id IN (SELECT id FROM operations INDEXED BY operations_finished
         WHERE finished_at IS NOT NULL AND finished_at <= ? LIMIT ?)`,
      upTo,
      limit,
    );
  }
}

function operationOf(row: SqlRow): OperationRecord {
  return {
    id: text(row, "id") as OperationId,
    kind: text(row, "kind") as OperationKind,
    state: text(row, "state") as Operation["state"],
    keyId: text(row, "key_id") as KeyId,
    criteria: stored<JobCriteria>(row, "criteria"),
    jobs: storedOrNull<JobId[]>(row, "jobs"),
    firstJob: text(row, "first_job") as JobId,
    fence: text(row, "fence") as JobId,
    cursor: stored<JobId | number | null>(row, "cursor"),
    lookedAt: integer(row, "looked_at"),
    changed: integer(row, "changed"),
    skipped: integer(row, "skipped"),
    createdJobs: stored<JobId[]>(row, "created_jobs"),
    createdAt: integer(row, "created_at"),
    finishedAt: integerOrNull(row, "finished_at"),
  };
}
