/** The secrets that sign a source's messages: one, or two while a rotation is under way. */
import type { WorkspaceId } from "#contract/ids";
import { WEBHOOK_SECRET_OVERLAP_MS } from "#contract/limits";
import type { Refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";
import type { WebhookSource } from "#durable-objects/webhooks/rpc";
import type { SecretRecord } from "#durable-objects/webhooks/webhook-store";
import { noWebhook, type WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/** A secret that was made and sealed outside. */
export interface NewSecret {
  readonly sealed: string;
  readonly hint: string;
}

/** The live secrets of a source, the newest first; null when there is no such source. */
export function liveSecrets(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource,
): SecretRecord[] | null {
  if (!state.isSource(workspaceId, source)) return null;
  return state.webhooks.secrets(source, state.world.now());
}

/** Gives a new source its first secret. */
export function putFirstSecret(state: WebhooksState, source: WebhookSource, secret: NewSecret, now: number): void {
  state.webhooks.addSecret(source, { ...secret, number: 1, createdAt: now, expiresAt: null });
}

/** Gives the workspace its default secret, if it has none. */
export function putDefaultSecret(state: WebhooksState, workspaceId: WorkspaceId, secret: NewSecret): Refusal | null {
  const refused = state.open(workspaceId);
  if (refused !== null) return refused;
  state.turn((now) => {
    if (state.webhooks.secrets("default", now).length === 0) putFirstSecret(state, "default", secret, now);
  });
  return null;
}

/** From now on this secret signs first, and the newest one so far beside it until the overlap is over. */
export function rotateSecret(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  source: WebhookSource,
  secret: NewSecret,
): Reply<{ secrets: SecretRecord[] }> {
  if (!state.isSource(workspaceId, source)) return noWebhook();
  return state.turn((now) => {
    const newest = state.webhooks.secrets(source, now)[0]?.number ?? 0;
    state.webhooks.deleteSecretsBelow(source, newest);
    state.webhooks.expireSecret(source, newest, now + WEBHOOK_SECRET_OVERLAP_MS);
    state.webhooks.addSecret(source, { ...secret, number: newest + 1, createdAt: now, expiresAt: null });
    return { ok: true, secrets: state.webhooks.secrets(source, now) };
  });
}
