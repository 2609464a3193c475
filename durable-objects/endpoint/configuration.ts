/** What the Worker says of the endpoint itself: how it is configured, and that it is deleted. */
import { type Refusal, refusal } from "#contract/problems";
import { noteBuilds } from "#durable-objects/endpoint/builds-at-work";
import { onePod, type StoredConfig } from "#durable-objects/endpoint/config-store";
import { retellDemand } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { dispatch } from "#durable-objects/endpoint/matcher";
import { gateConfigured } from "#durable-objects/endpoint/release-gate";
import { drain, drainLeft } from "#durable-objects/endpoint/replica-life";
import { sendErrands } from "#durable-objects/endpoint/replica-polls";
import type { EndpointConfig } from "#durable-objects/endpoint/rpc";
import { dueNext, sweep } from "#durable-objects/endpoint/sweep";
import { repeatHandOver } from "#durable-objects/endpoint/telling";

/** Why the endpoint is not to be configured like that; null: it is. */
export function refusesConfig(known: StoredConfig, told: EndpointConfig): Refusal | null {
  if (known.workspaceId !== told.workspaceId || known.endpointId !== told.endpointId) {
    return refusal("endpoint_not_found", "There is no such endpoint.");
  }
  return known.removed ? refusal("endpoint_not_found", "The endpoint has been deleted.") : null;
}

/** From now on it is configured like that, and does what has become possible. */
export function configure(state: EndpointState, told: EndpointConfig, now: number): void {
  const known = state.config;
  const config = { ...told, pods: told.pods ?? onePod(told.podId), removed: false };
  state.configs.put(config);
  state.config = config;
  state.stats.configured(config.settings);
  if (known?.canary?.id !== config.canary?.id) state.canary.begin(config.canary);
  noteBuilds(state);
  drainLeft(state);
  if (known !== null && placing(known) !== placing(config)) retellDemand(state, now);
  gateConfigured(state, now);
  dispatch(state, now);
  sendErrands(state, now);
  repeatHandOver(state, now);
  dueNext(state, now);
}

/** What decides where replicas are placed, beside how many. */
function placing({ settings, needs }: EndpointConfig): string {
  return JSON.stringify([settings.regions, needs ?? null]);
}

/** It is deleted: its jobs end as canceled, its replicas go. */
export function remove(state: EndpointState, known: StoredConfig, now: number): void {
  const config = { ...known, removed: true };
  state.configs.put(config);
  state.config = config;
  for (const replica of state.replicas.all()) drain(state, replica);
  sweep(state, now);
  dueNext(state, now);
}
