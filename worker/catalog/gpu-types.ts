/** Types of card as a workspace has them: the shipped table, and what it changed or added. */
import { and, asc, count, eq, sql } from "drizzle-orm";
import type { GpuTypeChange, WorkspaceGpuType } from "#contract/api/gpu-types";
import { GpuTypeChange as ChangeSchema } from "#contract/api/gpu-types";
import { GPU_TYPES, type GpuMatch, GpuType } from "#contract/gpu-types";
import type { WorkspaceId } from "#contract/ids";
import type { GpuTypeName } from "#contract/replica";
import { gpuTypes, pods } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

const shipped = new Map(GPU_TYPES.map((type) => [type.name, type]));

export function isShipped(name: GpuTypeName): boolean {
  return shipped.has(name);
}

/** All types the workspace knows: the shipped ones in their order, then its own. */
export async function selectGpuTypes(database: D1Database, workspaceId: WorkspaceId): Promise<WorkspaceGpuType[]> {
  const changes = await selectChanges(database, workspaceId);
  const own = [...changes].flatMap(([name, change]) => (isOwn(change) ? [ownType(name, change)] : []));
  const names = new Set(own.map(({ name }) => name));
  return [
    ...GPU_TYPES.filter(({ name }) => !names.has(name)).map((type) => changedType(type, changes.get(type.name) ?? {})),
    ...own,
  ];
}

/**
 * Whether a row is a type of the workspace's own. It says so itself, whatever is shipped now: a later table may have a type of the
 * same name, or have lost one whose price was set.
 */
export function isOwn(change: GpuTypeChange): boolean {
  return change.vram_mb !== undefined && change.matches !== undefined;
}

/** A type of the shipped table with the workspace's change. */
export function changedType(type: GpuType, { price_per_hour, suits }: GpuTypeChange): WorkspaceGpuType {
  return {
    ...type,
    price_per_hour: price_per_hour ?? type.price_per_hour,
    suits: suits ?? type.suits,
    own: false,
    changed: [
      ...(price_per_hour === undefined ? [] : (["price_per_hour"] as const)),
      ...(suits === undefined ? [] : (["suits"] as const)),
    ],
  };
}

/** A type of the workspace's own. @throws ZodError when what it must have is missing */
export function ownType(name: GpuTypeName, change: GpuTypeChange): WorkspaceGpuType {
  const type = GpuType.parse({ title: name, suits: "", bandwidth_gb_s: null, ...change, name });
  return { ...type, own: true, changed: [] };
}

/** What a pod has to know of the workspace's own types. */
export async function selectOwnMatches(database: D1Database, workspaceId: WorkspaceId): Promise<GpuMatch[]> {
  return [...(await selectChanges(database, workspaceId))].flatMap(([name, change]) => {
    if (!isOwn(change)) return [];
    const { vram_mb, matches } = ownType(name, change);
    return [{ name, vram_mb, matches }];
  });
}

async function selectChanges(database: D1Database, workspaceId: WorkspaceId): Promise<Map<string, GpuTypeChange>> {
  const rows = await catalogOf(database)
    .select({ name: gpuTypes.name, settings: gpuTypes.settings })
    .from(gpuTypes)
    .where(eq(gpuTypes.workspaceId, workspaceId))
    .orderBy(asc(gpuTypes.name));
  return new Map(rows.map(({ name, settings }) => [name, ChangeSchema.parse(JSON.parse(settings))]));
}

/** What the workspace has set of a type; undefined when it has set nothing. */
export async function findGpuTypeChange(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: GpuTypeName,
): Promise<GpuTypeChange | undefined> {
  return (await selectChanges(database, workspaceId)).get(name);
}

export async function countGpuTypeChanges(database: D1Database, workspaceId: WorkspaceId): Promise<number> {
  const [row] = await catalogOf(database)
    .select({ count: count() })
    .from(gpuTypes)
    .where(eq(gpuTypes.workspaceId, workspaceId));
  return row?.count ?? 0;
}

/** Keeps a change in place of the one before. */
export async function putGpuTypeChange(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: GpuTypeName,
  change: GpuTypeChange,
  nowMs: number,
): Promise<void> {
  const settings = JSON.stringify(change);
  await catalogOf(database)
    .insert(gpuTypes)
    .values({ workspaceId, name, settings, updatedAt: nowMs })
    .onConflictDoUpdate({ target: [gpuTypes.workspaceId, gpuTypes.name], set: { settings, updatedAt: nowMs } });
}

export async function deleteGpuTypeChange(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: GpuTypeName,
): Promise<void> {
  await catalogOf(database)
    .delete(gpuTypes)
    .where(and(eq(gpuTypes.workspaceId, workspaceId), eq(gpuTypes.name, name)));
}

/** So many are named in a refusal. */
const PODS_NAMED_MAX = 5;

/** Names of living pods whose settings name a type: the first ones. */
export async function podsWithGpuType(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: GpuTypeName,
): Promise<string[]> {
  const rows = await catalogOf(database)
    .select({ name: pods.name })
    .from(pods)
    .where(
      and(
        eq(pods.workspaceId, workspaceId),
        sql`${pods.deletedAt} IS NULL`,
        sql`(EXISTS (SELECT 1 FROM json_each(${pods.settings}, '$.gpu_types') WHERE value = ${name})
          OR EXISTS (SELECT 1 FROM json_each(${pods.settings}, '$.prices') WHERE key = ${name}))`,
      ),
    )
    .orderBy(asc(pods.id))
    .limit(PODS_NAMED_MAX);
  return rows.map((row) => row.name);
}
