import { laneNumber, queuedOf } from "#durable-objects/endpoint/job-rows";
import { type JobStore, USUAL_WAIT_MS } from "#durable-objects/endpoint/job-store";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { BATCH_JOINS_BEFORE_MS, SHORT_WAIT_MS } from "#durable-objects/queue/joining";
import { dueOf, type SqlDatabase } from "#durable-objects/sql/database";

const OWN_DEADLINE_IN_BATCH = `FROM jobs INDEXED BY jobs_expiring
 WHERE state = 'queued' AND started_at IS NULL AND expires_at <> created_at + ${USUAL_WAIT_MS} AND lane = ${laneNumber("batch")}`;
const USUAL_IN_BATCH = `FROM jobs INDEXED BY jobs_ready
 WHERE state = 'queued' AND available_at IS NULL AND lane = ${laneNumber("batch")} AND started_at IS NULL
 AND expires_at = created_at + ${USUAL_WAIT_MS}`;
/** As `joinsAt` says. */
const JOINS_AT = `CASE WHEN expires_at - created_at < ${SHORT_WAIT_MS} THEN (created_at + expires_at) / 2 ELSE expires_at - ${BATCH_JOINS_BEFORE_MS} END`;

/**
 * Waiting batch jobs by the moment at which they join the interactive ones. Those of a rank below `rankMin` are left out:
 * they have joined, and wait ahead in their own lane.
 */
export class JoiningStore {
  readonly #db: SqlDatabase;
  readonly #jobs: Pick<JobStore, "readyRankAfter">;

  constructor(db: SqlDatabase, jobs: Pick<JobStore, "readyRankAfter">) {
    this.#db = db;
    this.#jobs = jobs;
  }

  /**
   * Batch jobs with a start deadline of their own that join the interactive ones, see joining.ts. Those with the default are
   * found by their rank.
   */
  joiningBy(now: number, rankMin: number, limit: number): QueuedJob[] {
    return this.#db
      .exec(
        `SELECT * ${OWN_DEADLINE_IN_BATCH} AND expires_at <= ? AND ${JOINS_AT} <= ? AND rank >= ?
         ORDER BY expires_at LIMIT ?`,
        now + BATCH_JOINS_BEFORE_MS,
        now,
        rankMin,
        limit,
      )
      .map(queuedOf);
  }

  /** When the next of those joins; null when none waits. */
  nextJoining(now: number, rankMin: number): number | null {
    const dues = [
      // Those that may not wait for long join at half of their time.
      dueOf(
        this.#db.exec(
          `SELECT min(${JOINS_AT}) AS due ${OWN_DEADLINE_IN_BATCH} AND expires_at <= ? AND rank >= ?`,
          now + SHORT_WAIT_MS,
          rankMin,
        ),
      ),
      dueOf(
        this.#db.exec(
          `SELECT expires_at - ${BATCH_JOINS_BEFORE_MS} AS due ${OWN_DEADLINE_IN_BATCH} AND expires_at > ?
         ORDER BY expires_at LIMIT 1`,
          now + SHORT_WAIT_MS,
        ),
      ),
    ].filter((due) => due !== null);
    return dues.length === 0 ? null : Math.min(...dues);
  }

  /** The same of those with the default deadline, as far as they are ready: who comes back from a backoff is found then. */
  usualJoiningBy(now: number, rankMin: number, limit: number): QueuedJob[] {
    const last = now - USUAL_WAIT_MS + BATCH_JOINS_BEFORE_MS;
    return this.#db
      .exec(
        `SELECT * ${USUAL_IN_BATCH} AND rank BETWEEN ? AND ? AND created_at <= ? ORDER BY rank, id LIMIT ?`,
        rankMin,
        last,
        last,
        limit,
      )
      .map(queuedOf);
  }

  /** When the next of those joins, or earlier, by its priority; null when none waits. */
  nextUsualJoining(now: number, rankMin: number): number | null {
    const last = now - USUAL_WAIT_MS + BATCH_JOINS_BEFORE_MS;
    const firsts = [
      dueOf(this.#db.exec(`SELECT min(created_at) AS due ${USUAL_IN_BATCH} AND rank BETWEEN ? AND ?`, rankMin, last)),
      this.#jobs.readyRankAfter("batch", last),
    ].filter((first) => first !== null);
    return firsts.length === 0 ? null : Math.min(...firsts) + USUAL_WAIT_MS - BATCH_JOINS_BEFORE_MS;
  }
}
