/** Replicas that may not stay where they are: they finish their job and go. */
import type { NodeId } from "#contract/ids";
import { isLeaving, type NodeRecord } from "#durable-objects/pod/node-store";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { SlotRecord } from "#durable-objects/pod/pod-store";
import { gpuMismatch } from "#durable-objects/replicas/node-fit";
import { fitsRegion } from "#durable-objects/replicas/place";

/** Why the pod's bounds keep the node's cards out; null: they fit. */
export function mismatchOf(state: PodState, { gpus }: Pick<NodeRecord, "gpus">): string | null {
  const cards = gpus.map((gpu) => ({ name: gpu.name, type: state.gpuType(gpu) }));
  return gpuMismatch(state.settings.gpu_types, cards);
}

/** Whether the pod may run anything on the node at all, trust apart. */
function fitsPod(state: PodState, node: NodeRecord): boolean {
  return mismatchOf(state, node) === null && fitsRegion(state.settings.regions, node.region);
}

/** After a change of where an endpoint, the pod or a node may be, and of the cards that the pod takes. */
export function drainMisplaced(state: PodState): void {
  const nodes = new Map(state.nodes.all().map((node) => [node.id, node]));
  const allowed = new Map(state.store.demands().map(({ endpointId, regions }) => [endpointId, regions]));
  const misfits = new Set([...nodes.values()].filter((node) => !fitsPod(state, node)).map(({ id }) => id));
  for (const replica of state.store.replicas()) {
    const region = nodes.get(replica.nodeId)?.region ?? null;
    const fits = fitsRegion(allowed.get(replica.endpointId) ?? [], region) && !misfits.has(replica.nodeId);
    if (!fits) state.drain(replica);
  }
}

/**
 * After the pod's containers have become fewer: what is beyond them goes. First of who has the most beyond what it needs,
 * then of who has the most; of its replicas one that has not started yet, then the newest.
 */
export function drainBeyondContainers(state: PodState): void {
  const { containers_max } = state.settings;
  if (containers_max === null) return;
  const needed = new Map(state.store.demands().map((demand) => [demand.endpointId, demand.needed]));
  const working = state.store.replicas().filter(({ draining }) => !draining);
  const groups = [...Map.groupBy(working.toSorted(inOrderOfGoing), ({ endpointId }) => endpointId)].map(
    ([endpointId, left]) => ({ needed: needed.get(endpointId) ?? 0, left }),
  );
  const spare = (group: (typeof groups)[number]): number => Math.max(0, group.left.length - group.needed);
  for (let beyond = working.length - containers_max; beyond > 0; beyond -= 1) {
    const [most] = groups
      .flatMap((group) => (group.left[0] === undefined ? [] : [{ group, first: group.left[0] }]))
      .toSorted(
        (a, b) =>
          spare(b.group) - spare(a.group) ||
          b.group.left.length - a.group.left.length ||
          inOrderOfGoing(a.first, b.first),
      );
    if (most === undefined) return;
    state.drain(most.first);
    most.group.left.shift();
  }
}

function inOrderOfGoing(a: SlotRecord, b: SlotRecord): number {
  return Number(a.readyAt !== null) - Number(b.readyAt !== null) || b.placedAt - a.placedAt || (a.id < b.id ? -1 : 1);
}

/** After somebody has said that the node is to be emptied. */
export function drainLeaving(state: PodState, nodeId: NodeId): void {
  const node = state.nodes.get(nodeId);
  if (node === null || !isLeaving(node)) return;
  for (const replica of state.store.replicasOn(nodeId)) state.drain(replica);
}
