/** Which endpoint gets which free slot. */
import type { EndpointId, NodeId } from "#contract/ids";
import { FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";

export interface PlaceableNode {
  readonly id: NodeId;
  /** Where it is; null when its owner did not say. */
  readonly region: string | null;
  /** Slots that hold nothing, ascending. */
  readonly free: readonly number[];
}

export interface Wish {
  readonly endpointId: EndpointId;
  /** Where its replicas may run; empty: anywhere. */
  readonly regions: readonly string[];
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
  /** Nothing is placed before this. */
  readonly backoffUntil: number;
  /** When the last crash was, 0 before the first, and what the node said of it. */
  readonly crashedAt: number;
  readonly lastError: string | null;
}

export interface Placement {
  readonly endpointId: EndpointId;
  readonly nodeId: NodeId;
  readonly slot: number;
}

/**
 * Why there are fewer replicas than wanted.
 * - `no_node_online`: no machine is online that takes new work.
 * - `region_unavailable`: there are machines, but none where the endpoint's replicas may run.
 * - `crash_looping`: where there is room, or on every machine that fits, the endpoint's replicas crashed and a pause runs.
 * - `all_slots_busy`: there are machines that fit, and every slot of theirs holds something.
 */
export type Shortage = "none" | "no_node_online" | "region_unavailable" | "all_slots_busy" | "crash_looping";

export interface PlaceShortage {
  readonly code: Exclude<Shortage, "none">;
  /** With `crash_looping`: what the node said of the latest crash. */
  readonly error: string | null;
}

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
  readonly shortages: ReadonlyMap<EndpointId, PlaceShortage>;
}

/**
 * Fills free slots. What is needed comes before what is merely wanted; among endpoints the one with the fewest replicas
 * is served first, then the one that has waited longest, so that one with a long queue cannot take every slot.
 */
export function place(input: PlaceInput): PlaceResult {
  const free = new Map(input.nodes.map((node) => [node.id, [...node.free]]));
  const have = new Map(input.wishes.map((wish) => [wish.endpointId, wish.have]));
  const shortages = new Map<EndpointId, PlaceShortage>();
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
      const spot = bestSpot(wish, free, input);
      if ("code" in spot) {
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

/** Whether a node of that region may run replicas that are bound to those regions. */
export function fitsRegion(regions: readonly string[], region: string | null): boolean {
  return regions.length === 0 || (region !== null && regions.includes(region));
}

/** A node that has run the endpoint before has its files; one where it keeps dying comes last; then the emptiest. */
function bestSpot(
  { endpointId, regions }: Wish,
  free: ReadonlyMap<NodeId, readonly number[]>,
  input: PlaceInput,
): { readonly nodeId: NodeId; readonly slot: number } | PlaceShortage {
  if (input.nodes.length === 0) return { code: "no_node_online", error: null };
  const fitting = input.nodes
    .filter((node) => fitsRegion(regions, node.region))
    .map(({ id }) => ({ nodeId: id, slots: free.get(id) ?? [], history: input.history(endpointId, id) }));
  if (fitting.length === 0) return { code: "region_unavailable", error: null };
  const paused = fitting.filter(({ history }) => history !== null && history.backoffUntil > input.now);
  const open = fitting.filter(({ slots }) => slots.length > 0);
  const [best] = open
    .filter((node) => !paused.includes(node))
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
  const slot = best?.slots[0];
  if (best !== undefined && slot !== undefined) return { nodeId: best.nodeId, slot };
  if (open.length === 0 && paused.length < fitting.length) return { code: "all_slots_busy", error: null };
  const [latest] = paused.toSorted((a, b) => (b.history?.crashedAt ?? 0) - (a.history?.crashedAt ?? 0));
  return { code: "crash_looping", error: latest?.history?.lastError ?? null };
}
