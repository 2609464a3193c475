/** Pods and the tokens with which machines join them. */
import { and, asc, eq, gt } from "drizzle-orm";
import { type JoinTokenId, PodId, WorkspaceId } from "#contract/ids";
import type { Pod } from "#contract/replica";
import { joinTokens, pods } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

/** The workspace's pods, oldest first; the oldest is its default. */
export async function selectPods(database: D1Database, workspaceId: WorkspaceId): Promise<Pod[]> {
  const rows = await catalogOf(database)
    .select()
    .from(pods)
    .where(eq(pods.workspaceId, workspaceId))
    .orderBy(asc(pods.id));
  return rows.map((row) => ({
    id: PodId.parse(row.id),
    name: row.name,
    created_at: new Date(row.createdAt).toISOString(),
  }));
}

/** True when the workspace has that pod. */
export async function hasPod(database: D1Database, workspaceId: WorkspaceId, podId: PodId): Promise<boolean> {
  const [row] = await catalogOf(database)
    .select({ id: pods.id })
    .from(pods)
    .where(and(eq(pods.workspaceId, workspaceId), eq(pods.id, podId)));
  return row !== undefined;
}

export interface NewJoinTokenRow {
  readonly id: JoinTokenId;
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  readonly hash: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export async function insertJoinToken(database: D1Database, row: NewJoinTokenRow): Promise<void> {
  await catalogOf(database).insert(joinTokens).values(row);
}

/** The pod a join token opens, or undefined when it is unknown or over. `hash`: sha256 of the secret. */
export async function findJoinToken(
  database: D1Database,
  hash: string,
  nowMs: number,
): Promise<{ workspaceId: WorkspaceId; podId: PodId } | undefined> {
  const [row] = await catalogOf(database)
    .select({ workspaceId: joinTokens.workspaceId, podId: joinTokens.podId })
    .from(joinTokens)
    .where(and(eq(joinTokens.hash, hash), gt(joinTokens.expiresAt, nowMs)));
  return row === undefined
    ? undefined
    : { workspaceId: WorkspaceId.parse(row.workspaceId), podId: PodId.parse(row.podId) };
}
