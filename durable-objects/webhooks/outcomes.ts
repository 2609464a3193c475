/** What came of a try, and what that means for the delivery, its destination and its webhook. */
import type { DeliveryId } from "#contract/ids";
import { afterTry, isGivenUp } from "#durable-objects/outbox/breaker";
import { failureText, outcomeOf, type TryResult } from "#durable-objects/outbox/outcome";
import { retryDelayMs } from "#durable-objects/outbox/schedule";
import { chance } from "#durable-objects/sql/database";
import type { DeliveryRecord, TryRecord } from "#durable-objects/webhooks/delivery-store";
import { isListened } from "#durable-objects/webhooks/destination";
import { disableInTurn } from "#durable-objects/webhooks/subscriptions";
import type { WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/** Tries kept of one delivery: a schedule has ten, and people redeliver. */
const TRIES_KEPT = 30;

/** A try has ended. @param startedAt the try's own, so that a late outcome of a lost try is not taken for another's */
export function tried(state: WebhooksState, deliveryId: DeliveryId, startedAt: number, result: TryResult): void {
  if (state.order.startedAt(deliveryId) !== startedAt) return;
  state.turn((now) => {
    state.order.end(deliveryId, result.status === null ? null : now);
    state.deliveries.endTry(deliveryId);
    const delivery = state.deliveries.get(deliveryId);
    if (delivery !== null) noteOutcome(state, delivery, result, startedAt, now);
  });
}

/** Part of a turn: writes down what came of a try. */
export function noteOutcome(
  state: WebhooksState,
  delivery: DeliveryRecord,
  result: TryResult,
  startedAt: number,
  now: number,
): void {
  const { deliveries, world } = state;
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
    const health = deliveries.health(destination);
    const after = afterTry(health, outcome, now, chance(world));
    if (after !== health) deliveries.putHealth(destination, after);
  }
  if (outcome.type === "delivered") {
    deliveries.change({ ...over, state: "delivered", endedAt: now });
  } else if (delivery.state !== "pending") {
    // It was ended while the try was on its way.
    deliveries.change(over);
  } else {
    const count = delivery.tried + 1;
    const delay = outcome.type === "gone" ? null : retryDelayMs(count, chance(world));
    if (delay === null || outcome.type === "gone") deliveries.change({ ...over, tried: count, state: "failed" });
    else {
      const nextTryAt = now + Math.max(delay, outcome.notBeforeMs);
      deliveries.change({ ...delivery, tries, tried: count, nextTryAt });
    }
  }
  if (delivery.source === "default") noteJobsOwn(state, delivery, outcome.type, now);
  if (delivery.source === "default" && isGivenUp(deliveries.health(destination), now)) {
    giveUp(state, destination, now);
  }
  const webhook = delivery.source === "default" ? null : state.webhooks.get(delivery.source);
  if (webhook === null || webhook.disabled !== null || !isSent) return;
  if (outcome.type === "gone") {
    disableInTurn(state, webhook, "The receiver answered 410: it wants no more messages.", now);
  } else if (isGivenUp(deliveries.health(destination), now)) {
    disableInTurn(state, webhook, "It has failed for 5 days without one success.", now);
  }
}

/**
 * Part of a turn: tries that began before a moment and were never heard of again. What they sent may have arrived or not.
 * @param before Unix ms
 */
export function loseTries(state: WebhooksState, now: number, before: number): void {
  const { deliveries, order } = state;
  for (const { id, startedAt } of deliveries.trying()) {
    if (startedAt > before) continue;
    order.end(id, null);
    deliveries.endTry(id);
    const delivery = deliveries.get(id);
    if (delivery === null) continue;
    const error = "The server was restarted during this try; it is made again.";
    const tries = withTry(delivery.tries, { at: startedAt, status: null, ms: now - startedAt, error, answer: null });
    deliveries.change({ ...delivery, tries, nextTryAt: delivery.state === "pending" ? now : null });
  }
}

/** 410 at a job's own URL ends what there is for this job; other jobs may post to the same place. */
function noteJobsOwn(
  { deliveries }: WebhooksState,
  { jobId, url, destination }: DeliveryRecord,
  outcome: "delivered" | "gone" | "failed",
  now: number,
): void {
  if (jobId === null || url === null) return;
  if (outcome === "gone") deliveries.endJob(jobId, url, destination, now);
  else if (outcome === "delivered") deliveries.wantJob(jobId, url);
}

/** Nobody can disable where single jobs post to: what is pending there has failed, and what comes has its five days. */
function giveUp({ deliveries }: WebhooksState, destination: string, now: number): void {
  deliveries.endPending(destination, "failed", now);
  deliveries.putHealth(destination, { ...deliveries.health(destination), failingSince: now });
}

function withTry(tries: readonly TryRecord[], one: TryRecord): TryRecord[] {
  return [...tries, one].slice(-TRIES_KEPT);
}
