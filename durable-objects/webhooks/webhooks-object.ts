import { DurableObject } from "cloudflare:workers";
import { DeliveryId, type EndpointId, makeId, ownerKey, type WebhookId, type WorkspaceId } from "#contract/ids";
import { LONG_POLL_MS } from "#contract/limits";
import type {
  Delivery,
  DeliveryReport,
  ListenedMessage,
  Webhook,
  WebhookEvent,
  WebhookPatch,
  WebhookSecret,
} from "#contract/webhook";
import type { EndpointRpc, Reply } from "#durable-objects/endpoint/rpc";
import type { TryResult } from "#durable-objects/outbox/outcome";
import { SECRET_BYTES, secretText } from "#durable-objects/outbox/signed-content";
import { drawn } from "#durable-objects/secrets/drawn";
import { deriveBytes } from "#durable-objects/secrets/seal";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import { EndpointsBeingTold } from "#durable-objects/webhooks/endpoints-being-told";
import { ListeningCommands } from "#durable-objects/webhooks/listening-commands";
import { notPosted, postMessage } from "#durable-objects/webhooks/post-message";
import {
  type CourierRpc,
  type DeliveryPage,
  type Interest,
  MADE_OF_BYTES,
  type MadeOf,
  type OutboxEvent,
  type Posting,
  type WebhookSource,
  type WebhooksRpc,
} from "#durable-objects/webhooks/rpc";
import { SealedSecrets } from "#durable-objects/webhooks/sealed-secrets";
import { newWebhookId } from "#durable-objects/webhooks/subscriptions";
import { WebhooksCore } from "#durable-objects/webhooks/webhooks-core";
import type { Sending, WebhooksEffect } from "#durable-objects/webhooks/webhooks-state";
import type { Env } from "#worker/env";

/** After a turn of the alarm that failed, the next one comes this much later. */
const ALARM_RETRY_MS = 10_000;
const world = {
  now: () => Date.now(),
  randomBytes: (length: number) => crypto.getRandomValues(new Uint8Array(length)),
};
const fresh = (): MadeOf => ({ at: Date.now(), bytes: world.randomBytes(MADE_OF_BYTES) });

/** A workspace's webhooks. Decides nothing: the core does; here is the signing, the sending and the waiting. */
export class WebhooksObject extends DurableObject<Env> implements WebhooksRpc, CourierRpc {
  #opened: WebhooksCore | null = null;
  readonly #secrets: SealedSecrets;
  readonly #listening = new ListeningCommands();
  readonly #telling = new EndpointsBeingTold(
    (endpointId, interest) => this.#tellOne(endpointId, interest),
    // When the interest has changed meanwhile, this turn asks to tell it again.
    (endpointId, { version }, heard) => this.#turn((core) => core.told(endpointId, version, heard)),
  );

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#secrets = new SealedSecrets(env.SIGNING_SECRET);
    void ctx.blockConcurrencyWhile(async () => {
      const armedAt = await ctx.storage.getAlarm();
      this.#opened = new WebhooksCore(new ObjectStorageDatabase(ctx.storage), world, env.PUBLIC_URL, armedAt);
      this.#turn(() => undefined);
    });
  }

  async register(workspaceId: WorkspaceId, endpointId: EndpointId): Promise<Reply<{ interest: Interest }>> {
    return this.#turn((core) => core.register(workspaceId, endpointId));
  }

  async unregister(workspaceId: WorkspaceId, endpointId: EndpointId): Promise<Reply<object>> {
    return this.#turn((core) => core.unregister(workspaceId, endpointId));
  }

  async accept(workspaceId: WorkspaceId, events: readonly OutboxEvent[]): Promise<Reply<{ interest: Interest }>> {
    if (events.some(({ url }) => url !== null)) await this.#ensureDefaultSecret(workspaceId);
    const endpointId = events[0]?.endpointId ?? null;
    return this.#turn((core) => core.accept(workspaceId, endpointId, events));
  }

  async create(
    workspaceId: WorkspaceId,
    webhook: Parameters<WebhooksRpc["create"]>[1],
    of: MadeOf = fresh(),
  ): Promise<Reply<{ webhook: Webhook }>> {
    const chance = drawn(of.bytes);
    const id = newWebhookId(workspaceId, { now: () => of.at, randomBytes: chance });
    // A listening command that comes back under the same name finds the secret that its receiver already has.
    const bytes =
      webhook.kind === "listen"
        ? await deriveBytes(
            this.env.SIGNING_SECRET,
            `listen secret ${workspaceId} ${webhook.description ?? ""}`,
            SECRET_BYTES,
          )
        : chance(SECRET_BYTES);
    const secret = await this.#secrets.sealed(workspaceId, id, bytes);
    const made = this.#turn((core) => core.get(workspaceId, id));
    const reply = made.ok ? made : this.#turn((core) => core.create(workspaceId, id, webhook, secret));
    if (!reply.ok) return reply;
    await this.#telling.soon();
    return { ok: true, webhook: { ...reply.webhook, secret: secretText(bytes) } };
  }

  async list(workspaceId: WorkspaceId): Promise<Reply<{ webhooks: Webhook[] }>> {
    return this.#turn((core) => core.list(workspaceId));
  }

  async get(workspaceId: WorkspaceId, id: WebhookId): Promise<Reply<{ webhook: Webhook }>> {
    return this.#turn((core) => core.get(workspaceId, id));
  }

  async patch(workspaceId: WorkspaceId, id: WebhookId, patch: WebhookPatch): Promise<Reply<{ webhook: Webhook }>> {
    const reply = this.#turn((core) => core.patch(workspaceId, id, patch));
    await this.#telling.soon();
    return reply;
  }

  async remove(workspaceId: WorkspaceId, id: WebhookId): Promise<Reply<object>> {
    return this.#turn((core) => core.remove(workspaceId, id));
  }

  async secret(workspaceId: WorkspaceId, source: WebhookSource): Promise<Reply<{ secret: WebhookSecret }>> {
    if (source === "default") await this.#ensureDefaultSecret(workspaceId);
    const secrets = this.#turn((core) => core.secrets(workspaceId, source));
    return this.#secrets.shown(workspaceId, source, secrets);
  }

  async rotate(
    workspaceId: WorkspaceId,
    source: WebhookSource,
    of: MadeOf = fresh(),
  ): Promise<Reply<{ secret: WebhookSecret }>> {
    const bytes = drawn(of.bytes)(SECRET_BYTES);
    const known = await this.secret(workspaceId, source);
    // It took place, and its answer was lost: once more would end the secret that receivers still have.
    if (known.ok && [known.secret.secret, known.secret.previous].includes(secretText(bytes))) return known;
    const secret = await this.#secrets.sealed(workspaceId, source, bytes);
    const reply = this.#turn((core) => core.rotate(workspaceId, source, secret));
    return reply.ok ? this.#secrets.shown(workspaceId, source, reply.secrets) : reply;
  }

  async tryOut(
    workspaceId: WorkspaceId,
    id: WebhookId,
    event: WebhookEvent,
    of: MadeOf = fresh(),
  ): Promise<Reply<{ delivery: Delivery }>> {
    const newId = makeId(DeliveryId, "dlv", of.at, drawn(of.bytes), ownerKey(workspaceId));
    return this.#turn((core) => core.test(workspaceId, id, event, newId));
  }

  async deliveries(
    workspaceId: WorkspaceId,
    source: WebhookSource | null,
    page: DeliveryPage,
  ): Promise<Reply<{ deliveries: Delivery[]; next: DeliveryId | null }>> {
    return this.#turn((core) => core.deliveries(workspaceId, source, page));
  }

  async delivery(
    workspaceId: WorkspaceId,
    source: WebhookSource,
    id: DeliveryId,
  ): Promise<Reply<{ delivery: Delivery }>> {
    return this.#turn((core) => core.delivery(workspaceId, source, id));
  }

  async redeliver(
    workspaceId: WorkspaceId,
    source: WebhookSource,
    id: DeliveryId,
  ): Promise<Reply<{ delivery: Delivery }>> {
    return this.#turn((core) => core.redeliver(workspaceId, source, id));
  }

  async recover(workspaceId: WorkspaceId, source: WebhookSource, since: number): Promise<Reply<{ recovered: number }>> {
    return this.#turn((core) => core.recover(workspaceId, source, since));
  }

  async listen(
    workspaceId: WorkspaceId,
    id: WebhookId,
    waitMs: number,
  ): Promise<Reply<{ messages: ListenedMessage[] }>> {
    const deadline = Date.now() + Math.min(waitMs, LONG_POLL_MS);
    for (;;) {
      const reply = this.#turn((core) => core.listen(workspaceId, id));
      if (!reply.ok) return reply;
      const leftMs = deadline - Date.now();
      if (reply.messages.length === 0 && leftMs > 0) {
        await this.#listening.wait(id, leftMs);
        continue;
      }
      const messages: ListenedMessage[] = [];
      for (const { delivery, messageId } of reply.messages) {
        const live = this.#turn((core) => core.secrets(workspaceId, id)) ?? [];
        const message = { id: messageId, body: delivery.body };
        const headers = await this.#secrets.headersNow(workspaceId, id, message, live);
        messages.push({ delivery_id: delivery.id, event: delivery.event, headers, body: delivery.body });
      }
      return { ok: true, messages };
    }
  }

  async report(
    workspaceId: WorkspaceId,
    id: WebhookId,
    deliveryId: DeliveryId,
    report: DeliveryReport,
  ): Promise<Reply<{ delivery: Delivery }>> {
    return this.#turn((core) => core.report(workspaceId, id, deliveryId, report));
  }

  /** This object is a courier: it lends its connections to the object of a workspace, and knows nothing of webhooks. */
  async carry(posting: Posting): Promise<TryResult> {
    return postMessage(posting, this.env);
  }

  /** Never throws: the platform gives up on an alarm that fails too often. */
  override async alarm(): Promise<void> {
    try {
      this.#turn((core) => core.wake());
    } catch (error) {
      console.error(
        JSON.stringify({ event: "webhooks_alarm_failed", workspace: this.ctx.id.name, error: String(error) }),
      );
      await this.ctx.storage.setAlarm(Date.now() + ALARM_RETRY_MS);
    }
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** One call into the core and, its commit done, what it asks of the outside. */
  #turn<T>(work: (core: WebhooksCore) => T): T {
    if (this.#opened === null) throw new Error("the object is not open yet");
    const result = work(this.#opened);
    for (const effect of this.#opened.takeEffects()) this.#perform(effect);
    return result;
  }

  #perform(effect: WebhooksEffect): void {
    switch (effect.type) {
      case "arm":
        // Part of the turn's own commit: nothing is awaited between its writes and this one.
        void this.ctx.storage.setAlarm(effect.at);
        return;
      case "send":
        this.ctx.waitUntil(this.#send(effect.sending));
        return;
      case "tell":
        this.#tell();
        return;
      case "listened":
        this.#listening.wake(effect.webhookId);
        return;
      default:
        throw new Error(`unhandled: ${JSON.stringify(effect satisfies never)}`);
    }
  }

  // --- sending -----------------------------------------------------------------------------------------------------

  async #send(sending: Sending): Promise<void> {
    let result: TryResult;
    try {
      result = await this.#answerTo(sending);
    } catch (error) {
      console.error(
        JSON.stringify({ event: "webhook_not_sent", deliveryId: sending.deliveryId, error: String(error) }),
      );
      result = notPosted("The message could not be sent; the server's log has the cause.", 0);
    }
    this.#turn((core) => core.tried(sending.deliveryId, sending.startedAt, result));
  }

  async #answerTo({ source, messageId, url, body, courier }: Sending): Promise<TryResult> {
    const workspaceId = this.ctx.id.name as WorkspaceId;
    const live = this.#turn((core) => core.secrets(workspaceId, source)) ?? [];
    const headers = await this.#secrets.headersNow(workspaceId, source, { id: messageId, body }, live);
    if (courier === null) return postMessage({ url, headers, body }, this.env);
    const object = this.env.WEBHOOKS.getByName(`${workspaceId} courier ${courier}`);
    return (object as unknown as CourierRpc).carry({ url, headers, body });
  }

  async #ensureDefaultSecret(workspaceId: WorkspaceId): Promise<void> {
    if ((this.#turn((core) => core.secrets(workspaceId, "default")) ?? []).length > 0) return;
    const secret = await this.#secrets.sealed(workspaceId, "default", world.randomBytes(SECRET_BYTES));
    this.#turn((core) => core.putDefaultSecret(workspaceId, secret));
  }

  // --- the endpoints -----------------------------------------------------------------------------------------------

  /** Tells the endpoints that are to be told; one that does not answer is told again by the alarm. */
  #tell(): void {
    const known = this.#telling.ids();
    for (const { endpointId, interest } of this.#turn((core) => core.toTell(known))) {
      this.ctx.waitUntil(this.#telling.begin(endpointId, interest));
    }
  }

  async #tellOne(endpointId: EndpointId, interest: Interest): Promise<boolean> {
    try {
      const endpoint = this.env.ENDPOINTS.getByName(ownerKey(endpointId)) as unknown as EndpointRpc;
      await endpoint.setInterest(this.ctx.id.name as WorkspaceId, interest);
      return true;
    } catch (error) {
      console.error(JSON.stringify({ event: "interest_not_told", endpointId, error: String(error) }));
      return false;
    }
  }
}
