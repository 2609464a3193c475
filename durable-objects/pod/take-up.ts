/** A node that was given up is back: what it still runs and is still wanted is taken up again, warm as it is. */
import type { HeldReplica } from "#contract/agent";
import { mismatchOf } from "#durable-objects/pod/evict";
import { isLeaving, type NodeRecord } from "#durable-objects/pod/node-store";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { LostReplica, SlotRecord } from "#durable-objects/pod/pod-store";
import { fitsRegion } from "#durable-objects/replicas/place";
import { isOver } from "#durable-objects/replicas/replica-record";

/**
 * Decided once, with the first poll after the silence: what is not taken up is unknown from then on, and stopped. Whoever
 * was restarted meanwhile does not list what ran before, so nothing that is gone is taken for being there.
 * @param node as it states itself now
 * @param reported what it says it runs
 */
export function takeUp(state: PodState, node: NodeRecord, reported: readonly HeldReplica[]): void {
  const lost = state.store.lostOn(node.id);
  if (lost.length === 0) return;
  state.store.forgetLostOn(node.id);
  if (isLeaving(node) || mismatchOf(state, node) !== null) return;
  if (!fitsRegion(state.settings.regions, node.region)) return;
  const byId = new Map(reported.map((held) => [held.replica_id, held]));
  const found = lost.flatMap((replica) => {
    const held = byId.get(replica.id);
    const lives = held !== undefined && !isOver(held.state) && held.state !== "draining";
    return lives && held.slot === replica.slot && held.slot < node.slots ? [{ replica, held }] : [];
  });
  // Those that work come first: of two that are there and one that is wanted, it is the one that has booted.
  for (const { replica, held } of found.toSorted((a, b) => Number(works(b.held)) - Number(works(a.held)))) {
    takeOneUp(state, node, replica, held);
  }
}

function works({ state }: HeldReplica): boolean {
  return state === "ready" || state === "busy";
}

function takeOneUp(state: PodState, node: NodeRecord, replica: LostReplica, held: HeldReplica): void {
  const demand = state.store.demand(replica.endpointId);
  if (demand === null || !fitsRegion(demand.regions, node.region)) return;
  const all = state.store.replicas();
  const { containers_max } = state.settings;
  if (containers_max !== null && all.length >= containers_max) return;
  const mine = all.filter(({ endpointId, draining }) => endpointId === replica.endpointId && !draining);
  // One that was started in its place and still boots is not worth more than one that has booted.
  const behind = works(held) ? mine.filter(({ readyAt }) => readyAt === null) : [];
  if (mine.length - behind.length >= demand.wanted) return;
  const again: SlotRecord = { ...replica, state: "placed", draining: false, reported: true };
  state.store.insertReplica(again);
  // What its endpoint has not heard yet is not true any more.
  state.store.deleteFarewell(replica.id);
  state.effects.push({ type: "terms_changed", endpointId: replica.endpointId, version: demand.version });
  const surplus = Math.max(0, mine.length + 1 - demand.wanted);
  for (const late of behind.toSorted((a, b) => b.placedAt - a.placedAt).slice(0, surplus)) state.drain(late);
}
