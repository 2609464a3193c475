import type { EndpointId, JobId } from "#contract/ids";
import type { JobWebhook } from "#contract/job";
import type { WebhookEvent } from "#contract/webhook";
import { numberOf } from "#durable-objects/endpoint/job-ids";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  storedOrNull,
  text,
  textOrNull,
} from "#durable-objects/sql/database";
import type { Interest, OutboxEvent } from "#durable-objects/webhooks/rpc";

export type NewOutboxRow = Omit<OutboxEvent, "endpointId">;

/** What this endpoint knows of those who listen, and how handing over goes. */
export interface StoredInterest {
  readonly version: number;
  /** Null until it is known. */
  readonly events: readonly string[] | null;
  readonly jobWebhooks: boolean;
  readonly tries: number;
  readonly dueAt: number | null;
}

/** Events on their way to the workspace's WebhooksObject. */
export class OutboxStore {
  readonly #db: SqlDatabase;
  #interest: StoredInterest | null = null;
  #isEmpty: boolean | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** Drops what is derived from tables, after a transaction was undone. */
  forget(): void {
    this.#interest = null;
    this.#isEmpty = null;
  }

  add(row: NewOutboxRow): void {
    this.#db.exec(
      "INSERT INTO outbox (message_id, type, job_id, at, data, url) VALUES (?, ?, ?, ?, ?, ?)",
      row.messageId,
      row.type,
      row.jobId,
      row.at,
      row.data,
      row.url,
    );
    this.#isEmpty = false;
  }

  /** The oldest events, and the number of the last of them. */
  first(endpointId: EndpointId, limit: number): { readonly events: OutboxEvent[]; readonly last: number } {
    const rows = this.#db.exec("SELECT * FROM outbox ORDER BY id LIMIT ?", limit);
    const events = rows.map((row) => ({
      messageId: text(row, "message_id"),
      type: text(row, "type") as WebhookEvent,
      endpointId,
      jobId: textOrNull(row, "job_id") as JobId | null,
      at: integer(row, "at"),
      data: text(row, "data"),
      url: textOrNull(row, "url"),
    }));
    const last = rows.at(-1);
    return { events, last: last === undefined ? 0 : integer(last, "id") };
  }

  /** Those up to this number have been taken. */
  taken(last: number): void {
    this.#db.exec("DELETE FROM outbox WHERE id <= ?", last);
    this.#isEmpty = null;
  }

  get isEmpty(): boolean {
    this.#isEmpty ??= this.#db.exec("SELECT 1 AS found FROM outbox LIMIT 1").length === 0;
    return this.#isEmpty;
  }

  get interest(): StoredInterest {
    if (this.#interest !== null) return this.#interest;
    const [row] = this.#db.exec("SELECT * FROM interest WHERE id = 1");
    if (row === undefined) throw new Error("the endpoint's tables are not there");
    this.#interest = {
      version: integer(row, "version"),
      events: storedOrNull<string[]>(row, "events"),
      jobWebhooks: integer(row, "job_webhooks") === 1,
      tries: integer(row, "tries"),
      dueAt: integerOrNull(row, "due_at"),
    };
    return this.#interest;
  }

  set interest(interest: StoredInterest) {
    this.#interest = interest;
    this.#db.exec(
      "UPDATE interest SET version = ?, events = ?, job_webhooks = ?, tries = ?, due_at = ? WHERE id = 1",
      interest.version,
      interest.events === null ? null : JSON.stringify(interest.events),
      interest.jobWebhooks ? 1 : 0,
      interest.tries,
      interest.dueAt,
    );
  }

  /** Takes over a newer interest; an older one is ignored. */
  learn({ version, events }: Interest): void {
    const known = this.interest;
    if (known.events !== null && known.version >= version) return;
    this.interest = { ...known, version, events };
  }

  /** The job's own webhook. */
  webhookOf(id: JobId): JobWebhook | null {
    const [row] = this.#db.exec("SELECT webhook FROM jobs WHERE number = ? AND id = ?", numberOf(id), id);
    return row === undefined ? null : storedOrNull<JobWebhook>(row, "webhook");
  }
}
