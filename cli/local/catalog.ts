/** Brings the local D1 catalog up to date: migrations that were not applied yet, and the first workspace. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Credentials } from "#cli/local/state-folder";
import { Scope } from "#contract/access";
import { bootstrapStatements } from "#worker/catalog/bootstrap";

/** The part of D1Database that is used here. */
export interface CatalogDatabase {
  prepare(sql: string): CatalogStatement;
  batch(statements: CatalogStatement[]): Promise<unknown>;
}
export interface CatalogStatement {
  bind(...values: (string | number | null)[]): CatalogStatement;
  all(): Promise<{ results: Record<string, unknown>[] }>;
}

/** The table wrangler keeps too, so that `wrangler d1 migrations` and this server agree on what was applied. */
const LEDGER = `CREATE TABLE IF NOT EXISTS d1_migrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`;

/**
 * Applies the numbered .sql files that the catalog lacks, each one in a transaction together with its entry in the
 * ledger: a kill in between leaves it applied or not, never half.
 * @returns the names of those applied now
 * @throws Error naming the file that failed, or the one an older server does not know
 */
export async function applyMigrations(database: CatalogDatabase, folder: string): Promise<string[]> {
  await database.batch([database.prepare(LEDGER)]);
  const { results } = await database.prepare("SELECT name FROM d1_migrations ORDER BY id").all();
  const applied = new Set(results.map((row) => String(row.name)));
  const files = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  const unknown = [...applied].filter((name) => !files.includes(name));
  if (unknown.length > 0) {
    throw new Error(`The state was written by a newer version of Pilotlight (${unknown.join(", ")}); use that one`);
  }
  const missing = files.filter((name) => !applied.has(name));
  for (const name of missing) {
    const sql = await readFile(join(folder, name), "utf8");
    try {
      await database.batch([
        database.prepare(sql),
        database.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(name),
      ]);
    } catch (cause) {
      throw new Error(`Migration ${name} failed: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
  return missing;
}

/** Makes the first workspace, its default pod and its admin key, unless they are there. */
export async function bootstrapCatalog(database: CatalogDatabase, credentials: Credentials): Promise<void> {
  const { key } = credentials;
  const statements = bootstrapStatements({
    workspaceId: credentials.workspace_id,
    workspaceName: "default",
    podId: credentials.pod_id,
    podName: "default",
    key: {
      id: credentials.key_id,
      name: "first key",
      hash: createHash("sha256").update(key).digest("hex"),
      hint: `${key.slice(0, 3)}…${key.slice(-4)}`,
      scopes: Scope.options,
    },
    nowMs: Date.parse(credentials.created_at),
  });
  await database.batch(statements.map(({ sql, params }) => database.prepare(sql).bind(...params)));
}
