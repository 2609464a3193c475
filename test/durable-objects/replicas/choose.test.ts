import { describe, expect, it } from "vitest";
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { bootWithin } from "#durable-objects/replicas/boot";
import { inOrderOfChoice, mayTake } from "#durable-objects/replicas/choose";
import { afterCrash, FAST_FAILURE_MS } from "#durable-objects/replicas/crash-backoff";
import {
  type Claim,
  FAIR_TURN_MS,
  type Holder,
  type Need,
  reclaim,
  turnEnds,
  turnOf,
  turnsOver,
} from "#durable-objects/replicas/reclaim";

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

const holder = (id: string, endpoint: string, since: number, more: Partial<Holder> = {}): Holder => ({
  id: id as ReplicaId,
  endpointId: endpoint as EndpointId,
  nodeId: "anywhere" as NodeId,
  draining: false,
  since,
  turnMs: FAIR_TURN_MS,
  need: "calls",
  warm: 0,
  ...more,
});
const claim = (endpoint: string, more: Partial<Claim> = {}): Claim => ({
  endpointId: endpoint as EndpointId,
  isHelpedBy: () => true,
  have: 0,
  missing: 1,
  lacking: 1,
  need: "calls",
  since: 0,
  shortSince: 0,
  ...more,
});
const on =
  (node: string) =>
  ({ nodeId }: Holder): boolean =>
    nodeId === node;
/** One for which no slot is being emptied. */
const waiter = (endpoint: string, more: Partial<Claim> = {}) => ({ ...claim(endpoint, more), found: 0 });

describe("turns on a full pod", () => {
  it("end for the one who has the most, longest first, and only after a minute on both sides", () => {
    const holders = [holder("a1", "a", 0), holder("b1", "b", 10), holder("b2", "b", 20)];
    const waiting = [waiter("c")];
    expect(turnsOver(waiting, holders, FAIR_TURN_MS - 1)).toEqual([]);
    expect(turnsOver(waiting, holders, FAIR_TURN_MS + 20).map(({ id }) => id)).toEqual(["b1"]);
    expect(turnsOver(waiting, holders, FAIR_TURN_MS).map(({ id }) => id)).toEqual(["a1"]);
    expect(turnsOver([], holders, 10 * FAIR_TURN_MS)).toEqual([]);
  });

  it("end where the one that waits may run, and nowhere else", () => {
    const holders = [
      holder("a1", "a", 0, { nodeId: "east" as NodeId }),
      holder("a2", "a", 0),
      holder("b1", "b", 0, { nodeId: "west" as NodeId }),
    ];
    const waiting = [waiter("c", { isHelpedBy: on("south") }), waiter("d", { isHelpedBy: on("west") })];
    expect(turnsOver(waiting, holders, FAIR_TURN_MS).map(({ id }) => id)).toEqual(["b1"]);
  });

  it("cost no time squared: on five hundred machines of eight slots, with thirty endpoints that wait", () => {
    const holders = Array.from({ length: 4_000 }, (_, at) => holder(`r${at}`, `e${at % 10}`, at % 1_000));
    const claims = Array.from({ length: 30 }, (_, at) => claim(`w${at}`, { missing: 5, lacking: 5 }));
    const spare = new Map([["e0" as EndpointId, 20]]);
    const found = reclaim(claims, holders, spare, 2 * FAIR_TURN_MS);
    expect(found.ask.map(({ endpointId }) => endpointId)).toEqual(Array.from({ length: 20 }, () => "e0"));
    expect(found.over).toHaveLength(30);
  });
});

describe("a turn", () => {
  const since = 1_000_000;
  const turn = (startMs: number) => turnOf({ placedAt: since - startMs, readyAt: since }).turnMs;

  it("is worth its start: four times as long, between one minute and ten", () => {
    expect([0, 15_000, 60_000, 150_000, 400_000].map(turn)).toEqual([60_000, 60_000, 240_000, 600_000, 600_000]);
  });

  it("does not end while the replica starts, unless that takes ten minutes", () => {
    const starting = holder("a1", "a", 0, turnOf({ placedAt: 0, readyAt: null }));
    expect(turnsOver([waiter("b")], [starting], 10 * FAIR_TURN_MS - 1)).toEqual([]);
    expect(turnsOver([waiter("b")], [starting], 10 * FAIR_TURN_MS)).toEqual([starting]);
  });

  it("of the only replica ends late for one that would idle, and never for batch jobs where a warm floor has it", () => {
    const only = holder("a1", "a", 0, { need: "calls", warm: 1 });
    const over = (need: Need, turns: number, holders = [only]) =>
      turnsOver([waiter("b", { need })], holders, turns * FAIR_TURN_MS).length;
    expect([over("calls", 1), over("warmth", 9), over("warmth", 10), over("batch", 1_000)]).toEqual([1, 0, 1, 0]);
    const two = [only, holder("a2", "a", 0, { need: "warmth", warm: 1 })];
    expect([over("warmth", 1, two), over("batch", 1, two)]).toEqual([1, 1]);
    expect(over("warmth", 1_000, [holder("a1", "a", 0, { need: "warmth", warm: 1 })])).toBe(0);
    const batch = [holder("a1", "a", 0, { need: "batch" })];
    expect([over("warmth", 1, batch), over("batch", 1, batch)]).toEqual([1, 1]);
  });

  it("is looked for when it may end", () => {
    expect(turnEnds({ since, turnMs: 60_000 })).toEqual([since + 60_000, since + 600_000]);
  });
});

describe("shares of a full pod", () => {
  const has = (endpoint: string, count: number, since = 0) =>
    Array.from({ length: count }, (_, index) => holder(`${endpoint}${index}`, endpoint, since));
  const none = new Map<EndpointId, number>();

  it("are evened out after a minute of need, until nobody has two more than who needs more", () => {
    const claims = [claim("b", { have: 1, missing: 5, lacking: 5, since: -FAIR_TURN_MS })];
    const holders = [...has("a", 3), ...has("b", 1)];
    expect(reclaim(claims, holders, none, FAIR_TURN_MS - 1)).toEqual({ ask: [], share: [], over: [] });
    expect(reclaim(claims, holders, none, FAIR_TURN_MS).over.map(({ id }) => id)).toEqual(["a0"]);
    const even = [claim("b", { have: 2, missing: 4, lacking: 4 })];
    expect(reclaim(even, [...has("a", 3), ...has("b", 2)], none, 9 * FAIR_TURN_MS)).toEqual({
      ask: [],
      share: [],
      over: [],
    });
  });

  it("count a slot that is being emptied for them", () => {
    const claims = [claim("b", { have: 1, missing: 5, lacking: 5 })];
    const leaving = holder("x", "a", 0, { draining: true });
    expect(reclaim(claims, [...has("a", 3), ...has("b", 1), leaving], none, FAIR_TURN_MS).over).toEqual([]);
    expect(reclaim(claims, [...has("a", 5), ...has("b", 1), leaving], none, FAIR_TURN_MS).over).toHaveLength(1);
  });

  it("are evened out between backlogs that need one replica and would use all, for which is asked", () => {
    const claims = [claim("b", { have: 1, missing: 0, lacking: 3 })];
    const holders = [...has("a", 3), ...has("b", 1)];
    const spare = new Map([["a" as EndpointId, 2]]);
    expect(reclaim(claims, holders, spare, FAIR_TURN_MS - 1)).toEqual({ ask: [], share: [], over: [] });
    const { ask, share, over } = reclaim(claims, holders, spare, FAIR_TURN_MS);
    expect([ask, share.map(({ id }) => id), over]).toEqual([[], ["a0"], []]);
    // What another one needs is not taken for what somebody would only use.
    expect(reclaim(claims, holders, none, FAIR_TURN_MS)).toEqual({ ask: [], share: [], over: [] });
    const leaving = holder("x", "a", 0, { draining: true });
    expect(reclaim(claims, [...holders, leaving], spare, FAIR_TURN_MS).share).toEqual([]);
  });

  it("go from batch jobs to calls at once, all but what is needed for them", () => {
    const holders = [
      ...has("a", 3).map((each) => ({ ...each, need: "batch" as const })),
      ...has("b", 2),
      ...has("c", 4),
    ];
    const spare = new Map([
      ["a" as EndpointId, 2],
      ["c" as EndpointId, 3],
    ]);
    const shared = (need: Need, lacking: number) =>
      reclaim([claim("b", { have: 2, missing: 0, lacking, need })], holders, spare, 1).share.map(({ id }) => id);
    expect([shared("calls", 1), shared("calls", 5)]).toEqual([["a0"], ["a0", "a1"]]);
    expect([shared("warmth", 5), shared("batch", 5)]).toEqual([[], []]);
  });
});

describe("room on a full pod", () => {
  const spare = (...counts: [string, number][]) => new Map(counts.map(([id, count]) => [id as EndpointId, count]));

  it("is asked of those with the most to spare, and for no more than is missing", () => {
    const holders = [holder("a1", "a", 0), holder("b1", "b", 0), holder("b2", "b", 0)];
    const { ask, over } = reclaim([claim("c")], holders, spare(["a", 1], ["b", 2]), 0);
    expect([ask.map(({ id }) => id), over]).toEqual([["b1"], []]);
    expect(reclaim([claim("c", { missing: 9, lacking: 9 })], holders, spare(["a", 1], ["b", 1]), 0).ask).toHaveLength(
      2,
    );
  });

  it("is not asked for where a slot is being emptied that will do", () => {
    const leaving = holder("a1", "a", 0, { draining: true, nodeId: "west" as NodeId });
    const idle = holder("b1", "b", 0, { nodeId: "west" as NodeId });
    expect(reclaim([claim("c", { isHelpedBy: on("west") })], [leaving, idle], spare(["b", 1]), 0).ask).toEqual([]);
    const elsewhere = { ...leaving, nodeId: "east" as NodeId };
    expect(reclaim([claim("c", { isHelpedBy: on("west") })], [elsewhere, idle], spare(["b", 1]), 0).ask).toEqual([
      idle,
    ]);
  });

  it("counts a slot that is being emptied for one claim alone, and first for who has nothing", () => {
    const leaving = holder("a1", "a", 0, { draining: true });
    const busy = holder("b1", "b", 0);
    const claims = [claim("rich", { have: 1 }), claim("poor", { since: 5 }), claim("later", { since: 9 })];
    expect(reclaim(claims, [leaving, busy], spare(), FAIR_TURN_MS + 9)).toEqual({ ask: [], share: [], over: [busy] });
    expect(reclaim(claims.slice(0, 2), [leaving, busy], spare(), FAIR_TURN_MS + 9)).toEqual({
      ask: [],
      share: [],
      over: [],
    });
  });

  it("is not asked for where it would not help", () => {
    const idle = holder("b1", "b", 0, { nodeId: "east" as NodeId });
    expect(reclaim([claim("c", { isHelpedBy: on("west") })], [idle], spare(["b", 1]), 10 * FAIR_TURN_MS)).toEqual({
      ask: [],
      share: [],
      over: [],
    });
  });
});
