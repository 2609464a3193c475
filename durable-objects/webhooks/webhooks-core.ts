import { DeliveryId, type EndpointId, makeId, ownerKey, WebhookId, type WorkspaceId } from "#contract/ids";
import {
  DELIVERY_RETENTION_DAYS,
  LISTEN_LOST_MS,
  WEBHOOK_SECRET_OVERLAP_MS,
  WEBHOOK_TIMEOUT_MS,
  WEBHOOKS_PER_WORKSPACE_MAX,
} from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { Delivery, DeliveryReport, Webhook, WebhookEvent, WebhookPatch } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { afterTry, askedAgain, HEALTHY, isGivenUp } from "#durable-objects/outbox/breaker";
import { exampleData, type MessageData, messageBody } from "#durable-objects/outbox/message-body";
import { disabledMessageId, testMessageId } from "#durable-objects/outbox/message-id";
import { failureText, outcomeOf, type TryResult } from "#durable-objects/outbox/outcome";
import { retryDelayMs } from "#durable-objects/outbox/schedule";
import { chance, type SqlDatabase, type World } from "#durable-objects/sql/database";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import { type DeliveryRecord, DeliveryStore, type TryRecord } from "#durable-objects/webhooks/delivery-store";
import type { DeliveryPage, Interest, OutboxEvent, WebhookSource } from "#durable-objects/webhooks/rpc";
import { isListened, listenDestination, SendOrder } from "#durable-objects/webhooks/send-order";
import { type SecretRecord, type WebhookRecord, WebhookStore } from "#durable-objects/webhooks/webhook-store";
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

/** A secret that was made and sealed outside. */
export interface NewSecret {
  readonly sealed: string;
  readonly hint: string;
}

/** A message handed to a listening command. */
export interface HandedOut {
  readonly delivery: Delivery;
  readonly messageId: string;
}

/** A delivery with this due time goes before all others of its destination. */
const AT_ONCE = 0;
/** A try whose outcome has not come by then died with whoever made it. */
const TRY_LOST_MS = WEBHOOK_TIMEOUT_MS + 5_000;
/** A message handed to a listening command is handed out again when nothing is reported by then. */
const LISTEN_REPORT_MS = 30_000;
const LISTEN_MESSAGES_MAX = 20;
/** How exactly it is stored when a listening command last asked. */
const LISTEN_ASKED_MS = 60_000;
/** A command that says that its program took longer is not believed: it gives up after 15 seconds. */
const LISTEN_TRY_MS_MAX = 3_600_000;
/** The alarm rings at multiples of this, so that a thousand retries a moment apart are a few turns and not a thousand. */
const ALARM_STEP_MS = 250;
/** Tries kept of one delivery: a schedule has ten, and people redeliver. */
const TRIES_KEPT = 30;
const RETENTION_MS = DELIVERY_RETENTION_DAYS * 86_400_000;
const FORGET_ROWS_MAX = 500;
/** Endpoints told at once. */
const TELL_MAX = 50;
/** Until an endpoint that did not answer is told again: seconds, doubling up to this. */
const TELL_RETRY_S_MAX = 600;
const DONE = { ok: true } as const;

/**
 * A workspace's webhooks as one synchronous machine: every method is one transaction, decides by the clock it is given,
 * and leaves its outward effects in `takeEffects`. The shell signs, sends and waits.
 */
export class WebhooksCore {
  readonly #db: SqlDatabase;
  readonly #world: World;
  readonly #publicUrl: string;
  readonly #webhooks: WebhookStore;
  readonly #deliveries: DeliveryStore;
  readonly #order: SendOrder;
  #workspaceId: WorkspaceId | null = null;
  #effects: WebhooksEffect[] = [];
  #armedAt: number | null;

  /**
   * @param publicUrl goes before the paths of output links; "" when the API's address is not known
   * @param armedAt the alarm that is set already, Unix ms
   */
  constructor(db: SqlDatabase, world: World, publicUrl: string, armedAt: number | null) {
    this.#db = db;
    this.#world = world;
    this.#publicUrl = publicUrl;
    this.#armedAt = armedAt;
    this.#webhooks = new WebhookStore(db);
    this.#deliveries = new DeliveryStore(db);
    this.#order = new SendOrder(this.#deliveries);
    if (!hasSchema(db)) return;
    migrate(db, webhooksMigrations, world.now());
    this.#workspaceId = this.#webhooks.workspace()?.workspaceId ?? null;
    if (this.#workspaceId !== null) this.#mutate((now) => this.#loseTries(now, Number.POSITIVE_INFINITY));
  }

  /** What must happen outside, now that the changes are committed; empties the list. */
  takeEffects(): WebhooksEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  // --- endpoints ---------------------------------------------------------------------------------------------------

  register(workspaceId: WorkspaceId, endpointId: EndpointId): Reply<{ interest: Interest }> {
    const refused = this.#open(workspaceId);
    if (refused !== null) return refused;
    return this.#mutate(() => {
      this.#webhooks.addEndpoint(endpointId);
      return { ok: true, interest: this.#interest(endpointId) };
    });
  }

  unregister(workspaceId: WorkspaceId, endpointId: EndpointId): Reply<object> {
    if (this.#workspaceId !== workspaceId) return DONE;
    return this.#mutate(() => {
      this.#webhooks.deleteEndpoint(endpointId);
      return DONE;
    });
  }

  accept(
    workspaceId: WorkspaceId,
    endpointId: EndpointId | null,
    events: readonly OutboxEvent[],
  ): Reply<{ interest: Interest }> {
    const refused = this.#open(workspaceId);
    if (refused !== null) return refused;
    return this.#mutate((now) => {
      for (const event of events) this.#publish(event, JSON.parse(event.data) as MessageData, now);
      return { ok: true, interest: this.#interest(endpointId) };
    });
  }

  /**
   * Endpoints to be told now, and what each of them is to hear.
   * @param beingTold those that somebody is telling already
   */
  toTell(beingTold: readonly EndpointId[] = []): { readonly endpointId: EndpointId; readonly interest: Interest }[] {
    if (this.#workspaceId === null) return [];
    return this.#webhooks
      .endpointsToTell(this.#world.now(), TELL_MAX + beingTold.length)
      .filter(({ endpointId }) => !beingTold.includes(endpointId))
      .map(({ endpointId }) => ({ endpointId, interest: this.#interest(endpointId) }));
  }

  /** An endpoint was told, or did not answer. @param version of the interest it was told */
  told(endpointId: EndpointId, version: number, heard: boolean): void {
    if (this.#workspaceId === null) return;
    this.#mutate((now) => {
      const waiting = this.#webhooks.endpointToTell(endpointId, now);
      if (waiting === null) return;
      // When the interest changed meanwhile, it is told once more.
      if (heard && this.#webhooks.workspace()?.interestVersion === version) this.#webhooks.endpointHeard(endpointId);
      if (heard) return;
      const delayMs = Math.min(2 ** waiting.tries, TELL_RETRY_S_MAX) * 1_000;
      this.#webhooks.tellAgain(endpointId, waiting.tries + 1, now + delayMs);
    });
  }

  // --- subscriptions -----------------------------------------------------------------------------------------------

  create(
    workspaceId: WorkspaceId,
    id: WebhookId,
    webhook: Pick<WebhookRecord, "kind" | "url" | "events" | "endpointId" | "description">,
    secret: NewSecret,
  ): Reply<{ webhook: Webhook }> {
    const refused = this.#open(workspaceId);
    if (refused !== null) return refused;
    return this.#mutate((now) => {
      if (this.#webhooks.all().length >= WEBHOOKS_PER_WORKSPACE_MAX) {
        return refusal("webhook_limit", `A workspace may have ${WEBHOOKS_PER_WORKSPACE_MAX} webhooks.`);
      }
      const askedAt = webhook.kind === "listen" ? now : null;
      const record: WebhookRecord = { ...webhook, id, disabled: null, askedAt, createdAt: now };
      this.#webhooks.put(record);
      this.#webhooks.addSecret(id, { ...secret, number: 1, createdAt: now, expiresAt: null });
      this.#interestChanged(now);
      return { ok: true, webhook: this.#view(record, now) };
    });
  }

  list(workspaceId: WorkspaceId): Reply<{ webhooks: Webhook[] }> {
    const now = this.#world.now();
    const all = this.#workspaceId === workspaceId ? this.#webhooks.all() : [];
    return { ok: true, webhooks: all.map((webhook) => this.#view(webhook, now)) };
  }

  get(workspaceId: WorkspaceId, id: WebhookId): Reply<{ webhook: Webhook }> {
    const webhook = this.#own(workspaceId, id);
    return webhook === null ? noWebhook() : { ok: true, webhook: this.#view(webhook, this.#world.now()) };
  }

  patch(workspaceId: WorkspaceId, id: WebhookId, patch: WebhookPatch): Reply<{ webhook: Webhook }> {
    const before = this.#own(workspaceId, id);
    if (before === null) return noWebhook();
    if (patch.url !== undefined && before.kind === "listen") {
      return refusal("invalid_url", "A webhook of the kind listen has no URL: its command fetches the messages.", {
        errors: [{ path: "/url", reason: "Must be left out for a webhook of the kind listen." }],
      });
    }
    return this.#mutate((now) => {
      const after: WebhookRecord = {
        ...before,
        url: patch.url ?? before.url,
        events: patch.events ?? before.events,
        description: patch.description === undefined ? before.description : patch.description,
        disabled:
          patch.state === undefined
            ? before.disabled
            : patch.state === "enabled"
              ? null
              : (before.disabled ?? { reason: "It was disabled by request.", at: now }),
      };
      this.#webhooks.put(after);
      if (after.disabled !== null && before.disabled === null) this.#endPending(after, "failed", now);
      // Another address, or somebody's word that it works again: what is known of it no longer counts.
      if (after.url !== before.url || (after.disabled === null && before.disabled !== null)) {
        this.#deliveries.putHealth(destinationOf(after), HEALTHY);
      }
      if (interestKey(before) !== interestKey(after)) this.#interestChanged(now);
      return { ok: true, webhook: this.#view(after, now) };
    });
  }

  remove(workspaceId: WorkspaceId, id: WebhookId): Reply<object> {
    const webhook = this.#own(workspaceId, id);
    if (webhook === null) return noWebhook();
    return this.#mutate((now) => {
      this.#remove(webhook, now);
      return DONE;
    });
  }

  // --- secrets -----------------------------------------------------------------------------------------------------

  /** The live secrets of a source, the newest first; null when there is no such source. */
  secrets(workspaceId: WorkspaceId, source: WebhookSource): SecretRecord[] | null {
    if (!this.#isSource(workspaceId, source)) return null;
    return this.#webhooks.secrets(source, this.#world.now());
  }

  /** Gives the workspace its default secret, if it has none. */
  putDefaultSecret(workspaceId: WorkspaceId, secret: NewSecret): Refusal | null {
    const refused = this.#open(workspaceId);
    if (refused !== null) return refused;
    this.#mutate((now) => {
      if (this.#webhooks.secrets("default", now).length > 0) return;
      this.#webhooks.addSecret("default", { ...secret, number: 1, createdAt: now, expiresAt: null });
    });
    return null;
  }

  /** From now on this secret signs first, and the newest one so far beside it until the overlap is over. */
  rotate(workspaceId: WorkspaceId, source: WebhookSource, secret: NewSecret): Reply<{ secrets: SecretRecord[] }> {
    if (!this.#isSource(workspaceId, source)) return noWebhook();
    return this.#mutate((now) => {
      const newest = this.#webhooks.secrets(source, now)[0]?.number ?? 0;
      this.#webhooks.deleteSecretsBelow(source, newest);
      this.#webhooks.expireSecret(source, newest, now + WEBHOOK_SECRET_OVERLAP_MS);
      this.#webhooks.addSecret(source, { ...secret, number: newest + 1, createdAt: now, expiresAt: null });
      return { ok: true, secrets: this.#webhooks.secrets(source, now) };
    });
  }

  // --- deliveries --------------------------------------------------------------------------------------------------

  test(workspaceId: WorkspaceId, id: WebhookId, event: WebhookEvent): Reply<{ delivery: Delivery }> {
    const webhook = this.#own(workspaceId, id);
    if (webhook === null) return noWebhook();
    if (webhook.disabled !== null) return disabled();
    return this.#mutate((now) => {
      const deliveryId = this.#deliveryId(now);
      const body = messageBody(event, now, workspaceId, exampleData(event, now, workspaceId), this.#publicUrl);
      const message = this.#deliveries.addMessage(testMessageId(deliveryId), event, body, now);
      this.#add(deliveryId, webhook, message, event, null, now, AT_ONCE);
      // A try that somebody asks for is made, whatever the ones before it came to.
      const destination = destinationOf(webhook);
      this.#askedAgain(destination);
      return { ok: true, delivery: this.#mustView(deliveryId, now) };
    });
  }

  deliveries(
    workspaceId: WorkspaceId,
    source: WebhookSource | null,
    page: DeliveryPage,
  ): Reply<{ deliveries: Delivery[]; next: DeliveryId | null }> {
    if (source !== null && source !== "default" && this.#own(workspaceId, source) === null) return noWebhook();
    if (this.#workspaceId !== workspaceId) return { ok: true, deliveries: [], next: null };
    const now = this.#world.now();
    const { found, next } = this.#deliveries.page(source, page);
    return { ok: true, deliveries: found.map((delivery) => deliveryView(delivery, now)), next };
  }

  delivery(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): Reply<{ delivery: Delivery }> {
    const found = this.#ownDelivery(workspaceId, source, id);
    return "code" in found ? found : { ok: true, delivery: deliveryView(found, this.#world.now()) };
  }

  redeliver(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): Reply<{ delivery: Delivery }> {
    const found = this.#ownDelivery(workspaceId, source, id);
    if ("code" in found) return found;
    if (source !== "default" && this.#own(workspaceId, source)?.disabled !== null) return disabled();
    return this.#mutate((now) => {
      this.#deliveries.change({ ...found, state: "pending", tried: 0, nextTryAt: AT_ONCE, endedAt: null });
      this.#askedAgain(found.destination);
      this.#announceListened(source);
      return { ok: true, delivery: this.#mustView(id, now) };
    });
  }

  recover(workspaceId: WorkspaceId, source: WebhookSource, since: number): Reply<{ recovered: number }> {
    if (!this.#isSource(workspaceId, source)) return noWebhook();
    if (source !== "default" && this.#own(workspaceId, source)?.disabled !== null) return disabled();
    if (this.#workspaceId === null) return { ok: true, recovered: 0 };
    return this.#mutate((now) => {
      const { count, destinations } = this.#deliveries.recover(source, since, now);
      // A destination may be closed with nothing tried that would be recovered: it is asked again as well.
      for (const destination of new Set([...destinations, ...this.#destinationsOf(source)])) {
        this.#askedAgain(destination);
      }
      if (count > 0) this.#announceListened(source);
      return { ok: true, recovered: count };
    });
  }

  /** Messages for a listening command; each is its own until LISTEN_REPORT_MS are over. */
  listen(workspaceId: WorkspaceId, id: WebhookId): Reply<{ messages: HandedOut[] }> {
    const webhook = this.#own(workspaceId, id);
    if (webhook === null || webhook.kind !== "listen") return noWebhook();
    return this.#mutate((now) => {
      this.#asked(webhook, now);
      const due = this.#deliveries
        .firstPending(listenDestination(id), LISTEN_MESSAGES_MAX)
        .filter(({ nextTryAt }) => nextTryAt <= now);
      const messages = due.flatMap(({ id: deliveryId }) => {
        const delivery = this.#deliveries.get(deliveryId);
        if (delivery === null) return [];
        this.#deliveries.change({ ...delivery, nextTryAt: now + LISTEN_REPORT_MS });
        return [{ delivery: deliveryView(delivery, now), messageId: delivery.messageId }];
      });
      return { ok: true, messages };
    });
  }

  report(
    workspaceId: WorkspaceId,
    id: WebhookId,
    deliveryId: DeliveryId,
    report: DeliveryReport,
  ): Reply<{ delivery: Delivery }> {
    const found = this.#ownDelivery(workspaceId, id, deliveryId);
    if ("code" in found) return found;
    const webhook = this.#own(workspaceId, id);
    if (webhook?.kind !== "listen") return noWebhook();
    return this.#mutate((now) => {
      // A program that takes its time for what it has is there as well.
      this.#asked(webhook, now);
      const ms = Math.min(report.ms, LISTEN_TRY_MS_MAX);
      // Once it is over, a repeated report changes nothing.
      if (found.state === "pending") this.#ended(found, { ...report, ms, retryAfter: null }, now - ms, now);
      return { ok: true, delivery: this.#mustView(deliveryId, now) };
    });
  }

  /** What came of a try. @param startedAt the try's own, so that a late outcome of a lost try is not taken for another's */
  tried(deliveryId: DeliveryId, startedAt: number, result: TryResult): void {
    if (this.#order.startedAt(deliveryId) !== startedAt) return;
    this.#mutate((now) => {
      this.#order.end(deliveryId, result.status === null ? null : now);
      this.#deliveries.endTry(deliveryId);
      const delivery = this.#deliveries.get(deliveryId);
      if (delivery !== null) this.#ended(delivery, result, startedAt, now);
    });
  }

  /** The alarm rang, early, late or twice. */
  wake(): void {
    this.#armedAt = null;
    if (this.#workspaceId === null) return;
    this.#mutate((now) => {
      this.#loseTries(now, now - TRY_LOST_MS);
      for (const webhook of this.#webhooks.all()) {
        if (webhook.askedAt !== null && now - webhook.askedAt >= LISTEN_LOST_MS) this.#remove(webhook, now);
      }
      this.#webhooks.forgetSecrets(now);
      const oldest = this.#deliveries.oldestMessageAt();
      if (oldest !== null && oldest < now - RETENTION_MS) {
        this.#deliveries.forget(now - RETENTION_MS, FORGET_ROWS_MAX);
        this.#deliveries.forgetHealth(now - RETENTION_MS);
      }
    });
  }

  // --- inside a turn -----------------------------------------------------------------------------------------------

  /** One transaction. Afterwards everything that may go out goes out, and the alarm rings no later than it must. */
  #mutate<T>(work: (now: number) => T): T {
    const now = this.#world.now();
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
      this.#order.forget();
      throw error;
    }
    this.#effects = [...earlier, ...this.#effects];
    if ((this.#webhooks.nextTellAt() ?? Number.POSITIVE_INFINITY) <= now) this.#effects.push({ type: "tell" });
    this.#arm(due, now);
    return result;
  }

  /** Begins the tries that may be made now. Each is noted before it is made, so that a crash loses none. */
  #pump(now: number): void {
    for (const chosen of this.#order.next(now)) {
      const { id } = chosen;
      const delivery = this.#deliveries.get(id);
      if (delivery === null) continue;
      const url = delivery.source === "default" ? delivery.url : (this.#webhooks.get(delivery.source)?.url ?? null);
      if (url === null) throw new Error("a delivery that is sent has a URL");
      if (url !== delivery.url) this.#deliveries.putUrl(id, url);
      this.#deliveries.beginTry(id, now);
      const { courier } = this.#order.begin(chosen, now);
      const { source, messageId, body } = delivery;
      const sending = { deliveryId: id, source, startedAt: now, messageId, url, body, courier };
      this.#effects.push({ type: "send", sending });
    }
  }

  #dueNext(now: number): number | null {
    const dues: (number | null)[] = [this.#order.nextAt(now), this.#webhooks.nextTellAt()];
    dues.push(this.#webhooks.nextSecretEnd());
    const oldestStart = this.#order.oldestStart();
    if (oldestStart !== null) dues.push(oldestStart + TRY_LOST_MS);
    for (const { askedAt } of this.#webhooks.all()) if (askedAt !== null) dues.push(askedAt + LISTEN_LOST_MS);
    const oldest = this.#deliveries.oldestMessageAt();
    if (oldest !== null) dues.push(oldest + RETENTION_MS);
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

  /** Makes an event's message and a delivery for each who wants it. Twice the same event is one message. */
  #publish(event: OutboxEvent, data: MessageData, now: number): void {
    if (this.#workspaceId === null || this.#deliveries.isKnown(event.messageId)) return;
    const wanting = this.#webhooks.all().filter((webhook) => wants(webhook, event));
    if (wanting.length === 0 && event.url === null) return;
    const body = messageBody(event.type, event.at, this.#workspaceId, data, this.#publicUrl);
    const message = this.#deliveries.addMessage(event.messageId, event.type, body, now);
    for (const webhook of wanting) {
      this.#add(this.#deliveryId(now), webhook, message, event.type, event.jobId, now, now);
    }
    if (event.url === null) return;
    this.#deliveries.add({
      id: this.#deliveryId(now),
      source: "default",
      destination: new URL(event.url).origin,
      message,
      event: event.type,
      jobId: event.jobId,
      url: event.url,
      nextTryAt: now,
      createdAt: now,
    });
  }

  #add(
    id: DeliveryId,
    webhook: WebhookRecord,
    message: number,
    event: WebhookEvent,
    jobId: OutboxEvent["jobId"],
    now: number,
    nextTryAt: number,
  ): void {
    const destination = destinationOf(webhook);
    const { id: source, url } = webhook;
    this.#deliveries.add({ id, source, destination, message, event, jobId, url, nextTryAt, createdAt: now });
    this.#announceListened(source);
  }

  /** Writes down what came of a try, and what that means for the delivery and its destination. */
  #ended(delivery: DeliveryRecord, result: TryResult, startedAt: number, now: number): void {
    const outcome = outcomeOf(result, now);
    const one = {
      at: startedAt,
      status: result.status,
      ms: result.ms,
      error: failureText(result),
      answer: result.answer,
    };
    const tries = withTry(delivery.tries, one);
    const over = { ...delivery, tries, nextTryAt: null, endedAt: delivery.endedAt ?? now };
    const { destination } = delivery;
    const isSent = !isListened(destination);
    if (isSent) {
      const health = this.#deliveries.health(destination);
      const after = afterTry(health, outcome, now, chance(this.#world));
      if (after !== health) this.#deliveries.putHealth(destination, after);
    }
    if (outcome.type === "delivered") {
      this.#deliveries.change({ ...over, state: "delivered", endedAt: now });
    } else if (delivery.state !== "pending") {
      // It was ended while the try was on its way.
      this.#deliveries.change(over);
    } else {
      const tried = delivery.tried + 1;
      const delay = outcome.type === "gone" ? null : retryDelayMs(tried, chance(this.#world));
      if (delay === null || outcome.type === "gone") this.#deliveries.change({ ...over, tried, state: "failed" });
      else {
        const nextTryAt = now + Math.max(delay, outcome.notBeforeMs);
        this.#deliveries.change({ ...delivery, tries, tried, nextTryAt });
      }
    }
    if (delivery.source === "default" && isGivenUp(this.#deliveries.health(destination), now)) {
      this.#giveUp(destination, now);
    }
    const webhook = delivery.source === "default" ? null : this.#webhooks.get(delivery.source);
    if (webhook === null || webhook.disabled !== null || !isSent) return;
    if (outcome.type === "gone") this.#disable(webhook, "The receiver answered 410: it wants no more messages.", now);
    else if (isGivenUp(this.#deliveries.health(destination), now)) {
      this.#disable(webhook, "It has failed for 5 days without one success.", now);
    }
  }

  /** Gives a webhook up, and tells the workspace's other subscriptions. */
  #disable(webhook: WebhookRecord, reason: string, now: number): void {
    const { failingSince } = this.#deliveries.health(destinationOf(webhook));
    this.#webhooks.put({ ...webhook, disabled: { reason, at: now } });
    this.#endPending(webhook, "failed", now);
    this.#interestChanged(now);
    const data = {
      id: webhook.id,
      url: webhook.url,
      reason,
      failing_since: failingSince === null ? null : iso(failingSince),
      disabled_at: iso(now),
    };
    const messageId = disabledMessageId(webhook.id, now);
    const news = { messageId, type: "webhook.disabled", endpointId: null, jobId: null, at: now, url: null } as const;
    this.#publish({ ...news, data: "" }, data, now);
  }

  /** Nobody can disable where single jobs post to: what is pending there has failed, and what comes has its five days. */
  #giveUp(destination: string, now: number): void {
    this.#deliveries.endPending(destination, "failed", now);
    this.#deliveries.putHealth(destination, { ...this.#deliveries.health(destination), failingSince: now });
  }

  #remove(webhook: WebhookRecord, now: number): void {
    this.#endPending(webhook, "discarded", now);
    this.#deliveries.putHealth(destinationOf(webhook), HEALTHY);
    this.#webhooks.delete(webhook.id);
    this.#interestChanged(now);
    this.#announceListened(webhook.id);
  }

  #endPending(webhook: WebhookRecord, state: "failed" | "discarded", now: number): void {
    this.#deliveries.endPending(destinationOf(webhook), state, now);
  }

  /** Tries that began before a moment and were never heard of again: what they sent may have arrived or not. */
  #loseTries(now: number, before: number): void {
    for (const { id, startedAt } of this.#deliveries.trying()) {
      if (startedAt > before) continue;
      this.#order.end(id, null);
      this.#deliveries.endTry(id);
      const delivery = this.#deliveries.get(id);
      if (delivery === null) continue;
      const error = "The server was restarted during this try; it is made again.";
      const tries = withTry(delivery.tries, { at: startedAt, status: null, ms: now - startedAt, error, answer: null });
      this.#deliveries.change({ ...delivery, tries, nextTryAt: delivery.state === "pending" ? now : null });
    }
  }

  /** Where what is pending of a source goes. */
  #destinationsOf(source: WebhookSource): string[] {
    if (source === "default") return [...this.#deliveries.pendingDestinations()].filter((one) => one.includes("://"));
    const webhook = this.#webhooks.get(source);
    return webhook === null ? [] : [destinationOf(webhook)];
  }

  #askedAgain(destination: string): void {
    const health = this.#deliveries.health(destination);
    if (health.closedUntil > 0) this.#deliveries.putHealth(destination, askedAgain(health));
  }

  /** A listening command has spoken. */
  #asked(webhook: WebhookRecord, now: number): void {
    if (now - (webhook.askedAt ?? 0) >= LISTEN_ASKED_MS) this.#webhooks.put({ ...webhook, askedAt: now });
  }

  #announceListened(source: WebhookSource): void {
    if (source !== "default") this.#effects.push({ type: "listened", webhookId: source });
  }

  #interestChanged(now: number): void {
    this.#webhooks.interestChanged(now);
  }

  /** @param endpointId null: of any endpoint */
  #interest(endpointId: EndpointId | null): Interest {
    const events = new Set<WebhookEvent>();
    for (const webhook of this.#webhooks.all()) {
      const isMeant = webhook.endpointId === null || endpointId === null || webhook.endpointId === endpointId;
      if (webhook.disabled === null && isMeant) for (const event of webhook.events) events.add(event);
    }
    return { version: this.#webhooks.workspace()?.interestVersion ?? 0, events: [...events].toSorted() };
  }

  #deliveryId(now: number): DeliveryId {
    if (this.#workspaceId === null) throw new Error("the workspace is not known");
    return makeId(DeliveryId, "dlv", now, this.#world.randomBytes, ownerKey(this.#workspaceId));
  }

  /** Makes the tables when they are first needed. */
  #open(workspaceId: WorkspaceId): Refusal | null {
    if (this.#workspaceId === null) {
      migrate(this.#db, webhooksMigrations, this.#world.now());
      this.#db.transaction(() => this.#webhooks.putWorkspace(workspaceId));
      this.#workspaceId = workspaceId;
    }
    return this.#workspaceId === workspaceId ? null : noWebhook();
  }

  #own(workspaceId: WorkspaceId, id: WebhookId): WebhookRecord | null {
    return this.#workspaceId === workspaceId ? this.#webhooks.get(id) : null;
  }

  #isSource(workspaceId: WorkspaceId, source: WebhookSource): boolean {
    if (source !== "default") return this.#own(workspaceId, source) !== null;
    return this.#workspaceId === null || this.#workspaceId === workspaceId;
  }

  #ownDelivery(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): DeliveryRecord | Refusal {
    if (source !== "default" && this.#own(workspaceId, source) === null) return noWebhook();
    const found = this.#workspaceId === workspaceId ? this.#deliveries.get(id) : null;
    if (found === null || found.source !== source) {
      return refusal("delivery_not_found", "The webhook has no such delivery.");
    }
    return found;
  }

  #mustView(id: DeliveryId, now: number): Delivery {
    const delivery = this.#deliveries.get(id);
    if (delivery === null) throw new Error("the delivery was just written");
    return deliveryView(delivery, now);
  }

  #view(webhook: WebhookRecord, now: number): Webhook {
    const { failingSince } = this.#deliveries.health(destinationOf(webhook));
    return {
      id: webhook.id,
      kind: webhook.kind,
      url: webhook.url,
      events: [...webhook.events],
      endpoint_id: webhook.endpointId,
      description: webhook.description,
      state: webhook.disabled === null ? "enabled" : "disabled",
      disabled_reason: webhook.disabled?.reason ?? null,
      disabled_at: webhook.disabled === null ? null : iso(webhook.disabled.at),
      failing_since: failingSince === null ? null : iso(failingSince),
      secrets: this.#webhooks.secrets(webhook.id, now).map(({ hint, createdAt, expiresAt }) => ({
        hint,
        created_at: iso(createdAt),
        expires_at: expiresAt === null ? null : iso(expiresAt),
      })),
      created_at: iso(webhook.createdAt),
    };
  }
}

function destinationOf(webhook: WebhookRecord): string {
  return webhook.kind === "listen" ? listenDestination(webhook.id) : webhook.id;
}

function wants(webhook: WebhookRecord, event: OutboxEvent): boolean {
  return (
    webhook.disabled === null &&
    webhook.events.includes(event.type) &&
    (webhook.endpointId === null || event.endpointId === null || webhook.endpointId === event.endpointId)
  );
}

/** What of a subscription the endpoints' interest hangs on. */
function interestKey({ events, endpointId, disabled }: WebhookRecord): string {
  return JSON.stringify([disabled === null ? events.toSorted() : [], endpointId]);
}

function withTry(tries: readonly TryRecord[], one: TryRecord): TryRecord[] {
  return [...tries, one].slice(-TRIES_KEPT);
}

function deliveryView(delivery: DeliveryRecord, now: number): Delivery {
  return {
    id: delivery.id,
    webhook_id: delivery.source === "default" ? null : delivery.source,
    message_id: delivery.messageId,
    event: delivery.event,
    job_id: delivery.jobId,
    url: delivery.url,
    state: delivery.state,
    tries: delivery.tries.map((one) => ({ ...one, at: iso(one.at) })),
    next_try_at: delivery.nextTryAt === null ? null : iso(delivery.nextTryAt === AT_ONCE ? now : delivery.nextTryAt),
    created_at: iso(delivery.createdAt),
    body: delivery.body,
  };
}

const iso = (ms: number): string => new Date(ms).toISOString();
const noWebhook = (): Refusal => refusal("webhook_not_found", "There is no such webhook.");
const disabled = (): Refusal => refusal("webhook_disabled", "The webhook is disabled; enable it first.");

/** A fresh webhook's id. */
export function newWebhookId(workspaceId: WorkspaceId, world: World): WebhookId {
  return makeId(WebhookId, "wh", world.now(), world.randomBytes, ownerKey(workspaceId));
}
