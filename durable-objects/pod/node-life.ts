/** A node's coming, changing and going. */
import type { JoinNode } from "#contract/agent";
import { makeId, NodeId, ownerKey } from "#contract/ids";
import { NODE_SESSION_S, NODES_PER_POD_MAX } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import { drainLeaving, mismatchOf } from "#durable-objects/pod/evict";
import { answerWaiter } from "#durable-objects/pod/node-polls";
import { judge, twinOf } from "#durable-objects/pod/node-reports";
import type { NodeRecord } from "#durable-objects/pod/node-store";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { PodRecord } from "#durable-objects/pod/pod-store";
import type { NodeChange } from "#durable-objects/pod/rpc";
import { afterLie, FULL_TRUST, lieIn, trustedAgain } from "#durable-objects/replicas/trust";

/** A node that was silent for so long could not come back: its session has ended. */
export const NODE_FORGOTTEN_MS = NODE_SESSION_S * 1_000;

/** @returns the id of the new node; refused when the pod does not take its cards */
export function joinNode(
  state: PodState,
  pod: PodRecord,
  request: JoinNode,
  now: number,
  nodeId?: NodeId,
): { readonly ok: true; readonly nodeId: NodeId } | Refusal {
  if (nodeId !== undefined && state.nodes.get(nodeId) !== null) return { ok: true, nodeId };
  if (state.nodes.all().length >= NODES_PER_POD_MAX) {
    const help = "Remove those that will not come back, or use another pod.";
    return refusal("node_limit", `A pod may have ${NODES_PER_POD_MAX} nodes, those that are away included. ${help}`);
  }
  const mismatch = mismatchOf(state, request);
  if (mismatch !== null) return refusal("gpu_mismatch", mismatch);
  const id = nodeId ?? makeId(NodeId, "node", now, (length) => state.world.randomBytes(length), ownerKey(pod.podId));
  state.nodes.insert({
    id,
    name: request.name,
    region: request.region ?? null,
    agentVersion: request.agent_version,
    comfyui: request.comfyui,
    gpus: request.gpus,
    slots: request.slots,
    slotsPerGpu: request.slots_per_gpu ?? 1,
    draining: false,
    cordoned: false,
    drainAsked: false,
    online: true,
    joinedAt: now,
    seenAt: now,
    quietAt: null,
    order: null,
    trust: FULL_TRUST,
  });
  if (request.inventory !== undefined) state.putInventory(id, request.inventory);
  const said = { gpus: request.gpus, slots: request.slots, slotsPerGpu: request.slots_per_gpu ?? null, start: null };
  const lie = lieIn(said, said) ?? twinOf(state, { id, joinedAt: now }, request.gpus, now);
  if (lie !== null) judge(state, id, (trust) => afterLie(trust, lie, now));
  const memory = state.remember(id);
  memory.seenAt = now;
  memory.quietAt = now;
  return { ok: true, nodeId: id };
}

/** The node was silent for too long: what it runs counts as gone, unless it comes back with it still running. */
export function loseNode(state: PodState, node: NodeRecord, now: number): void {
  const memory = state.remember(node.id);
  const heardAt = state.heardAt(node, now);
  state.nodes.putStated({ ...node, online: false, seenAt: heardAt, quietAt: null });
  memory.foreign = [];
  memory.reported = null;
  memory.waiter = null;
  memory.metrics = null;
  for (const replica of state.store.replicasOn(node.id)) {
    if (!replica.draining) state.store.putLost(replica);
    state.end(replica, `The node ${node.name} was not heard of.`, now, heardAt);
  }
}

/** What an operator says of it. */
export function changeNode(state: PodState, node: NodeRecord, change: NodeChange): void {
  const cordoned = change.cordoned ?? node.cordoned;
  const drainAsked = change.draining ?? node.drainAsked;
  if (cordoned !== node.cordoned || drainAsked !== node.drainAsked) {
    state.nodes.putAsked({ ...node, cordoned, drainAsked });
    drainLeaving(state, node.id);
  }
  if (change.quarantined === false) {
    judge(state, node.id, trustedAgain);
    state.store.forgiveNode(node.id);
  }
}

/** Its replicas end, and it is known no more: who polls under its name is told to join again. */
export function removeNode(state: PodState, node: NodeRecord, now: number): void {
  for (const replica of state.store.replicasOn(node.id))
    state.end(replica, `The node ${node.name} was removed from its pod.`, now, state.heardAt(node, now));
  const waiter = state.memory.get(node.id)?.waiter ?? null;
  if (waiter !== null) answerWaiter(state, node.id, waiter, now);
  forgetNode(state, node);
}

/** Nodes whose session has ended are forgotten. */
export function forgetNode(state: PodState, node: NodeRecord): void {
  state.store.forgetNode(node.id);
  state.nodes.delete(node.id);
  state.memory.delete(node.id);
}
