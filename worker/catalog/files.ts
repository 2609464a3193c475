/** Input files in the catalog: one row for the same bytes in a workspace. */
import { and, eq, gt, inArray, lte } from "drizzle-orm";
import type { File } from "#contract/api/files";
import { FileId, type WorkspaceId } from "#contract/ids";
import { files } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

export interface FileRow {
  readonly id: FileId;
  readonly workspaceId: WorkspaceId;
  readonly sha256: string;
  readonly filename: string;
  readonly contentType: string;
  readonly size: number;
  readonly key: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

type StoredRow = typeof files.$inferSelect;

function fileRow(row: StoredRow, workspaceId: WorkspaceId): FileRow {
  return { ...row, id: FileId.parse(row.id), workspaceId };
}

export function fileView(row: FileRow): File {
  return {
    id: row.id,
    filename: row.filename,
    content_type: row.contentType,
    size: row.size,
    sha256: row.sha256,
    created_at: new Date(row.createdAt).toISOString(),
    expires_at: new Date(row.expiresAt).toISOString(),
  };
}

/** D1 takes 100 variables in one statement; a job may name 200 files, a batch thousands. */
const IDS_IN_STATEMENT = 90;

/** The files of these ids that the workspace has and that are not over. */
export async function selectFiles(
  database: D1Database,
  workspaceId: WorkspaceId,
  ids: readonly FileId[],
  nowMs: number,
): Promise<FileRow[]> {
  const found: FileRow[] = [];
  for (let at = 0; at < ids.length; at += IDS_IN_STATEMENT) {
    const some = ids.slice(at, at + IDS_IN_STATEMENT);
    const rows = await catalogOf(database)
      .select()
      .from(files)
      .where(and(eq(files.workspaceId, workspaceId), inArray(files.id, some), gt(files.expiresAt, nowMs)));
    found.push(...rows.map((row) => fileRow(row, workspaceId)));
  }
  return found;
}

/** The file with these bytes, if the workspace has it. */
export async function findFileByHash(
  database: D1Database,
  workspaceId: WorkspaceId,
  sha256: string,
): Promise<FileRow | undefined> {
  const [row] = await catalogOf(database)
    .select()
    .from(files)
    .where(and(eq(files.workspaceId, workspaceId), eq(files.sha256, sha256)));
  return row === undefined ? undefined : fileRow(row, workspaceId);
}

/** Stores a row unless the same bytes got one meanwhile; answers the row that holds. */
export async function insertFile(database: D1Database, row: FileRow): Promise<FileRow> {
  await catalogOf(database).insert(files).values(row).onConflictDoNothing();
  return (await findFileByHash(database, row.workspaceId, row.sha256)) ?? row;
}

/** Keeps files that are used again for another retention time. */
export async function extendFiles(
  database: D1Database,
  workspaceId: WorkspaceId,
  ids: readonly FileId[],
  expiresAt: number,
): Promise<void> {
  for (let at = 0; at < ids.length; at += IDS_IN_STATEMENT) {
    await catalogOf(database)
      .update(files)
      .set({ expiresAt })
      .where(and(eq(files.workspaceId, workspaceId), inArray(files.id, ids.slice(at, at + IDS_IN_STATEMENT))));
  }
}

/** Keeps a file that came again for another retention time, at the key where its bytes are now and by its last type. */
export async function renewFile(database: D1Database, row: FileRow): Promise<void> {
  await catalogOf(database)
    .update(files)
    .set({ expiresAt: row.expiresAt, key: row.key, contentType: row.contentType })
    .where(and(eq(files.workspaceId, row.workspaceId), eq(files.id, row.id)));
}

/** Removes rows that are over, at most `limit`; answers the R2 keys to delete. */
export async function removeExpiredFiles(
  database: D1Database,
  workspaceId: WorkspaceId,
  nowMs: number,
  limit: number,
): Promise<string[]> {
  const catalog = catalogOf(database);
  const over = await catalog
    .select({ id: files.id })
    .from(files)
    .where(and(eq(files.workspaceId, workspaceId), lte(files.expiresAt, nowMs)))
    .limit(limit);
  if (over.length === 0) return [];
  // The time is checked again: a file may have been used between the two statements.
  const removed = await catalog
    .delete(files)
    .where(
      and(
        eq(files.workspaceId, workspaceId),
        lte(files.expiresAt, nowMs),
        inArray(
          files.id,
          over.map((row) => row.id),
        ),
      ),
    )
    .returning({ key: files.key });
  return removed.map((row) => row.key);
}
