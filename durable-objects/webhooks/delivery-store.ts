import type { DeliveryId, JobId } from "#contract/ids";
import type { DeliveryState, WebhookEvent } from "#contract/webhook";
import { type DestinationHealth, HEALTHY } from "#durable-objects/outbox/breaker";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  stored,
  text,
  textOrNull,
} from "#durable-objects/sql/database";
import type { DeliveryPage, WebhookSource } from "#durable-objects/webhooks/rpc";

/** One try, as kept in the log. */
export interface TryRecord {
  /** Unix ms. */
  readonly at: number;
  readonly status: number | null;
  readonly ms: number;
  readonly error: string | null;
  readonly answer: string | null;
}

export interface DeliveryRecord {
  readonly id: DeliveryId;
  readonly source: WebhookSource;
  /** What shares its health: a webhook's id, or the origin of a single job's URL. */
  readonly destination: string;
  readonly message: number;
  readonly messageId: string;
  readonly event: WebhookEvent;
  readonly jobId: JobId | null;
  readonly url: string | null;
  readonly state: DeliveryState;
  readonly tried: number;
  readonly tries: readonly TryRecord[];
  readonly nextTryAt: number | null;
  readonly endedAt: number | null;
  readonly createdAt: number;
  readonly body: string;
}

export type NewDelivery = Omit<DeliveryRecord, "messageId" | "body" | "state" | "tried" | "tries" | "endedAt">;

/** The fields that change after a delivery was made. */
export type DeliveryChange = Pick<
  DeliveryRecord,
  "id" | "destination" | "state" | "tried" | "tries" | "nextTryAt" | "endedAt"
>;

const COLUMNS = `d.*, m.message_id AS message_id, m.body AS body
  FROM deliveries d JOIN messages m ON m.number = d.message`;

/** Rows of the log that are looked through for one page, so that a filter hardly anything fits holds nobody up. */
const SCAN_ROWS_MAX = 2_000;

/** Messages, their deliveries, and how their destinations do. */
export class DeliveryStore {
  /** Destinations of which something changed since somebody looked. */
  readonly touched = new Set<string>();
  /** Messages up to this one were looked at for what may be forgotten; 0: none of them. */
  #forgotUpTo = 0;
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  // --- messages and deliveries -------------------------------------------------------------------------------------

  isKnown(messageId: string): boolean {
    return this.#db.exec("SELECT 1 AS found FROM messages WHERE message_id = ?", messageId).length > 0;
  }

  /** @returns the message's number */
  addMessage(messageId: string, event: WebhookEvent, body: string, now: number): number {
    const [row] = this.#db.exec(
      "INSERT INTO messages (message_id, event, body, created_at) VALUES (?, ?, ?, ?) RETURNING number",
      messageId,
      event,
      body,
      now,
    );
    if (row === undefined) throw new Error("the message was not written");
    return integer(row, "number");
  }

  add(delivery: NewDelivery): void {
    this.touched.add(delivery.destination);
    this.#db.exec(
      `INSERT INTO deliveries
         (id, source, destination, message, event, job_id, url, state, tried, tries, next_try_at, ended_at, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', 0, '[]', ?, NULL, ?)`,
      delivery.id,
      delivery.source,
      delivery.destination,
      delivery.message,
      delivery.event,
      delivery.jobId,
      delivery.url,
      delivery.nextTryAt,
      delivery.createdAt,
    );
  }

  get(id: DeliveryId): DeliveryRecord | null {
    const [row] = this.#db.exec(`SELECT ${COLUMNS} WHERE d.id = ?`, id);
    return row === undefined ? null : deliveryOf(row);
  }

  change(delivery: DeliveryChange): void {
    this.touched.add(delivery.destination);
    this.#db.exec(
      "UPDATE deliveries SET state = ?, tried = ?, tries = ?, next_try_at = ?, ended_at = ? WHERE id = ?",
      delivery.state,
      delivery.tried,
      JSON.stringify(delivery.tries),
      delivery.nextTryAt,
      delivery.endedAt,
      delivery.id,
    );
  }

  putUrl(id: DeliveryId, url: string | null): void {
    this.#db.exec("UPDATE deliveries SET url = ? WHERE id = ?", url, id);
  }

  /**
   * A page of the log, newest first.
   * @param source null: of any, for the log of one job
   * @returns where to go on, null at the end; there may be fewer than `limit` before that
   */
  page(source: WebhookSource | null, page: DeliveryPage): { found: DeliveryRecord[]; next: DeliveryId | null } {
    const rows = this.#scan(source, page);
    const fitting = rows.filter(
      (row) =>
        (page.state === undefined || row.state === page.state) &&
        (page.event === undefined || row.event === page.event),
    );
    const found = fitting.slice(0, page.limit).flatMap((row) => this.get(text(row, "id") as DeliveryId) ?? []);
    const isFull = fitting.length > page.limit;
    const last = isFull ? fitting[page.limit - 1] : rows.length === SCAN_ROWS_MAX ? rows.at(-1) : undefined;
    return { found, next: last === undefined ? null : (text(last, "id") as DeliveryId) };
  }

  /** The rows a page is chosen from, without their bodies. */
  #scan(source: WebhookSource | null, { before, jobId }: DeliveryPage): SqlRow[] {
    const conditions = [
      ...(source === null ? [] : [{ sql: "source = ?", value: source }]),
      ...(jobId === undefined ? [] : [{ sql: "job_id = ?", value: jobId }]),
      ...(before === undefined ? [] : [{ sql: "id < ?", value: before }]),
    ];
    return this.#db.exec(
      `SELECT id, state, event FROM deliveries WHERE ${conditions.map(({ sql }) => sql).join(" AND ")}
       ORDER BY id DESC LIMIT ${SCAN_ROWS_MAX}`,
      ...conditions.map(({ value }) => value),
    );
  }

  // --- what is pending ---------------------------------------------------------------------------------------------

  /** Destinations with pending deliveries: one look into the index for each, however many are pending. */
  *pendingDestinations(): Generator<string, void> {
    let after = "";
    for (;;) {
      const [row] = this.#db.exec(
        `SELECT destination FROM deliveries WHERE state = 'pending' AND destination > ?
         ORDER BY destination LIMIT 1`,
        after,
      );
      if (row === undefined) return;
      after = text(row, "destination");
      yield after;
    }
  }

  /** The first pending deliveries of a destination, by when they are due. */
  firstPending(destination: string, limit: number): { readonly id: DeliveryId; readonly nextTryAt: number }[] {
    return this.#db
      .exec(
        `SELECT id, next_try_at FROM deliveries WHERE state = 'pending' AND destination = ?
         ORDER BY next_try_at, id LIMIT ?`,
        destination,
        limit,
      )
      .map((row) => ({ id: text(row, "id") as DeliveryId, nextTryAt: integer(row, "next_try_at") }));
  }

  /** The first delivery of a destination that is due, is none of these and goes to none of these URLs; null: none is. */
  firstDueBeside(
    destination: string,
    now: number,
    ids: readonly DeliveryId[],
    urls: readonly string[],
  ): { readonly id: DeliveryId; readonly url: string } | null {
    const marks = (values: readonly string[]) => values.map(() => "?").join(", ");
    const [row] = this.#db.exec(
      `SELECT id, url FROM deliveries WHERE state = 'pending' AND destination = ? AND next_try_at <= ?
         AND id NOT IN (${marks(ids)}) AND url NOT IN (${marks(urls)})
       ORDER BY next_try_at, id LIMIT 1`,
      destination,
      now,
      ...ids,
      ...urls,
    );
    return row === undefined ? null : { id: text(row, "id") as DeliveryId, url: text(row, "url") };
  }

  /** When a delivery of a destination that is not due yet will be, Unix ms; null: there is none. */
  nextDueAfter(destination: string, now: number): number | null {
    const [row] = this.#db.exec(
      `SELECT MIN(next_try_at) AS at FROM deliveries
       WHERE state = 'pending' AND destination = ? AND next_try_at > ?`,
      destination,
      now,
    );
    return row === undefined ? null : integerOrNull(row, "at");
  }

  /** Ends everything pending of a destination without a try. */
  endPending(destination: string, state: "failed" | "discarded", now: number): void {
    this.touched.add(destination);
    this.#db.exec(
      `UPDATE deliveries SET state = ?, next_try_at = NULL, ended_at = ?
       WHERE state = 'pending' AND destination = ?`,
      state,
      now,
      destination,
    );
  }

  /**
   * Makes everything pending that has failed, for good or so far, since a moment.
   * @returns how many, and their destinations
   */
  recover(source: WebhookSource, since: number, now: number): { count: number; destinations: string[] } {
    const failed = this.#db.exec(
      `UPDATE deliveries SET state = 'pending', tried = 0, next_try_at = ?, ended_at = NULL
       WHERE source = ? AND state = 'failed' AND ended_at >= ? RETURNING destination`,
      now,
      source,
      since,
    );
    // Also what is due and waits for its breaker alone; what is on its way is left alone.
    const waiting = this.#db.exec(
      `UPDATE deliveries SET tried = 0, next_try_at = ?
       WHERE source = ? AND state = 'pending' AND tried > 0 AND id NOT IN (SELECT delivery_id FROM trying)
       RETURNING destination`,
      now,
      source,
    );
    const rows = [...failed, ...waiting];
    const destinations = [...new Set(rows.map((row) => text(row, "destination")))];
    for (const destination of destinations) this.touched.add(destination);
    return { count: rows.length, destinations };
  }

  // --- tries that are on their way ---------------------------------------------------------------------------------

  beginTry(id: DeliveryId, now: number): void {
    this.#db.exec("INSERT INTO trying (delivery_id, started_at) VALUES (?, ?)", id, now);
  }

  endTry(id: DeliveryId): void {
    this.#db.exec("DELETE FROM trying WHERE delivery_id = ?", id);
  }

  trying(): { readonly id: DeliveryId; readonly startedAt: number; readonly destination: string }[] {
    return this.#db
      .exec("SELECT t.delivery_id, t.started_at, d.destination FROM trying t JOIN deliveries d ON d.id = t.delivery_id")
      .map((row) => ({
        id: text(row, "delivery_id") as DeliveryId,
        startedAt: integer(row, "started_at"),
        destination: text(row, "destination"),
      }));
  }

  // --- destinations ------------------------------------------------------------------------------------------------

  health(destination: string): DestinationHealth {
    const [row] = this.#db.exec("SELECT * FROM destinations WHERE destination = ?", destination);
    if (row === undefined) return HEALTHY;
    return {
      failures: integer(row, "failures"),
      failingSince: integerOrNull(row, "failing_since"),
      closedUntil: integer(row, "closed_until"),
    };
  }

  putHealth(destination: string, health: DestinationHealth): void {
    this.touched.add(destination);
    if (health === HEALTHY) this.#db.exec("DELETE FROM destinations WHERE destination = ?", destination);
    else
      this.#db.exec(
        "INSERT OR REPLACE INTO destinations (destination, failures, failing_since, closed_until) VALUES (?, ?, ?, ?)",
        destination,
        health.failures,
        health.failingSince,
        health.closedUntil,
      );
  }

  // --- jobs whose own URL is gone ------------------------------------------------------------------------------------

  /** The receiver wants no more messages of this job: what is pending there has failed, and what comes is not made. */
  endJob(jobId: JobId, url: string, destination: string, now: number): void {
    this.touched.add(destination);
    this.#db.exec("INSERT OR REPLACE INTO unwanted_jobs (job_id, url, since) VALUES (?, ?, ?)", jobId, url, now);
    this.#db.exec(
      `UPDATE deliveries SET state = 'failed', next_try_at = NULL, ended_at = ?
       WHERE state = 'pending' AND job_id = ? AND source = 'default' AND url = ?`,
      now,
      jobId,
      url,
    );
  }

  isUnwanted(jobId: JobId | null, url: string): boolean {
    if (jobId === null) return false;
    const rows = this.#db.exec("SELECT 1 AS found FROM unwanted_jobs WHERE job_id = ? AND url = ?", jobId, url);
    return rows.length > 0;
  }

  /** A message of the job, sent again by hand, was taken after all. */
  wantJob(jobId: JobId, url: string): void {
    this.#db.exec("DELETE FROM unwanted_jobs WHERE job_id = ? AND url = ?", jobId, url);
  }

  forgetUnwanted(before: number): void {
    this.#db.exec("DELETE FROM unwanted_jobs WHERE since <= ?", before);
  }

  // --- retention ---------------------------------------------------------------------------------------------------

  oldestMessageAt(): number | null {
    const [row] = this.#db.exec("SELECT created_at FROM messages ORDER BY number LIMIT 1");
    return row === undefined ? null : integer(row, "created_at");
  }

  /** Forgets destinations that have failed since a moment or earlier and have nothing pending. */
  forgetHealth(before: number): void {
    this.#db.exec(
      `DELETE FROM destinations WHERE failing_since <= ? AND NOT EXISTS
         (SELECT 1 FROM deliveries d WHERE d.state = 'pending' AND d.destination = destinations.destination)`,
      before,
    );
  }

  /**
   * Forgets messages from a moment or earlier with their deliveries, oldest first; those of which a delivery is pending stay.
   * @param limit messages that are looked at; the next call goes on behind them
   * @returns whether there may be more
   */
  forget(before: number, limit: number): boolean {
    const old = this.#db
      .exec("SELECT number, created_at FROM messages WHERE number > ? ORDER BY number LIMIT ?", this.#forgotUpTo, limit)
      .filter((row) => integer(row, "created_at") <= before)
      .map((row) => integer(row, "number"));
    for (const message of old) this.#forgetMessage(message);
    const mayBeMore = old.length === limit;
    this.#forgotUpTo = mayBeMore ? (old.at(-1) ?? 0) : 0;
    return mayBeMore;
  }

  #forgetMessage(message: number): void {
    const rows = this.#db.exec(
      "SELECT id, destination, state FROM deliveries INDEXED BY deliveries_by_message WHERE message = ?",
      message,
    );
    if (rows.some((row) => row.state === "pending")) return;
    for (const row of rows) {
      this.touched.add(text(row, "destination"));
      this.#db.exec("DELETE FROM deliveries WHERE id = ?", text(row, "id"));
    }
    this.#db.exec("DELETE FROM messages WHERE number = ?", message);
  }
}

function deliveryOf(row: SqlRow): DeliveryRecord {
  return {
    id: text(row, "id") as DeliveryId,
    source: text(row, "source") as WebhookSource,
    destination: text(row, "destination"),
    message: integer(row, "message"),
    messageId: text(row, "message_id"),
    event: text(row, "event") as WebhookEvent,
    jobId: textOrNull(row, "job_id") as JobId | null,
    url: textOrNull(row, "url"),
    state: text(row, "state") as DeliveryState,
    tried: integer(row, "tried"),
    tries: stored<TryRecord[]>(row, "tries"),
    nextTryAt: integerOrNull(row, "next_try_at"),
    endedAt: integerOrNull(row, "ended_at"),
    createdAt: integer(row, "created_at"),
    body: text(row, "body"),
  };
}
