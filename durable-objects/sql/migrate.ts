import type { SqlDatabase } from "#durable-objects/sql/database";

/** One numbered step of a schema; its statements are separated by lines that hold only `--`. */
export interface Migration {
  readonly id: number;
  readonly name: string;
  readonly sql: string;
}

/** True once anything was ever written: an object that was only asked about something unknown stays empty. */
export function hasSchema(db: SqlDatabase): boolean {
  return db.exec("SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = '_migrations'").length > 0;
}

/** Applies the migrations that are new, in order, as one commit. */
export function migrate(db: SqlDatabase, migrations: readonly Migration[], now: number): void {
  db.transaction(() => {
    db.exec(
      "CREATE TABLE IF NOT EXISTS _migrations (id INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
    );
    const applied = new Set(db.exec("SELECT id FROM _migrations").map((row) => row.id));
    for (const { id, name, sql } of migrations) {
      if (applied.has(id)) continue;
      for (const statement of sql.split(/^--$/m)) db.exec(statement);
      db.exec("INSERT INTO _migrations (id, name, applied_at) VALUES (?, ?, ?)", id, name, now);
    }
  });
}
