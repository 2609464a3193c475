/** Starts that get nowhere: the replica is ended, its node has failed, and somebody else gets it. */
import type { HeldReplica } from "#contract/agent";
import { noteFailure } from "#durable-objects/pod/node-reports";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { SlotRecord } from "#durable-objects/pod/pod-store";
import { type StartLimit, startLimit } from "#durable-objects/replicas/start-watch";

/** Takes note of how far a replica's start is. */
export function noteMoved(state: PodState, held: HeldReplica, now: number): void {
  const { progress } = held;
  const mark = `${held.state} ${progress ?? ""}`;
  if (state.moved.get(held.replica_id)?.mark === mark) return;
  state.moved.set(held.replica_id, { mark, at: now, tellsProgress: progress !== undefined });
}

/** Ends the starts that are overdue on nodes that are online: what runs on others is lost with them. */
export function endOverdue(state: PodState, now: number): void {
  for (const replica of state.store.replicas()) {
    const limit = limitOf(state, replica);
    const node = limit === null || limit.at > now ? null : state.nodes.get(replica.nodeId);
    if (limit === null || node === null || !state.isOnline(node, now)) continue;
    noteFailure(state, replica, limit.reason, now);
    state.endUnasked(replica, limit.reason, now);
  }
}

/** When the next start will be overdue, Unix ms. */
export function nextOverdue(state: PodState): number | null {
  const dues = state.store.replicas().flatMap((replica) => limitOf(state, replica)?.at ?? []);
  return dues.length === 0 ? null : Math.min(...dues);
}

/** An object that was away gives each start its time anew: its node could say nothing meanwhile. */
function limitOf(state: PodState, replica: SlotRecord): StartLimit | null {
  if (replica.draining) return null;
  const since = Math.max(replica.placedAt, state.heardFrom);
  const moved = state.moved.get(replica.id);
  return startLimit({
    state: replica.state,
    isReported: replica.reported,
    tellsProgress: moved?.tellsProgress ?? false,
    wasReady: replica.readyAt !== null,
    since,
    movedAt: moved?.at ?? since,
  });
}
