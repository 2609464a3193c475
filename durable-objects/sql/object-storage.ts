import type { SqlDatabase, SqlRow, SqlValue } from "#durable-objects/sql/database";

/** A Durable Object's own SQLite. Counts the rows that the platform bills. */
export class ObjectStorageDatabase implements SqlDatabase {
  rowsRead = 0;
  rowsWritten = 0;
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  exec(sql: string, ...bindings: SqlValue[]): SqlRow[] {
    const cursor = this.#storage.sql.exec<Record<string, SqlValue>>(sql, ...bindings);
    const rows = cursor.toArray();
    this.rowsRead += cursor.rowsRead;
    this.rowsWritten += cursor.rowsWritten;
    return rows;
  }

  transaction<T>(work: () => T): T {
    return this.#storage.transactionSync(work);
  }
}
