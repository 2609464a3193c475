import type { BatchId, JobId } from "#contract/ids";
import { integer, type SqlDatabase, storedOrNull } from "#durable-objects/sql/database";

/** What is kept of a batch beside its jobs. */
export interface BatchRecord {
  readonly id: BatchId;
  readonly total: number;
  readonly createdAt: number;
}

export class BatchStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** @param jobs in the order of the request */
  insert(batch: BatchRecord, jobs: readonly JobId[]): void {
    this.#db.exec(
      "INSERT INTO batches (id, total, created_at, jobs) VALUES (?, ?, ?, ?)",
      batch.id,
      batch.total,
      batch.createdAt,
      JSON.stringify(jobs),
    );
  }

  /** All jobs of the batch in the order of the request, forgotten ones included; null for a batch that did not keep them. */
  jobs(id: BatchId): readonly JobId[] | null {
    const [row] = this.#db.exec("SELECT jobs FROM batches WHERE id = ?", id);
    return row === undefined ? null : storedOrNull<JobId[]>(row, "jobs");
  }

  get(id: BatchId): BatchRecord | null {
    const [row] = this.#db.exec("SELECT total, created_at FROM batches WHERE id = ?", id);
    return row === undefined ? null : { id, total: integer(row, "total"), createdAt: integer(row, "created_at") };
  }

  delete(id: BatchId): void {
    this.#db.exec("DELETE FROM batches WHERE id = ?", id);
  }
}
