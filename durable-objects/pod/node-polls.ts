/** Polls of nodes that wait, and what they are answered. */
import type { HeldReplica, NodePollAnswer, WantedReplica } from "#contract/agent";
import type { NodeId } from "#contract/ids";
import { METRICS_WATCH_MS, METRICS_WATCHED_MS } from "#contract/limits";
import { mismatchOf } from "#durable-objects/pod/evict";
import type { NodeMemory, NodeWaiter, PodState } from "#durable-objects/pod/pod-state";
import { isOver } from "#durable-objects/replicas/replica-record";

/** A wish the node has not fulfilled is repeated after this. */
const REPEAT_MS = 3_000;

/** What the node should run. */
export function wantedOn(state: PodState, nodeId: NodeId): WantedReplica[] {
  return state.store.replicasOn(nodeId).map((replica) => ({
    replica_id: replica.id,
    slot: replica.slot,
    endpoint_id: replica.endpointId,
    action: replica.draining ? "drain" : "run",
  }));
}

export function isWatched(memory: NodeMemory | undefined, now: number): boolean {
  return memory !== undefined && memory.watchedAt > 0 && now - memory.watchedAt < METRICS_WATCH_MS;
}

/** For somebody who need not be the node any more: it does not count as told. */
export function answerFor(state: PodState, nodeId: NodeId, now: number): NodePollAnswer {
  const memory = state.memory.get(nodeId);
  return {
    replicas: wantedOn(state, nodeId),
    ...(memory?.owesInventory === true ? { send_inventory: true } : {}),
    ...(isWatched(memory, now) ? { metrics_every_ms: METRICS_WATCHED_MS } : {}),
  };
}

/** Answers the node. */
export function tell(state: PodState, nodeId: NodeId, now: number): NodePollAnswer {
  const answer = answerFor(state, nodeId, now);
  const memory = state.remember(nodeId);
  memory.told = { signature: JSON.stringify(answer.replicas), at: now };
  memory.quietAt = now;
  memory.knowsWatched = answer.metrics_every_ms !== undefined;
  return answer;
}

/** How long to hold back an answer that would only repeat the last one, ms. */
export function repeatIn(state: PodState, memory: NodeMemory, nodeId: NodeId, now: number): number {
  const { told } = memory;
  if (told === null || told.signature !== JSON.stringify(wantedOn(state, nodeId))) return 0;
  return Math.max(0, told.at + REPEAT_MS - now);
}

/** @returns the node's memory when it was this poll that waited */
export function endPoll(state: PodState, nodeId: NodeId, pollId: string, now: number): NodeMemory | null {
  const memory = state.memory.get(nodeId);
  if (memory?.waiter?.pollId !== pollId) return null;
  memory.waiter = null;
  memory.quietAt = now;
  return memory;
}

export function answerWaiter(state: PodState, nodeId: NodeId, waiter: NodeWaiter, now: number): void {
  state.remember(nodeId).waiter = null;
  const answer = tell(state, nodeId, now);
  state.effects.push({ type: "poll_answered", nodeId, pollId: waiter.pollId, answer });
}

/** Machines with cards that the pod does not take any more, and with nothing to do, ask again at once, and are sent away. */
export function answerMisfits(state: PodState, now: number): void {
  for (const [nodeId, { waiter }] of state.memory) {
    const node = waiter === null ? null : state.nodes.get(nodeId);
    if (waiter === null || node === null || mismatchOf(state, node) === null) continue;
    if (wantedOn(state, nodeId).length === 0) answerWaiter(state, nodeId, waiter, now);
  }
}

/** A new poll replaces the old one. Whoever sent that has most likely gone, so it counts as told nothing. */
export function replaceWaiter(state: PodState, nodeId: NodeId, memory: NodeMemory, now: number): void {
  const { waiter } = memory;
  memory.waiter = null;
  memory.quietAt = now;
  if (waiter === null) return;
  const answer = answerFor(state, nodeId, now);
  state.effects.push({ type: "poll_answered", nodeId, pollId: waiter.pollId, answer });
}

/** Answers the waiting polls of nodes whose wanted replicas have changed. */
export function answerChanged(state: PodState, now: number): void {
  for (const [nodeId, memory] of state.memory) {
    const { waiter } = memory;
    if (waiter === null || fulfils(waiter.reported, wantedOn(state, nodeId))) continue;
    if (repeatIn(state, memory, nodeId, now) === 0) answerWaiter(state, nodeId, waiter, now);
  }
}

/** Whether a node that runs these has nothing to start, drain or stop. */
export function fulfils(reported: readonly HeldReplica[], wanted: readonly WantedReplica[]): boolean {
  const alive = new Map(reported.filter((held) => !isOver(held.state)).map((held) => [held.replica_id, held]));
  if (alive.size !== wanted.length) return false;
  return wanted.every((wish) => {
    const held = alive.get(wish.replica_id);
    return held !== undefined && (wish.action === "run" || held.state === "draining");
  });
}
