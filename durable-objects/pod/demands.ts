/** What endpoints want of the pod, and what they are answered. */
import type { EndpointId } from "#contract/ids";
import { arrange, placeInput, replicasInTheWay } from "#durable-objects/pod/arrange";
import { drainMisplaced } from "#durable-objects/pod/evict";
import type { NodeRecord } from "#durable-objects/pod/node-store";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { DemandRecord } from "#durable-objects/pod/pod-store";
import type { Demand, DemandReply, Lack } from "#durable-objects/pod/rpc";
import { takeTerms } from "#durable-objects/pod/terms";
import { fitsRegion, lackFor, roomFor } from "#durable-objects/replicas/place";

/** How long a pod remembers that somebody has waited in vain: a start elsewhere that fails takes minutes. */
const WAIT_KEPT_MS = 10 * 60_000;
const NOTHING: Lack = { code: "none", error: null };

/** Takes note of a demand, unless a newer one is known, and answers with how things stand. */
export function answerDemand(state: PodState, demand: Demand, now: number): DemandReply {
  const known = state.store.demand(demand.endpointId);
  if (known === null || demand.version > known.version) {
    state.store.putDemand({
      endpointId: demand.endpointId,
      version: demand.version,
      regions: demand.regions,
      build: demand.build,
      models: demand.models,
      trials: demand.trials,
      wanted: demand.wanted,
      needed: demand.needed,
      warm: demand.warm,
      calls: demand.calls,
      since: waitsSince(state, demand, known, now),
      lackingSince: known?.lackingSince ?? null,
      // When its need began, or ended. Asking again is no use: who is asked to would come first by it, and the other
      // would be asked next, without end.
      usedAt: demand.needed > 0 === (known?.needed ?? 0) > 0 ? (known?.usedAt ?? 0) : now,
      told: known?.told ?? null,
    });
    letGo(state, demand);
    // Another build has not failed anywhere yet: whoever mends a release does not wait for what the broken one did.
    if (known !== null && known.build !== demand.build) state.store.forgiveEndpoint(demand.endpointId);
  }
  const { shortages } = arrange(state, now);
  const terms = takeTerms(state, demand.endpointId, demand.version === known?.version);
  const nodes = new Map(state.nodes.all().map((node) => [node.id, node]));
  const mine = state.store.replicas().filter(({ endpointId }) => endpointId === demand.endpointId);
  const input = placeInput(state, now);
  const room = roomFor(demand, input);
  const open = new Set(input.nodes.map(({ id }) => id));
  const usable = [...nodes.values()].filter(({ id, region }) => open.has(id) && fitsRegion(demand.regions, region));
  const types = usable.flatMap((node) =>
    node.gpus.length === 0 ? [null] : node.gpus.map((gpu) => state.gpuType(gpu)),
  );
  return {
    replicas: mine.map(({ id, nodeId, slot }) => {
      const node = nodes.get(nodeId);
      if (node === undefined) return { replicaId: id, nodeId, gpuType: null, slotsOnCard: 1 };
      const slotsOnCard = slotsOnCardOf(state, node, slot);
      return { replicaId: id, nodeId, gpuType: state.slotType(node, slot), slotsOnCard };
    }),
    ...terms,
    room,
    held: replicasInTheWay(state, demand, input),
    gpuTypes: [...new Set(types)],
    shortage: shortages.get(demand.endpointId) ?? NOTHING,
    lack: (room > 0 ? null : lackFor(demand, input)) ?? NOTHING,
  };
}

/**
 * Since when it waits for a turn. Who claims a share on another pod for a while, to see whether it does better there, and
 * comes back has waited as long as before it went.
 */
function waitsSince(
  { store }: PodState,
  { endpointId, needed }: Demand,
  known: DemandRecord | null,
  now: number,
): number {
  if (known === null) return now;
  if (needed > 0 && known.needed === 0) {
    const waited = now - known.usedAt < WAIT_KEPT_MS ? known.usedAt - known.since : 0;
    return now - Math.max(0, waited);
  }
  const isServed = store.replicas().some((replica) => replica.endpointId === endpointId);
  return needed === 0 && known.needed > 0 && isServed ? now : known.since;
}

/** Slots of the node that share a card with this one, itself included. A node without cards counts none together. */
function slotsOnCardOf(state: PodState, node: NodeRecord, slot: number): number {
  const { card } = state.cardOf(node, slot);
  const others = Array.from({ length: node.slots }, (_, each) => each).filter(
    (each) => each !== slot && state.cardOf(node, each).card === card,
  );
  return others.length + 1;
}

/** The endpoint has left the pod, or is no more. What still runs goes first; of the rest nothing is worth remembering. */
export function forgetEndpoint(state: PodState, endpointId: EndpointId, version: number): void {
  const demand = state.store.demand(endpointId);
  if (demand === null || demand.version > version) return;
  const mine = state.store.replicas().filter((replica) => replica.endpointId === endpointId);
  if (mine.length > 0) {
    state.store.putDemand({ ...demand, wanted: 0, needed: 0, trials: [], usedAt: 0 });
    for (const replica of mine) state.drain(replica);
    return;
  }
  state.store.deleteDemand(endpointId);
  state.termsTold.delete(endpointId);
  state.shortSince.delete(endpointId);
}

/** Replicas the endpoint lets go, and those beyond what it wants that no node has begun to start. */
function letGo(state: PodState, demand: Demand): void {
  const drain = new Set(demand.drain);
  const mine = () => state.store.replicas().filter(({ endpointId }) => endpointId === demand.endpointId);
  for (const replica of mine()) if (drain.has(replica.id)) state.drain(replica);
  drainMisplaced(state);
  const kept = mine().filter((replica) => !replica.draining);
  const nodes = new Map(state.nodes.all().map((node) => [node.id, node]));
  const typeOf = ({ nodeId, slot }: (typeof kept)[number]) => {
    const node = nodes.get(nodeId);
    return node === undefined ? null : state.slotType(node, slot);
  };
  let surplus = kept.length - demand.wanted;
  // The newest first. The only one on a card that is still to be tried stays.
  for (const replica of kept.filter(({ reported }) => !reported).toSorted((a, b) => b.placedAt - a.placedAt)) {
    if (surplus <= 0) return;
    const type = typeOf(replica);
    if (demand.trials.includes(type) && kept.filter((each) => typeOf(each) === type).length === 1) continue;
    state.drain(replica);
    surplus -= 1;
  }
}
