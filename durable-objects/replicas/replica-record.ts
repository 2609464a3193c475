/** What an endpoint remembers of a replica. */
import type { NodeId, PodId, ReplicaId } from "#contract/ids";
import type { ReplicaState } from "#contract/replica";

/** When the replica entered each state, by the server's clock, oldest first. */
export interface StateChange {
  readonly state: ReplicaState;
  readonly at: number;
  /** With `stopped`: nobody saw it ending, its pod only had not heard of its node. It may turn out to have gone on. */
  readonly unseen?: true;
}

export interface ReplicaRecord {
  readonly id: ReplicaId;
  readonly nodeId: NodeId;
  readonly podId: PodId;
  /** Type of the card it is on; null: none, or one without a name. undefined until the pod has said it. */
  readonly gpuType: string | null | undefined;
  /** Slots that share that card; 1: it has the card to itself, or the pod has not said yet. */
  readonly slotsOnCard: number;
  /** `busy` is never stored: it follows from the leases. */
  readonly state: ReplicaState;
  readonly release: number;
  readonly error: string | null;
  /** The endpoint has let it go: it finishes its job and stops. */
  readonly draining: boolean;
  /** One that starts after this, Unix ms, takes its place; until that one is ready, it works. null: none does. */
  readonly replacedSince: number | null;
  /** The replica whose place it took. */
  readonly inPlaceOf: ReplicaId | null;
  /** The build that it has or is about to have, by digest; null: none. undefined: it has not said so yet. */
  readonly build: string | null | undefined;
  readonly startedAt: number;
  readonly changes: readonly StateChange[];
  /** Measured by the agent, for show. */
  readonly phases: readonly { readonly phase: string; readonly ms: number }[];
}

const STARTING: readonly ReplicaState[] = ["requested", "placed", "preparing", "booting", "loading"];

/** On its way to work. */
export function isStarting(state: ReplicaState): boolean {
  return STARTING.includes(state);
}

/** It has said itself that it works, in this start or one before it, or has come to its end. */
export function hasWorked({ state, changes }: ReplicaRecord): boolean {
  return !isStarting(state) || changes.some((change) => change.state === "ready");
}

/** When its last start began, Unix ms: when it was placed or, for one that was ready before, when it left that state. */
export function startBegan({ changes, startedAt }: ReplicaRecord): number {
  const ready = changes.findLastIndex(({ state }) => state === "ready");
  return ready === -1 ? startedAt : (changes[ready + 1]?.at ?? startedAt);
}

/** Counts as capacity: starts or works, and is not on its way out. */
export function isCapacity(replica: ReplicaRecord): boolean {
  return !replica.draining && (isStarting(replica.state) || replica.state === "ready" || replica.state === "busy");
}

/** The replica's process is over. */
export function isOver(state: ReplicaState): boolean {
  return state === "stopped" || state === "crashed";
}

/** Its end is what its pod took for it, and the pod may take it back. */
export function mayReturn(replica: ReplicaRecord): boolean {
  return replica.state === "stopped" && replica.changes.at(-1)?.unseen === true;
}

/** It never ended: it stands as it did before. @param at when that was found out */
export function returned(replica: ReplicaRecord, at: number): ReplicaRecord {
  const before = replica.changes.findLast(({ state }) => !isOver(state))?.state ?? "placed";
  return { ...enter(replica, before, at), error: null };
}

/** The replica in another state; the same state again changes nothing. */
export function enter(replica: ReplicaRecord, state: ReplicaState, at: number): ReplicaRecord {
  if (replica.state === state) return replica;
  return { ...replica, state, changes: [...replica.changes, { state, at }].slice(-CHANGES_KEPT) };
}

/** A start takes five changes; more than this many come from an agent that cannot make up its mind. */
const CHANGES_KEPT = 20;
