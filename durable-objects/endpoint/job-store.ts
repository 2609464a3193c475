import type { BatchId, JobId, ReplicaId } from "#contract/ids";
import type { JobProgress, Lane } from "#contract/job";
import { numberOf } from "#durable-objects/endpoint/job-ids";
import {
  CHANGING_COLUMNS,
  changingOf,
  FIXED_COLUMNS,
  fixedOf,
  isInline,
  type JobPayload,
  laneNumber,
  leasesText,
  type PayloadText,
  payloadOf,
  payloadText,
  queuedOf,
  recordOf,
  runningOf,
} from "#durable-objects/endpoint/job-rows";
import type { JobRecord, QueuedJob, RunningJob } from "#durable-objects/queue/job-record";
import { ColumnWriter } from "#durable-objects/sql/column-writer";
import {
  dueOf,
  integer,
  integerOrNull,
  type SqlRow,
  type SqlValue,
  stored,
  storedOrNull,
  text,
  textOrNull,
} from "#durable-objects/sql/database";
import type { LateWrites } from "#durable-objects/sql/late-writes";

/** A ready job, and its payload when it is asked for. */
export interface ReadyJob {
  readonly job: QueuedJob;
  readonly payload: () => JobPayload;
}

/** A job with its payload: what one look at its row gives. */
export interface StoredJob {
  readonly job: JobRecord;
  readonly payload: JobPayload;
}

/** A place within a lane. */
export interface Place {
  readonly rank: number;
  readonly id: JobId;
}

/** What decides whether a waiting job has expired. */
export interface Deadline {
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly startedAt: number | null;
}

/**
 * How long most jobs may wait for their start. The number is also written in the index jobs_expiring, which leaves those
 * jobs out; it need not follow the contract's default, but while it does, a job's insert writes one row less.
 */
export const USUAL_WAIT_MS = 86_400_000;

const COLUMNS = [...FIXED_COLUMNS, ...CHANGING_COLUMNS];
/** What a row has in columns that its insert does not name. */
const NOTHING: readonly SqlValue[] = COLUMNS.map(() => null);

const inserts = new ColumnWriter(
  COLUMNS,
  (columns) => `INSERT INTO jobs (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`,
);
const updates = new ColumnWriter(
  CHANGING_COLUMNS,
  (columns) => `UPDATE jobs SET ${columns.map((column) => `${column} = ?`).join(", ")} WHERE number = ?`,
);

/** Jobs read at once from the beginning of a lane, once several have been read one after the other: first one, then two … */
const READ_AHEAD_MAX = 16;
/** The statement that reads so many jobs, which are powers of two. */
const readAhead = new Map(
  [1, 2, 4, 8, READ_AHEAD_MAX].map((jobs) => [
    jobs,
    `SELECT * FROM jobs WHERE number IN (${Array.from({ length: jobs }, () => "?").join(", ")})`,
  ]),
);

/** A living job as its row has it, so that the row need not be read. */
interface KeptJob {
  readonly job: QueuedJob | RunningJob;
  /** null when it is not at hand, or large. */
  readonly payload: JobPayload | null;
  /** What its row has in `CHANGING_COLUMNS`; null when that is not at hand. */
  readonly values: readonly SqlValue[] | null;
}

/** So many living jobs are kept in memory, those last written: about 10 MB at most. */
const KEPT_MAX = 1_000;

/** Jobs, their payloads and tags. One method, one statement, as far as that goes. */
export class JobStore {
  readonly #db: LateWrites;
  /** A job that was inserted in this turn and is not in its table yet. */
  #unwritten: { readonly id: JobId; values: readonly SqlValue[] } | null = null;
  /** How many jobs are read when the next one is not at hand. */
  #readAhead = 1;
  /** Each is what its row says: whatever writes a row writes here too. */
  readonly #kept = new Map<JobId, KeptJob>();

  constructor(db: LateWrites) {
    this.#db = db;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#kept.clear();
    this.#unwritten = null;
  }

  #keep(job: JobRecord, payload: JobPayload | null, values: readonly SqlValue[] | null): void {
    this.#kept.delete(job.id);
    if (job.state !== "queued" && job.state !== "running") return;
    this.#kept.set(job.id, { job, payload, values });
    if (this.#kept.size <= KEPT_MAX) return;
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined) this.#kept.delete(oldest);
  }

  insert(job: QueuedJob, payload: JobPayload): void {
    const large = payloadText(payload);
    const inline = isInline(large) ? large : null;
    const unwritten = { id: job.id, values: changingOf(job) };
    this.#unwritten = unwritten;
    this.#db.later(() => {
      this.#unwritten = null;
      this.#insert([...fixedOf(job, payload, inline), ...unwritten.values], numberOf(job.id), large, payload.tags);
    });
    this.#keep(job, inline === null ? null : payload, unwritten.values);
  }

  #insert(values: readonly SqlValue[], job: number, large: PayloadText, names: readonly string[]): void {
    const insert = inserts.write(values, NOTHING);
    if (insert !== null) this.#db.exec(insert.text, ...insert.given);
    if (!isInline(large)) {
      const { inputs, files, tags } = large;
      this.#db.exec("INSERT INTO payloads (job, inputs, files, tags) VALUES (?, ?, ?, ?)", job, inputs, files, tags);
    }
    for (const tag of new Set(names)) this.#db.exec("INSERT INTO job_tags (tag, job) VALUES (?, ?)", tag, job);
  }

  /**
   * Writes every column that is not what the job's state says, so that nothing of an earlier state can stay behind. Those
   * that are known to be so already are left out: each costs its share, and so does each index that one of them is in.
   */
  put(job: JobRecord): void {
    const kept = this.#kept.get(job.id);
    const known = kept?.values ?? null;
    const values = changingOf(job);
    if (this.#unwritten?.id === job.id) this.#unwritten.values = values;
    else {
      const update = updates.write(values, known);
      if (update !== null) this.#db.exec(update.text, ...update.given, numberOf(job.id));
    }
    this.#keep(job, kept?.payload ?? null, values);
  }

  get(id: JobId): JobRecord | null {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept.job;
    const [row] = this.#db.exec("SELECT * FROM jobs WHERE number = ? AND id = ?", numberOf(id), id);
    return row === undefined ? null : recordOf(row);
  }

  /** The job with its payload. */
  find(id: JobId): StoredJob | null {
    const kept = this.#kept.get(id);
    if (kept !== undefined && kept.payload !== null) return { job: kept.job, payload: kept.payload };
    const [row] = this.#db.exec("SELECT * FROM jobs WHERE number = ? AND id = ?", numberOf(id), id);
    return row === undefined ? null : this.#whole(row);
  }

  payload(id: JobId): JobPayload | null {
    const kept = this.#kept.get(id);
    if (kept !== undefined && kept.payload !== null) return kept.payload;
    const [row] = this.#db.exec(
      "SELECT number, key_id, webhook, inputs, files, tags FROM jobs WHERE number = ? AND id = ?",
      numberOf(id),
      id,
    );
    return row === undefined ? null : this.#payloadOf(row);
  }

  #whole(row: SqlRow): StoredJob {
    return { job: recordOf(row), payload: this.#payloadOf(row) };
  }

  /** @throws Error when a large payload is missing: it is written and deleted with its job */
  #payloadOf(row: SqlRow): JobPayload {
    if (row.inputs !== null) return payloadOf(row, row);
    const number = integer(row, "number");
    const [spilled] = this.#db.exec("SELECT inputs, files, tags FROM payloads WHERE job = ?", number);
    if (spilled === undefined) throw new Error(`no payload for job ${number}`);
    return payloadOf(row, spilled);
  }

  progress(id: JobId): JobProgress | null {
    // Only a message under a lease writes it, and its row is not kept as values.
    if ((this.#kept.get(id)?.values ?? null) !== null) return null;
    const [row] = this.#db.exec("SELECT progress FROM jobs WHERE number = ? AND id = ?", numberOf(id), id);
    return row === undefined ? null : storedOrNull<JobProgress>(row, "progress");
  }

  /** A running job and its progress in one write. */
  putRunning(job: RunningJob, progress: JobProgress | null): void {
    this.#db.exec(
      `UPDATE jobs SET started_at = ?, leases = ?, lease_until = ?, confirmed = ?, phase = ?, deadline_at = ?, executing_at = ?,
         events = ?, progress = ? WHERE number = ?`,
      job.startedAt,
      leasesText(job.leases),
      job.lease.until,
      job.lease.confirmed ? 1 : 0,
      job.phase,
      job.deadlineAt,
      job.executingAt,
      JSON.stringify(job.events),
      progress === null ? null : JSON.stringify(progress),
      numberOf(job.id),
    );
    this.#keep(job, this.#kept.get(job.id)?.payload ?? null, null);
  }

  /**
   * A job that is ready. When it has to be read, those that will be asked for next are read with it.
   * @param following which they are, so many at most
   * @throws Error when there is no such job
   */
  ready(id: JobId, following: (limit: number) => readonly JobId[]): ReadyJob {
    const known = this.#readyKept(id);
    if (known !== null) return known;
    const ahead = following(this.#readAhead - 1).filter((next) => !this.#kept.has(next));
    const numbers = Array.from({ length: this.#readAhead }, (_, at) => numberOf(at === 0 ? id : (ahead[at - 1] ?? id)));
    let found: SqlRow | null = null;
    for (const row of this.#db.exec(readAhead.get(this.#readAhead) ?? "", ...numbers)) {
      if (row.id === id) found = row;
      const payload = row.inputs === null ? null : this.#payloadOf(row);
      this.#keep(
        queuedOf(row),
        payload,
        CHANGING_COLUMNS.map((column) => row[column] ?? null),
      );
    }
    if (found === null) throw new Error(`no row for ${id}`);
    this.#readAhead = Math.min(READ_AHEAD_MAX, this.#readAhead * 2);
    const row = found;
    return this.#readyKept(id) ?? { job: queuedOf(row), payload: () => this.#payloadOf(row) };
  }

  #readyKept(id: JobId): ReadyJob | null {
    const kept = this.#kept.get(id);
    if (kept === undefined || kept.job.state !== "queued" || kept.payload === null) return null;
    const { job, payload } = kept;
    return { job, payload: () => payload };
  }

  runningOf(replicaId: ReplicaId): RunningJob[] {
    return this.#db
      .exec(
        "SELECT * FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND replica_id = ? ORDER BY granted_at",
        replicaId,
      )
      .map(runningOf);
  }

  /** All of them: bounded by the replicas' leases. */
  running(): RunningJob[] {
    return this.#db
      .exec("SELECT * FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND replica_id > ''")
      .map(runningOf);
  }

  delayedUntil(now: number, limit: number): QueuedJob[] {
    return this.#db
      .exec(
        "SELECT * FROM jobs WHERE available_at IS NOT NULL AND available_at <= ? ORDER BY available_at LIMIT ?",
        now,
        limit,
      )
      .map(queuedOf);
  }

  /** Overdue jobs with a start deadline of their own. Those with the default are found by their rank, see expiry.ts. */
  expiredBy(now: number, limit: number): QueuedJob[] {
    return this.#db
      .exec(
        `SELECT * FROM jobs INDEXED BY jobs_expiring
         WHERE state = 'queued' AND started_at IS NULL AND expires_at <> created_at + ${USUAL_WAIT_MS} AND expires_at <= ?
         ORDER BY expires_at LIMIT ?`,
        now,
        limit,
      )
      .map(queuedOf);
  }

  /** Ready jobs of a lane after a place in it and up to a rank, in order, as far as expiry needs them. */
  readyUpTo(lane: Lane, after: Place | null, rankMax: number, limit: number): (Place & Deadline)[] {
    return this.#db
      .exec(
        `SELECT rank, id, created_at, expires_at, started_at FROM jobs INDEXED BY jobs_ready
         WHERE state = 'queued' AND available_at IS NULL AND lane = ? AND (rank, id) > (?, ?) AND rank <= ?
         ORDER BY rank, id LIMIT ?`,
        laneNumber(lane),
        after?.rank ?? Number.MIN_SAFE_INTEGER,
        after?.id ?? "",
        rankMax,
        limit,
      )
      .map((row) => ({ rank: integer(row, "rank"), id: text(row, "id") as JobId, ...deadlineOf(row) }));
  }

  /** The rank of the first ready job of a lane after that rank. */
  readyRankAfter(lane: Lane, rank: number): number | null {
    const [row] = this.#db.exec(
      `SELECT rank FROM jobs INDEXED BY jobs_ready
       WHERE state = 'queued' AND available_at IS NULL AND lane = ? AND rank > ? ORDER BY rank LIMIT 1`,
      laneNumber(lane),
      rank,
    );
    return row === undefined ? null : integer(row, "rank");
  }

  /** Jobs in their backoff, as far as expiry needs them. */
  delayedDeadlines(): ({ readonly id: JobId } & Deadline)[] {
    return this.#db
      .exec("SELECT id, created_at, expires_at, started_at FROM jobs WHERE available_at IS NOT NULL")
      .map((row) => ({ id: text(row, "id") as JobId, ...deadlineOf(row) }));
  }

  /** Waiting jobs that joined their lane later than they were made, as far as expiry needs them. */
  joinedDeadlines(): ({ readonly id: JobId } & Deadline)[] {
    return this.#db
      .exec(
        `SELECT id, created_at, expires_at, started_at FROM jobs INDEXED BY jobs_joined
         WHERE state = 'queued' AND started_at IS NULL AND rank > created_at`,
      )
      .map((row) => ({ id: text(row, "id") as JobId, ...deadlineOf(row) }));
  }

  /** Any living jobs, running ones first. */
  living(limit: number): (QueuedJob | RunningJob)[] {
    const rows = [
      ...this.#db.exec(
        "SELECT * FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND replica_id > '' LIMIT ?",
        limit,
      ),
      ...this.#db.exec(
        "SELECT * FROM jobs INDEXED BY jobs_ready WHERE state = 'queued' AND available_at IS NULL AND lane >= 0 LIMIT ?",
        limit,
      ),
      ...this.#db.exec("SELECT * FROM jobs WHERE available_at IS NOT NULL LIMIT ?", limit),
    ];
    return rows.slice(0, limit).map((row) => (row.state === "running" ? runningOf(row) : queuedOf(row)));
  }

  /** The earliest moment at which a waiting job's backoff ends. */
  nextQueuedDue(): number | null {
    return dueOf(this.#db.exec("SELECT min(available_at) AS due FROM jobs WHERE available_at IS NOT NULL"));
  }

  /** The earliest start deadline of those that `expiredBy` can find. */
  firstExpiry(): number | null {
    return dueOf(
      this.#db.exec(`SELECT min(expires_at) AS due FROM jobs INDEXED BY jobs_expiring
       WHERE state = 'queued' AND started_at IS NULL AND expires_at <> created_at + ${USUAL_WAIT_MS}`),
    );
  }

  /** Forgets a job and all that hangs on it. @returns what must be known of it then; null when there was none */
  delete(id: JobId): { readonly batchId: BatchId | null; readonly dead: boolean } | null {
    const job = numberOf(id);
    const [row] = this.#db.exec("DELETE FROM jobs WHERE number = ? AND id = ? RETURNING tags, batch_id, dead", job, id);
    this.#kept.delete(id);
    if (row === undefined) return null;
    let tags = storedOrNull<string[]>(row, "tags");
    if (tags === null) {
      const [spilled] = this.#db.exec("DELETE FROM payloads WHERE job = ? RETURNING tags", job);
      tags = spilled === undefined ? [] : stored<string[]>(spilled, "tags");
    }
    for (const tag of new Set(tags)) this.#db.exec("DELETE FROM job_tags WHERE tag = ? AND job = ?", tag, job);
    return { batchId: textOrNull(row, "batch_id") as BatchId | null, dead: integer(row, "dead") === 1 };
  }

  /** The last one that came, of those that are remembered. */
  newest(): JobId | null {
    const [row] = this.#db.exec("SELECT id FROM jobs ORDER BY number DESC LIMIT 1");
    return row === undefined ? null : (text(row, "id") as JobId);
  }

  isEmpty(): boolean {
    return this.#db.exec("SELECT 1 AS found FROM jobs LIMIT 1").length === 0;
  }
}

function deadlineOf(row: SqlRow): Deadline {
  return {
    createdAt: integer(row, "created_at"),
    expiresAt: integer(row, "expires_at"),
    startedAt: integerOrNull(row, "started_at"),
  };
}
