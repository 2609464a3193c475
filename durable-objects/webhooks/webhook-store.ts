import type { EndpointId, WebhookId, WorkspaceId } from "#contract/ids";
import type { WebhookEvent } from "#contract/webhook";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  stored,
  text,
  textOrNull,
} from "#durable-objects/sql/database";
import type { WebhookSource } from "#durable-objects/webhooks/rpc";

/** A subscription as stored. */
export interface WebhookRecord {
  readonly id: WebhookId;
  readonly kind: "http" | "listen";
  /** Null for `listen`. */
  readonly url: string | null;
  readonly events: readonly WebhookEvent[];
  readonly endpointId: EndpointId | null;
  readonly description: string | null;
  readonly disabled: { readonly reason: string; readonly at: number } | null;
  /** When its listening command last asked; null for `http`. */
  readonly askedAt: number | null;
  readonly createdAt: number;
}

/** A secret, sealed; which of its source's secrets it is, from 1. */
export interface SecretRecord {
  readonly number: number;
  readonly sealed: string;
  readonly hint: string;
  readonly createdAt: number;
  readonly expiresAt: number | null;
}

/** The workspace, its subscriptions, their secrets, and the endpoints that hear what is subscribed to. */
export class WebhookStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  workspace(): { readonly workspaceId: WorkspaceId; readonly interestVersion: number } | null {
    const [row] = this.#db.exec("SELECT * FROM workspace WHERE id = 1");
    if (row === undefined) return null;
    return { workspaceId: text(row, "workspace_id") as WorkspaceId, interestVersion: integer(row, "interest_version") };
  }

  putWorkspace(workspaceId: WorkspaceId): void {
    this.#db.exec("INSERT INTO workspace (id, workspace_id, interest_version) VALUES (1, ?, 1)", workspaceId);
  }

  /** The interest has changed: every endpoint is to be told. */
  interestChanged(now: number): void {
    this.#db.exec("UPDATE workspace SET interest_version = interest_version + 1 WHERE id = 1");
    this.#db.exec("UPDATE endpoints SET tell_at = ?, tries = 0", now);
  }

  // --- subscriptions -----------------------------------------------------------------------------------------------

  all(): WebhookRecord[] {
    return this.#db.exec("SELECT * FROM webhooks ORDER BY id").map(webhookOf);
  }

  get(id: string): WebhookRecord | null {
    const [row] = this.#db.exec("SELECT * FROM webhooks WHERE id = ?", id);
    return row === undefined ? null : webhookOf(row);
  }

  put(webhook: WebhookRecord): void {
    this.#db.exec(
      `INSERT OR REPLACE INTO webhooks
         (id, kind, url, events, endpoint_id, description, disabled_reason, disabled_at, asked_at, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      webhook.id,
      webhook.kind,
      webhook.url,
      JSON.stringify(webhook.events),
      webhook.endpointId,
      webhook.description,
      webhook.disabled?.reason ?? null,
      webhook.disabled?.at ?? null,
      webhook.askedAt,
      webhook.createdAt,
    );
  }

  delete(id: WebhookId): void {
    this.#db.exec("DELETE FROM webhooks WHERE id = ?", id);
    this.#db.exec("DELETE FROM secrets WHERE source = ?", id);
  }

  // --- secrets -----------------------------------------------------------------------------------------------------

  /** Those that sign now, the newest first. */
  secrets(source: WebhookSource, now: number): SecretRecord[] {
    return this.#db
      .exec(
        "SELECT * FROM secrets WHERE source = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY number DESC",
        source,
        now,
      )
      .map((row) => ({
        number: integer(row, "number"),
        sealed: text(row, "sealed"),
        hint: text(row, "hint"),
        createdAt: integer(row, "created_at"),
        expiresAt: integerOrNull(row, "expires_at"),
      }));
  }

  addSecret(source: WebhookSource, secret: SecretRecord): void {
    this.#db.exec(
      "INSERT INTO secrets (source, number, sealed, hint, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
      source,
      secret.number,
      secret.sealed,
      secret.hint,
      secret.createdAt,
      secret.expiresAt,
    );
  }

  expireSecret(source: WebhookSource, number: number, at: number): void {
    this.#db.exec("UPDATE secrets SET expires_at = ? WHERE source = ? AND number = ?", at, source, number);
  }

  deleteSecretsBelow(source: WebhookSource, number: number): void {
    this.#db.exec("DELETE FROM secrets WHERE source = ? AND number < ?", source, number);
  }

  /** When the first rotated secret is over. */
  nextSecretEnd(): number | null {
    const [row] = this.#db.exec("SELECT MIN(expires_at) AS at FROM secrets");
    return row === undefined ? null : integerOrNull(row, "at");
  }

  /** Forgets those that no longer sign. */
  forgetSecrets(now: number): void {
    this.#db.exec("DELETE FROM secrets WHERE expires_at <= ?", now);
  }

  // --- endpoints ---------------------------------------------------------------------------------------------------

  addEndpoint(id: EndpointId): void {
    this.#db.exec("INSERT OR IGNORE INTO endpoints (endpoint_id, tries, tell_at) VALUES (?, 0, NULL)", id);
  }

  deleteEndpoint(id: EndpointId): void {
    this.#db.exec("DELETE FROM endpoints WHERE endpoint_id = ?", id);
  }

  endpointsToTell(now: number, limit: number): { readonly endpointId: EndpointId; readonly tries: number }[] {
    return this.#db
      .exec("SELECT endpoint_id, tries FROM endpoints WHERE tell_at <= ? ORDER BY tell_at LIMIT ?", now, limit)
      .map((row) => ({ endpointId: text(row, "endpoint_id") as EndpointId, tries: integer(row, "tries") }));
  }

  /** One of these, whatever the number of the others; null when it is not to be told now. */
  endpointToTell(id: EndpointId, now: number): { readonly tries: number } | null {
    const [row] = this.#db.exec("SELECT tries FROM endpoints WHERE endpoint_id = ? AND tell_at <= ?", id, now);
    return row === undefined ? null : { tries: integer(row, "tries") };
  }

  nextTellAt(): number | null {
    const [row] = this.#db.exec("SELECT MIN(tell_at) AS at FROM endpoints WHERE tell_at IS NOT NULL");
    return row === undefined ? null : integerOrNull(row, "at");
  }

  endpointHeard(id: EndpointId): void {
    this.#db.exec("UPDATE endpoints SET tell_at = NULL, tries = 0 WHERE endpoint_id = ?", id);
  }

  tellAgain(id: EndpointId, tries: number, at: number): void {
    this.#db.exec("UPDATE endpoints SET tell_at = ?, tries = ? WHERE endpoint_id = ?", at, tries, id);
  }
}

function webhookOf(row: SqlRow): WebhookRecord {
  const disabledAt = integerOrNull(row, "disabled_at");
  return {
    id: text(row, "id") as WebhookId,
    kind: text(row, "kind") === "listen" ? "listen" : "http",
    url: textOrNull(row, "url"),
    events: stored<WebhookEvent[]>(row, "events"),
    endpointId: textOrNull(row, "endpoint_id") as EndpointId | null,
    description: textOrNull(row, "description"),
    disabled: disabledAt === null ? null : { reason: text(row, "disabled_reason"), at: disabledAt },
    askedAt: integerOrNull(row, "asked_at"),
    createdAt: integer(row, "created_at"),
  };
}
