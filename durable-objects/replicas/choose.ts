/** Which of the waiting replicas takes the next job. */
import type { NodeId, ReplicaId } from "#contract/ids";

export interface Candidate {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  /** Leases it holds already. */
  readonly held: number;
  /** It executes one of them: it would take the job ahead. */
  readonly works: boolean;
  /** When it last had work, Unix ms. */
  readonly lastUsedAt: number;
  /** Its last offer reached nobody: its poll may be one whose connection died unseen. */
  readonly isMute?: boolean;
}

/**
 * The candidates, best first: an idle one before one that would take the job ahead, one that may be gone after those that
 * are there, and the most recently used before the others, so that the others go idle and stop.
 */
export function inOrderOfChoice(candidates: readonly Candidate[]): Candidate[] {
  return candidates.toSorted(
    (a, b) =>
      Number(a.works) - Number(b.works) ||
      a.held - b.held ||
      Number(a.isMute === true) - Number(b.isMute === true) ||
      b.lastUsedAt - a.lastUsedAt ||
      (a.replicaId < b.replicaId ? -1 : 1),
  );
}

/**
 * The candidates that the job may wait for. One that has had a lease already is not taken ahead: whatever it came back
 * for, it now goes to a replica that begins at once, so a job is held ahead in vain at most once.
 */
export function suitedFor(job: { readonly leases: readonly unknown[] }, candidates: readonly Candidate[]) {
  return job.leases.length === 0 ? candidates : candidates.filter(({ works }) => !works);
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

/** So long a job whose offer reached nobody waits for a replica that is known to be there. */
export const SURE_TAKER_WAIT_MS = 2_000;

/**
 * Whether a job may be offered to a replica. Connections that die unseen do so in numbers, when a machine or a network
 * goes: after one offer that reached nobody, the next is for a replica that took its last one, if there is any.
 * @param lapsedAt when the job's last offer turned out to have reached nobody, null when it did not
 * @param isSure the replica has taken what it was offered last
 * @param isAnySure some replica of the endpoint has
 */
export function mayOffer(lapsedAt: number | null, isSure: boolean, isAnySure: boolean, now: number): boolean {
  return lapsedAt === null || isSure || !isAnySure || now >= lapsedAt + SURE_TAKER_WAIT_MS;
}
