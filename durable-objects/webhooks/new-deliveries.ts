/** From an event to its deliveries: one message, and one delivery for each who wants it. */
import type { DeliveryId, EndpointId, JobId, WorkspaceId } from "#contract/ids";
import { refusal } from "#contract/problems";
import type { WebhookEvent } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { type MessageData, messageBody } from "#durable-objects/outbox/message-body";
import { destinationOf, originOf } from "#durable-objects/webhooks/destination";
import { interestOf } from "#durable-objects/webhooks/interest";
import type { Interest, OutboxEvent } from "#durable-objects/webhooks/rpc";
import type { WebhookRecord } from "#durable-objects/webhooks/webhook-store";
import type { WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/** Takes an endpoint's events. @param endpointId whose interest is answered; null: of any */
export function acceptEvents(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  endpointId: EndpointId | null,
  events: readonly OutboxEvent[],
): Reply<{ interest: Interest }> {
  const refused = state.open(workspaceId);
  if (refused !== null) return refused;
  return state.turn((now) => {
    // They wait where they are; this object's alarm makes room, or what is pending does when it has gone out.
    if (state.storedBytes.fill(now) === "full") return refusal("storage_full", "The log of deliveries is full.");
    for (const event of events) publish(state, event, JSON.parse(event.data) as MessageData, now);
    return { ok: true, interest: interestOf(state, endpointId) };
  });
}

/** Makes an event's message and a delivery for each who wants it. Twice the same event is one message. */
export function publish(state: WebhooksState, event: OutboxEvent, data: MessageData, now: number): void {
  const { workspaceId, deliveries, publicUrl } = state;
  if (workspaceId === null || deliveries.isKnown(event.messageId)) return;
  const wanting = state.webhooks.all().filter((webhook) => wants(webhook, event));
  const url = event.url === null || deliveries.isUnwanted(event.jobId, event.url) ? null : event.url;
  if (wanting.length === 0 && url === null) return;
  const body = messageBody(event.type, event.at, workspaceId, data, publicUrl);
  const message = deliveries.addMessage(event.messageId, event.type, body, now);
  const { type, jobId } = event;
  for (const webhook of wanting) {
    addDelivery(state, webhook, { id: state.deliveryId(now), message, event: type, jobId, nextTryAt: now }, now);
  }
  if (url === null) return;
  deliveries.add({
    id: state.deliveryId(now),
    source: "default",
    destination: originOf(url),
    message,
    event: type,
    jobId,
    url,
    nextTryAt: now,
    createdAt: now,
  });
}

/** A message's delivery to a subscription. */
export function addDelivery(
  state: WebhooksState,
  webhook: WebhookRecord,
  delivery: {
    readonly id: DeliveryId;
    /** The message's number. */
    readonly message: number;
    readonly event: WebhookEvent;
    readonly jobId: JobId | null;
    /** Unix ms. */
    readonly nextTryAt: number;
  },
  now: number,
): void {
  const { id: source, url } = webhook;
  state.deliveries.add({ ...delivery, source, destination: destinationOf(webhook), url, createdAt: now });
  state.announceListened(source);
}

function wants(webhook: WebhookRecord, event: OutboxEvent): boolean {
  return (
    webhook.disabled === null &&
    webhook.events.includes(event.type) &&
    (webhook.endpointId === null || event.endpointId === null || webhook.endpointId === event.endpointId)
  );
}
