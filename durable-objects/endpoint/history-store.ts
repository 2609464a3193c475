import type { JobId } from "#contract/ids";
import type { TerminalState } from "#contract/job";
import type { PurgeMark } from "#durable-objects/endpoint/config-store";
import { numberOf } from "#durable-objects/endpoint/job-ids";
import type { RecordedOutput } from "#durable-objects/queue/job-record";
import { integer, type SqlDatabase, stored, storedOrNull, text } from "#durable-objects/sql/database";

/** An ended job that may have left files in R2. */
export interface EndedFiles {
  readonly jobId: JobId;
  readonly finishedAt: number;
  /** null when its files are not all known by name: an attempt may have left some behind. */
  readonly keys: readonly string[] | null;
}

/** Counts of what happened are read by such slices of time. */
const SLICE_MS = 1_000;
/** So many ended jobs are looked at for those that succeeded. */
const SERVICE_ROWS_MAX = 1_000;

/** What the rows of jobs tell of the past: how many came and ended, and the ended ones in the order of their end. */
export class HistoryStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** How many dead letters there are. */
  countDead(): number {
    const [row] = this.#db.exec("SELECT count(*) AS jobs FROM jobs INDEXED BY jobs_dead WHERE dead = 1");
    return row === undefined ? 0 : integer(row, "jobs");
  }

  /** How many jobs ended since then, and how, by slices of time. */
  endedSince(at: number): { readonly state: TerminalState; readonly at: number; readonly count: number }[] {
    return this.#db
      .exec(
        `SELECT state, finished_at / ${SLICE_MS} AS slice, count(*) AS jobs FROM jobs INDEXED BY jobs_ended
         WHERE finished_at IS NOT NULL AND finished_at >= ? GROUP BY slice, state`,
        at,
      )
      .map((row) => ({
        state: text(row, "state") as TerminalState,
        at: integer(row, "slice") * SLICE_MS,
        count: integer(row, "jobs"),
      }));
  }

  /** Jobs made at or after that time, by slices of it. @param from the lowest id of that time */
  arrivedSince(from: JobId): { readonly at: number; readonly count: number }[] {
    return this.#db
      .exec(
        `SELECT created_at / ${SLICE_MS} AS slice, count(*) AS jobs FROM jobs WHERE number >= ? GROUP BY slice`,
        numberOf(from),
      )
      .map((row) => ({ at: integer(row, "slice") * SLICE_MS, count: integer(row, "jobs") }));
  }

  /** How long the last successful runs took, ms, the latest first. */
  lastServiceMs(limit: number): number[] {
    return this.#db
      .exec(
        `SELECT service_ms FROM (
           SELECT state, service_ms FROM jobs INDEXED BY jobs_ended WHERE finished_at IS NOT NULL
           ORDER BY finished_at DESC, id DESC LIMIT ${SERVICE_ROWS_MAX}
         ) WHERE state = 'succeeded' LIMIT ?`,
        limit,
      )
      .map((row) => integer(row, "service_ms"));
  }

  /** Ended jobs after the mark, oldest end first, that ended at or before `endedBy`. */
  endedAfter(mark: PurgeMark, endedBy: number, limit: number): EndedFiles[] {
    return this.#db
      .exec(
        `SELECT id, finished_at, leases, outputs FROM jobs INDEXED BY jobs_ended
         WHERE finished_at IS NOT NULL AND (finished_at, id) > (?, ?) AND finished_at <= ? ORDER BY finished_at, id LIMIT ?`,
        mark.finishedAt,
        mark.jobId,
        endedBy,
        limit,
      )
      .map((row) => {
        const outputs = storedOrNull<RecordedOutput[]>(row, "outputs");
        const leases = stored<unknown[]>(row, "leases");
        // Without a lease there is nothing in R2; with one successful lease, exactly the outputs.
        const known =
          leases.length === 0 ? [] : leases.length === 1 && outputs !== null ? outputs.map(({ key }) => key) : null;
        return { jobId: text(row, "id") as JobId, finishedAt: integer(row, "finished_at"), keys: known };
      });
  }

  firstEndedAfter(mark: PurgeMark): number | null {
    const [row] = this.#db.exec(
      `SELECT finished_at FROM jobs INDEXED BY jobs_ended WHERE finished_at IS NOT NULL AND (finished_at, id) > (?, ?)
       ORDER BY finished_at, id LIMIT 1`,
      mark.finishedAt,
      mark.jobId,
    );
    return row === undefined ? null : integer(row, "finished_at");
  }

  /** The earliest end of a job that is not beyond the mark. */
  firstEndedUpTo(mark: PurgeMark): number | null {
    const [row] = this.#db.exec(
      `SELECT finished_at FROM jobs INDEXED BY jobs_ended WHERE finished_at IS NOT NULL AND (finished_at, id) <= (?, ?)
       ORDER BY finished_at, id LIMIT 1`,
      mark.finishedAt,
      mark.jobId,
    );
    return row === undefined ? null : integer(row, "finished_at");
  }

  /** Jobs that ended at or before `endedBy` and are not beyond the mark, oldest end first. */
  endedBy(endedBy: number, mark: PurgeMark, limit: number): JobId[] {
    return this.#db
      .exec(
        `SELECT id FROM jobs INDEXED BY jobs_ended
         WHERE finished_at IS NOT NULL AND finished_at <= ? AND (finished_at, id) <= (?, ?) ORDER BY finished_at, id LIMIT ?`,
        endedBy,
        mark.finishedAt,
        mark.jobId,
        limit,
      )
      .map((row) => text(row, "id") as JobId);
  }
}
