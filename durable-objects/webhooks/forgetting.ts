import { RETENTION_MS, type WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/** Messages that are looked at in one turn. */
const FORGET_MESSAGES_MAX = 500;

/** Forgets messages whose time is over, with their deliveries, and destinations nothing was delivered to for as long. */
export function forgetOld(state: WebhooksState, now: number): void {
  const { deliveries, storedBytes } = state;
  storedBytes.look(now);
  const before = now - state.retentionMs(now);
  const oldest = deliveries.oldestMessageAt();
  if (oldest === null || oldest > before) return;
  const mayBeMore = deliveries.forget(before, FORGET_MESSAGES_MAX);
  state.forgotAt = mayBeMore ? null : now;
  deliveries.forgetHealth(now - RETENTION_MS);
  deliveries.forgetUnwanted(now - RETENTION_MS);
}
