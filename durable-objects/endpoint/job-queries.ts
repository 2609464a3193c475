/** Looking through jobs by what they are, a bounded number of rows at a time, in the order of their ids. */
import type { BatchId, JobId, KeyId } from "#contract/ids";
import type { JobErrorCode, JobState, Lane } from "#contract/job";
import { numberOf } from "#durable-objects/endpoint/job-ids";
import { laneNumber, queuedOf } from "#durable-objects/endpoint/job-rows";
import type { Place } from "#durable-objects/endpoint/job-store";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlValue,
  text,
  textOrNull,
} from "#durable-objects/sql/database";

/** What a job must be; all that is given must hold. */
export interface JobCriteria {
  readonly states?: readonly JobState[];
  /** Waits for another try. */
  readonly retrying?: true;
  /** Is in the dead-letter list. */
  readonly dead?: true;
  readonly lane?: Lane;
  readonly tag?: string;
  readonly keyId?: KeyId;
  readonly batchId?: BatchId;
  readonly errorCode?: JobErrorCode;
  /** Ended at or after, Unix ms. */
  readonly endedSince?: number;
  /** Ids from this one on. */
  readonly from?: JobId;
  /** Ids below this one. */
  readonly below?: JobId;
}

export interface Look {
  readonly ids: readonly JobId[];
  /** The last job looked at: the next look goes on after it; null when there is nothing more. */
  readonly next: JobId | null;
  /** Rows looked at; null when the look ended early because it had found enough. */
  readonly rows: number | null;
}

type Direction = "oldest first" | "newest first";

interface Source {
  readonly sql: string;
  /** The column with the number of the job's row. */
  readonly number: string;
  readonly conditions: readonly string[];
  readonly bindings: readonly SqlValue[];
}

const DAY_MS = 86_400_000;

/** The leases of every job that may have had one since the time bound to it: it lives and had one, or ended since. */
const LEASES_TOUCHING = `(
  SELECT leases FROM jobs INDEXED BY jobs_ended WHERE finished_at IS NOT NULL AND finished_at >= ? AND leases <> '[]'
  UNION ALL SELECT leases FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND replica_id > ''
  UNION ALL SELECT leases FROM jobs INDEXED BY jobs_retrying WHERE state = 'queued' AND leases <> '[]'
) AS touching, json_each(touching.leases) AS lease`;

const UNSUCCESSFUL: readonly JobState[] = ["failed", "canceled", "expired"];

/** Statements that look at many jobs. Those that change one are in job-store.ts. */
export class JobQueries {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /**
   * Jobs that fit, from the first after `after` on.
   * @param limit jobs at most
   * @param rowsMax rows looked at at most
   */
  look(criteria: JobCriteria, direction: Direction, after: JobId | null, limit: number, rowsMax: number): Look {
    const { sql, bindings } = looked(criteria, direction, after, null);
    const fits = fitting(criteria);
    const ids = this.#db
      .exec(`SELECT id FROM (${sql} LIMIT ?) WHERE ${fits.sql} LIMIT ?`, ...bindings, rowsMax, ...fits.bindings, limit)
      .map((row) => text(row, "id") as JobId);
    const last = ids.at(-1);
    if (last !== undefined && ids.length === limit) return { ids, next: last, rows: null };
    // The id beside the number that is the greatest, or the least: SQLite takes it from the same row.
    const end = direction === "oldest first" ? "max" : "min";
    const [row] = this.#db.exec(
      `SELECT count(*) AS looked, ${end}(number), id AS last FROM (${sql} LIMIT ?)`,
      ...bindings,
      rowsMax,
    );
    const rows = row === undefined ? 0 : integer(row, "looked");
    return { ids, next: row !== undefined && rows === rowsMax ? (text(row, "last") as JobId) : null, rows };
  }

  /** How many rows a look passes from after `after` up to and with `upTo`, oldest first. */
  passed(criteria: JobCriteria, after: JobId | null, upTo: JobId): number {
    const { sql, bindings } = looked(criteria, "oldest first", after, upTo);
    const [row] = this.#db.exec(`SELECT count(*) AS looked FROM (${sql})`, ...bindings);
    return row === undefined ? 0 : integer(row, "looked");
  }

  /** Jobs of a batch in the order of their ids, with what counting them needs. */
  ofBatch(batchId: BatchId): { readonly id: JobId; readonly state: JobState; readonly finishedAt: number | null }[] {
    return this.#db
      .exec(
        "SELECT id, state, finished_at FROM jobs INDEXED BY jobs_of_batch WHERE batch_id = ? ORDER BY number",
        batchId,
      )
      .map((row) => ({
        id: text(row, "id") as JobId,
        state: text(row, "state") as JobState,
        finishedAt: integerOrNull(row, "finished_at"),
      }));
  }

  hasBatch(batchId: BatchId): boolean {
    return (
      this.#db.exec("SELECT 1 AS found FROM jobs INDEXED BY jobs_of_batch WHERE batch_id = ? LIMIT 1", batchId).length >
      0
    );
  }

  /** Jobs that have had a lease, oldest first, after one. */
  leased(bounds: Pick<JobCriteria, "from" | "below">, after: JobId | null, rowsMax: number): Look {
    const range = rangeOf(bounds, "oldest first", after, null, "number");
    const where = range.sql.length === 0 ? "" : `WHERE ${range.sql.join(" AND ")}`;
    const inner = `SELECT id, leases FROM jobs ${where} ORDER BY number LIMIT ?`;
    const rows = this.#db.exec(`SELECT id, leases <> '[]' AS leased FROM (${inner})`, ...range.bindings, rowsMax);
    const ids = rows.filter((row) => integer(row, "leased") === 1).map((row) => text(row, "id") as JobId);
    const last = rows.at(-1);
    const next = last === undefined || rows.length < rowsMax ? null : (text(last, "id") as JobId);
    return { ids, next, rows: rows.length };
  }

  // --- the queue in order --------------------------------------------------------------------------------------------

  /** Waiting jobs of a lane after a place in it, ready or not, in order. */
  inOrder(lane: Lane, after: Place | null, limit: number): QueuedJob[] {
    const bindings = [laneNumber(lane), after?.rank ?? Number.MIN_SAFE_INTEGER, after?.id ?? "", limit];
    const ready = this.#db.exec(
      `SELECT * FROM jobs INDEXED BY jobs_ready WHERE state = 'queued' AND available_at IS NULL AND lane = ?
         AND (rank, id) > (?, ?) ORDER BY rank, id LIMIT ?`,
      ...bindings,
    );
    const delayed = this.#db.exec(
      `SELECT * FROM jobs INDEXED BY jobs_delayed_in_order WHERE available_at IS NOT NULL AND lane = ?
         AND (rank, id) > (?, ?) ORDER BY rank, id LIMIT ?`,
      ...bindings,
    );
    return [...ready, ...delayed]
      .map(queuedOf)
      .toSorted((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1))
      .slice(0, limit);
  }

  // --- what is remembered after the first look -----------------------------------------------------------------------

  retryingCount(): number {
    return this.#count(
      "SELECT count(*) AS jobs FROM jobs INDEXED BY jobs_retrying WHERE state = 'queued' AND leases <> '[]'",
    );
  }

  /** Of all that are remembered. */
  oldestJob(): JobId | null {
    return this.#first("SELECT id FROM jobs ORDER BY number LIMIT 1");
  }

  oldestRunning(): JobId | null {
    return this.#first(
      "SELECT min(id) AS id FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND replica_id > ''",
    );
  }

  /** When leases were granted since, in no order. */
  grantedSince(at: number): number[] {
    return this.#db
      .exec(
        `SELECT json_extract(lease.value, '$.grantedAt') AS granted_at FROM ${LEASES_TOUCHING}
         WHERE json_extract(lease.value, '$.grantedAt') > ?`,
        at,
        at,
      )
      .map((row) => integer(row, "granted_at"));
  }

  /** GPU time on that UTC day of the attempts that have ended, ms. Summed up in place: a day may have a million of them. */
  spentOn(day: number): number {
    const from = day * DAY_MS;
    const [row] = this.#db.exec(
      `SELECT total(max(0, min(ended_at, ?) - max(began_at, ?))) AS ms FROM (
         SELECT json_extract(lease.value, '$.endedAt') AS ended_at,
           coalesce(json_extract(lease.value, '$.beganAt'), json_extract(lease.value, '$.grantedAt')) AS began_at
         FROM ${LEASES_TOUCHING} WHERE json_extract(lease.value, '$.heard')
       ) WHERE ended_at IS NOT NULL`,
      from + DAY_MS,
      from,
      from,
    );
    return row === undefined ? 0 : integer(row, "ms");
  }

  #count(sql: string): number {
    const [row] = this.#db.exec(sql);
    return row === undefined ? 0 : integer(row, "jobs");
  }

  #first(sql: string, ...bindings: SqlValue[]): JobId | null {
    const [row] = this.#db.exec(sql, ...bindings);
    return row === undefined ? null : (textOrNull(row, "id") as JobId | null);
  }
}

/** The rows a look passes, in order, with what `fitting` tests. */
function looked(
  criteria: JobCriteria,
  direction: Direction,
  after: JobId | null,
  upTo: JobId | null,
): { readonly sql: string; readonly bindings: readonly SqlValue[] } {
  const source = sourceOf(criteria);
  const range = rangeOf(criteria, direction, after, upTo, source.number);
  const conditions = [...source.conditions, ...range.sql];
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  const order = `ORDER BY ${source.number} ${direction === "oldest first" ? "ASC" : "DESC"}`;
  return {
    sql: `SELECT jobs.number AS number, id, state, lane, key_id, batch_id, error_code, finished_at, leases, dead FROM ${source.sql} ${where} ${order}`,
    bindings: [...source.bindings, ...range.bindings],
  };
}

function rangeOf(
  criteria: Pick<JobCriteria, "from" | "below">,
  direction: Direction,
  after: JobId | null,
  upTo: JobId | null,
  column: string,
): { readonly sql: readonly string[]; readonly bindings: readonly SqlValue[] } {
  const oldestFirst = direction === "oldest first";
  const lower = [bound(">=", criteria.from), bound(">", oldestFirst ? after : null)];
  const upper = [bound("<", criteria.below), bound("<", oldestFirst ? null : after), bound("<=", upTo)];
  // SQLite seeks by one bound on each side, and not by the nearer one of two.
  const known = [lower.flat().toSorted(nearer).at(-1), upper.flat().toSorted(nearer)[0]].filter(
    (one) => one !== undefined,
  );
  return { sql: known.map(({ relation }) => `${column} ${relation} ?`), bindings: known.map(({ number }) => number) };
}

interface Bound {
  readonly relation: string;
  readonly number: number;
}

function bound(relation: string, id: JobId | null | undefined): Bound[] {
  return id === null || id === undefined ? [] : [{ relation, number: numberOf(id) }];
}

/** By number; at the same one `>` comes after `>=` and `<` before `<=`, so that the stricter one is found in either case. */
function nearer(a: Bound, b: Bound): number {
  if (a.number !== b.number) return a.number - b.number;
  return a.relation.length === b.relation.length ? 0 : a.relation === ">" || a.relation === "<=" ? 1 : -1;
}

/** The narrowest index that holds jobs by number, as each does behind its columns. SQLite uses a partial one only where the query repeats its condition. */
function sourceOf(criteria: JobCriteria): Source {
  const at = (index: string, conditions: readonly string[], bindings: readonly SqlValue[] = []): Source => ({
    sql: `jobs INDEXED BY ${index}`,
    number: "jobs.number",
    conditions,
    bindings,
  });
  if (criteria.batchId !== undefined) return at("jobs_of_batch", ["batch_id = ?"], [criteria.batchId]);
  if (criteria.tag !== undefined) {
    return {
      sql: "job_tags CROSS JOIN jobs ON jobs.number = job_tags.job",
      number: "job_tags.job",
      conditions: ["job_tags.tag = ?"],
      bindings: [criteria.tag],
    };
  }
  if (criteria.dead) return at("jobs_dead", ["dead = 1"]);
  if (criteria.retrying) return at("jobs_retrying", ["state = 'queued'", "leases <> '[]'"]);
  const states = statesOf(criteria);
  const [only] = states ?? [];
  if (states?.length === 1 && only === "running") return at("jobs_running", ["state = 'running'", "replica_id > ''"]);
  if (states?.length === 1 && only !== undefined && UNSUCCESSFUL.includes(only)) {
    return at("jobs_unsuccessful", [`state = '${only}'`, "state IN ('failed', 'canceled', 'expired')"]);
  }
  return { sql: "jobs", number: "jobs.number", conditions: [], bindings: [] };
}

function statesOf(criteria: JobCriteria): readonly JobState[] | undefined {
  const { states, errorCode } = criteria;
  return errorCode === undefined ? states : (states?.filter((state) => state === "failed") ?? ["failed"]);
}

function fitting(criteria: JobCriteria): { readonly sql: string; readonly bindings: readonly SqlValue[] } {
  const conditions: string[] = [];
  const bindings: SqlValue[] = [];
  const states = statesOf(criteria);
  // The states are words of ours, so they are written out.
  if (states !== undefined) conditions.push(`state IN (${states.map((state) => `'${state}'`).join(", ")})`);
  if (criteria.retrying) conditions.push("state = 'queued' AND leases <> '[]'");
  if (criteria.dead) conditions.push("dead = 1");
  const equal: [string, SqlValue | undefined][] = [
    ["lane", criteria.lane === undefined ? undefined : laneNumber(criteria.lane)],
    ["key_id", criteria.keyId],
    ["batch_id", criteria.batchId],
    ["error_code", criteria.errorCode],
  ];
  for (const [column, value] of equal) {
    if (value === undefined) continue;
    conditions.push(`${column} = ?`);
    bindings.push(value);
  }
  if (criteria.endedSince !== undefined) {
    conditions.push("finished_at >= ?");
    bindings.push(criteria.endedSince);
  }
  if (criteria.tag !== undefined && criteria.batchId !== undefined) {
    conditions.push("EXISTS (SELECT 1 FROM job_tags WHERE job_tags.tag = ? AND job_tags.job = number)");
    bindings.push(criteria.tag);
  }
  return { sql: conditions.length === 0 ? "1" : conditions.join(" AND "), bindings };
}
