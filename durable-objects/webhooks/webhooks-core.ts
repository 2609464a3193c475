import type { DeliveryId, EndpointId, WebhookId, WorkspaceId } from "#contract/ids";
import type { Refusal } from "#contract/problems";
import type { Delivery, DeliveryReport, Webhook, WebhookEvent, WebhookPatch } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import type { TryResult } from "#durable-objects/outbox/outcome";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { deliveriesPage, oneDelivery, recover, redeliver, tryOut } from "#durable-objects/webhooks/delivery-log";
import { forgetOld } from "#durable-objects/webhooks/forgetting";
import {
  endpointsToTell,
  endpointTold,
  registerEndpoint,
  unregisterEndpoint,
} from "#durable-objects/webhooks/interest";
import { type HandedOut, handOut, removeUnheard, takeReport } from "#durable-objects/webhooks/listening";
import { liveSecrets, type NewSecret, putDefaultSecret, rotateSecret } from "#durable-objects/webhooks/live-secrets";
import { acceptEvents } from "#durable-objects/webhooks/new-deliveries";
import { loseTries, tried } from "#durable-objects/webhooks/outcomes";
import type { DeliveryPage, Interest, OutboxEvent, WebhookSource } from "#durable-objects/webhooks/rpc";
import {
  createWebhook,
  getWebhook,
  listWebhooks,
  type NewWebhook,
  patchWebhook,
  removeWebhook,
} from "#durable-objects/webhooks/subscriptions";
import type { SecretRecord } from "#durable-objects/webhooks/webhook-store";
import { TRY_LOST_MS, type WebhooksEffect, WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/**
 * A workspace's webhooks as one synchronous machine: every method is one transaction, decides by the clock it is given,
 * and leaves its outward effects in `takeEffects`. The shell signs, sends and waits.
 */
export class WebhooksCore {
  readonly #state: WebhooksState;

  /**
   * @param publicUrl goes before the paths of output links; "" when the API's address is not known
   * @param armedAt the alarm that is set already, Unix ms
   */
  constructor(db: SqlDatabase, world: World, publicUrl: string, armedAt: number | null) {
    const state = new WebhooksState(db, world, publicUrl, armedAt);
    this.#state = state;
    if (state.workspaceId !== null) state.turn((now) => loseTries(state, now, Number.POSITIVE_INFINITY));
  }

  /** What must happen outside, now that the changes are committed; empties the list. */
  takeEffects(): WebhooksEffect[] {
    return this.#state.takeEffects();
  }

  // --- endpoints ---------------------------------------------------------------------------------------------------

  register(workspaceId: WorkspaceId, endpointId: EndpointId): Reply<{ interest: Interest }> {
    return registerEndpoint(this.#state, workspaceId, endpointId);
  }

  unregister(workspaceId: WorkspaceId, endpointId: EndpointId): Reply<object> {
    return unregisterEndpoint(this.#state, workspaceId, endpointId);
  }

  accept(
    workspaceId: WorkspaceId,
    endpointId: EndpointId | null,
    events: readonly OutboxEvent[],
  ): Reply<{ interest: Interest }> {
    return acceptEvents(this.#state, workspaceId, endpointId, events);
  }

  /**
   * Endpoints to be told now, and what each of them is to hear.
   * @param beingTold those that somebody is telling already
   */
  toTell(beingTold: readonly EndpointId[] = []): { readonly endpointId: EndpointId; readonly interest: Interest }[] {
    return endpointsToTell(this.#state, beingTold);
  }

  /** An endpoint was told, or did not answer. @param version of the interest it was told */
  told(endpointId: EndpointId, version: number, heard: boolean): void {
    endpointTold(this.#state, endpointId, version, heard);
  }

  // --- subscriptions and their secrets -----------------------------------------------------------------------------

  create(workspaceId: WorkspaceId, id: WebhookId, webhook: NewWebhook, secret: NewSecret): Reply<{ webhook: Webhook }> {
    return createWebhook(this.#state, workspaceId, id, webhook, secret);
  }

  list(workspaceId: WorkspaceId): Reply<{ webhooks: Webhook[] }> {
    return listWebhooks(this.#state, workspaceId);
  }

  get(workspaceId: WorkspaceId, id: WebhookId): Reply<{ webhook: Webhook }> {
    return getWebhook(this.#state, workspaceId, id);
  }

  patch(workspaceId: WorkspaceId, id: WebhookId, patch: WebhookPatch): Reply<{ webhook: Webhook }> {
    return patchWebhook(this.#state, workspaceId, id, patch);
  }

  remove(workspaceId: WorkspaceId, id: WebhookId): Reply<object> {
    return removeWebhook(this.#state, workspaceId, id);
  }

  /** The live secrets of a source, the newest first; null when there is no such source. */
  secrets(workspaceId: WorkspaceId, source: WebhookSource): SecretRecord[] | null {
    return liveSecrets(this.#state, workspaceId, source);
  }

  /** Gives the workspace its default secret, if it has none. */
  putDefaultSecret(workspaceId: WorkspaceId, secret: NewSecret): Refusal | null {
    return putDefaultSecret(this.#state, workspaceId, secret);
  }

  /** From now on this secret signs first, and the newest one so far beside it until the overlap is over. */
  rotate(workspaceId: WorkspaceId, source: WebhookSource, secret: NewSecret): Reply<{ secrets: SecretRecord[] }> {
    return rotateSecret(this.#state, workspaceId, source, secret);
  }

  // --- deliveries --------------------------------------------------------------------------------------------------

  test(
    workspaceId: WorkspaceId,
    id: WebhookId,
    event: WebhookEvent,
    newId?: DeliveryId,
  ): Reply<{ delivery: Delivery }> {
    return tryOut(this.#state, workspaceId, id, event, newId);
  }

  deliveries(
    workspaceId: WorkspaceId,
    source: WebhookSource | null,
    page: DeliveryPage,
  ): Reply<{ deliveries: Delivery[]; next: DeliveryId | null }> {
    return deliveriesPage(this.#state, workspaceId, source, page);
  }

  delivery(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): Reply<{ delivery: Delivery }> {
    return oneDelivery(this.#state, workspaceId, source, id);
  }

  redeliver(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): Reply<{ delivery: Delivery }> {
    return redeliver(this.#state, workspaceId, source, id);
  }

  /** @param since Unix ms */
  recover(workspaceId: WorkspaceId, source: WebhookSource, since: number): Reply<{ recovered: number }> {
    return recover(this.#state, workspaceId, source, since);
  }

  /** Messages for a listening command. */
  listen(workspaceId: WorkspaceId, id: WebhookId): Reply<{ messages: HandedOut[] }> {
    return handOut(this.#state, workspaceId, id);
  }

  report(
    workspaceId: WorkspaceId,
    id: WebhookId,
    deliveryId: DeliveryId,
    report: DeliveryReport,
  ): Reply<{ delivery: Delivery }> {
    return takeReport(this.#state, workspaceId, id, deliveryId, report);
  }

  /** What came of a try. @param startedAt the try's own, so that a late outcome of a lost try is not taken for another's */
  tried(deliveryId: DeliveryId, startedAt: number, result: TryResult): void {
    tried(this.#state, deliveryId, startedAt, result);
  }

  /** The alarm rang, early, late or twice. */
  wake(): void {
    const state = this.#state;
    state.alarmRang();
    if (state.workspaceId === null) return;
    state.turn((now) => {
      loseTries(state, now, now - TRY_LOST_MS);
      removeUnheard(state, now);
      state.webhooks.forgetSecrets(now);
      forgetOld(state, now);
    });
  }
}
