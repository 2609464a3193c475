/** Which endpoint gets which free slot. */
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";

export interface PlaceableNode {
  readonly id: NodeId;
  /** Slots that hold nothing, ascending. */
  readonly free: readonly number[];
}

export interface Wish {
  readonly endpointId: EndpointId;
  readonly needed: number;
  readonly wanted: number;
  /** Replicas it has that are not on their way out. */
  readonly have: number;
  /** Since when it wants more, Unix ms. */
  readonly since: number;
}

export interface NodeHistory {
  readonly lastReadyAt: number;
  readonly failures: number;
  readonly backoffUntil: number;
}

export interface Placement {
  readonly endpointId: EndpointId;
  readonly nodeId: NodeId;
  readonly slot: number;
}

export type Shortage = "none" | "no_node_online" | "region_unavailable" | "all_slots_busy" | "crash_looping";

export interface PlaceInput {
  /** Nodes that are online and not draining. */
  readonly nodes: readonly PlaceableNode[];
  readonly wishes: readonly Wish[];
  readonly history: (endpointId: EndpointId, nodeId: NodeId) => NodeHistory | null;
  readonly now: number;
}

export interface PlaceResult {
  readonly placements: readonly Placement[];
  /** Why an endpoint has fewer than it wants; only those that do. */
  readonly shortages: ReadonlyMap<EndpointId, Exclude<Shortage, "none">>;
}

/**
 * Fills free slots. What is needed comes before what is merely wanted; among endpoints the one with the fewest replicas
 * is served first, then the one that has waited longest, so that one with a long queue cannot take every slot.
 */
export function place(input: PlaceInput): PlaceResult {
  const free = new Map(input.nodes.map((node) => [node.id, [...node.free]]));
  const have = new Map(input.wishes.map((wish) => [wish.endpointId, wish.have]));
  const shortages = new Map<EndpointId, Exclude<Shortage, "none">>();
  const placements: Placement[] = [];
  for (const goal of ["needed", "wanted"] as const) {
    for (;;) {
      const [wish] = input.wishes
        .filter(
          (candidate) =>
            !shortages.has(candidate.endpointId) && (have.get(candidate.endpointId) ?? 0) < candidate[goal],
        )
        .toSorted(
          (a, b) =>
            (have.get(a.endpointId) ?? 0) - (have.get(b.endpointId) ?? 0) ||
            a.since - b.since ||
            (a.endpointId < b.endpointId ? -1 : 1),
        );
      if (wish === undefined) break;
      const spot = bestSpot(wish.endpointId, free, input);
      if (typeof spot === "string") {
        shortages.set(wish.endpointId, spot);
        continue;
      }
      placements.push({ endpointId: wish.endpointId, ...spot });
      free.get(spot.nodeId)?.shift();
      have.set(wish.endpointId, (have.get(wish.endpointId) ?? 0) + 1);
    }
  }
  return { placements, shortages };
}

/** An endpoint that has had no replica for this long gets one of somebody's who has more than enough time with his. */
export const FAIR_TURN_MS = 60_000;

export interface TurnHolder {
  readonly id: ReplicaId;
  readonly endpointId: EndpointId;
  /** Since when it works, or was placed. */
  readonly since: number;
}

/**
 * Which replicas must go, after the job in hand, because others have waited for a turn for too long on a pod that has
 * no free slot. Without this, one endpoint's long queue would keep everybody else's jobs waiting until it is empty.
 * @param waiting endpoints that need a replica and have none, with the time since when
 * @param holders replicas that are not on their way out
 */
export function turnsOver(
  waiting: readonly { readonly endpointId: EndpointId; readonly since: number }[],
  holders: readonly TurnHolder[],
  now: number,
): readonly TurnHolder[] {
  const left = [...holders];
  const over: TurnHolder[] = [];
  for (const wish of waiting) {
    if (now - wish.since < FAIR_TURN_MS) continue;
    const count = (endpointId: EndpointId): number => left.filter((holder) => holder.endpointId === endpointId).length;
    const [victim] = left
      .filter((holder) => now - holder.since >= FAIR_TURN_MS)
      .toSorted((a, b) => count(b.endpointId) - count(a.endpointId) || a.since - b.since || (a.id < b.id ? -1 : 1));
    if (victim === undefined) break;
    over.push(victim);
    left.splice(left.indexOf(victim), 1);
  }
  return over;
}

/** A node that has run the endpoint before has its files; one where it keeps dying comes last; then the emptiest. */
function bestSpot(
  endpointId: EndpointId,
  free: ReadonlyMap<NodeId, readonly number[]>,
  input: PlaceInput,
): { nodeId: NodeId; slot: number } | Exclude<Shortage, "none"> {
  if (free.size === 0) return "no_node_online";
  const open = [...free].filter(([, slots]) => slots.length > 0);
  if (open.length === 0) return "all_slots_busy";
  const allowed = open
    .map(([nodeId, slots]) => ({ nodeId, slots, history: input.history(endpointId, nodeId) }))
    .filter(({ history }) => history === null || history.backoffUntil <= input.now)
    .map(({ nodeId, slots, history }) => ({
      nodeId,
      slots,
      failing: (history?.failures ?? 0) >= FAST_FAILURES_MAX ? 1 : 0,
      known: (history?.lastReadyAt ?? 0) > 0 ? 0 : 1,
    }))
    .toSorted(
      (a, b) =>
        a.failing - b.failing || a.known - b.known || b.slots.length - a.slots.length || (a.nodeId < b.nodeId ? -1 : 1),
    );
  const [best] = allowed;
  const slot = best?.slots[0];
  return best === undefined || slot === undefined ? "crash_looping" : { nodeId: best.nodeId, slot };
}
