/** Endpoints and releases in the catalog. */
import { and, asc, count, desc, eq, gt, gte, isNull, lt, or, sql } from "drizzle-orm";
import * as z from "zod";
import { NewCanary } from "#contract/canary";
import {
  DEFAULT_SETTINGS,
  EndpointPods,
  type EndpointSettings,
  EndpointSettings as SettingsSchema,
} from "#contract/endpoint";
import { type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { EndpointId, OwnerKey, PodId, WorkspaceId } from "#contract/ids";
import { CATALOG_CACHE_MS } from "#contract/limits";
import { Overrides } from "#contract/workflow";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import { activations, endpoints, releases } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";
import {
  type ActivationCause,
  findReleaseSummary,
  insertedRelease,
  type NewRelease,
  notedActivation,
  type ReleaseRow,
  type ReleaseSummary,
  releaseRow,
  releaseSummary,
  summaryColumns,
} from "#worker/catalog/releases";

export interface EndpointRow {
  readonly id: EndpointId;
  readonly key: OwnerKey;
  readonly workspaceId: WorkspaceId;
  /** The first of `pods`. */
  readonly podId: PodId;
  readonly pods: EndpointPods;
  readonly slug: string;
  readonly name: string;
  readonly settings: EndpointSettings;
  readonly overrides: Overrides;
  readonly activeRelease: number;
  /** The highest number a release of it has. */
  readonly newestRelease: number;
  readonly canary: StoredCanary | null;
  readonly version: number;
  readonly appliedVersion: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | null;
}

/** A canary as it was set. */
const StoredCanary = z.object({
  ...NewCanary.shape,
  release: z.int().positive(),
  /** The endpoint's version that it made: no other canary of this endpoint has it. */
  id: z.int().positive(),
  since: z.int(),
});
export type StoredCanary = z.infer<typeof StoredCanary>;

export interface EndpointWithRelease {
  readonly endpoint: EndpointRow;
  readonly release: ReleaseRow;
}

export interface EndpointSummary {
  readonly endpoint: EndpointRow;
  readonly release: ReleaseSummary;
  /** The release of the endpoint's canary, where it is asked for. */
  readonly canary?: ReleaseSummary | undefined;
}

/** The preferred one. @throws RangeError when there is none, which the contract rules out */
export function preferredPod([first]: EndpointPods): PodId {
  if (first === undefined) throw new RangeError("an endpoint has at least one pod");
  return first.pod_id;
}

function endpointRow(row: typeof endpoints.$inferSelect): EndpointRow {
  return {
    ...row,
    id: EndpointId.parse(row.id),
    key: OwnerKey.parse(row.key),
    workspaceId: WorkspaceId.parse(row.workspaceId),
    podId: PodId.parse(row.podId),
    pods: EndpointPods.parse(row.pods === null ? [{ pod_id: row.podId }] : JSON.parse(row.pods)),
    // Settings that came later are not in older rows.
    settings: SettingsSchema.parse({ ...DEFAULT_SETTINGS, ...(parseExactJson(row.settings) as JsonObject) }),
    overrides: Overrides.parse(parseExactJson(row.overrides)),
    canary: row.canary === null ? null : StoredCanary.parse(JSON.parse(row.canary)),
  };
}

function endpointValues(row: EndpointRow): typeof endpoints.$inferInsert {
  return {
    ...row,
    pods: JSON.stringify(row.pods),
    settings: stringifyExactJson(row.settings),
    overrides: stringifyExactJson(row.overrides),
    canary: row.canary === null ? null : JSON.stringify(row.canary),
  };
}

const joined = and(eq(releases.endpointId, endpoints.id), eq(releases.number, endpoints.activeRelease));
const living = isNull(endpoints.deletedAt);
const named = (name: string) => or(eq(endpoints.slug, name), eq(endpoints.id, name));

const ENDPOINTS_CACHED_MAX = 1_000;
const byName = new ExpiringCache<EndpointSummary>(CATALOG_CACHE_MS, ENDPOINTS_CACHED_MAX);

/** A living endpoint of the workspace by slug or id, straight from D1. */
export async function findEndpoint(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: string,
): Promise<EndpointWithRelease | undefined> {
  const [row] = await catalogOf(database)
    .select()
    .from(endpoints)
    .innerJoin(releases, joined)
    .where(and(eq(endpoints.workspaceId, workspaceId), named(name), living));
  if (row === undefined) return undefined;
  const endpoint = endpointRow(row.endpoints);
  // The object activates releases that have become ready: no isolate hears of it but by looking.
  byName.deleteWhere((cached) => cached.endpoint.id === endpoint.id && cached.endpoint.version < endpoint.version);
  return { endpoint, release: releaseRow(row.releases) };
}

/** As {@link findEndpoint}, without the large texts, remembered for CATALOG_CACHE_MS: for the hot path. */
export async function findEndpointCached(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: string,
): Promise<EndpointSummary | undefined> {
  const cacheKey = `${workspaceId} ${name}`;
  const known = byName.get(cacheKey, Date.now());
  if (known !== undefined) return known;
  const [row] = await catalogOf(database)
    .select({ endpoint: endpoints, release: summaryColumns })
    .from(endpoints)
    .innerJoin(releases, joined)
    .where(and(eq(endpoints.workspaceId, workspaceId), named(name), living));
  if (row === undefined) return undefined;
  const endpoint = endpointRow(row.endpoint);
  const canary =
    endpoint.canary === null ? undefined : await findReleaseSummary(database, endpoint.id, endpoint.canary.release);
  const found = { endpoint, release: releaseSummary(row.release), canary };
  byName.set(cacheKey, found, Date.now());
  return found;
}

/** Makes this isolate ask D1 again. */
export function forgetEndpoint(id: EndpointId): void {
  byName.deleteWhere((cached) => cached.endpoint.id === id);
}

/** Whose an owner key is. */
export interface KeyOwner {
  readonly endpointId: EndpointId;
  readonly workspaceId: WorkspaceId;
}

const OWNERS_CACHED_MAX = 10_000;
/** An endpoint never changes workspace and a key is never used again, so this may be remembered for long. */
const owners = new ExpiringCache<KeyOwner>(24 * 3_600_000, OWNERS_CACHED_MAX);

/** The endpoint of an owner key, a deleted one too: its jobs can still be read. */
export async function findKeyOwner(database: D1Database, key: OwnerKey): Promise<KeyOwner | undefined> {
  const known = owners.get(key, Date.now());
  if (known !== undefined) return known;
  const [row] = await catalogOf(database)
    .select({ id: endpoints.id, workspaceId: endpoints.workspaceId })
    .from(endpoints)
    .where(eq(endpoints.key, key));
  if (row === undefined) return undefined;
  const owner = { endpointId: EndpointId.parse(row.id), workspaceId: WorkspaceId.parse(row.workspaceId) };
  owners.set(key, owner, Date.now());
  return owner;
}

/** Living endpoints by slug, after a slug. */
export async function selectEndpoints(
  database: D1Database,
  workspaceId: WorkspaceId,
  afterSlug: string | undefined,
  limit: number,
): Promise<EndpointSummary[]> {
  const rows = await catalogOf(database)
    .select({ endpoint: endpoints, release: summaryColumns })
    .from(endpoints)
    .innerJoin(releases, joined)
    .where(
      and(
        eq(endpoints.workspaceId, workspaceId),
        living,
        afterSlug === undefined ? undefined : gt(endpoints.slug, afterSlug),
      ),
    )
    .orderBy(asc(endpoints.slug))
    .limit(limit);
  return rows.map((row) => ({ endpoint: endpointRow(row.endpoint), release: releaseSummary(row.release) }));
}

/** Keys of every endpoint whose jobs may still be kept: living ones, and those deleted after `deletedAfter`. */
export async function selectEndpointKeys(
  database: D1Database,
  workspaceId: WorkspaceId,
  deletedAfter: number,
  limit: number,
): Promise<OwnerKey[]> {
  const rows = await catalogOf(database)
    .select({ key: endpoints.key })
    .from(endpoints)
    .where(and(eq(endpoints.workspaceId, workspaceId), or(living, gt(endpoints.deletedAt, deletedAfter))))
    .orderBy(sql`${endpoints.deletedAt} IS NOT NULL`, desc(endpoints.deletedAt))
    .limit(limit);
  return rows.map((row) => OwnerKey.parse(row.key));
}

/**
 * Endpoints whose jobs may still be kept, in the order of their ids.
 * @param from leaves out those before it
 */
export async function selectKeptEndpointIds(
  database: D1Database,
  workspaceId: WorkspaceId,
  deletedAfter: number,
  from: EndpointId | undefined,
  limit: number,
): Promise<EndpointId[]> {
  const rows = await catalogOf(database)
    .select({ id: endpoints.id })
    .from(endpoints)
    .where(
      and(
        eq(endpoints.workspaceId, workspaceId),
        or(living, gt(endpoints.deletedAt, deletedAfter)),
        from === undefined ? undefined : gte(endpoints.id, from),
      ),
    )
    .orderBy(asc(endpoints.id))
    .limit(limit);
  return rows.map((row) => EndpointId.parse(row.id));
}

export async function countEndpoints(database: D1Database, workspaceId: WorkspaceId): Promise<number> {
  const [row] = await catalogOf(database)
    .select({ count: count() })
    .from(endpoints)
    .where(and(eq(endpoints.workspaceId, workspaceId), living));
  return row?.count ?? 0;
}

/** Writes an endpoint and its first release together; a taken slug throws a uniqueness error. */
export async function insertEndpoint(database: D1Database, endpoint: EndpointRow, release: NewRelease): Promise<void> {
  const catalog = catalogOf(database);
  const own = and(eq(endpoints.id, endpoint.id), living);
  await catalog.batch([
    catalog.insert(endpoints).values(endpointValues(endpoint)),
    ...insertedRelease(database, release, own),
    catalog.insert(activations).values({
      endpointId: endpoint.id,
      version: endpoint.version,
      release: release.row.number,
      replaced: null,
      cause: "deploy",
      at: endpoint.createdAt,
    }),
  ]);
}

export interface EndpointChange {
  readonly name: string;
  readonly pods: EndpointPods;
  readonly settings: EndpointSettings;
  readonly overrides: Overrides;
  readonly updatedAt: number;
}

/** A release that is made with a change. */
export interface MadeRelease extends NewRelease {
  readonly activate: boolean;
}

/**
 * Changes an endpoint that is still at its `version`, with a new release or without.
 * @returns false when somebody else changed it first: read it again
 */
export async function updateEndpoint(
  database: D1Database,
  endpoint: EndpointRow,
  change: EndpointChange,
  made: MadeRelease | undefined,
): Promise<boolean> {
  const catalog = catalogOf(database);
  const unchanged = stillAt(endpoint);
  const version = endpoint.version + 1;
  const update = catalog
    .update(endpoints)
    .set({
      name: change.name,
      podId: preferredPod(change.pods),
      pods: JSON.stringify(change.pods),
      settings: stringifyExactJson(change.settings),
      overrides: stringifyExactJson(change.overrides),
      updatedAt: change.updatedAt,
      activeRelease: made?.activate ? made.row.number : endpoint.activeRelease,
      newestRelease: made?.row.number ?? endpoint.newestRelease,
      // It was compared with a release that is not the active one any more.
      ...(made?.activate ? { canary: null } : {}),
      version,
    })
    .where(unchanged)
    .returning({ id: endpoints.id });
  let rows: { id: string }[];
  if (made === undefined) rows = await update;
  else {
    // Only where the endpoint is unchanged: a release without its endpoint's change would stand in the way of the next
    // one of its number for ever.
    const activation = { ...activationOf(endpoint, made.row.number), cause: "deploy", at: change.updatedAt } as const;
    const noted = made.activate ? notedActivation(database, activation, unchanged) : [];
    // The update comes last: the others look at what it changes.
    const answers = await catalog.batch([...insertedRelease(database, made, unchanged), ...noted, update]);
    rows = answers.at(-1) as { id: string }[];
  }
  forgetEndpoint(endpoint.id);
  return rows.length === 1;
}

/**
 * Makes another release the active one of an endpoint that is still at its `version`. The operator's overrides become
 * those the release was imported with.
 * @returns false when somebody else changed the endpoint first: read it again
 */
export async function activateRelease(
  database: D1Database,
  endpoint: EndpointRow,
  release: Pick<ReleaseRow, "number" | "overrides">,
  cause: ActivationCause,
  at: number,
): Promise<boolean> {
  const catalog = catalogOf(database);
  const unchanged = stillAt(endpoint);
  const noted = notedActivation(database, { ...activationOf(endpoint, release.number), cause, at }, unchanged);
  const update = catalog
    .update(endpoints)
    .set({
      activeRelease: release.number,
      overrides: stringifyExactJson(release.overrides),
      canary: null,
      updatedAt: at,
      version: endpoint.version + 1,
    })
    .where(unchanged)
    .returning({ id: endpoints.id });
  const [, , rows] = await catalog.batch([...noted, update]);
  forgetEndpoint(endpoint.id);
  return rows.length === 1;
}

/**
 * Sets or ends the canary of an endpoint that is still at its `version`.
 * @param canary its settings and release; null: none
 * @returns false when somebody else changed the endpoint first: read it again
 */
export async function setCanary(
  database: D1Database,
  endpoint: EndpointRow,
  canary: (NewCanary & { readonly release: number }) | null,
  at: number,
): Promise<boolean> {
  const version = endpoint.version + 1;
  const stored: StoredCanary | null = canary === null ? null : { ...canary, id: version, since: at };
  const rows = await catalogOf(database)
    .update(endpoints)
    .set({ canary: stored === null ? null : JSON.stringify(stored), updatedAt: at, version })
    .where(stillAt(endpoint))
    .returning({ id: endpoints.id });
  forgetEndpoint(endpoint.id);
  return rows.length === 1;
}

function stillAt(endpoint: EndpointRow) {
  return and(eq(endpoints.id, endpoint.id), eq(endpoints.version, endpoint.version), living);
}

function activationOf(endpoint: EndpointRow, release: number) {
  const { id: endpointId, version, activeRelease: replaced } = endpoint;
  return { endpointId, version: version + 1, release, replaced };
}

/** Marks it deleted; answers the row as it is then, or undefined when there is none of that name. */
export async function markEndpointDeleted(
  database: D1Database,
  workspaceId: WorkspaceId,
  name: string,
  nowMs: number,
): Promise<EndpointRow | undefined> {
  const catalog = catalogOf(database);
  const own = eq(endpoints.workspaceId, workspaceId);
  const [deleted] = await catalog
    .update(endpoints)
    .set({ deletedAt: nowMs, version: sql`${endpoints.version} + 1` })
    .where(and(own, named(name), living))
    .returning();
  if (deleted !== undefined) {
    forgetEndpoint(EndpointId.parse(deleted.id));
    return endpointRow(deleted);
  }
  // Deleted before, but its object did not hear of it: the same call again finishes the work.
  const [unfinished] = await catalog
    .select()
    .from(endpoints)
    .where(and(own, named(name), lt(endpoints.appliedVersion, endpoints.version)))
    .orderBy(desc(endpoints.deletedAt))
    .limit(1);
  return unfinished === undefined ? undefined : endpointRow(unfinished);
}

/** Notes that the object has confirmed a version. */
export async function markApplied(database: D1Database, id: EndpointId, version: number): Promise<void> {
  await catalogOf(database)
    .update(endpoints)
    .set({ appliedVersion: version })
    .where(and(eq(endpoints.id, id), lt(endpoints.appliedVersion, version)));
  forgetEndpoint(id);
}

/** One release by its number. */
export async function findRelease(
  database: D1Database,
  endpointId: EndpointId,
  number: number,
): Promise<{ endpoint: EndpointRow; release: ReleaseRow } | undefined> {
  const [row] = await catalogOf(database)
    .select()
    .from(releases)
    .innerJoin(endpoints, eq(endpoints.id, releases.endpointId))
    .where(and(eq(releases.endpointId, endpointId), eq(releases.number, number)));
  return row === undefined ? undefined : { endpoint: endpointRow(row.endpoints), release: releaseRow(row.releases) };
}
