import type { SqlDatabase, SqlRow, SqlValue } from "#durable-objects/sql/database";

/**
 * A database with one write that waits, because the same turn may still change what it writes: a job that is taken and
 * given away at once is written once. Nobody sees the difference: whatever else is asked or written comes after it, and
 * so does the end of its transaction.
 */
export class LateWrites implements SqlDatabase {
  /** For statements to which the rows that wait mean nothing. */
  readonly beside: SqlDatabase;
  #late: (() => void) | null = null;

  constructor(db: SqlDatabase) {
    this.beside = db;
  }

  exec(sql: string, ...bindings: SqlValue[]): SqlRow[] {
    this.settle();
    return this.beside.exec(sql, ...bindings);
  }

  transaction<T>(work: () => T): T {
    this.settle();
    try {
      return this.beside.transaction(() => {
        const result = work();
        this.settle();
        return result;
      });
    } catch (error) {
      this.#late = null;
      throw error;
    }
  }

  bytesStored(): number {
    return this.beside.bytesStored();
  }

  get bytesMax(): number {
    return this.beside.bytesMax;
  }

  /** Writes it before anything else. */
  later(write: () => void): void {
    this.settle();
    this.#late = write;
  }

  /** Nothing waits any more. */
  settle(): void {
    const late = this.#late;
    if (late === null) return;
    this.#late = null;
    late();
  }
}
