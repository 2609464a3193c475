/** Join tokens, and the machines that joined with each. */
import { and, count, desc, eq, gt, inArray, isNull, lt, type SQL, sql } from "drizzle-orm";
import { JoinTokenId, NodeId, PodId, WorkspaceId } from "#contract/ids";
import { JOIN_TOKEN_RETENTION_DAYS, JOIN_TOKEN_USES_MAX } from "#contract/limits";
import type { JoinToken } from "#contract/replica";
import { joins, joinTokens, pods } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

export interface NewJoinTokenRow {
  readonly id: JoinTokenId;
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  readonly name: string;
  /** sha256 of the secret. */
  readonly hash: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** Machines that may join with it; null: any number. */
  readonly usesMax: number | null;
}

/** Does nothing when the token is there already. */
export async function insertJoinToken(database: D1Database, row: NewJoinTokenRow): Promise<void> {
  await catalogOf(database).insert(joinTokens).values(row).onConflictDoNothing({ target: joinTokens.id });
}

const usesOf = sql<number>`(SELECT count(*) FROM joins WHERE joins.token_id = ${joinTokens.id})`;
const ofPod = (workspaceId: WorkspaceId, podId: PodId) =>
  and(eq(joinTokens.workspaceId, workspaceId), eq(joinTokens.podId, podId));

/** A pod's tokens, newest first, with ids below `before`. */
export async function selectJoinTokens(
  database: D1Database,
  workspaceId: WorkspaceId,
  podId: PodId,
  before: string | undefined,
  limit: number,
): Promise<JoinToken[]> {
  const rows = await catalogOf(database)
    .select({ token: joinTokens, uses: usesOf })
    .from(joinTokens)
    .where(and(ofPod(workspaceId, podId), before === undefined ? undefined : lt(joinTokens.id, before)))
    .orderBy(desc(joinTokens.id))
    .limit(limit);
  return rows.map(({ token, uses }) => ({
    id: JoinTokenId.parse(token.id),
    pod_id: PodId.parse(token.podId),
    name: token.name,
    created_at: new Date(token.createdAt).toISOString(),
    expires_at: new Date(token.expiresAt).toISOString(),
    uses_max: token.usesMax,
    uses,
    revoked_at: token.revokedAt === null ? null : new Date(token.revokedAt).toISOString(),
  }));
}

/** Tokens of a pod that are neither over nor revoked. */
export async function countLivingJoinTokens(database: D1Database, podId: PodId, nowMs: number): Promise<number> {
  const [row] = await catalogOf(database)
    .select({ count: count() })
    .from(joinTokens)
    .where(and(eq(joinTokens.podId, podId), isNull(joinTokens.revokedAt), gt(joinTokens.expiresAt, nowMs)));
  return row?.count ?? 0;
}

/** Removes a pod's tokens that have been over for JOIN_TOKEN_RETENTION_DAYS, with what is known of their use. */
export async function sweepJoinTokens(database: D1Database, podId: PodId, nowMs: number): Promise<void> {
  const before = nowMs - JOIN_TOKEN_RETENTION_DAYS * 86_400_000;
  await catalogOf(database)
    .delete(joinTokens)
    .where(and(eq(joinTokens.podId, podId), lt(joinTokens.expiresAt, before)));
}

/** False when the pod has no such token. Revoking twice keeps the first time. */
export async function revokeJoinTokenRow(
  database: D1Database,
  workspaceId: WorkspaceId,
  podId: PodId,
  tokenId: JoinTokenId,
  nowMs: number,
): Promise<boolean> {
  const rows = await catalogOf(database)
    .update(joinTokens)
    .set({ revokedAt: sql`coalesce(${joinTokens.revokedAt}, ${nowMs})` })
    .where(and(ofPod(workspaceId, podId), eq(joinTokens.id, tokenId)))
    .returning({ id: joinTokens.id });
  return rows.length === 1;
}

/** A token as a machine that holds it finds it. */
export interface HeldJoinToken {
  readonly id: JoinTokenId;
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  readonly expiresAt: number;
  readonly revokedAt: number | null;
  readonly usesMax: number | null;
}

/** The token of a secret, living or not; undefined for an unknown one and one of a deleted pod. */
export function findJoinToken(database: D1Database, hash: string): Promise<HeldJoinToken | undefined> {
  return selectHeldToken(database, eq(joinTokens.hash, hash));
}

export function findJoinTokenById(database: D1Database, id: JoinTokenId): Promise<HeldJoinToken | undefined> {
  return selectHeldToken(database, eq(joinTokens.id, id));
}

async function selectHeldToken(database: D1Database, which: SQL): Promise<HeldJoinToken | undefined> {
  const [row] = await catalogOf(database)
    .select({ token: joinTokens })
    .from(joinTokens)
    .innerJoin(pods, and(eq(pods.id, joinTokens.podId), isNull(pods.deletedAt)))
    .where(which);
  if (row === undefined) return undefined;
  const { id, workspaceId, podId, expiresAt, revokedAt, usesMax } = row.token;
  return {
    id: JoinTokenId.parse(id),
    workspaceId: WorkspaceId.parse(workspaceId),
    podId: PodId.parse(podId),
    expiresAt,
    revokedAt,
    usesMax,
  };
}

/**
 * Counts a machine against its token, in one statement: of two machines that race with a token for one, one is counted.
 * @param nodeId what it becomes
 * @returns false when it was counted before, or the token does not let it in (any more)
 */
export async function claimJoin(
  database: D1Database,
  tokenId: JoinTokenId,
  joinId: string,
  nodeId: NodeId,
  nowMs: number,
): Promise<boolean> {
  const { meta } = await database
    .prepare(
      `INSERT INTO joins (token_id, join_id, node_id, at)
       SELECT id, ?2, ?3, ?4 FROM join_tokens
       WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?4
         AND coalesce(uses_max, ?5) > (SELECT count(*) FROM joins WHERE token_id = ?1)
       ON CONFLICT DO NOTHING`,
    )
    .bind(tokenId, joinId, nodeId, nowMs, JOIN_TOKEN_USES_MAX)
    .run();
  return meta.changes === 1;
}

/** What a machine that was counted becomes; undefined when it was not. */
export async function findJoin(
  database: D1Database,
  tokenId: JoinTokenId,
  joinId: string,
): Promise<NodeId | undefined> {
  const [row] = await catalogOf(database)
    .select({ nodeId: joins.nodeId })
    .from(joins)
    .where(and(eq(joins.tokenId, tokenId), eq(joins.joinId, joinId)));
  return row === undefined ? undefined : NodeId.parse(row.nodeId);
}

/**
 * A node is removed: the machine that it was stays counted, and its join id is nobody's any more. What stands in its
 * place no machine can send.
 */
export async function forgetJoinOf(
  database: D1Database,
  workspaceId: WorkspaceId,
  podId: PodId,
  nodeId: NodeId,
): Promise<void> {
  const catalog = catalogOf(database);
  const tokens = catalog.select({ id: joinTokens.id }).from(joinTokens).where(ofPod(workspaceId, podId));
  await catalog
    .update(joins)
    .set({ joinId: `removed ${nodeId}` })
    .where(and(inArray(joins.tokenId, tokens), eq(joins.nodeId, nodeId)));
}

/** The pod refused the machine: it does not count. */
export async function giveJoinBack(database: D1Database, tokenId: JoinTokenId, joinId: string): Promise<void> {
  await catalogOf(database)
    .delete(joins)
    .where(and(eq(joins.tokenId, tokenId), eq(joins.joinId, joinId)));
}
