/** Builds in the catalog: content-addressed, one row for the same build in a workspace. */
import { and, asc, count, desc, eq, inArray, isNull, lt, notExists, or, type SQL, sql } from "drizzle-orm";
import type { Build, BuildSummary } from "#contract/api/builds";
import { BuildManifest } from "#contract/build";
import type { EndpointId, WorkspaceId } from "#contract/ids";
import { builds, endpoints, releases } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

export interface BuildRow {
  readonly digest: string;
  readonly manifest: BuildManifest;
  readonly createdAt: number;
}

export function buildView(row: BuildRow): Build {
  return { ...buildSummary(row), manifest: row.manifest };
}

export function buildSummary({ digest, manifest, createdAt }: BuildRow): BuildSummary {
  return {
    digest,
    comfyui: manifest.baseComfyVersion,
    python: manifest.environment.pythonVersion,
    custom_nodes: manifest.customNodes.length,
    models: manifest.models.length,
    model_bytes: manifest.models.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    created_at: new Date(createdAt).toISOString(),
  };
}

export async function findBuild(
  database: D1Database,
  workspaceId: WorkspaceId,
  digest: string,
): Promise<BuildRow | undefined> {
  const [row] = await catalogOf(database)
    .select()
    .from(builds)
    .where(and(eq(builds.workspaceId, workspaceId), eq(builds.digest, digest)));
  return row === undefined ? undefined : buildRow(row);
}

/** Keeps a build, or its newest sources when it is there. */
export async function putBuild(database: D1Database, workspaceId: WorkspaceId, row: BuildRow): Promise<void> {
  const manifest = JSON.stringify(row.manifest);
  await catalogOf(database)
    .insert(builds)
    .values({ workspaceId, digest: row.digest, manifest, createdAt: row.createdAt })
    .onConflictDoUpdate({ target: [builds.workspaceId, builds.digest], set: { manifest } });
}

/** The manifest is text of ours, in which nothing but a hash has 64 such digits. */
const names = (sha256: string): SQL => sql`instr(${builds.manifest}, ${sha256}) > 0`;

/** So many are named in a refusal. */
const ENDPOINTS_NAMED_MAX = 5;

/** Slugs of living endpoints whose active release has a build with that model: the first ones. */
export async function endpointsWithModel(
  database: D1Database,
  workspaceId: WorkspaceId,
  sha256: string,
): Promise<string[]> {
  const rows = await catalogOf(database)
    .select({ slug: endpoints.slug })
    .from(endpoints)
    .innerJoin(releases, and(eq(releases.endpointId, endpoints.id), eq(releases.number, endpoints.activeRelease)))
    .innerJoin(builds, and(eq(builds.workspaceId, endpoints.workspaceId), eq(builds.digest, releases.build)))
    .where(and(eq(endpoints.workspaceId, workspaceId), isNull(endpoints.deletedAt), names(sha256)))
    .orderBy(asc(endpoints.slug))
    .limit(ENDPOINTS_NAMED_MAX);
  return rows.map(({ slug }) => slug);
}

/** Whether a release of one of the endpoints, old or new, has a build with that model. */
export async function anyReleaseNeedsModel(
  database: D1Database,
  workspaceId: WorkspaceId,
  endpointIds: readonly EndpointId[],
  sha256: string,
): Promise<boolean> {
  // One value, however many they are: D1 binds no more than a hundred.
  const among = sql`(SELECT value FROM json_each(${JSON.stringify(endpointIds)}))`;
  const catalog = catalogOf(database);
  const theirs = catalog
    .selectDistinct({ build: releases.build })
    .from(releases)
    .where(sql`${releases.endpointId} IN ${among}`);
  const [row] = await catalog
    .select({ digest: builds.digest })
    .from(builds)
    .where(and(eq(builds.workspaceId, workspaceId), inArray(builds.digest, theirs), names(sha256)))
    .limit(1);
  return row !== undefined;
}

/** Releases of living endpoints that name the build: the first ones. */
export async function releasesWithBuild(
  database: D1Database,
  workspaceId: WorkspaceId,
  digest: string,
): Promise<{ slug: string; number: number }[]> {
  return await catalogOf(database)
    .select({ slug: endpoints.slug, number: releases.number })
    .from(releases)
    .innerJoin(endpoints, eq(endpoints.id, releases.endpointId))
    .where(and(eq(endpoints.workspaceId, workspaceId), isNull(endpoints.deletedAt), eq(releases.build, digest)))
    .orderBy(asc(endpoints.slug), asc(releases.number))
    .limit(ENDPOINTS_NAMED_MAX);
}

/** Deletes a build unless a release of a living endpoint names it. @returns false when one does, or there is no such build */
export async function deleteUnusedBuild(
  database: D1Database,
  workspaceId: WorkspaceId,
  digest: string,
): Promise<boolean> {
  const users = catalogOf(database)
    .select({ number: releases.number })
    .from(releases)
    .innerJoin(endpoints, eq(endpoints.id, releases.endpointId))
    .where(and(eq(endpoints.workspaceId, workspaceId), isNull(endpoints.deletedAt), eq(releases.build, digest)));
  const gone = await catalogOf(database)
    .delete(builds)
    .where(and(eq(builds.workspaceId, workspaceId), eq(builds.digest, digest), notExists(users)))
    .returning({ digest: builds.digest });
  return gone.length > 0;
}

export async function countBuilds(database: D1Database, workspaceId: WorkspaceId): Promise<number> {
  const [row] = await catalogOf(database)
    .select({ count: count() })
    .from(builds)
    .where(eq(builds.workspaceId, workspaceId));
  return row?.count ?? 0;
}

/** Builds, newest first. @param after the last one of the page before */
export async function selectBuilds(
  database: D1Database,
  workspaceId: WorkspaceId,
  after: { readonly createdAt: number; readonly digest: string } | undefined,
  limit: number,
): Promise<BuildRow[]> {
  const isAfter =
    after === undefined
      ? undefined
      : or(
          lt(builds.createdAt, after.createdAt),
          and(eq(builds.createdAt, after.createdAt), lt(builds.digest, after.digest)),
        );
  const rows = await catalogOf(database)
    .select()
    .from(builds)
    .where(and(eq(builds.workspaceId, workspaceId), isAfter))
    .orderBy(desc(builds.createdAt), desc(builds.digest))
    .limit(limit);
  return rows.map(buildRow);
}

function buildRow({ digest, manifest, createdAt }: typeof builds.$inferSelect): BuildRow {
  return { digest, manifest: BuildManifest.parse(JSON.parse(manifest)), createdAt };
}
