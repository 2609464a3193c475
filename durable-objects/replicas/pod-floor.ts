/** Which endpoints keep the pod's own warm floor. Pure. */
import type { EndpointId } from "#contract/ids";

export interface FloorCandidate {
  readonly endpointId: EndpointId;
  /** Replicas there is work for, or that its own warm floor keeps; the pod's floor is not in it. */
  readonly needed: number;
  /** Replicas it has that are not on their way out. */
  readonly have: number;
  /** When its need began or, if it has none now, ended, Unix ms; 0: it never had one. */
  readonly usedAt: number;
}

/**
 * Shares the floor out. Who needs replicas now comes first, and so counts for the floor; then who needed some last. Each
 * keeps what it has, and what is missing after that is started for the first of them, whose work is the likeliest to
 * come again. An endpoint that never needed anything keeps nothing.
 * @returns how many each endpoint keeps at least; their sum is `floor`, or 0 when nobody has ever needed a replica
 */
export function podFloors(floor: number, candidates: readonly FloorCandidate[]): ReadonlyMap<EndpointId, number> {
  const order = candidates
    .filter(({ usedAt, needed }) => usedAt > 0 || needed > 0)
    .toSorted(
      (a, b) =>
        Number(b.needed > 0) - Number(a.needed > 0) || b.usedAt - a.usedAt || (a.endpointId < b.endpointId ? -1 : 1),
    );
  const floors = new Map<EndpointId, number>();
  let left = floor;
  for (const { endpointId, have, needed } of order) {
    const share = Math.min(left, Math.max(have, needed));
    if (share > 0) floors.set(endpointId, share);
    left -= share;
  }
  const [first] = order;
  if (first !== undefined && left > 0) floors.set(first.endpointId, (floors.get(first.endpointId) ?? 0) + left);
  return floors;
}
