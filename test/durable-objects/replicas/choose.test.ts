import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { bootWithin } from "#durable-objects/replicas/boot";
import { inOrderOfChoice, mayTake } from "#durable-objects/replicas/choose";
import { afterCrash, FAST_FAILURE_MS } from "#durable-objects/replicas/crash-backoff";
import { type PlaceInput, place } from "#durable-objects/replicas/place";
import { type Claim, FAIR_TURN_MS, type Holder, reclaim, turnsOver } from "#durable-objects/replicas/reclaim";
import { demandNumbers } from "#durable-objects/replicas/wanted";

describe("the choice of a replica", () => {
  it("is an idle one before one at work, the last used before the others", () => {
    const candidate = (replicaId: string, held: number, lastUsedAt: number) => ({
      replicaId: replicaId as ReplicaId,
      nodeId: "n" as NodeId,
      held,
      works: held > 0,
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
    nodes: fc.array(
      fc.record({
        free: fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { maxLength: 4 }),
        region: fc.constantFrom(null, "east", "west"),
      }),
      { maxLength: 4 },
    ),
    wishes: fc.array(
      fc.record({
        needed: fc.nat({ max: 6 }),
        extra: fc.nat({ max: 3 }),
        have: fc.nat({ max: 6 }),
        since: fc.nat({ max: 9 }),
        regions: fc.constantFrom<string[]>([], [], ["east"], ["east", "west"]),
      }),
      { maxLength: 5 },
    ),
    backoff: fc.boolean(),
  });
  const inputOf = ({ nodes, wishes, backoff }: typeof shape extends fc.Arbitrary<infer T> ? T : never): PlaceInput => ({
    nodes: nodes.map((node, index) => ({ id: `node_${index}` as NodeId, ...node })),
    wishes: wishes.map((wish, index) => ({
      ...wish,
      endpointId: `ep_${index}` as EndpointId,
      wanted: wish.needed + wish.extra,
    })),
    history: (endpointId, nodeId) =>
      backoff && endpointId === "ep_0" && nodeId === "node_0"
        ? { lastReadyAt: 0, failures: 1, backoffUntil: 100, crashedAt: 40, lastError: "out of memory" }
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
        for (const { endpointId, nodeId } of placements) {
          const regions = input.wishes.find((wish) => wish.endpointId === endpointId)?.regions ?? [];
          const { region } = input.nodes.find(({ id }) => id === nodeId) ?? { region: null };
          if (regions.length > 0) expect(regions).toContain(region);
        }
        if (drawn.backoff)
          expect(placements.some(({ endpointId, nodeId }) => endpointId === "ep_0" && nodeId === "node_0")).toBe(false);
      }),
    );
  });

  it("gives nobody a second slot while somebody who needs one has none", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const wishes = drawn.wishes.map((wish) => ({ ...wish, regions: [] }));
        const input = inputOf({ ...drawn, wishes, backoff: false });
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

  describe("says why there are too few", () => {
    const ep = "ep" as EndpointId;
    const node = (id: string, free: readonly number[], region: string | null = null) => ({
      id: id as NodeId,
      free,
      region,
    });
    const crashed = (crashedAt: number, lastError: string | null = null) => ({
      lastReadyAt: 0,
      failures: 1,
      backoffUntil: 100,
      crashedAt,
      lastError,
    });
    const reason = (
      nodes: PlaceInput["nodes"],
      more: { regions?: string[]; history?: Record<string, ReturnType<typeof crashed>>; now?: number } = {},
    ) => {
      const wishes = [{ endpointId: ep, regions: more.regions ?? [], needed: 1, wanted: 1, have: 0, since: 0 }];
      const history: PlaceInput["history"] = (_, id) => more.history?.[id] ?? null;
      return place({ nodes, wishes, history, now: more.now ?? 0 }).shortages.get(ep);
    };

    it("no machine at all", () => {
      expect(reason([])).toEqual({ code: "no_node_online", error: null });
      expect(reason([], { regions: ["west"] })).toMatchObject({ code: "no_node_online" });
    });

    it("no machine where it may run; one that names no region is nowhere", () => {
      expect(reason([node("n", [0], "east"), node("m", [0])], { regions: ["west"] })).toEqual({
        code: "region_unavailable",
        error: null,
      });
      expect(reason([node("n", [0], "west")], { regions: ["west"] })).toBeUndefined();
      expect(reason([node("n", [0])])).toBeUndefined();
    });

    it("no free slot where it may run, whatever is free elsewhere", () => {
      expect(reason([node("n", [])])).toEqual({ code: "all_slots_busy", error: null });
      expect(reason([node("n", [], "west"), node("m", [0], "east")], { regions: ["west"] })).toMatchObject({
        code: "all_slots_busy",
      });
    });

    it("crashes, with the error of the latest, until a pause is over", () => {
      const history = { a: crashed(10, "first"), b: crashed(20, "second") };
      const nodes = [node("a", [0]), node("b", [0])];
      expect(reason(nodes, { history })).toEqual({ code: "crash_looping", error: "second" });
      expect(reason(nodes, { history, now: 100 })).toBeUndefined();
      expect(reason([...nodes, node("c", [0])], { history })).toBeUndefined();
    });

    it("crashes although all slots are taken, when it could use none of them anyway", () => {
      const history = { a: crashed(10, "first") };
      expect(reason([node("a", [])], { history })).toEqual({ code: "crash_looping", error: "first" });
      expect(reason([node("a", []), node("b", [])], { history })).toMatchObject({ code: "all_slots_busy" });
      expect(reason([node("a", [0]), node("b", [])], { history })).toMatchObject({ code: "crash_looping" });
    });

    it("crashes where it may run, not those elsewhere", () => {
      const history = { a: crashed(10, "here"), b: crashed(20, "elsewhere") };
      const nodes = [node("a", [0], "west"), node("b", [0], "east")];
      expect(reason(nodes, { history, regions: ["west"] })).toEqual({ code: "crash_looping", error: "here" });
    });
  });
});

const holder = (id: string, endpoint: string, since: number, more: Partial<Holder> = {}): Holder => ({
  id: id as ReplicaId,
  endpointId: endpoint as EndpointId,
  region: null,
  draining: false,
  since,
  ...more,
});
const claim = (endpoint: string, more: Partial<Claim> = {}): Claim => ({
  endpointId: endpoint as EndpointId,
  regions: [],
  missing: 1,
  starves: true,
  since: 0,
  ...more,
});

describe("turns on a full pod", () => {
  it("end for the one who has the most, longest first, and only after a minute on both sides", () => {
    const holders = [holder("a1", "a", 0), holder("b1", "b", 10), holder("b2", "b", 20)];
    const waiting = [claim("c")];
    expect(turnsOver(waiting, holders, FAIR_TURN_MS - 1)).toEqual([]);
    expect(turnsOver(waiting, holders, FAIR_TURN_MS + 20).map(({ id }) => id)).toEqual(["b1"]);
    expect(turnsOver(waiting, holders, FAIR_TURN_MS).map(({ id }) => id)).toEqual(["a1"]);
    expect(turnsOver([], holders, 10 * FAIR_TURN_MS)).toEqual([]);
  });

  it("end where the one that waits may run, and nowhere else", () => {
    const holders = [
      holder("a1", "a", 0, { region: "east" }),
      holder("a2", "a", 0),
      holder("b1", "b", 0, { region: "west" }),
    ];
    const waiting = [claim("c", { regions: ["south"] }), claim("d", { regions: ["west"] })];
    expect(turnsOver(waiting, holders, FAIR_TURN_MS).map(({ id }) => id)).toEqual(["b1"]);
  });
});

describe("room on a full pod", () => {
  const spare = (...counts: [string, number][]) => new Map(counts.map(([id, count]) => [id as EndpointId, count]));

  it("is asked of those with the most to spare, and for no more than is missing", () => {
    const holders = [holder("a1", "a", 0), holder("b1", "b", 0), holder("b2", "b", 0)];
    const { ask, over } = reclaim([claim("c")], holders, spare(["a", 1], ["b", 2]), 0);
    expect([ask.map(({ id }) => id), over]).toEqual([["b1"], []]);
    expect(reclaim([claim("c", { missing: 9 })], holders, spare(["a", 1], ["b", 1]), 0).ask).toHaveLength(2);
  });

  it("is not asked for where a slot is being emptied that will do", () => {
    const leaving = holder("a1", "a", 0, { draining: true, region: "west" });
    const idle = holder("b1", "b", 0, { region: "west" });
    expect(reclaim([claim("c", { regions: ["west"] })], [leaving, idle], spare(["b", 1]), 0).ask).toEqual([]);
    const elsewhere = { ...leaving, region: "east" };
    expect(reclaim([claim("c", { regions: ["west"] })], [elsewhere, idle], spare(["b", 1]), 0).ask).toEqual([idle]);
  });

  it("counts a slot that is being emptied for one claim alone, and first for who has nothing", () => {
    const leaving = holder("a1", "a", 0, { draining: true });
    const busy = holder("b1", "b", 0);
    const claims = [claim("rich", { starves: false }), claim("poor", { since: 5 }), claim("later", { since: 9 })];
    expect(reclaim(claims, [leaving, busy], spare(), FAIR_TURN_MS + 9)).toEqual({ ask: [], over: [busy] });
    expect(reclaim(claims.slice(0, 2), [leaving, busy], spare(), FAIR_TURN_MS + 9)).toEqual({ ask: [], over: [] });
  });

  it("is not asked for where it would not help", () => {
    const idle = holder("b1", "b", 0, { region: "east" });
    expect(reclaim([claim("c", { regions: ["west"] })], [idle], spare(["b", 1]), 10 * FAIR_TURN_MS)).toEqual({
      ask: [],
      over: [],
    });
  });
});
