/** What a node has to do to run what its pod wants. Pure. */
import type { HeldReplica, WantedReplica } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";

export interface Changes {
  readonly start: readonly WantedReplica[];
  /** Finish the job in hand, take no other, stop. */
  readonly drain: readonly ReplicaId[];
  /** Ended, and the pod knows it: no need to mention it any more. */
  readonly forget: readonly ReplicaId[];
}

/** Such a replica holds its slot no longer. It stays on the list until the pod has heard of its end. */
export function hasEnded(replica: Pick<HeldReplica, "state">): boolean {
  return replica.state === "stopped" || replica.state === "crashed";
}

/**
 * Compares. A wanted replica whose slot is still taken by another is started by a later comparison.
 * @param slots how many the node has
 */
export function reconcile(held: readonly HeldReplica[], wanted: readonly WantedReplica[], slots: number): Changes {
  const taken = new Set(held.filter((replica) => !hasEnded(replica)).map((replica) => replica.slot));
  const known = new Set(held.map((replica) => replica.replica_id));
  const start: WantedReplica[] = [];
  for (const replica of wanted) {
    const isNew = replica.action === "run" && !known.has(replica.replica_id);
    if (!isNew || replica.slot >= slots || taken.has(replica.slot)) continue;
    taken.add(replica.slot);
    start.push(replica);
  }
  const byId = new Map(wanted.map((replica) => [replica.replica_id, replica]));
  const unwanted = held.filter((replica) => byId.get(replica.replica_id)?.action !== "run");
  return {
    start,
    drain: unwanted.filter((replica) => !hasEnded(replica) && replica.state !== "draining").map((r) => r.replica_id),
    forget: held.filter((replica) => hasEnded(replica) && !byId.has(replica.replica_id)).map((r) => r.replica_id),
  };
}
