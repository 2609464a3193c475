import { DeliveryId, makeId, ownerKey, type WebhookId, type WorkspaceId } from "#contract/ids";
import { DELIVERY_RETENTION_DAYS, LISTEN_LOST_MS, WEBHOOK_TIMEOUT_MS } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import { StoredBytes } from "#durable-objects/sql/stored-bytes";
import { DeliveryStore } from "#durable-objects/webhooks/delivery-store";
import type { WebhookSource } from "#durable-objects/webhooks/rpc";
import { SendOrder } from "#durable-objects/webhooks/send-order";
import { type WebhookRecord, WebhookStore } from "#durable-objects/webhooks/webhook-store";
import { webhooksMigrations } from "#migrations/webhooks/all";

/** What the outside must do once a change is committed. */
export type WebhooksEffect =
  | { readonly type: "arm"; readonly at: number }
  /** One try of a delivery; `tried` must be called with what came of it. */
  | { readonly type: "send"; readonly sending: Sending }
  /** Endpoints are to be told of the interest. */
  | { readonly type: "tell" }
  /** A `listen` webhook has messages to fetch. */
  | { readonly type: "listened"; readonly webhookId: WebhookId };

/** One try that has been noted and now goes out. */
export interface Sending {
  readonly deliveryId: DeliveryId;
  readonly source: WebhookSource;
  /** Unix ms; it names the try. */
  readonly startedAt: number;
  readonly messageId: string;
  readonly url: string;
  readonly body: string;
  /** Which courier makes the try, from 1; null: the workspace's own object. */
  readonly courier: number | null;
}

/** A delivery with this due time goes before all others of its destination. */
export const AT_ONCE = 0;
/** A try whose outcome has not come by then died with whoever made it. */
export const TRY_LOST_MS = WEBHOOK_TIMEOUT_MS + 5_000;
/** Messages and their deliveries are kept for so long. */
export const RETENTION_MS = DELIVERY_RETENTION_DAYS * 86_400_000;
/** And for so long where storage is short: an event that is handed over again is long known by then. */
const SHORT_RETENTION_MS = 86_400_000;
/** What may not go yet, because it is still to be delivered, is looked at again after this. */
const FORGET_PACE_MS = 60_000;
/** The alarm rings at multiples of this, so that a thousand retries a moment apart are a few turns and not a thousand. */
const ALARM_STEP_MS = 250;

/**
 * What a workspace's webhooks remember, and how it changes: in turns. A turn is one transaction; at its end everything
 * that may go out goes out, and the alarm stands at the earliest due time.
 */
export class WebhooksState {
  readonly world: World;
  readonly publicUrl: string;
  readonly webhooks: WebhookStore;
  readonly deliveries: DeliveryStore;
  readonly order: SendOrder;
  readonly storedBytes: StoredBytes;
  /** When the log was last looked through for what may go; null: not since this object woke, or there may be more. */
  forgotAt: number | null = null;
  readonly #db: SqlDatabase;
  #workspaceId: WorkspaceId | null = null;
  #effects: WebhooksEffect[] = [];
  #armedAt: number | null;

  /**
   * @param publicUrl goes before the paths of output links; "" when the API's address is not known
   * @param armedAt the alarm that is set already, Unix ms
   */
  constructor(db: SqlDatabase, world: World, publicUrl: string, armedAt: number | null) {
    this.#db = db;
    this.world = world;
    this.publicUrl = publicUrl;
    this.#armedAt = armedAt;
    this.storedBytes = new StoredBytes(db);
    this.webhooks = new WebhookStore(db);
    this.deliveries = new DeliveryStore(db);
    this.order = new SendOrder(this.deliveries);
    if (!hasSchema(db)) return;
    migrate(db, webhooksMigrations, world.now());
    this.#workspaceId = this.webhooks.workspace()?.workspaceId ?? null;
  }

  // --- the workspace -----------------------------------------------------------------------------------------------

  /** Null until something is first written. */
  get workspaceId(): WorkspaceId | null {
    return this.#workspaceId;
  }

  /** Makes the tables when they are first needed. */
  open(workspaceId: WorkspaceId): Refusal | null {
    if (this.#workspaceId === null) {
      migrate(this.#db, webhooksMigrations, this.world.now());
      this.#db.transaction(() => this.webhooks.putWorkspace(workspaceId));
      this.#workspaceId = workspaceId;
    }
    return this.#workspaceId === workspaceId ? null : noWebhook();
  }

  /** The workspace's webhook; null when it is another's, or there is none. */
  own(workspaceId: WorkspaceId, id: WebhookId): WebhookRecord | null {
    return this.#workspaceId === workspaceId ? this.webhooks.get(id) : null;
  }

  isSource(workspaceId: WorkspaceId, source: WebhookSource): boolean {
    if (source !== "default") return this.own(workspaceId, source) !== null;
    return this.#workspaceId === null || this.#workspaceId === workspaceId;
  }

  /** A fresh one. */
  deliveryId(now: number): DeliveryId {
    if (this.#workspaceId === null) throw new Error("the workspace is not known");
    return makeId(DeliveryId, "dlv", now, this.world.randomBytes, ownerKey(this.#workspaceId));
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** Runs one turn. @param work decides and writes; a throw undoes all of it */
  turn<T>(work: (now: number) => T): T {
    const now = this.world.now();
    const earlier = this.#effects;
    this.#effects = [];
    let due: number | null;
    let result: T;
    try {
      ({ result, due } = this.#db.transaction(() => {
        const value = work(now);
        this.#pump(now);
        return { result: value, due: this.#dueNext(now) };
      }));
    } catch (error) {
      this.#effects = earlier;
      this.order.forget();
      throw error;
    }
    this.#effects = [...earlier, ...this.#effects];
    if ((this.webhooks.nextTellAt() ?? Number.POSITIVE_INFINITY) <= now) this.#effects.push({ type: "tell" });
    this.#arm(due, now);
    return result;
  }

  /** How long messages are kept now, ms. */
  retentionMs(now: number): number {
    return this.storedBytes.fill(now) === "ample" ? RETENTION_MS : SHORT_RETENTION_MS;
  }

  /** What must happen outside, now that the changes are committed; empties the list. */
  takeEffects(): WebhooksEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** The alarm rang: none is set now. */
  alarmRang(): void {
    this.#armedAt = null;
  }

  /** A source may have messages that a listening command waits for. */
  announceListened(source: WebhookSource): void {
    if (source !== "default") this.#effects.push({ type: "listened", webhookId: source });
  }

  /** Begins the tries that may be made now. Each is noted before it is made, so that a crash loses none. */
  #pump(now: number): void {
    for (const chosen of this.order.next(now)) {
      const { id } = chosen;
      const delivery = this.deliveries.get(id);
      if (delivery === null) continue;
      const url = delivery.source === "default" ? delivery.url : (this.webhooks.get(delivery.source)?.url ?? null);
      if (url === null) throw new Error("a delivery that is sent has a URL");
      if (url !== delivery.url) this.deliveries.putUrl(id, url);
      this.deliveries.beginTry(id, now);
      const { courier } = this.order.begin(chosen, url, now);
      const { source, messageId, body } = delivery;
      const sending = { deliveryId: id, source, startedAt: now, messageId, url, body, courier };
      this.#effects.push({ type: "send", sending });
    }
  }

  #dueNext(now: number): number | null {
    const dues: (number | null)[] = [this.order.nextAt(now), this.webhooks.nextTellAt()];
    dues.push(this.webhooks.nextSecretEnd());
    const oldestStart = this.order.oldestStart();
    if (oldestStart !== null) dues.push(oldestStart + TRY_LOST_MS);
    for (const { askedAt } of this.webhooks.all()) if (askedAt !== null) dues.push(askedAt + LISTEN_LOST_MS);
    const oldest = this.deliveries.oldestMessageAt();
    if (oldest !== null) dues.push(Math.max(oldest + this.retentionMs(now), (this.forgotAt ?? 0) + FORGET_PACE_MS));
    const known = dues.filter((due) => due !== null);
    return known.length === 0 ? null : Math.min(...known);
  }

  #arm(due: number | null, now: number): void {
    // An alarm that should have rung long ago was lost: it is set again.
    const lost = this.#armedAt !== null && this.#armedAt < now - 10_000;
    if (due === null && !lost) return;
    const wanted = Math.max(now + 1, Math.min(due ?? now, this.#armedAt ?? Number.POSITIVE_INFINITY));
    const at = Math.ceil(wanted / ALARM_STEP_MS) * ALARM_STEP_MS;
    if (this.#armedAt !== null && !lost && this.#armedAt <= at) return;
    this.#armedAt = at;
    this.#effects.push({ type: "arm", at });
  }
}

export const noWebhook = (): Refusal => refusal("webhook_not_found", "There is no such webhook.");
export const webhookDisabled = (): Refusal => refusal("webhook_disabled", "The webhook is disabled; enable it first.");
export const iso = (ms: number): string => new Date(ms).toISOString();
