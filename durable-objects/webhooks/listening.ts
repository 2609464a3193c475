/** Messages of `listen` webhooks: nothing is sent there, a command on a developer's machine fetches and reports. */
import type { DeliveryId, WebhookId, WorkspaceId } from "#contract/ids";
import { LISTEN_LOST_MS } from "#contract/limits";
import type { Delivery, DeliveryReport } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { deliveryView, mustView, ownDelivery } from "#durable-objects/webhooks/delivery-log";
import { listenDestination } from "#durable-objects/webhooks/destination";
import { noteOutcome } from "#durable-objects/webhooks/outcomes";
import { removeInTurn } from "#durable-objects/webhooks/subscriptions";
import type { WebhookRecord } from "#durable-objects/webhooks/webhook-store";
import { noWebhook, type WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/** A message handed to a listening command. */
export interface HandedOut {
  readonly delivery: Delivery;
  readonly messageId: string;
}

/** A message handed to a listening command is handed out again when nothing is reported by then. */
const LISTEN_REPORT_MS = 30_000;
const LISTEN_MESSAGES_MAX = 20;
/** How exactly it is stored when a listening command last asked. */
const LISTEN_ASKED_MS = 60_000;
/** A command that says that its program took longer is not believed: it gives up after 15 seconds. */
const LISTEN_TRY_MS_MAX = 3_600_000;

/** Messages for a listening command; each is its own until LISTEN_REPORT_MS are over. */
export function handOut(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  id: WebhookId,
): Reply<{ messages: HandedOut[] }> {
  const webhook = state.own(workspaceId, id);
  if (webhook === null || webhook.kind !== "listen") return noWebhook();
  return state.turn((now) => {
    noteAsked(state, webhook, now);
    const due = state.deliveries
      .firstPending(listenDestination(id), LISTEN_MESSAGES_MAX)
      .filter(({ nextTryAt }) => nextTryAt <= now);
    const messages = due.flatMap(({ id: deliveryId }) => {
      const delivery = state.deliveries.get(deliveryId);
      if (delivery === null) return [];
      state.deliveries.change({ ...delivery, nextTryAt: now + LISTEN_REPORT_MS });
      return [{ delivery: deliveryView(delivery, now), messageId: delivery.messageId }];
    });
    return { ok: true, messages };
  });
}

/** What a command's program made of a message. */
export function takeReport(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  id: WebhookId,
  deliveryId: DeliveryId,
  report: DeliveryReport,
): Reply<{ delivery: Delivery }> {
  const found = ownDelivery(state, workspaceId, id, deliveryId);
  if ("code" in found) return found;
  const webhook = state.own(workspaceId, id);
  if (webhook?.kind !== "listen") return noWebhook();
  return state.turn((now) => {
    // A program that takes its time for what it has is there as well.
    noteAsked(state, webhook, now);
    const ms = Math.min(report.ms, LISTEN_TRY_MS_MAX);
    // Once it is over, a repeated report changes nothing.
    if (found.state === "pending") noteOutcome(state, found, { ...report, ms, retryAfter: null }, now - ms, now);
    return { ok: true, delivery: mustView(state, deliveryId, now) };
  });
}

/** Part of a turn: webhooks whose command has not asked for long are gone. */
export function removeUnheard(state: WebhooksState, now: number): void {
  for (const webhook of state.webhooks.all()) {
    if (webhook.askedAt !== null && now - webhook.askedAt >= LISTEN_LOST_MS) removeInTurn(state, webhook, now);
  }
}

function noteAsked({ webhooks }: WebhooksState, webhook: WebhookRecord, now: number): void {
  if (now - (webhook.askedAt ?? 0) >= LISTEN_ASKED_MS) webhooks.put({ ...webhook, askedAt: now });
}
