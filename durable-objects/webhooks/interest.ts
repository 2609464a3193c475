/** Which events anybody has subscribed to, and who has heard of it: each endpoint writes only what is wanted. */
import type { EndpointId, WorkspaceId } from "#contract/ids";
import type { WebhookEvent } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import type { Interest } from "#durable-objects/webhooks/rpc";
import type { WebhookRecord } from "#durable-objects/webhooks/webhook-store";
import type { WebhooksState } from "#durable-objects/webhooks/webhooks-state";

/** Endpoints told at once. */
const TELL_MAX = 50;
/** Until an endpoint that did not answer is told again: seconds, doubling up to this. */
const TELL_RETRY_S_MAX = 600;
const DONE = { ok: true } as const;

/** @param endpointId null: of any endpoint */
export function interestOf(state: WebhooksState, endpointId: EndpointId | null): Interest {
  const events = new Set<WebhookEvent>();
  for (const webhook of state.webhooks.all()) {
    const isMeant = webhook.endpointId === null || endpointId === null || webhook.endpointId === endpointId;
    if (webhook.disabled === null && isMeant) for (const event of webhook.events) events.add(event);
  }
  return { version: state.webhooks.workspace()?.interestVersion ?? 0, events: [...events].toSorted() };
}

/** What of a subscription the endpoints' interest hangs on. */
export function interestKey({ events, endpointId, disabled }: WebhookRecord): string {
  return JSON.stringify([disabled === null ? events.toSorted() : [], endpointId]);
}

export function registerEndpoint(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  endpointId: EndpointId,
): Reply<{ interest: Interest }> {
  const refused = state.open(workspaceId);
  if (refused !== null) return refused;
  return state.turn(() => {
    state.webhooks.addEndpoint(endpointId);
    return { ok: true, interest: interestOf(state, endpointId) };
  });
}

export function unregisterEndpoint(
  state: WebhooksState,
  workspaceId: WorkspaceId,
  endpointId: EndpointId,
): Reply<object> {
  if (state.workspaceId !== workspaceId) return DONE;
  return state.turn(() => {
    state.webhooks.deleteEndpoint(endpointId);
    return DONE;
  });
}

/**
 * Endpoints to be told now, and what each of them is to hear.
 * @param beingTold those that somebody is telling already
 */
export function endpointsToTell(
  state: WebhooksState,
  beingTold: readonly EndpointId[],
): { readonly endpointId: EndpointId; readonly interest: Interest }[] {
  if (state.workspaceId === null) return [];
  return state.webhooks
    .endpointsToTell(state.world.now(), TELL_MAX + beingTold.length)
    .filter(({ endpointId }) => !beingTold.includes(endpointId))
    .map(({ endpointId }) => ({ endpointId, interest: interestOf(state, endpointId) }));
}

/** An endpoint was told, or did not answer. @param version of the interest it was told */
export function endpointTold(state: WebhooksState, endpointId: EndpointId, version: number, heard: boolean): void {
  if (state.workspaceId === null) return;
  state.turn((now) => {
    const waiting = state.webhooks.endpointToTell(endpointId, now);
    if (waiting === null) return;
    // When the interest changed meanwhile, it is told once more.
    if (heard && state.webhooks.workspace()?.interestVersion === version) state.webhooks.endpointHeard(endpointId);
    if (heard) return;
    const delayMs = Math.min(2 ** waiting.tries, TELL_RETRY_S_MAX) * 1_000;
    state.webhooks.tellAgain(endpointId, waiting.tries + 1, now + delayMs);
  });
}
