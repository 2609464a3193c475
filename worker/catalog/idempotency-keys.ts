/** Idempotency keys of calls that write to the catalog. A row is there from a call's start, so that there is one start. */
import { and, eq, inArray, isNull, lt, lte, or, type SQL, sql } from "drizzle-orm";
import type { WorkspaceId } from "#contract/ids";
import { IDEMPOTENCY_KEY_MS } from "#contract/limits";
import { idempotencyKeys } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

/** A call that has not ended by then has died with its isolate: no handler of these routes takes half of it. */
export const RUNNING_MS_MAX = 60_000;
/** Old rows removed along with one call: more than one, so that the table shrinks. */
const SWEEP_ROWS_MAX = 20;

/** What names one call, however often it is sent. */
export interface KeyedCall {
  readonly workspaceId: WorkspaceId;
  /** Method and path. */
  readonly operation: string;
  readonly key: string;
}

export interface KnownCall {
  /** SHA-256 of its body, hexadecimal. */
  readonly fingerprint: string;
  /** As it was answered, sealed; undefined while it runs. */
  readonly answered: { readonly status: number; readonly sealed: string } | undefined;
}

/** What a call's first runner drew. Whoever takes the call over has the same, and so makes the same things. */
export interface CallOrigin {
  readonly seed: string;
  /** When the first runner began, Unix ms. */
  readonly begunAt: number;
}

/**
 * Makes the call the caller's of `claim`, in one statement: for the first, and for one that finds a row whose time is
 * over or whose runner has died.
 * @param fresh what the call begins with when nobody has begun it
 * @param nowMs Unix ms
 * @returns what it began with; undefined when the call is another's
 */
export async function claimCall(
  database: D1Database,
  call: KeyedCall,
  fingerprint: string,
  claim: string,
  fresh: CallOrigin,
  nowMs: number,
): Promise<CallOrigin | undefined> {
  const claimed = { fingerprint, claim, status: null, answer: null, createdAt: nowMs };
  const over = lte(idempotencyKeys.createdAt, nowMs - IDEMPOTENCY_KEY_MS);
  const died = and(
    isNull(idempotencyKeys.status),
    lte(idempotencyKeys.createdAt, nowMs - RUNNING_MS_MAX),
    eq(idempotencyKeys.fingerprint, fingerprint),
  );
  const begun = { seed: idempotencyKeys.seed, begunAt: idempotencyKeys.begunAt };
  const [row] = await catalogOf(database)
    .insert(idempotencyKeys)
    .values({ ...call, ...claimed, ...fresh })
    .onConflictDoUpdate({
      target: [idempotencyKeys.workspaceId, idempotencyKeys.operation, idempotencyKeys.key],
      set: {
        ...claimed,
        seed: sql`iif(${over}, ${fresh.seed}, ${begun.seed})`,
        begunAt: sql`iif(${over}, ${fresh.begunAt}, ${begun.begunAt})`,
      },
      setWhere: or(over, died) as SQL,
    })
    .returning(begun);
  // A row from before seeds were kept has none.
  return row === undefined || row.seed !== "" ? row : fresh;
}

/** What is known of a call; undefined when its row has just been removed. */
export async function findCall(database: D1Database, call: KeyedCall): Promise<KnownCall | undefined> {
  const [row] = await catalogOf(database).select().from(idempotencyKeys).where(rowOf(call));
  if (row === undefined) return undefined;
  const { fingerprint, status, answer } = row;
  return { fingerprint, answered: status === null || answer === null ? undefined : { status, sealed: answer } };
}

/** Keeps the answer, unless another runner has taken the call over. */
export async function keepAnswer(
  database: D1Database,
  call: KeyedCall,
  claim: string,
  status: number,
  sealed: string,
): Promise<void> {
  await catalogOf(database)
    .update(idempotencyKeys)
    .set({ status, answer: sealed })
    .where(and(rowOf(call), eq(idempotencyKeys.claim, claim)));
}

/** Forgets a call that failed, so that its key can be used again. */
export async function releaseCall(database: D1Database, call: KeyedCall, claim: string): Promise<void> {
  await catalogOf(database)
    .delete(idempotencyKeys)
    .where(and(rowOf(call), eq(idempotencyKeys.claim, claim)));
}

/** Removes a few rows whose time is over, of any workspace; called beside other calls, because nothing else has a clock. */
export async function sweepCalls(database: D1Database, nowMs: number): Promise<void> {
  const catalog = catalogOf(database);
  const old = catalog
    .select({ rowid: sql`rowid` })
    .from(idempotencyKeys)
    .where(lt(idempotencyKeys.createdAt, nowMs - IDEMPOTENCY_KEY_MS))
    .limit(SWEEP_ROWS_MAX);
  await catalog.delete(idempotencyKeys).where(inArray(sql`rowid`, old));
}

function rowOf({ workspaceId, operation, key }: KeyedCall): SQL | undefined {
  return and(
    eq(idempotencyKeys.workspaceId, workspaceId),
    eq(idempotencyKeys.operation, operation),
    eq(idempotencyKeys.key, key),
  );
}
