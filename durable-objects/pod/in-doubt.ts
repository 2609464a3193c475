/** Replicas that are perhaps of no use although their nodes list them: their endpoints are asked, and know better. */
import type { ReplicaId } from "#contract/ids";
import type { ReplicaHeard } from "#durable-objects/endpoint/rpc";
import { noteFailure } from "#durable-objects/pod/node-reports";
import type { Doubt, PodState } from "#durable-objects/pod/pod-state";
import type { SlotRecord } from "#durable-objects/pod/pod-store";

/** One that its node calls ready asks its endpoint for work within seconds, so one that has not after this never will. */
export const MUTE_MS = 60_000;
/** One on its way out is asked about at this pace: as long as it has a job it goes on, and without one it takes seconds. */
export const DRAIN_ASK_MS = 5 * 60_000;
/** A question without an answer is put again after this. */
const ASK_AGAIN_MS = 30_000;

/** After each turn: notes who is in doubt from now on, and asks about those who have been for long enough. */
export function watchDoubtful(state: PodState, now: number): void {
  if (state.pod === null) return;
  for (const replica of state.store.replicas()) {
    const because = doubtOf(replica);
    const known = state.doubts.get(replica.id);
    if (because === null) state.doubts.delete(replica.id);
    else if (known?.because !== because) {
      const askAt = now + (because === "mute" ? MUTE_MS : DRAIN_ASK_MS);
      state.doubts.set(replica.id, { because, askAt, isAsked: false });
    } else if (known.askAt <= now) {
      state.doubts.set(replica.id, { because, askAt: now + ASK_AGAIN_MS, isAsked: true });
      state.effects.push({ type: "ask_heard", endpointId: replica.endpointId, replicaId: replica.id });
    }
  }
}

/** When somebody is to be asked next, Unix ms; null: nobody is in doubt. */
export function nextQuestion(state: PodState): number | null {
  const dues = [...state.doubts.values()].map(({ askAt }) => askAt).filter(Number.isFinite);
  return dues.length === 0 ? null : Math.min(...dues);
}

/** The endpoint has said what it heard of the replica. One of no use is over; what its node has is foreign until it is stopped. */
export function heardAnswered(state: PodState, replicaId: ReplicaId, heard: ReplicaHeard, now: number): void {
  const replica = state.store.replica(replicaId);
  const doubt = state.doubts.get(replicaId);
  // The answer may be late: to what it was asked for before it was told to drain.
  if (replica === null || doubt?.isAsked !== true || doubt.because !== doubtOf(replica)) return;
  const { because } = doubt;
  if (because === "mute" ? heard.works : heard.leases > 0) {
    const askAt = because === "mute" ? Number.POSITIVE_INFINITY : now + DRAIN_ASK_MS;
    state.doubts.set(replicaId, { because, askAt, isAsked: false });
    return;
  }
  const reason =
    because === "mute"
      ? "Its node called the replica ready, and for a minute it did not ask its endpoint for work."
      : "The replica had no job any more and did not stop.";
  state.endUnasked(replica, reason, now);
  // It has never worked, so it counts as one that died on its start.
  if (because === "mute") noteFailure(state, { ...replica, readyAt: null }, reason, now);
}

function doubtOf({ draining, state }: SlotRecord): Doubt["because"] | null {
  if (draining) return "draining";
  return state === "ready" ? "mute" : null;
}
