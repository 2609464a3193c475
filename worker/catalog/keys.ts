/** API keys in the catalog. Only hashes are stored; whoever finds one in the cache found it in D1 ≤ 30 s before. */
import { and, desc, eq, isNull, lt } from "drizzle-orm";
import * as z from "zod";
import { type ApiKey, Scope } from "#contract/access";
import { KeyId, WorkspaceId } from "#contract/ids";
import { CATALOG_CACHE_MS } from "#contract/limits";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import { apiKeys, workspaces } from "#migrations/catalog/schema";
import type { Principal } from "#worker/auth/principal";
import { catalogOf } from "#worker/catalog/database";

interface CachedKey {
  readonly principal: Principal;
  readonly expiresAt: number | null;
}

const PRINCIPALS_CACHED_MAX = 10_000;
const cache = new ExpiringCache<CachedKey>(CATALOG_CACHE_MS, PRINCIPALS_CACHED_MAX);
const Scopes = z.array(Scope);

/** As {@link findPrincipal}, from this isolate's memory alone. */
export function rememberedPrincipal(hash: string, nowMs: number): Principal | undefined {
  const found = cache.get(hash, nowMs);
  return found === undefined || (found.expiresAt !== null && found.expiresAt <= nowMs) ? undefined : found.principal;
}

/**
 * The owner of a key, or undefined when it is unknown, revoked or over.
 * @param hash sha256 of the secret, hexadecimal
 * @param nowMs Unix ms
 */
export async function findPrincipal(database: D1Database, hash: string, nowMs: number): Promise<Principal | undefined> {
  let found = cache.get(hash, nowMs);
  if (found === undefined) {
    const [row] = await catalogOf(database)
      .select({
        id: apiKeys.id,
        workspaceId: apiKeys.workspaceId,
        workspace: workspaces.name,
        scopes: apiKeys.scopes,
        expiresAt: apiKeys.expiresAt,
      })
      .from(apiKeys)
      .innerJoin(workspaces, eq(workspaces.id, apiKeys.workspaceId))
      .where(and(eq(apiKeys.hash, hash), isNull(apiKeys.revokedAt)));
    // An unknown key is not remembered: one made a moment ago in another place works at once.
    if (row === undefined) return undefined;
    found = {
      principal: {
        workspaceId: WorkspaceId.parse(row.workspaceId),
        workspace: row.workspace,
        keyId: KeyId.parse(row.id),
        scopes: Scopes.parse(JSON.parse(row.scopes)),
      },
      expiresAt: row.expiresAt,
    };
    cache.set(hash, found, nowMs);
  }
  return found.expiresAt !== null && found.expiresAt <= nowMs ? undefined : found.principal;
}

export interface NewKeyRow {
  readonly id: KeyId;
  readonly workspaceId: WorkspaceId;
  readonly name: string;
  readonly hash: string;
  readonly scopes: readonly Scope[];
  readonly hint: string;
  readonly createdAt: number;
  readonly expiresAt: number | null;
}

/** Does nothing when the key is there already. */
export async function insertKey(database: D1Database, row: NewKeyRow): Promise<void> {
  await catalogOf(database)
    .insert(apiKeys)
    .values({ ...row, scopes: JSON.stringify(row.scopes) })
    .onConflictDoNothing({ target: apiKeys.id });
}

/** Newest first, at most `limit`, with ids below `before`. Revoked ones are shown as such. */
export async function selectKeys(
  database: D1Database,
  workspaceId: WorkspaceId,
  before: string | undefined,
  limit: number,
): Promise<ApiKey[]> {
  const rows = await catalogOf(database)
    .select()
    .from(apiKeys)
    .where(and(eq(apiKeys.workspaceId, workspaceId), before === undefined ? undefined : lt(apiKeys.id, before)))
    .orderBy(desc(apiKeys.id))
    .limit(limit);
  return rows.map((row) => ({
    id: KeyId.parse(row.id),
    name: row.name,
    scopes: Scopes.parse(JSON.parse(row.scopes)),
    hint: row.hint,
    created_at: new Date(row.createdAt).toISOString(),
    expires_at: row.expiresAt === null ? null : new Date(row.expiresAt).toISOString(),
    revoked_at: row.revokedAt === null ? null : new Date(row.revokedAt).toISOString(),
  }));
}

/** False when the workspace has no such key. Revoking twice keeps the first time. */
export async function revokeKeyRow(
  database: D1Database,
  workspaceId: WorkspaceId,
  keyId: KeyId,
  nowMs: number,
): Promise<boolean> {
  const own = and(eq(apiKeys.workspaceId, workspaceId), eq(apiKeys.id, keyId));
  const catalog = catalogOf(database);
  await catalog
    .update(apiKeys)
    .set({ revokedAt: nowMs })
    .where(and(own, isNull(apiKeys.revokedAt)));
  cache.deleteWhere((cached) => cached.principal.keyId === keyId);
  const [row] = await catalog.select({ id: apiKeys.id }).from(apiKeys).where(own);
  return row !== undefined;
}
