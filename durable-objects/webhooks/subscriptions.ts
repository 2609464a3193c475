/** A workspace's webhooks themselves: made, changed, given up and removed. */
import { makeId, ownerKey, WebhookId, type WorkspaceId } from "#contract/ids";
import { WEBHOOKS_PER_WORKSPACE_MAX } from "#contract/limits";
import { refusal } from "#contract/problems";
import type { Webhook, WebhookPatch } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { HEALTHY } from "#durable-objects/outbox/breaker";
import { disabledMessageId } from "#durable-objects/outbox/message-id";
import type { World } from "#durable-objects/sql/database";
import { destinationOf } from "#durable-objects/webhooks/destination";
import { interestKey } from "#durable-objects/webhooks/interest";
import { type NewSecret, putFirstSecret } from "#durable-objects/webhooks/live-secrets";
import { publish } from "#durable-objects/webhooks/new-deliveries";
import type { WebhookRecord } from "#durable-objects/webhooks/webhook-store";
import { iso, noWebhook, type WebhooksState } from "#durable-objects/webhooks/webhooks-state";

const DONE = { ok: true } as const;

/** What a caller says of a new webhook. */
export type NewWebhook = Pick<WebhookRecord, "kind" | "url" | "events" | "endpointId" | "description">;

/** A fresh webhook's id. */
export function newWebhookId(workspaceId: WorkspaceId, world: World): WebhookId {
  return makeId(WebhookId, "wh", world.now(), world.randomBytes, ownerKey(workspaceId));
}

export function createWebhook(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  id: WebhookId,
  webhook: NewWebhook,
  secret: NewSecret,
): Reply<{ webhook: Webhook }> {
  const refused = state.open(workspaceId);
  if (refused !== null) return refused;
  return state.turn((now) => {
    if (state.webhooks.all().length >= WEBHOOKS_PER_WORKSPACE_MAX) {
      return refusal("webhook_limit", `A workspace may have ${WEBHOOKS_PER_WORKSPACE_MAX} webhooks.`);
    }
    const askedAt = webhook.kind === "listen" ? now : null;
    const record: WebhookRecord = { ...webhook, id, disabled: null, askedAt, createdAt: now };
    state.webhooks.put(record);
    putFirstSecret(state, id, secret, now);
    state.webhooks.interestChanged(now);
    return { ok: true, webhook: webhookView(state, record, now) };
  });
}

export function listWebhooks(state: WebhooksState, workspaceId: WorkspaceId): Reply<{ webhooks: Webhook[] }> {
  const now = state.world.now();
  const all = state.workspaceId === workspaceId ? state.webhooks.all() : [];
  return { ok: true, webhooks: all.map((webhook) => webhookView(state, webhook, now)) };
}

export function getWebhook(state: WebhooksState, workspaceId: WorkspaceId, id: WebhookId): Reply<{ webhook: Webhook }> {
  const webhook = state.own(workspaceId, id);
  return webhook === null ? noWebhook() : { ok: true, webhook: webhookView(state, webhook, state.world.now()) };
}

export function patchWebhook(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  id: WebhookId,
  patch: WebhookPatch,
): Reply<{ webhook: Webhook }> {
  const before = state.own(workspaceId, id);
  if (before === null) return noWebhook();
  if (patch.url !== undefined && before.kind === "listen") {
    return refusal("invalid_url", "A webhook of the kind listen has no URL: its command fetches the messages.", {
      errors: [{ path: "/url", reason: "Must be left out for a webhook of the kind listen." }],
    });
  }
  return state.turn((now) => {
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
    state.webhooks.put(after);
    if (after.disabled !== null && before.disabled === null) endPending(state, after, "failed", now);
    // Another address, or somebody's word that it works again: what is known of it no longer counts.
    if (after.url !== before.url || (after.disabled === null && before.disabled !== null)) {
      state.deliveries.putHealth(destinationOf(after), HEALTHY);
    }
    if (interestKey(before) !== interestKey(after)) state.webhooks.interestChanged(now);
    return { ok: true, webhook: webhookView(state, after, now) };
  });
}

export function removeWebhook(state: WebhooksState, workspaceId: WorkspaceId, id: WebhookId): Reply<object> {
  const webhook = state.own(workspaceId, id);
  if (webhook === null) return noWebhook();
  return state.turn((now) => {
    removeInTurn(state, webhook, now);
    return DONE;
  });
}

/** Part of a turn: the webhook is gone, and what was pending of it is not sent. */
export function removeInTurn(state: WebhooksState, webhook: WebhookRecord, now: number): void {
  endPending(state, webhook, "discarded", now);
  state.deliveries.putHealth(destinationOf(webhook), HEALTHY);
  state.webhooks.delete(webhook.id);
  state.webhooks.interestChanged(now);
  state.announceListened(webhook.id);
}

/** Part of a turn: gives a webhook up, and tells the workspace's other subscriptions. */
export function disableInTurn(state: WebhooksState, webhook: WebhookRecord, reason: string, now: number): void {
  const { failingSince } = state.deliveries.health(destinationOf(webhook));
  state.webhooks.put({ ...webhook, disabled: { reason, at: now } });
  endPending(state, webhook, "failed", now);
  state.webhooks.interestChanged(now);
  const data = {
    id: webhook.id,
    url: webhook.url,
    reason,
    failing_since: failingSince === null ? null : iso(failingSince),
    disabled_at: iso(now),
  };
  const messageId = disabledMessageId(webhook.id, now);
  const news = { messageId, type: "webhook.disabled", endpointId: null, jobId: null, at: now, url: null } as const;
  publish(state, { ...news, data: "" }, data, now);
}

function endPending(state: WebhooksState, webhook: WebhookRecord, as: "failed" | "discarded", now: number): void {
  state.deliveries.endPending(destinationOf(webhook), as, now);
}

function webhookView(state: WebhooksState, webhook: WebhookRecord, now: number): Webhook {
  const { failingSince } = state.deliveries.health(destinationOf(webhook));
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
    secrets: state.webhooks.secrets(webhook.id, now).map(({ hint, createdAt, expiresAt }) => ({
      hint,
      created_at: iso(createdAt),
      expires_at: expiresAt === null ? null : iso(expiresAt),
    })),
    created_at: iso(webhook.createdAt),
  };
}
