/** A catalog that was written by an older version, brought up to date. */
import { readdir, readFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { expect, it } from "vitest";

const FOLDER = new URL("../migrations/catalog/", import.meta.url);

/** Applies the files after `from` up to `to`, by their numbers. */
async function migrate(db: DatabaseSync, from: number, to: number): Promise<void> {
  const names = (await readdir(FOLDER)).filter((name) => name.endsWith(".sql")).sort();
  for (const name of names.slice(from, to)) db.exec(await readFile(new URL(name, FOLDER), "utf8"));
}

it("gives endpoints from before releases were listed their history, so that they can be rolled back", async () => {
  const db = new DatabaseSync(":memory:");
  await migrate(db, 0, 2);
  db.exec(`
    INSERT INTO workspaces VALUES ('ws', 'w', 1);
    INSERT INTO pods VALUES ('pod', 'ws', 'p', 1);
    INSERT INTO endpoints (id, key, workspace_id, pod_id, slug, name, settings, overrides, active_release, version,
      applied_version, created_at, updated_at) VALUES
      ('old', 'k1', 'ws', 'pod', 'old', 'Old', '{}', '{"inputs":{}}', 3, 7, 7, 1, 1),
      ('new', 'k2', 'ws', 'pod', 'new', 'New', '{}', '{}', 1, 1, 1, 1, 1);
    INSERT INTO releases (endpoint_id, number, digest, graph, inputs, outputs, classes, warnings, created_at)
      SELECT id, number, 'd', '{}', '[]', '[]', '[]', '[]', 10 * number
      FROM endpoints JOIN (SELECT 1 AS number UNION SELECT 2 UNION SELECT 3) ON number <= active_release;
  `);
  await migrate(db, 2, Number.POSITIVE_INFINITY);
  const rows = (sql: string) =>
    db
      .prepare(sql)
      .all()
      .map((row) => ({ ...row }));
  expect(rows("SELECT id, newest_release, canary FROM endpoints ORDER BY id")).toEqual([
    { id: "new", newest_release: 1, canary: null },
    { id: "old", newest_release: 3, canary: null },
  ]);
  expect(rows("SELECT DISTINCT endpoint_id, overrides FROM releases ORDER BY endpoint_id")).toEqual([
    { endpoint_id: "new", overrides: "{}" },
    { endpoint_id: "old", overrides: '{"inputs":{}}' },
  ]);
  expect(rows("SELECT release, replaced, at FROM activations WHERE endpoint_id = 'old' ORDER BY version")).toEqual([
    { release: 1, replaced: null, at: 10 },
    { release: 2, replaced: 1, at: 20 },
    { release: 3, replaced: 2, at: 30 },
  ]);
  // What the next change notes is later than all of these.
  const [last] = rows(
    "SELECT max(a.version) < e.version + 1 AS fits FROM activations a JOIN endpoints e ON e.id = a.endpoint_id",
  );
  expect(last).toEqual({ fits: 1 });
});
