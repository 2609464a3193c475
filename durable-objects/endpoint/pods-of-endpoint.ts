/** Which of an endpoint's pods something belongs to, those it is leaving included. */
import type { PodId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import type { Pool } from "#durable-objects/replicas/pods-and-lanes";

/** The pods it runs on and, after them, those it is leaving: they hold replicas that still drain. */
export function podsOf({ config, demands }: EndpointState): PodId[] {
  const listed = config?.removed === false ? config.pods.map(({ podId }) => podId) : [];
  const known = demands.all().map(({ podId }) => podId);
  return [...listed, ...known.filter((podId) => !listed.includes(podId))];
}

/** Whether the pod's word counts here. */
export function isPodOf(state: EndpointState, podId: PodId): boolean {
  return state.config !== null && podsOf(state).includes(podId);
}

/** Lanes whose jobs a replica on that pod takes. */
export function lanesOf({ config }: EndpointState, id: PodId): readonly Lane[] {
  return config?.pods.find(({ podId }) => podId === id)?.lanes ?? [];
}

/** The group of pods that it is in; null when the endpoint is leaving it. */
export function poolOfPod({ scaling }: EndpointState, id: PodId): Pool | null {
  return scaling.pools.find(({ pool }) => pool.pods.some(({ podId }) => podId === id))?.pool ?? null;
}
