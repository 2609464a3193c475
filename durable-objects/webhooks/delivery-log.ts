/** The log of what was sent, and what its readers may ask for: a test message, one again, all that failed. */
import type { DeliveryId, WebhookId, WorkspaceId } from "#contract/ids";
import { type Refusal, refusal } from "#contract/problems";
import type { Delivery, WebhookEvent } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { askedAgain } from "#durable-objects/outbox/breaker";
import { exampleData, messageBody } from "#durable-objects/outbox/message-body";
import { testMessageId } from "#durable-objects/outbox/message-id";
import type { DeliveryRecord } from "#durable-objects/webhooks/delivery-store";
import { destinationOf, isOrigin } from "#durable-objects/webhooks/destination";
import { addDelivery } from "#durable-objects/webhooks/new-deliveries";
import type { DeliveryPage, WebhookSource } from "#durable-objects/webhooks/rpc";
import { AT_ONCE, iso, noWebhook, type WebhooksState, webhookDisabled } from "#durable-objects/webhooks/webhooks-state";

/**
 * Sends an example to a webhook, at once.
 * @param newId of its delivery; one that is there already is not sent again
 */
export function tryOut(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  id: WebhookId,
  event: WebhookEvent,
  newId?: DeliveryId,
): Reply<{ delivery: Delivery }> {
  const webhook = state.own(workspaceId, id);
  if (webhook === null) return noWebhook();
  const made = newId === undefined ? null : ownDelivery(state, workspaceId, id, newId);
  if (made !== null && !("code" in made)) return { ok: true, delivery: deliveryView(made, state.world.now()) };
  if (webhook.disabled !== null) return webhookDisabled();
  return state.turn((now) => {
    const deliveryId = newId ?? state.deliveryId(now);
    const body = messageBody(event, now, workspaceId, exampleData(event, now, workspaceId), state.publicUrl);
    const message = state.deliveries.addMessage(testMessageId(deliveryId), event, body, now);
    addDelivery(state, webhook, { id: deliveryId, message, event, jobId: null, nextTryAt: AT_ONCE }, now);
    // A try that somebody asks for is made, whatever the ones before it came to.
    askAgain(state, destinationOf(webhook));
    return { ok: true, delivery: mustView(state, deliveryId, now) };
  });
}

export function deliveriesPage(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource | null,
  page: DeliveryPage,
): Reply<{ deliveries: Delivery[]; next: DeliveryId | null }> {
  if (source !== null && source !== "default" && state.own(workspaceId, source) === null) return noWebhook();
  if (state.workspaceId !== workspaceId) return { ok: true, deliveries: [], next: null };
  const now = state.world.now();
  const { found, next } = state.deliveries.page(source, page);
  return { ok: true, deliveries: found.map((delivery) => deliveryView(delivery, now)), next };
}

export function oneDelivery(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource,
  id: DeliveryId,
): Reply<{ delivery: Delivery }> {
  const found = ownDelivery(state, workspaceId, source, id);
  return "code" in found ? found : { ok: true, delivery: deliveryView(found, state.world.now()) };
}

/** Sends one again, at once and with all of its tries before it. */
export function redeliver(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource,
  id: DeliveryId,
): Reply<{ delivery: Delivery }> {
  const found = ownDelivery(state, workspaceId, source, id);
  if ("code" in found) return found;
  if (source !== "default" && state.own(workspaceId, source)?.disabled !== null) return webhookDisabled();
  return state.turn((now) => {
    state.deliveries.change({ ...found, state: "pending", tried: 0, nextTryAt: AT_ONCE, endedAt: null });
    askAgain(state, found.destination);
    state.announceListened(source);
    return { ok: true, delivery: mustView(state, id, now) };
  });
}

/** Sends again what has failed, for good or so far. @param since Unix ms */
export function recover(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource,
  since: number,
): Reply<{ recovered: number }> {
  if (!state.isSource(workspaceId, source)) return noWebhook();
  if (source !== "default" && state.own(workspaceId, source)?.disabled !== null) return webhookDisabled();
  if (state.workspaceId === null) return { ok: true, recovered: 0 };
  return state.turn((now) => {
    const { count, destinations } = state.deliveries.recover(source, since, now);
    // A destination may be closed with nothing tried that would be recovered: it is asked again as well.
    for (const destination of new Set([...destinations, ...destinationsOf(state, source)])) {
      askAgain(state, destination);
    }
    if (count > 0) state.announceListened(source);
    return { ok: true, recovered: count };
  });
}

/** A delivery of this source, or why there is none. */
export function ownDelivery(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource,
  id: DeliveryId,
): DeliveryRecord | Refusal {
  if (source !== "default" && state.own(workspaceId, source) === null) return noWebhook();
  const found = state.workspaceId === workspaceId ? state.deliveries.get(id) : null;
  if (found === null || found.source !== source) {
    return refusal("delivery_not_found", "The webhook has no such delivery.");
  }
  return found;
}

/** A delivery that the turn in progress has written. */
export function mustView(state: WebhooksState, id: DeliveryId, now: number): Delivery {
  const delivery = state.deliveries.get(id);
  if (delivery === null) throw new Error("the delivery was just written");
  return deliveryView(delivery, now);
}

/** As callers see it. */
export function deliveryView(delivery: DeliveryRecord, now: number): Delivery {
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

/** Where what is pending of a source goes. */
function destinationsOf(state: WebhooksState, source: WebhookSource): string[] {
  if (source === "default") return [...state.deliveries.pendingDestinations()].filter(isOrigin);
  const webhook = state.webhooks.get(source);
  return webhook === null ? [] : [destinationOf(webhook)];
}

function askAgain(state: WebhooksState, destination: string): void {
  const health = state.deliveries.health(destination);
  if (health.closedUntil > 0) state.deliveries.putHealth(destination, askedAgain(health));
}
