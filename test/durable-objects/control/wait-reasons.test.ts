import { describe, expect, it } from "vitest";
import type { NodeId } from "#contract/ids";
import { WaitReason } from "#contract/job";
import { type WaitFacts, waitReasons, waitSummary } from "#durable-objects/queue/wait-reasons";

const NOW = 1_800_000_000_000;
const [here, there] = ["node_here", "node_there"] as unknown as readonly [NodeId, NodeId];

/** A job at the head of a queue whose one replica works. */
const FACTS: WaitFacts = {
  now: NOW,
  place: 1,
  etaMs: 4_000,
  paused: null,
  budget: null,
  rate: null,
  replicas: {
    ready: 1,
    idle: 0,
    idleNodes: [],
    starting: null,
    coldStartMs: null,
    elsewhere: false,
    max: 4,
    crashes: 0,
    crashError: null,
  },
  shortage: null,
  regions: [],
  scaling: null,
  batch: null,
  joined: null,
  otherBuild: null,
  job: { availableAt: null, avoid: null, lastError: null },
};
const replicas = (more: Partial<WaitFacts["replicas"]>): WaitFacts["replicas"] => ({ ...FACTS.replicas, ...more });
const none = replicas({ ready: 0 });
const starting = { id: "rep_1", phase: "loading", since: NOW - 12_000, readyAt: null };
const shortage = (code: NonNullable<WaitFacts["shortage"]>["code"], error: string | null = null) => ({
  code,
  error,
  at: NOW,
});

const codes = (more: Partial<WaitFacts>): string[] => waitReasons({ ...FACTS, ...more }).map(({ code }) => code);

describe("the sentence of a busy queue", () => {
  it("says that replicas work only when they do", () => {
    const [working] = waitReasons(FACTS);
    expect(working?.detail).toContain("The one ready replica works");
    const [standing] = waitReasons({ ...FACTS, place: 2, replicas: replicas({ idle: 1, idleNodes: [here] }) });
    expect(standing?.detail).toContain("One replica is ready; 1 job goes before this one.");
  });
});

describe("the sentence of a job whose release needs another build", () => {
  it.each([
    [{ ready: 1, changeAt: NOW, held: null }, "than the one ready replica has. One changes to it once it idles."],
    [{ ready: 3, changeAt: NOW + 1_000, held: null }, `idles, from ${new Date(NOW + 1_000).toISOString()} on.`],
    [{ ready: 3, changeAt: null, held: null }, "One changes to it when that saves more time than it takes."],
    [{ ready: 3, changeAt: null, held: "they crash" }, "than the 3 ready replicas have. Held: they crash."],
  ])("of %j says when it gets it", (otherBuild, words) => {
    const [first] = waitReasons({ ...FACTS, otherBuild });
    expect(first).toMatchObject({ code: "all_slots_busy", detail: expect.stringContaining(words) });
  });
});

describe("a pod whose containers are all in use", () => {
  it("is named with what helps, although slots are free", () => {
    const facts = { ...FACTS, replicas: none, shortage: shortage("all_slots_busy", "Allow more.") };
    expect(waitReasons(facts)).toMatchObject([
      {
        code: "all_slots_busy",
        detail: expect.stringMatching(/^No replica can be started\. Allow more\. \d+ jobs? go/),
      },
    ]);
  });
});

describe("the reasons of a wait", () => {
  it.each<[string, Partial<WaitFacts>, string[]]>([
    ["the one replica works", {}, ["all_slots_busy"]],
    ["an idle replica is there", { replicas: replicas({ idle: 1, idleNodes: [here] }) }, ["about_to_start"]],
    [
      "there are fewer idle ones than jobs before it",
      { place: 2, replicas: replicas({ idle: 1, idleNodes: [here] }) },
      ["all_slots_busy"],
    ],
    ["nothing was answered yet", { replicas: none }, ["replica_starting"]],
    ["one starts", { replicas: replicas({ ready: 0, starting }) }, ["replica_starting"]],
    ["one works and one more starts", { replicas: replicas({ starting }) }, ["all_slots_busy", "replica_starting"]],
    ["no machine is there", { replicas: none, shortage: shortage("no_node_online") }, ["no_node_online"]],
    ["none is in the region", { replicas: none, shortage: shortage("region_unavailable") }, ["region_unavailable"]],
    ["others have the pod", { replicas: none, shortage: shortage("all_slots_busy") }, ["all_slots_busy"]],
    ["they crash, says the pod", { replicas: none, shortage: shortage("crash_looping") }, ["crash_looping"]],
    [
      "they crash, and one tries again",
      { replicas: replicas({ ready: 0, starting, crashes: 3, crashError: "boom" }) },
      ["crash_looping", "replica_starting"],
    ],
    [
      "two crashes are not yet a loop",
      { replicas: replicas({ ready: 0, starting, crashes: 2, crashError: "boom" }) },
      ["replica_starting"],
    ],
    [
      "the pod is full, but a replica works here: named once",
      { shortage: shortage("all_slots_busy") },
      ["all_slots_busy"],
    ],
    [
      "a second machine crashes: the one that works weighs more",
      { shortage: shortage("crash_looping", "boom") },
      ["all_slots_busy", "crash_looping"],
    ],
    [
      "everything at once",
      {
        paused: { since: NOW - 1_000, reason: "night" },
        budget: { maxS: 5, until: NOW + 9_000 },
        rate: { max: 2, until: NOW + 8_000, isAhead: false },
        job: { availableAt: NOW + 2_000, avoid: null, lastError: "out_of_memory: no" },
      },
      ["paused", "budget_exhausted", "rate_limited", "all_slots_busy", "retry_backoff"],
    ],
    [
      "its place is beyond the idle ones, but none of those may start a job either",
      {
        place: 58,
        rate: { max: 2, until: NOW + 8_000, isAhead: false },
        replicas: replicas({ ready: 4, idle: 2, idleNodes: [here] }),
      },
      ["rate_limited"],
    ],
    [
      "none is there, nor asked for before the minute is over",
      { replicas: none, rate: { max: 2, until: NOW + 8_000, isAhead: false } },
      ["rate_limited"],
    ],
    [
      "those before it are as many as may start, and a replica for them comes",
      { place: 3, replicas: replicas({ ready: 0, starting }), rate: { max: 2, until: NOW + 60_000, isAhead: true } },
      ["rate_limited", "replica_starting"],
    ],
    [
      "only its backoff",
      {
        replicas: replicas({ idle: 1, idleNodes: [here] }),
        job: { availableAt: NOW + 2_000, avoid: null, lastError: null },
      },
      ["retry_backoff"],
    ],
    [
      "only the node it failed on is idle, and there is another",
      {
        replicas: replicas({ ready: 2, idle: 1, idleNodes: [here], elsewhere: true }),
        job: { availableAt: null, avoid: { nodeId: here, until: NOW + 5_000 }, lastError: null },
      },
      ["prefers_another_node"],
    ],
    [
      "the node it failed on is the only one",
      {
        replicas: replicas({ idle: 1, idleNodes: [here] }),
        job: { availableAt: null, avoid: { nodeId: here, until: NOW + 5_000 }, lastError: null },
      },
      ["about_to_start"],
    ],
    [
      "another node is idle as well",
      {
        replicas: replicas({ ready: 2, idle: 2, idleNodes: [here, there], elsewhere: true }),
        job: { availableAt: null, avoid: { nodeId: here, until: NOW + 5_000 }, lastError: null },
      },
      ["about_to_start"],
    ],
  ])("when %s", (_, more, expected) => {
    expect(codes(more)).toEqual(expected);
    for (const reason of waitReasons({ ...FACTS, ...more })) expect(WaitReason.parse(reason)).toEqual(reason);
  });

  it("are that batch jobs leave idle replicas to interactive ones, before they are overdue and after", () => {
    const idle = { replicas: replicas({ ready: 2, idle: 2, idleNodes: [here, there] }) };
    const batch = { ownReplicaAt: NOW + 60_000, joinsAt: NOW + 3_600_000, keptUntil: NOW + 7_000 };
    const overdue = { ...batch, ownReplicaAt: NOW - 1 };
    const [early] = waitReasons({ ...FACTS, ...idle, batch });
    expect([early?.code, early?.until]).toEqual(["batch_lane", new Date(NOW + 60_000).toISOString()]);
    const [late] = waitReasons({ ...FACTS, ...idle, batch: overdue });
    expect([late?.code, late?.until]).toEqual(["batch_lane", new Date(NOW + 7_000).toISOString()]);
    expect(codes({ ...idle, batch: { ...overdue, keptUntil: null } })).toEqual(["about_to_start"]);
    expect(codes({ batch: overdue })).toEqual(["all_slots_busy"]);
  });

  it("say until when, as far as that is known", () => {
    const until = (more: Partial<WaitFacts>) => waitReasons({ ...FACTS, ...more })[0]?.until;
    expect(until({ budget: { maxS: 5, until: NOW + 9_000 } })).toBe(new Date(NOW + 9_000).toISOString());
    expect(until({})).toBe(new Date(NOW + 4_000).toISOString());
    expect(until({ etaMs: null })).toBeNull();
    expect(until({ paused: { since: NOW, reason: null } })).toBeNull();
  });

  it("name what helps: the error, the replica, how many go first, the region", () => {
    const [crash] = waitReasons({ ...FACTS, replicas: none, shortage: shortage("crash_looping", "no CUDA") });
    expect(crash).toMatchObject({ error: "no CUDA", detail: expect.stringContaining("no CUDA") });
    const [fallback] = waitReasons({
      ...FACTS,
      replicas: replicas({ ready: 0, crashError: "seen here" }),
      shortage: shortage("crash_looping"),
    });
    expect(fallback).toMatchObject({ error: "seen here" });
    const [start] = waitReasons({ ...FACTS, replicas: replicas({ ready: 0, starting }) });
    expect(start).toMatchObject({ replica_id: "rep_1", phase: "loading", detail: expect.stringContaining("12 s") });
    const [busy] = waitReasons({ ...FACTS, place: 15 });
    expect(busy).toMatchObject({ ahead: 14, detail: expect.stringContaining("14 jobs go before") });
    const [region] = waitReasons({
      ...FACTS,
      replicas: none,
      shortage: shortage("region_unavailable"),
      regions: ["eu-west", "home"],
    });
    expect(region?.detail).toContain("eu-west, home");
    const [told] = waitReasons({
      ...FACTS,
      replicas: none,
      shortage: { ...shortage("region_unavailable"), error: "The pod takes machines in cellar only." },
      regions: ["home"],
    });
    expect(told?.detail).toBe("No machine that is online is in home. The pod takes machines in cellar only.");
  });

  it("become one sentence", () => {
    const reasons = waitReasons({ ...FACTS, paused: { since: NOW, reason: "night" } });
    expect(waitSummary(reasons, null)).toMatch(/^The queue has been paused.*night.*\(and 1 more\)$/);
    expect(waitSummary(waitReasons(FACTS), 4_000)).toMatch(/should start in about 4\.0 s\.$/);
  });

  it.each([
    [1, "1 attempt has started"],
    [2, "2 attempts have started"],
  ])("counts %i in words", (max, words) => {
    const ahead = { ...FACTS, place: 4, rate: { max, until: NOW + 8_000, isAhead: true } };
    expect(waitReasons(ahead)[0]?.detail).toContain(`${max === 1 ? "1 attempt" : "2 attempts"} may start within`);
    const [first] = waitReasons({ ...FACTS, rate: { max, until: NOW + 8_000, isAhead: false } });
    expect(first?.detail).toContain(words);
  });
});
