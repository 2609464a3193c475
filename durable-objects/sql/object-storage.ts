import type { SqlDatabase, SqlRow, SqlValue } from "#durable-objects/sql/database";

/** The most that Cloudflare lets one object store. */
const OBJECT_BYTES_MAX = 10_000_000_000;

/** A Durable Object's own SQLite. */
export class ObjectStorageDatabase implements SqlDatabase {
  readonly bytesMax = OBJECT_BYTES_MAX;
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

  bytesStored(): number {
    return this.#storage.sql.databaseSize;
  }
}
