/** Who gets which slot: the rows as plain values for the pure rules, and what those decide as rows again. */
import { type EndpointId, makeId, type NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { mismatchOf } from "#durable-objects/pod/evict";
import { runsWell } from "#durable-objects/pod/node-reports";
import { isLeaving, type NodeRecord } from "#durable-objects/pod/node-store";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { DemandRecord, SlotRecord } from "#durable-objects/pod/pod-store";
import {
  type FreeSlot,
  fitsRegion,
  isPaused,
  type PlaceInput,
  type PlaceResult,
  place,
  roomFor,
  type Shortage,
  type Wish,
} from "#durable-objects/replicas/place";
import { givesWay, type Holder, needOf, reclaim, turnOf } from "#durable-objects/replicas/reclaim";
import { quarantineAt } from "#durable-objects/replicas/trust";

/** An endpoint that would not give up a replica is asked again after this. */
export const RECLAIM_AGAIN_MS = 5_000;

/** What an endpoint wishes, with what for. */
type KnownWish = Wish & Pick<DemandRecord, "warm" | "calls" | "lackingSince">;

export function wishesOf(state: PodState): KnownWish[] {
  const working = Map.groupBy(
    state.store.replicas().filter(({ draining }) => !draining),
    ({ endpointId }) => endpointId,
  );
  const demands = state.store.demands();
  const nodes = demands.some(({ trials }) => trials.length > 0)
    ? new Map(state.nodes.all().map((node) => [node.id, node]))
    : new Map<string, NodeRecord>();
  return demands.map((demand) => {
    const mine = working.get(demand.endpointId) ?? [];
    const types = mine.map(({ nodeId, slot }) => {
      const node = nodes.get(nodeId);
      return node === undefined ? null : state.slotType(node, slot);
    });
    return { ...demand, have: mine.length, trials: demand.trials.filter((type) => !types.includes(type)) };
  });
}

/** Whether an endpoint has fewer replicas than it wants. */
export function isUnmet(wish: Wish): boolean {
  return wish.have < wish.wanted || wish.trials.length > 0;
}

/** Why a node that is online takes nothing new; null: it does. */
export function closedBecause(state: PodState, node: NodeRecord, now: number): string | null {
  const because = (reason: string) => `The machine ${node.name} ${reason}`;
  const quarantine = quarantineAt(node.trust, now);
  if (quarantine !== null) return because(`is in quarantine: ${quarantine.reason}`);
  if (isLeaving(node)) return because("drains.");
  if (node.cordoned) return because("is cordoned.");
  const mismatch = mismatchOf(state, node);
  if (mismatch !== null) return because(`has other cards than the pod takes. ${mismatch}`);
  const { regions } = state.settings;
  if (!fitsRegion(regions, node.region)) {
    const place = node.region === null ? "names no region" : `is in ${node.region}`;
    return because(`${place}, and the pod takes machines in ${regions.join(", ")} only (node join --region).`);
  }
  return null;
}

interface KnownInput extends PlaceInput {
  readonly wishes: readonly KnownWish[];
}

/** Everything that placement looks at. */
export function placeInput(state: PodState, now: number): KnownInput {
  const replicas = state.store.replicas();
  const online = state.nodes
    .all()
    .filter((node) => state.isOnline(node, now))
    .map((node) => ({ node, reason: closedBecause(state, node, now) }));
  const open = online.filter(({ reason }) => reason === null).map(({ node }) => node);
  const { containers_max, gpu_types } = state.settings;
  const taken = Map.groupBy(replicas, ({ nodeId }) => nodeId);
  return {
    nodes: open.map((node) => ({
      id: node.id,
      region: node.region,
      free: freeSlots(state, node, taken.get(node.id) ?? []),
      ...state.diskOf(node.id),
    })),
    closed: online.flatMap(({ node, reason }) => (reason === null ? [] : [{ region: node.region, reason }])),
    wishes: wishesOf(state),
    history: (endpointId, nodeId) => {
      const history = state.store.history(endpointId, nodeId);
      if (history === null || history.failures === 0) return history;
      return runsWell(state, { endpointId, nodeId }, history, now) ? { ...history, failures: 0 } : history;
    },
    regions: state.settings.regions,
    typeOrder: gpu_types,
    // Those on their way out hold their memory until they are gone.
    containersLeft: containers_max === null ? null : Math.max(0, containers_max - replicas.length),
    now,
  };
}

function freeSlots(state: PodState, node: NodeRecord, here: readonly SlotRecord[]): FreeSlot[] {
  const taken = new Set(here.map(({ slot }) => slot));
  for (const slot of state.memory.get(node.id)?.foreign ?? []) taken.add(slot);
  return Array.from({ length: node.slots }, (_, slot) => slot)
    .filter((slot) => !taken.has(slot))
    .map((slot) => {
      const { card, gpu } = state.cardOf(node, slot);
      return {
        slot,
        card,
        gpuType: gpu === null ? null : state.gpuType(gpu),
        vramMb: (gpu?.vram_mb ?? 0) / node.slotsPerGpu,
        failedAt: state.failedAt(node, card),
      };
    });
}

/** Places what can be placed, and asks for idle replicas where somebody needs a slot and none is free. */
export function arrange(state: PodState, now: number): PlaceResult {
  if (state.pod === null || state.pod.removed) return { placements: [], shortages: new Map() };
  if (!wishesOf(state).some(isUnmet)) {
    state.askedAt.clear();
    state.shortSince.clear();
    noteLacking(state, now);
    return { placements: [], shortages: new Map() };
  }
  const input = placeInput(state, now);
  const result = place(input);
  for (const { endpointId, nodeId, slot } of result.placements) {
    const id = makeId(ReplicaId, "rep", now, (length) => state.world.randomBytes(length), ownerKey(endpointId));
    state.store.insertReplica({
      id,
      endpointId,
      nodeId,
      slot,
      state: "placed",
      draining: false,
      reported: false,
      placedAt: now,
      readyAt: null,
    });
  }
  makeRoom(state, input, result, now);
  noteLacking(state, now);
  return result;
}

/** Takes note of who has fewer than it wants from now on, and of who does not any more. */
function noteLacking(state: PodState, now: number): void {
  for (const wish of wishesOf(state)) {
    if (isUnmet(wish) === (wish.lackingSince !== null)) continue;
    state.store.putLackingSince(wish.endpointId, isUnmet(wish) ? now : null);
  }
}

/** Where others may make room: one that crashes on one machine may do well on another that is full. */
const RECLAIMABLE: readonly Shortage[] = ["all_slots_busy", "crash_looping"];

/** What there is to place replicas on after these placements. */
function leftOf(input: PlaceInput, { placements }: PlaceResult): PlaceInput {
  const isFree = (nodeId: NodeId, slot: number): boolean =>
    !placements.some((placed) => placed.nodeId === nodeId && placed.slot === slot);
  return {
    ...input,
    nodes: input.nodes.map((node) => ({ ...node, free: node.free.filter(({ slot }) => isFree(node.id, slot)) })),
    containersLeft: input.containersLeft === null ? null : input.containersLeft - placements.length,
  };
}

/**
 * Which replicas, once they are gone, let an endpoint start one: those on machines that it may use and does not crash on.
 * Where it has a free slot and only the pod's containers are used up, any replica of the pod, on a closed machine, too.
 */
function helpFor(
  wish: Pick<Wish, "endpointId" | "regions">,
  input: PlaceInput,
): (holder: Pick<Holder, "nodeId">) => boolean {
  if (roomFor(wish, { ...input, containersLeft: null }) > 0) return () => input.containersLeft === 0;
  const { endpointId, regions } = wish;
  const useful = new Set(
    input.nodes
      .filter(({ id, region }) => fitsRegion(regions, region) && !isPaused(endpointId, id, input))
      .map(({ id }) => id),
  );
  return ({ nodeId }) => useful.has(nodeId);
}

/** All replicas of the pod, with what their endpoints need them for. */
function holdersOf(state: PodState, wishes: readonly KnownWish[]): Holder[] {
  const needs = new Map(wishes.map((wish) => [wish.endpointId, { need: needOf(wish), warm: wish.warm }]));
  return state.store.replicas().map((replica) => {
    const of = needs.get(replica.endpointId) ?? { need: "batch", warm: 0 };
    return { ...replica, ...turnOf(replica), ...of };
  });
}

/** How many replicas each endpoint has beyond what it needs. */
function spareOf(wishes: readonly KnownWish[]): Map<EndpointId, number> {
  return new Map(wishes.map(({ endpointId, have, needed }) => [endpointId, Math.max(0, have - needed)]));
}

/**
 * Replicas whose end would let the endpoint start one, and that end soon or may in favour of it: by what it has said that
 * it needs one for, which is nothing weighty where it asks for none.
 */
export function replicasInTheWay(
  state: PodState,
  wish: Pick<DemandRecord, "endpointId" | "regions" | "warm" | "calls">,
  input: KnownInput,
): number {
  const isHelpedBy = helpFor(wish, input);
  const holders = holdersOf(state, input.wishes);
  const spare = spareOf(input.wishes);
  const counts = new Map(input.wishes.map(({ endpointId, have }) => [endpointId, have]));
  const claim = { need: needOf(wish), have: counts.get(wish.endpointId) ?? 0 };
  return holders.filter((holder) => {
    const { endpointId } = holder;
    if (!isHelpedBy(holder) || (endpointId === wish.endpointId && !holder.draining)) return false;
    return givesWay(claim, holder, { count: counts.get(endpointId) ?? 0, spare: spare.get(endpointId) ?? 0 });
  }).length;
}

/** Finds slots for those who need one: idle replicas of others, and in the end turns that have lasted too long. */
function makeRoom(state: PodState, input: PlaceInput, result: PlaceResult, now: number): void {
  const wishes = wishesOf(state);
  const left = leftOf(input, result);
  const claims = wishes
    .filter(({ endpointId }) => RECLAIMABLE.includes(result.shortages.get(endpointId)?.code ?? "none"))
    .map(({ endpointId, regions, needed, wanted, have, since, ...reasons }) => ({
      endpointId,
      isHelpedBy: helpFor({ endpointId, regions }, left),
      have,
      need: needOf(reasons),
      missing: Math.max(0, needed - have),
      lacking: Math.max(0, wanted - have),
      since,
      shortSince: state.shortSince.get(endpointId) ?? now,
    }))
    .filter(({ lacking }) => lacking > 0);
  state.shortSince.clear();
  for (const { endpointId, shortSince } of claims) state.shortSince.set(endpointId, shortSince);
  for (const [replicaId, askedAt] of state.askedAt) {
    if (claims.length === 0 || now - askedAt >= RECLAIM_AGAIN_MS) state.askedAt.delete(replicaId);
  }
  if (claims.length === 0) return;
  const { ask, share, over } = reclaim(claims, holdersOf(state, wishes), spareOf(wishes), now);
  for (const { id, endpointId } of [...ask, ...share]) {
    if (state.askedAt.has(id)) continue;
    state.askedAt.set(id, now);
    state.effects.push({ type: "reclaim", endpointId, replicaId: id, onlyBatch: !ask.some((each) => each.id === id) });
  }
  for (const { id, endpointId } of over) {
    const replica = state.store.replica(id);
    const demand: DemandRecord | null = state.store.demand(endpointId);
    if (replica !== null) state.drain(replica);
    // Who gives up a turn goes to the end of the line.
    if (demand !== null) state.store.putDemand({ ...demand, since: now });
  }
}
