import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { bootWithin } from "#durable-objects/replicas/boot";
import { inOrderOfChoice, mayTake } from "#durable-objects/replicas/choose";
import { afterCrash, FAST_FAILURE_MS } from "#durable-objects/replicas/crash-backoff";
import { FAIR_TURN_MS, type PlaceInput, place, turnsOver } from "#durable-objects/replicas/place";
import { demandNumbers } from "#durable-objects/replicas/wanted";

describe("the choice of a replica", () => {
  it("is an idle one before one at work, the last used before the others", () => {
    const candidate = (replicaId: string, held: number, lastUsedAt: number) => ({
      replicaId: replicaId as ReplicaId,
      nodeId: "n" as NodeId,
      held,
      lastUsedAt,
    });
    const order = inOrderOfChoice([candidate("a", 1, 9), candidate("b", 0, 1), candidate("c", 0, 5)]);
    expect(order.map(({ replicaId }) => replicaId)).toEqual(["c", "b", "a"]);
  });

  it("spares the node on which the job failed, for a moment and if there is another", () => {
    const avoid = { nodeId: "bad" as NodeId, until: 100 };
    expect(mayTake(null, avoid.nodeId, true, 0)).toBe(true);
    expect(mayTake(avoid, "good" as NodeId, true, 0)).toBe(true);
    expect(mayTake(avoid, avoid.nodeId, true, 99)).toBe(false);
    expect(mayTake(avoid, avoid.nodeId, true, 100)).toBe(true);
    expect(mayTake(avoid, avoid.nodeId, false, 0)).toBe(true);
  });
});

describe("the wanted number of replicas", () => {
  const input = fc.record({
    settings: fc.record({ min_replicas: fc.integer({ min: 0, max: 5 }), max_replicas: fc.integer({ min: 5, max: 9 }) }),
    removed: fc.constant(false),
    queued: fc.nat({ max: 20 }),
    running: fc.nat({ max: 20 }),
  });

  it("lies between floor and ceiling, and is something as long as there is work", () => {
    fc.assert(
      fc.property(input, (demand) => {
        const { needed, wanted } = demandNumbers(demand);
        expect(needed).toBeGreaterThanOrEqual(demand.settings.min_replicas);
        expect(needed).toBeLessThanOrEqual(demand.settings.max_replicas);
        expect(wanted).toBe(needed);
        if (demand.queued + demand.running > 0) expect(needed).toBeGreaterThan(0);
        expect(demandNumbers({ ...demand, removed: true })).toEqual({ needed: 0, wanted: 0 });
      }),
    );
  });
});

describe("the part of a start that a job waited for", () => {
  const changes = [
    { state: "requested", at: 10 },
    { state: "placed", at: 20 },
    { state: "booting", at: 30 },
    { state: "loading", at: 60 },
    { state: "ready", at: 100 },
  ] as const;

  it("is cut to the wait, and neighbours of one name are one", () => {
    expect(bootWithin(changes, 15, 200)).toEqual([
      { phase: "placement", startedAt: 15, ms: 15 },
      { phase: "booting", startedAt: 30, ms: 30 },
      { phase: "loading", startedAt: 60, ms: 40 },
    ]);
    expect(bootWithin(changes, 40, 50)).toEqual([{ phase: "booting", startedAt: 40, ms: 10 }]);
    expect(bootWithin(changes, 100, 500)).toEqual([]);
  });
});

describe("the pause after a crash", () => {
  it("doubles with each fast failure and starts anew after a good run", () => {
    let history = { failures: 0, until: 0 };
    const pauses = Array.from({ length: 9 }, () => {
      history = afterCrash(history, null, 1_000);
      return (history.until - 1_000) / 1_000;
    });
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 600, 600]);
    expect(afterCrash(history, 0, FAST_FAILURE_MS)).toMatchObject({ failures: 1 });
    expect(afterCrash(history, 1, FAST_FAILURE_MS)).toMatchObject({ failures: 10 });
  });
});

describe("placing", () => {
  const shape = fc.record({
    nodes: fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { maxLength: 4 }), { maxLength: 4 }),
    wishes: fc.array(
      fc.record({
        needed: fc.nat({ max: 6 }),
        extra: fc.nat({ max: 3 }),
        have: fc.nat({ max: 6 }),
        since: fc.nat({ max: 9 }),
      }),
      { maxLength: 5 },
    ),
    backoff: fc.boolean(),
  });
  const inputOf = ({ nodes, wishes, backoff }: typeof shape extends fc.Arbitrary<infer T> ? T : never): PlaceInput => ({
    nodes: nodes.map((free, index) => ({ id: `node_${index}` as NodeId, free })),
    wishes: wishes.map((wish, index) => ({
      ...wish,
      endpointId: `ep_${index}` as EndpointId,
      wanted: wish.needed + wish.extra,
    })),
    history: (endpointId, nodeId) =>
      backoff && endpointId === "ep_0" && nodeId === "node_0"
        ? { lastReadyAt: 0, failures: 1, backoffUntil: 100 }
        : null,
    now: 50,
  });

  it("fills each slot once, gives nobody more than is wanted, and says what is missing", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const input = inputOf(drawn);
        const { placements, shortages } = place(input);
        const spots = placements.map(({ nodeId, slot }) => `${nodeId}/${slot}`);
        expect(new Set(spots).size).toBe(spots.length);
        for (const { nodeId, slot } of placements)
          expect(input.nodes.find(({ id }) => id === nodeId)?.free).toContain(slot);
        for (const wish of input.wishes) {
          const got = placements.filter(({ endpointId }) => endpointId === wish.endpointId).length;
          if (wish.have < wish.wanted) expect(wish.have + got).toBeLessThanOrEqual(wish.wanted);
          else expect(got).toBe(0);
          expect(shortages.has(wish.endpointId)).toBe(wish.have + got < wish.wanted);
        }
        if (drawn.backoff)
          expect(placements.some(({ endpointId, nodeId }) => endpointId === "ep_0" && nodeId === "node_0")).toBe(false);
      }),
    );
  });

  it("gives nobody a second slot while somebody who needs one has none", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const input = inputOf({ ...drawn, backoff: false });
        const { placements } = place(input);
        const total = (index: number) =>
          (input.wishes[index]?.have ?? 0) + placements.filter(({ endpointId }) => endpointId === `ep_${index}`).length;
        input.wishes.forEach((wish, index) => {
          if (wish.needed === 0 || total(index) > 0) return;
          input.wishes.forEach((other, at) => {
            const got = total(at) - other.have;
            if (got > 0) expect(total(at)).toBeLessThanOrEqual(1);
          });
        });
      }),
    );
  });

  it("says that no machine is there, or that all are busy", () => {
    const wishes = [{ endpointId: "ep" as EndpointId, needed: 1, wanted: 1, have: 0, since: 0 }];
    const reason = (nodes: PlaceInput["nodes"]) =>
      place({ nodes, wishes, history: () => null, now: 0 }).shortages.get("ep" as EndpointId);
    expect(reason([])).toBe("no_node_online");
    expect(reason([{ id: "n" as NodeId, free: [] }])).toBe("all_slots_busy");
    expect(reason([{ id: "n" as NodeId, free: [0] }])).toBeUndefined();
  });
});

describe("turns on a full pod", () => {
  const holder = (id: string, endpoint: string, since: number) => ({
    id: id as ReplicaId,
    endpointId: endpoint as EndpointId,
    since,
  });

  it("end for the one who has the most, longest first, and only after a minute on both sides", () => {
    const holders = [holder("a1", "a", 0), holder("b1", "b", 10), holder("b2", "b", 20)];
    const waiting = [{ endpointId: "c" as EndpointId, since: 0 }];
    expect(turnsOver(waiting, holders, FAIR_TURN_MS - 1)).toEqual([]);
    expect(turnsOver(waiting, holders, FAIR_TURN_MS + 20).map(({ id }) => id)).toEqual(["b1"]);
    expect(turnsOver(waiting, holders, FAIR_TURN_MS).map(({ id }) => id)).toEqual(["a1"]);
    expect(turnsOver([], holders, 10 * FAIR_TURN_MS)).toEqual([]);
  });
});
