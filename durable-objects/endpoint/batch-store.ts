import type { BatchId } from "#contract/ids";
import { integer, type SqlDatabase } from "#durable-objects/sql/database";

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

  insert(batch: BatchRecord): void {
    this.#db.exec(
      "INSERT INTO batches (id, total, created_at) VALUES (?, ?, ?)",
      batch.id,
      batch.total,
      batch.createdAt,
    );
  }

  get(id: BatchId): BatchRecord | null {
    const [row] = this.#db.exec("SELECT total, created_at FROM batches WHERE id = ?", id);
    return row === undefined ? null : { id, total: integer(row, "total"), createdAt: integer(row, "created_at") };
  }

  delete(id: BatchId): void {
    this.#db.exec("DELETE FROM batches WHERE id = ?", id);
  }
}
