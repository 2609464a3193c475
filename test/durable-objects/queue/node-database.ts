import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { SqlDatabase, SqlRow, SqlValue } from "#durable-objects/sql/database";

export const PAGE_BYTES = 4_096;
/** Pages that hold something, as `pages`. */
export const PAGES_IN_USE = "SELECT (SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count) AS pages";

/** The objects' SQL over node:sqlite, so that their cores run where a thousand seeds take seconds. */
export class NodeDatabase implements SqlDatabase {
  readonly #db = new DatabaseSync(":memory:");
  readonly #statements = new Map<string, StatementSync>();
  #depth = 0;
  readonly bytesMax: number;

  /** @param bytesMax what it can store: as on Cloudflare, writes beyond it fail */
  constructor(bytesMax = 10_000_000_000) {
    this.bytesMax = bytesMax;
    this.#db.exec(`PRAGMA max_page_count = ${Math.floor(bytesMax / PAGE_BYTES)}`);
  }

  bytesStored(): number {
    const [row] = this.exec(PAGES_IN_USE);
    return Number(row?.pages) * PAGE_BYTES;
  }

  exec(sql: string, ...bindings: SqlValue[]): SqlRow[] {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement.all(...bindings) as SqlRow[];
  }

  transaction<T>(work: () => T): T {
    const name = `level_${this.#depth}`;
    this.#db.exec(`SAVEPOINT ${name}`);
    this.#depth += 1;
    try {
      const result = work();
      this.#db.exec(`RELEASE ${name}`);
      return result;
    } catch (error) {
      this.#db.exec(`ROLLBACK TO ${name}`);
      this.#db.exec(`RELEASE ${name}`);
      throw error;
    } finally {
      this.#depth -= 1;
    }
  }
}
