/** How a pod stands: what there is to place replicas on, what is taken, and who waits. Pure. */
import type { EndpointId, NodeId } from "#contract/ids";
import { POD_ENDPOINTS_LISTED_MAX } from "#contract/limits";
import type { PodCapacity, PodEndpoint, ReplicaCounts, ReplicaState } from "#contract/replica";
import { type PlaceInput, place } from "#durable-objects/replicas/place";

/** A machine that is online, whether it takes new work or not. */
export interface OnlineNode {
  readonly id: NodeId;
  readonly slots: number;
  /** Slots that hold something the pod has not given it. */
  readonly foreign: readonly number[];
}

/** A replica on its slot. */
export interface CountedReplica {
  readonly endpointId: EndpointId;
  readonly nodeId: NodeId;
  readonly slot: number;
  readonly state: ReplicaState;
  /** On its way out. */
  readonly draining: boolean;
}

export interface CapacityInput {
  /** All nodes, those included that are away. */
  readonly nodesKnown: number;
  readonly online: readonly OnlineNode[];
  readonly replicas: readonly CountedReplica[];
  /** What placement looks at. Its `nodes` are the ones online that take new work. */
  readonly place: PlaceInput;
  /** Since when an endpoint has had fewer replicas than it wants, Unix ms; only those that have. */
  readonly lackingSince: ReadonlyMap<EndpointId, number>;
}

/** Counts what is there; what could be placed at this moment counts as free, and its endpoint as one without a shortage. */
export function capacityOf(input: CapacityInput): PodCapacity {
  const { nodesKnown, online, replicas, place: placing } = input;
  const slots = { total: 0, taken: 0, draining: 0 };
  for (const node of online) {
    const here = replicas.filter(({ nodeId, slot }) => nodeId === node.id && slot < node.slots);
    const foreign = node.foreign.filter((slot) => slot < node.slots);
    slots.total += node.slots;
    slots.taken += new Set([...here.map(({ slot }) => slot), ...foreign]).size;
    slots.draining += here.filter(({ draining }) => draining).length;
  }
  const endpoints = endpointsOf(input);
  return {
    nodes: { total: nodesKnown, online: online.length, open: placing.nodes.length },
    slots: { ...slots, free: freeSlots(placing) },
    containers_left: placing.containersLeft,
    replicas: countsOf(replicas),
    endpoints: endpoints.slice(0, POD_ENDPOINTS_LISTED_MAX),
    endpoints_total: endpoints.length,
  };
}

function freeSlots({ nodes, containersLeft }: PlaceInput): number {
  const free = nodes.reduce((sum, node) => sum + node.free.length, 0);
  return Math.min(free, containersLeft ?? free);
}

/** Every endpoint that wants something here or has it: who waits comes first, then who has the most. */
function endpointsOf({ replicas, place: placing, lackingSince }: CapacityInput): PodEndpoint[] {
  const { shortages } = place(placing);
  const held = Map.groupBy(replicas, ({ endpointId }) => endpointId);
  const wishes = new Map(placing.wishes.map((wish) => [wish.endpointId, wish]));
  const ids = [...new Set([...wishes.keys(), ...held.keys()])];
  const waitBegan = ({ endpoint_id }: PodEndpoint): number => lackingSince.get(endpoint_id) ?? Number.MAX_SAFE_INTEGER;
  return ids
    .map((endpointId) => {
      const wish = wishes.get(endpointId);
      const mine = held.get(endpointId) ?? [];
      const since = lackingSince.get(endpointId);
      return {
        endpoint_id: endpointId,
        wanted: wish?.wanted ?? 0,
        needed: wish?.needed ?? 0,
        have: mine.filter(({ draining }) => !draining).length,
        trials: wish?.trials.length ?? 0,
        replicas: countsOf(mine),
        waits_since: since === undefined ? null : new Date(since).toISOString(),
        shortage: shortages.get(endpointId) ?? null,
      };
    })
    .filter(({ wanted, trials, replicas: { total } }) => wanted > 0 || trials > 0 || total > 0)
    .toSorted(
      (a, b) =>
        waitBegan(a) - waitBegan(b) || b.replicas.total - a.replicas.total || (a.endpoint_id < b.endpoint_id ? -1 : 1),
    );
}

function countsOf(replicas: readonly CountedReplica[]): ReplicaCounts {
  const counts = { total: replicas.length, placed: 0, preparing: 0, booting: 0, loading: 0, ready: 0, draining: 0 };
  for (const { state, draining } of replicas) counts[draining ? "draining" : COUNTED_AS[state]] += 1;
  return counts;
}

/** A pod keeps a busy one as ready, and lets go of one that has ended. */
const COUNTED_AS = {
  requested: "placed",
  placed: "placed",
  preparing: "preparing",
  booting: "booting",
  loading: "loading",
  ready: "ready",
  busy: "ready",
  draining: "draining",
  stopped: "draining",
  crashed: "draining",
} as const satisfies Record<ReplicaState, keyof ReplicaCounts>;
