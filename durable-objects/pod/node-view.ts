/** Nodes as the API shows them. */
import { NODE_LISTED_MAX } from "#contract/limits";
import type { NodeInventory, NodeSummary } from "#contract/replica";
import { closedBecause } from "#durable-objects/pod/arrange";
import type { NodeRecord } from "#durable-objects/pod/node-store";
import { isLeaving } from "#durable-objects/pod/node-store";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { PodRecord, SlotRecord } from "#durable-objects/pod/pod-store";
import { FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";
import { quarantineAt } from "#durable-objects/replicas/trust";

/** All nodes of the pod, each with the builds and models that it used last. */
export function summaries(state: PodState, pod: PodRecord, now: number): NodeSummary[] {
  const replicas = state.store.replicas();
  return state.nodes.all().map((node) => {
    const summary = summaryOf(state, pod, node, replicas, now);
    return { ...summary, inventory: shortened(summary.inventory) };
  });
}

function shortened(inventory: NodeInventory | null): NodeInventory | null {
  if (inventory === null) return null;
  const { builds, models } = inventory;
  return { ...inventory, builds: builds.slice(0, NODE_LISTED_MAX), models: models.slice(0, NODE_LISTED_MAX) };
}

export function summaryOf(
  state: PodState,
  pod: PodRecord,
  node: NodeRecord,
  replicas: readonly SlotRecord[],
  now: number,
): NodeSummary {
  const here = new Map(
    replicas.filter(({ nodeId }) => nodeId === node.id).map((replica) => [replica.slot, replica.id]),
  );
  const memory = state.memory.get(node.id);
  const [card] = node.gpus;
  const isOnline = state.isOnline(node, now);
  return {
    id: node.id,
    pod_id: pod.podId,
    name: node.name,
    region: node.region,
    online: isOnline,
    draining: isLeaving(node),
    cordoned: node.cordoned,
    quarantine: quarantineShown(state, node, now),
    unused_because: isOnline ? closedBecause(state, node, now) : null,
    gpu_type: card === undefined ? null : state.gpuType(card),
    slots_per_gpu: node.slotsPerGpu,
    inventory: state.diskOf(node.id).inventory,
    metrics:
      memory?.metrics === undefined || memory.metrics === null
        ? null
        : { ...memory.metrics.figures, at: new Date(memory.metrics.at).toISOString() },
    comfyui: node.comfyui,
    gpus: [...node.gpus],
    slots: Array.from({ length: node.slots }, (_, slot) => ({ slot, replica_id: here.get(slot) ?? null })),
    agent_version: node.agentVersion,
    joined_at: new Date(node.joinedAt).toISOString(),
    last_seen_at: new Date(Math.max(node.seenAt, memory?.seenAt ?? 0)).toISOString(),
  };
}

/** The node's own quarantine, or else that of an endpoint which keeps dying on it: that one takes other work on. */
function quarantineShown(state: PodState, node: NodeRecord, now: number): NodeSummary["quarantine"] {
  const whole = quarantineAt(node.trust, now);
  if (whole !== null) return shown(whole.reason, whole.since, whole.until);
  const [worst] = [...state.store.histories()]
    .flatMap(([endpointId, byNode]) => {
      const history = byNode.get(node.id);
      return history === undefined ? [] : [{ endpointId, ...history }];
    })
    .filter(({ failures, backoffUntil }) => failures >= FAST_FAILURES_MAX && backoffUntil > now)
    .toSorted((a, b) => b.backoffUntil - a.backoffUntil);
  if (worst === undefined) return null;
  const last = worst.lastError === null ? "" : ` The last one: ${worst.lastError}`;
  const reason = `For ${worst.endpointId} only: ${worst.failures} of its replicas died here within a minute of their start.${last}`;
  return shown(reason, worst.crashedAt, worst.backoffUntil);
}

function shown(reason: string, since: number, until: number) {
  return { reason, since: new Date(since).toISOString(), until: new Date(until).toISOString() };
}
