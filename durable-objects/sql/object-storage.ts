import type { SqlDatabase, SqlRow, SqlValue } from "#durable-objects/sql/database";

/** A Durable Object's own SQLite. */
export class ObjectStorageDatabase implements SqlDatabase {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  exec(sql: string, ...bindings: SqlValue[]): SqlRow[] {
    return this.#storage.sql.exec<Record<string, SqlValue>>(sql, ...bindings).toArray();
  }

  transaction<T>(work: () => T): T {
    return this.#storage.transactionSync(work);
  }
}
