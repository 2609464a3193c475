/** Pods in the catalog. */
import { and, asc, count, eq, isNotNull, isNull, lt, notExists, or, sql } from "drizzle-orm";
import { PodId, WorkspaceId } from "#contract/ids";
import { DEFAULT_POD_SETTINGS, type Pod, type PodSettings, PodSettings as SettingsSchema } from "#contract/replica";
import { endpoints, pods } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

export interface PodRow {
  readonly id: PodId;
  readonly workspaceId: WorkspaceId;
  readonly name: string;
  readonly settings: PodSettings;
  readonly version: number;
  readonly appliedVersion: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export function podView({ id, name, settings, createdAt, updatedAt }: PodRow): Pod {
  return {
    id,
    name,
    ...settings,
    created_at: new Date(createdAt).toISOString(),
    updated_at: new Date(updatedAt).toISOString(),
  };
}

const living = isNull(pods.deletedAt);
const own = (workspaceId: WorkspaceId) => and(eq(pods.workspaceId, workspaceId), living);

/** The workspace's pods, oldest first; the oldest is its default. */
export async function selectPods(database: D1Database, workspaceId: WorkspaceId): Promise<PodRow[]> {
  const rows = await catalogOf(database).select().from(pods).where(own(workspaceId)).orderBy(asc(pods.id));
  return rows.map(podRow);
}

/** The prices that the workspace's pods set, of those named, deleted ones included. */
export async function selectPodPrices(
  database: D1Database,
  workspaceId: WorkspaceId,
  podIds: readonly PodId[],
): Promise<{ readonly id: PodId; readonly prices: PodSettings["prices"] }[]> {
  const among = sql`(SELECT value FROM json_each(${JSON.stringify(podIds)}))`;
  const rows = await catalogOf(database)
    .select()
    .from(pods)
    .where(and(eq(pods.workspaceId, workspaceId), sql`${pods.id} IN ${among}`));
  return rows.map(podRow).map(({ id, settings }) => ({ id, prices: settings.prices }));
}

/** A living pod of the workspace. */
export async function findPod(
  database: D1Database,
  workspaceId: WorkspaceId,
  podId: PodId,
): Promise<PodRow | undefined> {
  const [row] = await catalogOf(database)
    .select()
    .from(pods)
    .where(and(own(workspaceId), eq(pods.id, podId)));
  return row === undefined ? undefined : podRow(row);
}

/** True when the workspace has that pod. */
export async function hasPod(database: D1Database, workspaceId: WorkspaceId, podId: PodId): Promise<boolean> {
  const [row] = await catalogOf(database)
    .select({ id: pods.id })
    .from(pods)
    .where(and(own(workspaceId), eq(pods.id, podId)));
  return row !== undefined;
}

export async function countPods(database: D1Database, workspaceId: WorkspaceId): Promise<number> {
  const [row] = await catalogOf(database).select({ count: count() }).from(pods).where(own(workspaceId));
  return row?.count ?? 0;
}

/** A taken name throws a uniqueness error. */
export async function insertPod(database: D1Database, row: PodRow): Promise<void> {
  await catalogOf(database)
    .insert(pods)
    .values({ ...row, settings: JSON.stringify(row.settings) });
}

/**
 * Changes a pod that is still at its `version`; a taken name throws a uniqueness error.
 * @returns the pod as it is then; undefined when somebody else changed or deleted it first
 */
export async function updatePod(
  database: D1Database,
  pod: PodRow,
  change: Pick<PodRow, "name" | "settings" | "updatedAt">,
): Promise<PodRow | undefined> {
  const version = pod.version + 1;
  const rows = await catalogOf(database)
    .update(pods)
    .set({ name: change.name, settings: JSON.stringify(change.settings), updatedAt: change.updatedAt, version })
    .where(and(eq(pods.id, pod.id), eq(pods.version, pod.version), living))
    .returning();
  return rows[0] === undefined ? undefined : podRow(rows[0]);
}

/** Notes that the pod's object has confirmed a version. */
export async function markPodApplied(database: D1Database, podId: PodId, version: number): Promise<void> {
  await catalogOf(database)
    .update(pods)
    .set({ appliedVersion: version })
    .where(and(eq(pods.id, podId), lt(pods.appliedVersion, version)));
}

/** Something that all pods of the workspace are told has changed. @returns them, as they are then */
export async function outdatePods(database: D1Database, workspaceId: WorkspaceId): Promise<PodRow[]> {
  const rows = await catalogOf(database)
    .update(pods)
    .set({ version: sql`${pods.version} + 1` })
    .where(own(workspaceId))
    .returning();
  return rows.map(podRow);
}

/** So many are named in a refusal. */
const ENDPOINTS_NAMED_MAX = 5;

const usesPod = (podId: PodId) =>
  // `pods` is text of ours, in which nothing but a pod has such an id.
  and(isNull(endpoints.deletedAt), or(eq(endpoints.podId, podId), sql`instr(${endpoints.pods}, ${podId}) > 0`));

/** Slugs of living endpoints that use a pod: the first ones. */
export async function endpointsOnPod(database: D1Database, workspaceId: WorkspaceId, podId: PodId): Promise<string[]> {
  const rows = await catalogOf(database)
    .select({ slug: endpoints.slug })
    .from(endpoints)
    .where(and(eq(endpoints.workspaceId, workspaceId), usesPod(podId)))
    .orderBy(asc(endpoints.slug))
    .limit(ENDPOINTS_NAMED_MAX);
  return rows.map(({ slug }) => slug);
}

/**
 * Marks a pod deleted unless an endpoint uses it.
 * @returns its version then; undefined when an endpoint does, or it is gone
 */
export async function markPodDeleted(
  database: D1Database,
  workspaceId: WorkspaceId,
  podId: PodId,
  nowMs: number,
): Promise<number | undefined> {
  const catalog = catalogOf(database);
  const users = catalog.select({ id: endpoints.id }).from(endpoints).where(usesPod(podId));
  const [row] = await catalog
    .update(pods)
    .set({ deletedAt: nowMs, version: sql`${pods.version} + 1` })
    .where(and(own(workspaceId), eq(pods.id, podId), notExists(users)))
    .returning({ version: pods.version });
  return row?.version;
}

/** The pod's object would not be removed: the pod is there again. A name that was taken meanwhile throws. */
export async function restorePod(database: D1Database, podId: PodId): Promise<void> {
  await catalogOf(database)
    .update(pods)
    .set({ deletedAt: null, version: sql`${pods.version} + 1` })
    .where(and(eq(pods.id, podId), isNotNull(pods.deletedAt)));
}

/** The version of a deleted pod whose object has not confirmed that; undefined for every other pod. */
export async function findUntoldDeletion(
  database: D1Database,
  workspaceId: WorkspaceId,
  podId: PodId,
): Promise<number | undefined> {
  const [row] = await catalogOf(database)
    .select({ version: pods.version })
    .from(pods)
    .where(
      and(
        eq(pods.workspaceId, workspaceId),
        eq(pods.id, podId),
        isNotNull(pods.deletedAt),
        lt(pods.appliedVersion, pods.version),
      ),
    );
  return row?.version;
}

/** Makes its object hear of it again, whatever it confirmed. */
export async function forgetPodApplied(database: D1Database, podId: PodId): Promise<void> {
  await catalogOf(database).update(pods).set({ appliedVersion: 0 }).where(eq(pods.id, podId));
}

function podRow(row: typeof pods.$inferSelect): PodRow {
  return {
    id: PodId.parse(row.id),
    workspaceId: WorkspaceId.parse(row.workspaceId),
    name: row.name,
    // Settings that came later are not in older rows.
    settings: SettingsSchema.parse({ ...DEFAULT_POD_SETTINGS, ...(JSON.parse(row.settings) as object) }),
    version: row.version,
    appliedVersion: row.appliedVersion,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt ?? row.createdAt,
  };
}
