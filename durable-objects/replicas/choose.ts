/** Which of the waiting replicas takes the next job. */
import type { NodeId, ReplicaId } from "#contract/ids";

export interface Candidate {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  /** Leases it holds already. */
  readonly held: number;
  /** When it last had work, Unix ms. */
  readonly lastUsedAt: number;
}

/**
 * The candidates, best first: an idle one before one that would take the job ahead, and the most recently used before
 * the others, so that the others go idle and stop.
 */
export function inOrderOfChoice(candidates: readonly Candidate[]): Candidate[] {
  return candidates.toSorted(
    (a, b) => a.held - b.held || b.lastUsedAt - a.lastUsedAt || (a.replicaId < b.replicaId ? -1 : 1),
  );
}

export interface Avoidance {
  readonly nodeId: NodeId;
  readonly until: number;
}

/**
 * Whether a job may go to a node. A node on which it failed waits a moment longer than the others, if there are others.
 * @param otherNodes whether the endpoint has capacity on a node that is not `nodeId`
 */
export function mayTake(avoid: Avoidance | null, nodeId: NodeId, otherNodes: boolean, now: number): boolean {
  return avoid === null || avoid.nodeId !== nodeId || !otherNodes || now >= avoid.until;
}
