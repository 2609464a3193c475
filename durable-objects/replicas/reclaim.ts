/** Whose replicas make room when every slot that somebody may use is taken. */
import type { EndpointId, ReplicaId } from "#contract/ids";
import { fitsRegion } from "#durable-objects/replicas/place";

/** An endpoint that had a replica for this long gives it to one that has had none for as long. */
export const FAIR_TURN_MS = 60_000;

/** An endpoint that needs more replicas than it has. */
export interface Claim {
  readonly endpointId: EndpointId;
  /** Where its replicas may run; empty: anywhere. */
  readonly regions: readonly string[];
  readonly missing: number;
  /** It has no replica at all. */
  readonly starves: boolean;
  /** Since when it waits, Unix ms. */
  readonly since: number;
}

/** A replica on a slot that could be used again. */
export interface Holder {
  readonly id: ReplicaId;
  readonly endpointId: EndpointId;
  /** Of its node. */
  readonly region: string | null;
  readonly draining: boolean;
  /** Since when it works, or was placed. */
  readonly since: number;
}

export interface Reclaim {
  /** Replicas that their endpoints may not need: ask for them. */
  readonly ask: readonly Holder[];
  /** Replicas that must go, after the job in hand. */
  readonly over: readonly Holder[];
}

/**
 * Slots that are being emptied already count as found, each for one claim that may use it. For the rest, replicas beyond
 * what their endpoint needs are asked for, those of the endpoint with the most to spare first; and turns end.
 * @param spare how many replicas each endpoint has beyond what it needs
 */
export function reclaim(
  claims: readonly Claim[],
  holders: readonly Holder[],
  spare: ReadonlyMap<EndpointId, number>,
  now: number,
): Reclaim {
  const emptying = holders.filter(({ draining }) => draining);
  const working = holders.filter(({ draining }) => !draining);
  const left = new Map(spare);
  const ask: Holder[] = [];
  const waiting: Claim[] = [];
  for (const claim of claims.toSorted((a, b) => Number(b.starves) - Number(a.starves) || a.since - b.since)) {
    let missing = claim.missing;
    for (const [at, holder] of [...emptying.entries()].reverse()) {
      if (missing === 0 || !fitsRegion(claim.regions, holder.region)) continue;
      emptying.splice(at, 1);
      missing -= 1;
    }
    if (claim.starves && missing === claim.missing) waiting.push(claim);
    for (; missing > 0; missing -= 1) {
      const [found] = working
        .filter((holder) => fitsRegion(claim.regions, holder.region) && !ask.includes(holder))
        .filter(({ endpointId }) => (left.get(endpointId) ?? 0) > 0)
        .toSorted((a, b) => (left.get(b.endpointId) ?? 0) - (left.get(a.endpointId) ?? 0));
      if (found === undefined) break;
      ask.push(found);
      left.set(found.endpointId, (left.get(found.endpointId) ?? 0) - 1);
    }
  }
  return { ask, over: turnsOver(waiting, working, now) };
}

/**
 * Which replicas must go because others have waited for a turn for too long on a pod that has no free slot for them.
 * Without this, one endpoint's long queue would keep everybody else's jobs waiting until it is empty.
 * @param waiting endpoints that need a replica and have none, in the order of their turns
 * @param holders replicas that are not on their way out
 */
export function turnsOver(
  waiting: readonly Pick<Claim, "endpointId" | "regions" | "since">[],
  holders: readonly Holder[],
  now: number,
): readonly Holder[] {
  const left = [...holders];
  const over: Holder[] = [];
  for (const claim of waiting) {
    if (now - claim.since < FAIR_TURN_MS) continue;
    const count = (endpointId: EndpointId): number => left.filter((holder) => holder.endpointId === endpointId).length;
    const [victim] = left
      .filter((holder) => now - holder.since >= FAIR_TURN_MS && fitsRegion(claim.regions, holder.region))
      .toSorted((a, b) => count(b.endpointId) - count(a.endpointId) || a.since - b.since || (a.id < b.id ? -1 : 1));
    if (victim === undefined) continue;
    over.push(victim);
    left.splice(left.indexOf(victim), 1);
  }
  return over;
}
