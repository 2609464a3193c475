/** What an endpoint asks of each of its pods, out of how many replicas it wants in all. */
import type { PodId } from "#contract/ids";

export interface PodStanding {
  readonly podId: PodId;
  /** Replicas it has there that count as capacity. */
  readonly have: number;
  /** Of those, the ones at work that is not to be interrupted for others. */
  readonly busy: number;
  /** Replicas that could still be started there, as the pod said lately; null: nobody knows. */
  readonly room: number | null;
  /** Beyond that, replicas that could be started there once others have left. */
  readonly held: number;
  /** Replicas of the pod's own warm floor that fall to this endpoint. */
  readonly floor: number;
}

export interface DemandNumbers {
  /** Replicas there is work for, the warm floor included: only what is beyond may be reclaimed for others. */
  readonly needed: number;
  /**
   * Replicas to start up to. Idle ones beyond it are kept until they are let go by name; were they counted here, each
   * one that went would be replaced by another that idles.
   */
  readonly wanted: number;
}

/** The same for all pods together. */
export interface DemandTotal extends DemandNumbers {
  /** No more than so many are wanted in all, whatever floors the pods have: one that is above would be stopped again at once. */
  readonly ceiling: number;
}

/**
 * Shares out what is wanted. What a pod has already stays where it is; what is missing goes to the preferred pod as far
 * as it has room, then to the next. What fits nowhere is claimed of the pods where others could make room, in the same
 * order: a pod without a machine makes none. The rest is asked of the preferred one, which fills it once it can. Then the
 * pods' own floors are filled up, in the order of preference.
 * @param pods in the order of preference, at least one
 * @param total whole numbers, 0 ≤ needed ≤ wanted
 * @returns for each pod, in the same order, 0 ≤ needed ≤ wanted; together no more than is wanted, or the ceiling
 */
export function splitDemand(pods: readonly PodStanding[], total: DemandTotal): readonly DemandNumbers[] {
  let left = total.wanted;
  const take = (most: number): number => {
    const taken = Math.min(most, left);
    left -= taken;
    return taken;
  };
  const kept = pods.map(({ have }) => take(have));
  const placed = pods.map(({ room }) => take(room ?? Number.POSITIVE_INFINITY));
  const claimed = pods.map(({ held }) => take(held));
  const beyond = pods.map(() => take(Number.POSITIVE_INFINITY));
  const shares = [kept, placed, claimed, beyond];
  let spare = Math.max(0, total.ceiling - total.wanted);
  const asked = pods.map(({ floor }, index) => {
    const most = shares.reduce((sum, share) => sum + (share[index] ?? 0), 0);
    const more = Math.min(spare, Math.max(0, floor - most));
    spare -= more;
    return most + more;
  });
  const working = pods.map(({ busy }, index) => Math.min(busy, asked[index] ?? 0));
  let more = Math.max(0, total.needed - working.reduce((sum, count) => sum + count, 0));
  return asked.map((most, index) => {
    const busy = working[index] ?? 0;
    const needed = busy + Math.min(more, most - busy);
    more -= needed - busy;
    return { needed, wanted: most };
  });
}
