/** Which endpoint gets which free slot. Pure. */
import type { EndpointId, NodeId } from "#contract/ids";
import type { ShortageCode } from "#contract/replica";
import { FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";

/** A slot that holds nothing. */
export interface FreeSlot {
  readonly slot: number;
  /** Index among the node's cards; slots of one card share it. */
  readonly card: number;
  /** Of its card; null: none, or one the table does not know. */
  readonly gpuType: string | null;
  /** Its share of the card's memory, MB. */
  readonly vramMb: number;
  /** When a replica last failed on its card with none getting ready there since, Unix ms; 0: none has. */
  readonly failedAt: number;
}

export interface PlaceableNode {
  readonly id: NodeId;
  /** Where it is; null when its owner did not say. */
  readonly region: string | null;
  /** By slot, ascending. */
  readonly free: readonly FreeSlot[];
  /** What it has on its disk: digests of builds, sha256 of weights. */
  readonly builds: ReadonlySet<string>;
  readonly models: ReadonlySet<string>;
}

export interface Wish {
  readonly endpointId: EndpointId;
  /** Where its replicas may run, the preferred place first; empty: anywhere. */
  readonly regions: readonly string[];
  readonly needed: number;
  readonly wanted: number;
  /** Replicas it has that are not on their way out. */
  readonly have: number;
  /** Since when it wants more, Unix ms. */
  readonly since: number;
  readonly build: string | null;
  readonly models: readonly string[];
  /** Types of card that none of its replicas runs on, and on each of which one should. */
  readonly trials: readonly (string | null)[];
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

/** What a place for a replica is chosen by. */
type Sought = Pick<Wish, "endpointId" | "regions" | "build" | "models">;

export interface Placement {
  readonly endpointId: EndpointId;
  readonly nodeId: NodeId;
  readonly slot: number;
}

/**
 * Why there are fewer replicas than wanted.
 * - `no_node_online`: no machine is online that takes new work. With an error: one is, and why it takes none.
 * - `region_unavailable`: there are machines, but none where the endpoint's replicas may run. With an error: where they
 *   are, where the pod takes any, and what helps.
 * - `crash_looping`: where there is room, or on every machine that fits, the endpoint's replicas crashed and a pause runs.
 * - `all_slots_busy`: there are machines that fit, and every slot of theirs is taken; with an error: every container of the
 *   pod is, and what helps.
 */
export type Shortage = "none" | ShortageCode;

export interface PlaceShortage {
  readonly code: ShortageCode;
  /** What the node said of the latest crash; or why it takes nothing new; or where machines are, or what is used up, and what helps. */
  readonly error: string | null;
}

export interface PlaceInput {
  /** Nodes that take new work: online, trusted, neither draining nor cordoned, with the pod's cards and in its regions. */
  readonly nodes: readonly PlaceableNode[];
  /** Nodes that are online and take none, with the reason in words. */
  readonly closed: readonly { readonly region: string | null; readonly reason: string }[];
  readonly wishes: readonly Wish[];
  readonly history: (endpointId: EndpointId, nodeId: NodeId) => NodeHistory | null;
  /** Where the pod takes machines; empty: anywhere. */
  readonly regions: readonly string[];
  /** Types of card in the order in which the pod uses them; those it does not name come after them. */
  readonly typeOrder: readonly string[];
  /** Replicas that may be added before the pod's containers are used up; null: no bound. */
  readonly containersLeft: number | null;
  readonly now: number;
}

export interface PlaceResult {
  readonly placements: readonly Placement[];
  /** Why an endpoint has fewer than it wants; only those that do. */
  readonly shortages: ReadonlyMap<EndpointId, PlaceShortage>;
}

/**
 * Fills free slots. What is needed comes before what is merely wanted, and trials come last; among endpoints the one with
 * the fewest replicas is served first, then the one that has waited longest, so that one with a long queue cannot take
 * every slot.
 */
export function place(input: PlaceInput): PlaceResult {
  const round = new Round(input);
  for (const goal of ["needed", "wanted"] as const) while (round.serveNext(goal));
  for (const wish of input.wishes) for (const gpuType of wish.trials) round.tryOn(wish, gpuType);
  return { placements: round.placements, shortages: round.shortages };
}

/** Whether a node of that region may run replicas that are bound to those regions. */
export function fitsRegion(regions: readonly string[], region: string | null): boolean {
  return regions.length === 0 || (region !== null && regions.includes(region));
}

/** Where the pod's machines are, in words, and what helps an endpoint that may not run there. */
function whereToLook({ nodes, regions }: Pick<PlaceInput, "nodes" | "regions">, wanted: readonly string[]): string {
  const named = [...new Set(nodes.flatMap(({ region }) => region ?? []))].sort();
  const places = [...named, ...(nodes.some(({ region }) => region === null) ? ["no region that they name"] : [])];
  const there = `The pod's machines that are online are in ${places.join(", ")}`;
  const usable = regions.length === 0 ? wanted : wanted.filter((region) => regions.includes(region));
  if (usable.length > 0)
    return `${there}. Join one in ${usable.join(" or ")} (node join --region), or add one of their regions to the endpoint.`;
  return `${there}, and the pod takes machines in ${regions.join(", ")} only. Give the endpoint one of these regions or another pod, or add ${wanted.join(" or ")} to the pod's regions (pods set --region).`;
}

/** What one replica more would lack for an endpoint; null: there is room for it. */
export function lackFor(wish: Sought, input: PlaceInput): PlaceShortage | null {
  return new Round(input).lack(wish);
}

const NO_CONTAINER_LEFT =
  "Slots are free, and the pod's containers (containers_max) are all in use. Allow more (pods set --containers), or none for as many as there are slots.";

/** How many replicas an endpoint could still be given. */
export function roomFor(wish: Pick<Wish, "endpointId" | "regions">, input: PlaceInput): number {
  const free = input.nodes
    .filter((node) => fitsRegion(wish.regions, node.region))
    .filter((node) => !isPaused(wish.endpointId, node.id, input))
    .reduce((sum, node) => sum + node.free.length, 0);
  return Math.max(0, Math.min(free, input.containersLeft ?? free));
}

/** Whether an endpoint's replicas crashed on a node, so that none is started there for now. */
export function isPaused(endpointId: EndpointId, nodeId: NodeId, { history, now }: PlaceInput): boolean {
  return (history(endpointId, nodeId)?.backoffUntil ?? 0) > now;
}

interface Spot {
  readonly nodeId: NodeId;
  readonly slot: FreeSlot;
}

/** One filling of the free slots, as it proceeds. */
class Round {
  readonly #input: PlaceInput;
  readonly #free: Map<NodeId, readonly FreeSlot[]>;
  readonly #have: Map<EndpointId, number>;
  #containersLeft: number;
  readonly placements: Placement[] = [];
  readonly shortages = new Map<EndpointId, PlaceShortage>();
  /** Types of the cards on which this round has placed something. */
  readonly #placedOn = new Map<EndpointId, (string | null)[]>();

  constructor(input: PlaceInput) {
    this.#input = input;
    this.#free = new Map(input.nodes.map((node) => [node.id, node.free]));
    this.#have = new Map(input.wishes.map((wish) => [wish.endpointId, wish.have]));
    this.#containersLeft = input.containersLeft ?? Number.POSITIVE_INFINITY;
  }

  /** @returns false when nobody is left whom this goal could serve */
  serveNext(goal: "needed" | "wanted"): boolean {
    const [wish] = this.#input.wishes
      .filter(
        ({ endpointId, [goal]: goalCount }) => !this.shortages.has(endpointId) && this.#has(endpointId) < goalCount,
      )
      .toSorted(
        (a, b) =>
          this.#has(a.endpointId) - this.#has(b.endpointId) ||
          a.since - b.since ||
          (a.endpointId < b.endpointId ? -1 : 1),
      );
    if (wish === undefined) return false;
    const spot = this.#bestSpot(wish, () => true);
    if ("code" in spot) this.shortages.set(wish.endpointId, spot);
    else this.#take(wish, spot);
    return true;
  }

  /** One on that type of card, unless this round has placed one there already. */
  tryOn(wish: Wish, gpuType: string | null): void {
    if (this.#placedOn.get(wish.endpointId)?.includes(gpuType) === true) return;
    const spot = this.#bestSpot(wish, (slot) => slot.gpuType === gpuType);
    if (!("code" in spot)) this.#take(wish, spot);
  }

  lack(wish: Sought): PlaceShortage | null {
    const spot = this.#bestSpot(wish, () => true);
    return "code" in spot ? spot : null;
  }

  #has(endpointId: EndpointId): number {
    return this.#have.get(endpointId) ?? 0;
  }

  #take({ endpointId }: Wish, { nodeId, slot }: Spot): void {
    this.placements.push({ endpointId, nodeId, slot: slot.slot });
    this.#free.set(
      nodeId,
      (this.#free.get(nodeId) ?? []).filter((each) => each !== slot),
    );
    this.#have.set(endpointId, this.#has(endpointId) + 1);
    this.#placedOn.set(endpointId, [...(this.#placedOn.get(endpointId) ?? []), slot.gpuType]);
    this.#containersLeft -= 1;
  }

  #bestSpot(wish: Sought, fits: (slot: FreeSlot) => boolean): Spot | PlaceShortage {
    const { nodes, closed, history, now } = this.#input;
    const fitting = nodes
      .filter((node) => fitsRegion(wish.regions, node.region))
      .map((node) => ({ node, past: history(wish.endpointId, node.id), free: this.#free.get(node.id) ?? [] }));
    if (fitting.length === 0) {
      const [shut] = closed.filter(({ region }) => fitsRegion(wish.regions, region));
      if (shut !== undefined) return { code: "no_node_online", error: shut.reason };
      if (nodes.length === 0) return { code: "no_node_online", error: null };
      return { code: "region_unavailable", error: whereToLook(this.#input, wish.regions) };
    }
    if (this.#containersLeft <= 0) {
      const hasRoom = fitting.some(({ free }) => free.length > 0);
      return { code: "all_slots_busy", error: hasRoom ? NO_CONTAINER_LEFT : null };
    }
    const paused = fitting.filter(({ past }) => past !== null && past.backoffUntil > now);
    const spots = fitting
      .filter((each) => !paused.includes(each))
      .flatMap(({ node, past, free }) =>
        free.filter(fits).map((slot) => ({ nodeId: node.id, slot, rank: this.#rank(wish, node, past, free, slot) })),
      )
      .toSorted(
        (a, b) =>
          compareRanks(a.rank, b.rank) ||
          (a.nodeId < b.nodeId ? -1 : a.nodeId > b.nodeId ? 1 : 0) ||
          a.slot.slot - b.slot.slot,
      );
    const [best] = spots;
    if (best !== undefined) return best;
    const isFull = fitting.every(({ free }) => free.length === 0);
    if (isFull && paused.length < fitting.length) return { code: "all_slots_busy", error: null };
    if (paused.length === 0) return { code: "all_slots_busy", error: null };
    const [latest] = paused.toSorted((a, b) => (b.past?.crashedAt ?? 0) - (a.past?.crashedAt ?? 0));
    return { code: "crash_looping", error: latest?.past?.lastError ?? null };
  }

  /** What makes one spot better than another, the weightiest first; less is better. */
  #rank(
    wish: Sought,
    node: PlaceableNode,
    past: NodeHistory | null,
    free: readonly FreeSlot[],
    slot: FreeSlot,
  ): readonly number[] {
    const { typeOrder } = this.#input;
    const type = slot.gpuType === null ? -1 : typeOrder.indexOf(slot.gpuType);
    const region = node.region === null ? -1 : wish.regions.indexOf(node.region);
    return [
      // A machine where it keeps dying is the last resort, whatever it has to offer.
      (past?.failures ?? 0) >= FAST_FAILURES_MAX ? 1 : 0,
      type === -1 ? typeOrder.length : type,
      wish.build === null || node.builds.has(wish.build) ? 0 : 1,
      -wish.models.reduce((held, sha256) => held + (node.models.has(sha256) ? 1 : 0), 0),
      (past?.lastReadyAt ?? 0) > 0 ? 0 : 1,
      -free.reduce((sum, each) => sum + each.vramMb, 0),
      -free.length,
      region === -1 ? wish.regions.length : region,
      // Of one machine's cards one that works, or the one that failed the longest ago; then the one with the most room.
      slot.failedAt,
      -free.filter(({ card }) => card === slot.card).length,
    ];
  }
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (const [at, value] of a.entries()) {
    const difference = value - (b[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
