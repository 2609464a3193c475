import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointId, NodeId } from "#contract/ids";
import { FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";
import {
  type FreeSlot,
  fitsRegion,
  type NodeHistory,
  type PlaceableNode,
  type PlaceInput,
  place,
  roomFor,
  type Wish,
} from "#durable-objects/replicas/place";

const TYPES = ["rtx-4090", "l40s", null] as const;
const slot = (number: number, more: Partial<FreeSlot> = {}): FreeSlot => ({
  slot: number,
  card: number,
  failedAt: 0,
  gpuType: null,
  vramMb: 0,
  ...more,
});
const node = (id: string, free: readonly FreeSlot[], more: Partial<PlaceableNode> = {}): PlaceableNode => ({
  id: id as NodeId,
  region: null,
  free,
  builds: new Set(),
  models: new Set(),
  ...more,
});
const ep = "ep" as EndpointId;
const wish = (more: Partial<Wish> = {}): Wish => ({
  endpointId: ep,
  regions: [],
  needed: 1,
  wanted: 1,
  have: 0,
  since: 0,
  build: null,
  models: [],
  trials: [],
  ...more,
});
const past = (more: Partial<NodeHistory>): NodeHistory => ({
  lastReadyAt: 0,
  failures: 0,
  backoffUntil: 0,
  crashedAt: 0,
  lastError: null,
  ...more,
});
const input = (
  nodes: readonly PlaceableNode[],
  wishes: readonly Wish[],
  more: Partial<PlaceInput> = {},
): PlaceInput => ({
  nodes,
  wishes,
  closed: [],
  history: () => null,
  regions: [],
  typeOrder: [],
  containersLeft: null,
  now: 0,
  ...more,
});

const shape = fc.record({
  nodes: fc.array(
    fc.record({
      free: fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { maxLength: 4 }),
      card: fc.constantFrom(...TYPES),
      region: fc.constantFrom(null, "east", "west"),
      builds: fc.subarray(["b1", "b2"]),
      models: fc.subarray(["m1", "m2", "m3"]),
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
      build: fc.constantFrom(null, "b1", "b2"),
      models: fc.subarray(["m1", "m2", "m3"]),
      trials: fc.subarray([...TYPES]),
    }),
    { maxLength: 5 },
  ),
  containersLeft: fc.option(fc.nat({ max: 8 }), { nil: null }),
  typeOrder: fc.constantFrom<string[]>([], ["l40s"], ["rtx-4090", "l40s"]),
  backoff: fc.boolean(),
});
type Drawn = typeof shape extends fc.Arbitrary<infer T> ? T : never;
const inputOf = ({ nodes, wishes, backoff, containersLeft, typeOrder }: Drawn): PlaceInput =>
  input(
    nodes.map((drawn, index) =>
      node(
        `node_${index}`,
        drawn.free.toSorted((a, b) => a - b).map((each) => slot(each, { gpuType: drawn.card })),
        { region: drawn.region, builds: new Set(drawn.builds), models: new Set(drawn.models) },
      ),
    ),
    wishes.map((drawn, index) => ({
      ...drawn,
      endpointId: `ep_${index}` as EndpointId,
      wanted: drawn.needed + drawn.extra,
    })),
    {
      containersLeft,
      regions: [],
      typeOrder,
      history: (endpointId, nodeId) =>
        backoff && endpointId === "ep_0" && nodeId === "node_0"
          ? past({ failures: 1, backoffUntil: 100, crashedAt: 40, lastError: "out of memory" })
          : null,
      now: 50,
    },
  );

describe("placing", () => {
  it("fills each slot once and no more than the containers, and says what is missing", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const given = inputOf(drawn);
        const { placements, shortages } = place(given);
        const spots = placements.map((spot) => `${spot.nodeId}/${spot.slot}`);
        expect(new Set(spots).size).toBe(spots.length);
        if (drawn.containersLeft !== null) expect(placements.length).toBeLessThanOrEqual(drawn.containersLeft);
        for (const { nodeId, slot: taken, endpointId } of placements) {
          const there = given.nodes.find(({ id }) => id === nodeId);
          expect(there?.free.map((each) => each.slot)).toContain(taken);
          const regions = given.wishes.find((each) => each.endpointId === endpointId)?.regions ?? [];
          expect(fitsRegion(regions, there?.region ?? null)).toBe(true);
        }
        for (const each of given.wishes) {
          const got = placements.filter(({ endpointId }) => endpointId === each.endpointId).length;
          const missing = Math.max(0, each.wanted - each.have);
          expect(got).toBeLessThanOrEqual(missing + each.trials.length);
          // Trials come last: who has a shortage was served all the same, as far as there was room.
          expect(shortages.has(each.endpointId)).toBe(got < missing || (missing > 0 && each.have + got < each.wanted));
        }
        if (drawn.backoff)
          expect(placements.some(({ endpointId, nodeId }) => endpointId === "ep_0" && nodeId === "node_0")).toBe(false);
      }),
    );
  });

  it("does not depend on the order in which nodes and wishes are given", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const given = inputOf(drawn);
        const turned = { ...given, nodes: given.nodes.toReversed(), wishes: given.wishes.toReversed() };
        const sorted = (from: PlaceInput) =>
          place(from)
            .placements.map((each) => `${each.endpointId} ${each.nodeId} ${each.slot}`)
            .toSorted();
        // Trials are filled in the order of the wishes, so those are kept out.
        const plain = (from: PlaceInput) => ({ ...from, wishes: from.wishes.map((each) => ({ ...each, trials: [] })) });
        expect(sorted(plain(turned))).toEqual(sorted(plain(given)));
      }),
    );
  });

  it("gives nobody a second slot while somebody who needs one has none", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const wishes = drawn.wishes.map((each) => ({ ...each, regions: [], trials: [] }));
        const given = inputOf({ ...drawn, wishes, backoff: false });
        const { placements } = place(given);
        const total = (index: number) =>
          (given.wishes[index]?.have ?? 0) + placements.filter(({ endpointId }) => endpointId === `ep_${index}`).length;
        given.wishes.forEach((each, index) => {
          if (each.needed === 0 || total(index) > 0) return;
          given.wishes.forEach((other, at) => {
            const got = total(at) - other.have;
            if (got > 0) expect(total(at)).toBeLessThanOrEqual(1);
          });
        });
      }),
    );
  });

  it("leaves as much room as it says", () => {
    fc.assert(
      fc.property(shape, (drawn) => {
        const given = inputOf({ ...drawn, wishes: [] });
        for (const regions of [[], ["east"], ["west", "east"]]) {
          const greedy = wish({ endpointId: "ep_0" as EndpointId, regions, wanted: 1_000, needed: 1_000 });
          const { placements } = place({ ...given, wishes: [greedy] });
          expect(roomFor(greedy, given)).toBe(placements.length);
        }
      }),
    );
  });
});

describe("the preference among machines", () => {
  const chosen = (nodes: readonly PlaceableNode[], more: Partial<Wish> = {}, rest: Partial<PlaceInput> = {}) =>
    place(input(nodes, [wish(more)], rest)).placements[0]?.nodeId;
  const card = (gpuType: string | null, vramMb = 0) => [slot(0, { gpuType, vramMb })];

  it("goes by the pod's order of cards, before all that a machine has", () => {
    const nodes = [
      node("a", card("l40s", 48_000), { builds: new Set(["b"]), models: new Set(["m"]) }),
      node("b", card("rtx-4090", 24_000)),
      node("c", card(null, 90_000)),
    ];
    const needs = { build: "b", models: ["m"] };
    expect(chosen(nodes, needs, { typeOrder: ["rtx-4090", "l40s"] })).toBe("b");
    expect(chosen(nodes, needs, { typeOrder: ["l40s", "rtx-4090"] })).toBe("a");
    expect(chosen(nodes, {}, { typeOrder: ["h100-80"] })).toBe("c");
  });

  it("then by the build, the weights, and where it ran before", () => {
    const all = { build: "b", models: ["m1", "m2"] };
    const plain = node("a", card(null, 99_000));
    const ran = node("b", card(null));
    const weights = node("c", card(null), { models: new Set(["m1"]) });
    const more = node("d", card(null), { models: new Set(["m1", "m2"]) });
    const built = node("e", card(null), { builds: new Set(["b"]) });
    const history: PlaceInput["history"] = (_, id) => (id === "b" ? past({ lastReadyAt: 1 }) : null);
    const order = [built, more, weights, ran, plain];
    for (let first = 0; first < order.length; first += 1) {
      expect(chosen(order.slice(first).toReversed(), all, { history })).toBe(order[first]?.id);
    }
  });

  it("then by free memory, free slots, and the endpoint's order of regions", () => {
    const small = node("a", card(null, 8_000), { region: "west" });
    const large = node("b", card(null, 24_000), { region: "east" });
    expect(chosen([small, large])).toBe("b");
    const one = node("a", [slot(0)]);
    const two = node("b", [slot(0), slot(1)]);
    expect(chosen([one, two])).toBe("b");
    const west = node("a", [slot(0)], { region: "west" });
    const east = node("b", [slot(0)], { region: "east" });
    expect(chosen([west, east], { regions: ["east", "west"] })).toBe("b");
    expect(chosen([west, east], { regions: ["west", "east"] })).toBe("a");
    expect(chosen([east, west])).toBe("a");
  });

  it("puts a machine on which it keeps dying last, whatever that one has", () => {
    const bad = node("a", card("l40s", 99_000), { builds: new Set(["b"]) });
    const good = node("b", card(null));
    const history: PlaceInput["history"] = (_, id) => (id === "a" ? past({ failures: FAST_FAILURES_MAX }) : null);
    expect(chosen([bad, good], { build: "b" }, { history, typeOrder: ["l40s"] })).toBe("b");
    expect(chosen([bad], { build: "b" }, { history })).toBe("a");
  });

  it("spreads over the cards of a machine before it shares one", () => {
    const free = [0, 1, 2, 3].map((number) => slot(number, { card: number % 2, vramMb: 12_000 }));
    const { placements } = place(input([node("a", free)], [wish({ needed: 2, wanted: 2 })]));
    expect(placements.map((each) => each.slot % 2).toSorted()).toEqual([0, 1]);
  });
});

describe("a trial", () => {
  const nodes = [
    node("a", [slot(0, { gpuType: "rtx-4090" }), slot(1, { gpuType: "rtx-4090" })]),
    node("b", [slot(0, { gpuType: "l40s" })]),
    node("c", [slot(0)]),
  ];
  const spots = (more: Partial<Wish>, rest: Partial<PlaceInput> = {}) =>
    place(input(nodes, [wish(more)], rest)).placements.map(({ nodeId }) => nodeId);

  it("gets one replica on each named card beside the others", () => {
    expect(spots({ needed: 0, wanted: 0, trials: ["l40s", null] })).toEqual(["b", "c"]);
    expect(spots({ trials: ["l40s"] }, { typeOrder: ["rtx-4090"] })).toEqual(["a", "b"]);
  });

  it("is satisfied by one that is placed there anyway, and waits where there is no such card", () => {
    expect(spots({ trials: ["rtx-4090"] }, { typeOrder: ["rtx-4090"] })).toEqual(["a"]);
    expect(spots({ needed: 0, wanted: 0, trials: ["b200"] })).toEqual([]);
    expect(spots({ needed: 0, wanted: 0, trials: ["l40s"] }, { containersLeft: 0 })).toEqual([]);
  });

  it("takes nothing from those who need a slot", () => {
    const other = wish({ endpointId: "other" as EndpointId, needed: 1, wanted: 1 });
    const trial = wish({ needed: 0, wanted: 0, trials: ["l40s"] });
    const only = [node("b", [slot(0, { gpuType: "l40s" })])];
    expect(place(input(only, [trial, other])).placements).toMatchObject([{ endpointId: "other" }]);
  });
});

describe("a pod says why there are too few:", () => {
  const free = (id: string, count: number, region: string | null = null) =>
    node(
      id,
      Array.from({ length: count }, (_, number) => slot(number)),
      { region },
    );
  const crashed = (crashedAt: number, lastError: string | null = null) =>
    past({ failures: 1, backoffUntil: 100, crashedAt, lastError });
  const reason = (
    nodes: readonly PlaceableNode[],
    more: {
      regions?: string[];
      history?: Record<string, NodeHistory>;
      now?: number;
      closed?: PlaceInput["closed"];
      containersLeft?: number;
    } = {},
  ) =>
    place(
      input(nodes, [wish({ regions: more.regions ?? [] })], {
        history: (_, id) => more.history?.[id] ?? null,
        now: more.now ?? 0,
        closed: more.closed ?? [],
        containersLeft: more.containersLeft ?? null,
      }),
    ).shortages.get(ep);

  it("no machine at all", () => {
    expect(reason([])).toEqual({ code: "no_node_online", error: null });
    expect(reason([], { regions: ["west"] })).toMatchObject({ code: "no_node_online" });
  });

  it("no machine where it may run; one that names no region is nowhere", () => {
    expect(reason([free("n", 1, "east"), free("m", 1)], { regions: ["west"] })).toEqual({
      code: "region_unavailable",
      error: expect.stringContaining("Join one in west"),
    });
    expect(reason([free("n", 1, "west")], { regions: ["west"] })).toBeUndefined();
    expect(reason([free("n", 1)])).toBeUndefined();
  });

  it("no free slot where it may run, whatever is free elsewhere", () => {
    expect(reason([free("n", 0)])).toEqual({ code: "all_slots_busy", error: null });
    expect(reason([free("n", 0, "west"), free("m", 1, "east")], { regions: ["west"] })).toMatchObject({
      code: "all_slots_busy",
    });
  });

  it("all containers in use, whatever slots are free", () => {
    expect(reason([free("n", 3)], { containersLeft: 0 })).toEqual({
      code: "all_slots_busy",
      error: expect.stringMatching(/containers_max.*pods set --containers/),
    });
    expect(reason([free("n", 0)], { containersLeft: 0 })).toEqual({ code: "all_slots_busy", error: null });
    expect(reason([free("n", 3)], { containersLeft: 1 })).toBeUndefined();
  });

  it("only machines that take nothing new where it may run, and why", () => {
    const closed = [{ region: "west", reason: "it lied" }];
    expect(reason([], { closed })).toEqual({ code: "no_node_online", error: "it lied" });
    expect(reason([free("n", 1, "east")], { closed, regions: ["west"] })).toMatchObject({ error: "it lied" });
    expect(reason([], { closed, regions: ["east"] })).toEqual({ code: "no_node_online", error: null });
    expect(reason([free("n", 0)], { closed })).toMatchObject({ code: "all_slots_busy" });
  });

  it("crashes, with the error of the latest, until a pause is over", () => {
    const history = { a: crashed(10, "first"), b: crashed(20, "second") };
    const nodes = [free("a", 1), free("b", 1)];
    expect(reason(nodes, { history })).toEqual({ code: "crash_looping", error: "second" });
    expect(reason(nodes, { history, now: 100 })).toBeUndefined();
    expect(reason([...nodes, free("c", 1)], { history })).toBeUndefined();
  });

  it("crashes although all slots are taken, when it could use none of them anyway", () => {
    const history = { a: crashed(10, "first") };
    expect(reason([free("a", 0)], { history })).toEqual({ code: "crash_looping", error: "first" });
    expect(reason([free("a", 0), free("b", 0)], { history })).toMatchObject({ code: "all_slots_busy" });
    expect(reason([free("a", 1), free("b", 0)], { history })).toMatchObject({ code: "crash_looping" });
  });

  it("crashes where it may run, not those elsewhere", () => {
    const history = { a: crashed(10, "here"), b: crashed(20, "elsewhere") };
    const nodes = [free("a", 1, "west"), free("b", 1, "east")];
    expect(reason(nodes, { history, regions: ["west"] })).toEqual({ code: "crash_looping", error: "here" });
  });
});
