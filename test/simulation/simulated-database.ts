import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { SqlDatabase, SqlRow, SqlValue } from "#durable-objects/sql/database";
import { PAGE_BYTES, PAGES_IN_USE } from "#test/durable-objects/queue/node-database";

/** The storage gave way in the middle of a turn. */
export class StorageFailure extends Error {}

/** How the storage will give way: at the n-th statement from now, that one alone or, as the process dies, all after it. */
export interface PlannedFailure {
  readonly atStatement: number;
  readonly forGood: boolean;
  /** A commit that is reached before that statement: fails too, or is spared even where it is that one. */
  readonly atCommit?: "fails" | "holds";
}

/**
 * The object's SQL in memory. Gives way at any statement, and between the last one and the commit, where it is told to;
 * and notes which jobs were written, so that checks look at those alone.
 */
export class SimulatedDatabase implements SqlDatabase {
  readonly #db = new DatabaseSync(":memory:");
  readonly #statements = new Map<string, StatementSync>();
  readonly #start = new Map<string, readonly SqlRow[]>();
  #touched = new Set<string>();
  #depth = 0;
  #statementsLeft = Number.POSITIVE_INFINITY;
  #forGood = false;
  #atCommit: PlannedFailure["atCommit"];
  #dead = false;
  readonly bytesMax = 10_000_000_000;
  /** Statements since `plan`. */
  statements = 0;

  constructor() {
    this.#db.function("note_job", (id) => {
      this.#touched.add(String(id));
      return null;
    });
  }

  bytesStored(): number {
    const [row] = this.look(PAGES_IN_USE);
    return Number(row?.pages) * PAGE_BYTES;
  }

  exec(sql: string, ...bindings: SqlValue[]): SqlRow[] {
    this.#pass();
    return this.#prepared(sql).all(...bindings) as SqlRow[];
  }

  transaction<T>(work: () => T): T {
    const depth = this.#depth;
    this.#prepared(depth === 0 ? "BEGIN" : `SAVEPOINT level_${depth}`).run();
    this.#depth = depth + 1;
    let result: T;
    try {
      result = work();
      // The last moment before the commit is a place to give way like any other.
      if (depth > 0 || this.#atCommit === undefined) this.#pass();
      else if (this.#atCommit === "fails") {
        this.#dead = this.#forGood;
        throw new StorageFailure("the storage gave way at the commit");
      }
    } catch (error) {
      this.#depth = depth;
      if (depth === 0) this.#prepared("ROLLBACK").run();
      else {
        this.#prepared(`ROLLBACK TO level_${depth}`).run();
        this.#prepared(`RELEASE level_${depth}`).run();
      }
      throw error;
    }
    this.#depth = depth;
    this.#prepared(depth === 0 ? "COMMIT" : `RELEASE level_${depth}`).run();
    return result;
  }

  /** Plans a failure for the turn that comes now, or takes the plan back. */
  plan(failure: PlannedFailure | null): void {
    this.statements = 0;
    this.#dead = false;
    this.#statementsLeft = failure?.atStatement ?? Number.POSITIVE_INFINITY;
    this.#forGood = failure?.forGood ?? false;
    this.#atCommit = failure?.atCommit;
  }

  /** Jobs inserted, updated or deleted since the last call, also by what was undone; in the order they were first touched. */
  takeTouched(): ReadonlySet<string> {
    const touched = this.#touched;
    if (touched.size > 0) this.#touched = new Set();
    return touched;
  }

  /** From now on writes to jobs are noted; once their table exists. */
  watchJobs(): void {
    for (const [event, row] of [
      ["INSERT", "NEW"],
      ["UPDATE", "NEW"],
      ["DELETE", "OLD"],
    ] as const) {
      this.#db.exec(
        `CREATE TEMP TRIGGER IF NOT EXISTS note_${event} AFTER ${event} ON main.jobs BEGIN SELECT note_job(${row}.id); END`,
      );
    }
  }

  /** Behind the object's back: never fails, and counts as no statement of its. */
  look(sql: string, ...bindings: SqlValue[]): SqlRow[] {
    return this.#prepared(sql).all(...bindings) as SqlRow[];
  }

  /** Remembers every row as it is now, for `clear`. */
  keepAsStart(): void {
    for (const { name } of this.look("SELECT name FROM sqlite_master WHERE type = 'table'")) {
      const table = String(name);
      if (!table.startsWith("sqlite_")) this.#start.set(table, this.look(`SELECT * FROM ${table}`));
    }
  }

  /** Every row is again as it was at `keepAsStart`: a new seed begins as if nothing had been, without a new database. */
  clear(): void {
    for (const [table, rows] of this.#start) {
      this.#prepared(`DELETE FROM ${table}`).run();
      for (const row of rows) {
        const columns = Object.keys(row);
        const places = columns.map(() => "?").join(", ");
        this.#prepared(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${places})`).run(...Object.values(row));
      }
    }
    this.#touched = new Set();
    this.plan(null);
  }

  #pass(): void {
    this.statements += 1;
    this.#statementsLeft -= 1;
    if (this.#statementsLeft > 0 && !this.#dead) return;
    if (!this.#dead && this.#statementsLeft < 0) return;
    this.#dead = this.#forGood;
    throw new StorageFailure("the storage gave way");
  }

  #prepared(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}
