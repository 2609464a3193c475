/** What a replica does, as its endpoint tells it: states, time, log. */
import { describe, expect, it } from "vitest";
import type { ReplicaReport } from "#contract/agent";
import { LOG_LINES_KEPT } from "#contract/limits";
import type { Replica, ReplicaState } from "#contract/replica";
import { DAY_MS } from "#durable-objects/replicas/replica-account";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";

function report(world: EndpointHarness, replica: FakeReplica, state: ReplicaState, more: Partial<ReplicaReport> = {}) {
  const reply = world.call((core) => core.reportReplica(replica.node, replica.id, { state, phases: [], ...more }));
  if (!("ok" in reply) || !reply.ok) throw new Error(JSON.stringify(reply));
  return reply.answer;
}

function shown(world: EndpointHarness, { id }: FakeReplica): Replica {
  const reply = world.core.getReplica(world.workspaceId, id);
  if (!reply.ok) throw new Error(reply.code);
  return reply.replica;
}

function lines(world: EndpointHarness, { id }: FakeReplica, from = 0) {
  const reply = world.core.replicaLog(world.workspaceId, id, from);
  if (!reply.ok) throw new Error(reply.code);
  return reply;
}

const text = (world: EndpointHarness, replica: FakeReplica) => lines(world, replica).lines.map(({ line }) => line);

function days(world: EndpointHarness) {
  const reply = world.core.replicaDays(world.workspaceId, 0, 1_000_000);
  if (!reply.ok) throw new Error(reply.code);
  return reply.days.map(({ used, started, crashed }) => ({ ...used, started, crashed }));
}

/** ms of whole cards, by day. */
function cardMs(world: EndpointHarness): number[] {
  const reply = world.core.replicaDays(world.workspaceId, 0, 1_000_000);
  if (!reply.ok) throw new Error(reply.code);
  return reply.days.map((day) => day.cardMs);
}

/** Placed, cold for 8 s, idle for 2 s, busy for 5 s, idle for 1 s. */
function lived(world: EndpointHarness): FakeReplica {
  const replica = world.replica();
  world.pass(3_000);
  report(world, replica, "booting");
  world.pass(5_000);
  report(world, replica, "ready");
  world.poll(replica);
  world.pass(2_000);
  world.submit();
  const lease = world.answers.at(-1)?.answer.lease;
  if (!lease) throw new Error("no lease");
  world.progress(replica, lease);
  world.pass(5_000);
  world.complete(replica, lease);
  world.pass(1_000);
  return replica;
}

const USED = { cold: 8, idle: 3, busy: 5 };

describe("the time of a replica", () => {
  it("is cold until it is ready, busy while it has a job, and else idle", () => {
    const world = new EndpointHarness();
    const replica = lived(world);
    expect(shown(world, replica).seconds).toEqual(USED);
    expect(shown(world, replica)).toMatchObject({
      pod_id: world.podId,
      gpu_type: null,
      started_at: expect.any(String),
    });
    const at = (state: ReplicaState) => shown(world, replica).states.find((each) => each.state === state)?.at ?? "";
    expect(Date.parse(at("ready")) - Date.parse(at("placed"))).toBe(8_000);
  });

  it("is the same after a restart, whatever was only in memory", () => {
    const world = new EndpointHarness();
    const replica = lived(world);
    world.restart();
    expect(shown(world, replica).seconds).toEqual(USED);
    const ms = { cold: 8_000, idle: 3_000, busy: 5_000 };
    expect(days(world)).toEqual([{ ...ms, started: 1, crashed: 0 }]);
  });

  it("goes on counting a job that runs across a restart", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    report(world, replica, "ready");
    world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(4_000);
    world.restart();
    world.pass(3_000);
    expect(shown(world, replica).seconds).toEqual({ cold: 0, idle: 0, busy: 7 });
    world.complete(replica, lease);
    world.pass(1_000);
    expect(shown(world, replica).seconds).toEqual({ cold: 0, idle: 1, busy: 7 });
  });

  it("is kept by day when the replica has ended, once, however often that is said", () => {
    const world = new EndpointHarness();
    const replica = lived(world);
    const all = [{ cold: 8_000, idle: 3_000, busy: 5_000, started: 1, crashed: 0 }];
    expect(days(world)).toEqual(all);
    report(world, replica, "stopped");
    for (let times = 0; times < 3; times += 1) {
      world.call((core) => core.replicaGone(world.podId, replica.id, "The replica stopped.", false));
      world.pass(5_000);
      expect(days(world)).toEqual(all);
      world.restart();
    }
    expect(shown(world, replica)).toMatchObject({ state: "stopped", seconds: USED, error: null });
    world.pass(2 * 3_600_000);
    expect(days(world)).toEqual(all);
  });

  it("falls to the days it was spent on, and crashes are counted", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const midnight = (Math.floor(world.now / DAY_MS) + 1) * DAY_MS;
    world.pass(midnight - world.now - 4_000);
    const replica = world.replica();
    world.pass(1_000);
    report(world, replica, "ready");
    for (let beats = 0; beats < 10; beats += 1) {
      world.poll(replica);
      world.pass(1_000);
    }
    const split = [
      { cold: 1_000, idle: 3_000, busy: 0, started: 1, crashed: 0 },
      { cold: 0, idle: 7_000, busy: 0, started: 0, crashed: 0 },
    ];
    expect(days(world)).toEqual(split);
    world.restart();
    expect(days(world)).toEqual(split);
    report(world, replica, "crashed", { error: "CUDA is gone" });
    expect(days(world)).toEqual([split[0], { ...split[1], crashed: 1 }]);
    expect(shown(world, replica)).toMatchObject({ state: "crashed", error: "CUDA is gone" });
  });

  it("is a card's in the part that the replica has of it", () => {
    const world = new EndpointHarness({ min_replicas: 2, max_replicas: 2 });
    const pair = [world.replica(), world.replica()];
    const shared = pair.map(({ id, node }) => ({ replicaId: id, nodeId: node.nodeId, gpuType: "l4", slotsOnCard: 2 }));
    world.answerDemand([], { replicas: shared });
    for (const replica of pair) report(world, replica, "ready");
    world.pass(10_000);
    const both = [{ cold: 0, idle: 20_000, busy: 0, started: 2, crashed: 0 }];
    expect([days(world), cardMs(world)]).toEqual([both, [10_000]]);
    world.restart();
    expect([days(world), cardMs(world)]).toEqual([both, [10_000]]);
    for (const replica of pair) report(world, replica, "stopped");
    world.pass(5_000);
    expect([days(world), cardMs(world)]).toEqual([both, [10_000]]);
  });

  it("ends when the pod no longer has a replica that was told to stop", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    report(world, replica, "ready");
    world.poll(replica);
    world.pass(6_000);
    world.call((core) => core.stopReplica(world.workspaceId, replica.id));
    world.pass(1_000);
    world.answerDemand([]);
    expect(shown(world, replica)).toMatchObject({
      state: "stopped",
      error: null,
      seconds: { cold: 0, idle: 7, busy: 0 },
    });
  });

  it("has taken its time to boot until its node was last heard of, although it said nothing itself", () => {
    const world = new EndpointHarness();
    world.submit();
    const replica = world.replica();
    world.answerDemand([replica]);
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "booting", phases: [] }));
    world.pass(300_000);
    const heardAt = world.now;
    world.pass(25_000);
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true, heardAt));
    expect(shown(world, replica)).toMatchObject({ state: "stopped", seconds: { cold: 300, idle: 0, busy: 0 } });
  });

  it("has taken its time to boot also when the pod only no longer lists it", () => {
    const world = new EndpointHarness();
    world.submit();
    const replica = world.replica();
    world.answerDemand([replica]);
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "booting", phases: [] }));
    world.pass(300_000);
    world.answerDemand([]);
    expect(shown(world, replica).seconds).toEqual({ cold: 300, idle: 0, busy: 0 });
  });

  it("ends when the replica was last heard of, where nobody saw its end", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    report(world, replica, "ready");
    world.poll(replica);
    world.pass(6_000);
    world.call((core) => core.abandonPoll(replica.id, world.waiting.get(replica.id) ?? ""));
    world.pass(20_000);
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true));
    expect(shown(world, replica)).toMatchObject({
      state: "stopped",
      error: "The node was not heard of.",
      seconds: { cold: 0, idle: 6, busy: 0 },
    });
  });

  it("is not written with every job", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    report(world, replica, "ready");
    const account = () => world.db.exec("SELECT account FROM replicas")[0]?.account;
    const before = account();
    for (let job = 0; job < 20; job += 1) {
      world.submit();
      const lease = world.take(replica);
      world.pass(1_000);
      world.complete(replica, lease);
    }
    expect(account()).toBe(before);
    expect(shown(world, replica).seconds.busy).toBe(20);
    for (let job = 0; job < 60; job += 1) {
      world.submit();
      const lease = world.take(replica);
      world.pass(1_000);
      world.complete(replica, lease);
    }
    expect(account()).not.toBe(before);
  });
});

describe("replicas that have ended", () => {
  it("are listed for an hour when they are asked for", () => {
    const world = new EndpointHarness();
    const replica = lived(world);
    report(world, replica, "stopped");
    const list = (which: "current" | "ended" | "all") => {
      const reply = world.core.listReplicas(world.workspaceId, which);
      return reply.ok ? reply.replicas.length : -1;
    };
    expect([list("current"), list("ended"), list("all")]).toEqual([0, 1, 1]);
    world.pass(3_599_000);
    expect(list("ended")).toBe(1);
    world.pass(1_000);
    expect([list("ended"), list("all")]).toEqual([0, 0]);
  });

  it("are few", () => {
    const world = new EndpointHarness();
    for (let n = 0; n < 60; n += 1) report(world, world.replica(), "stopped");
    expect(world.core.listReplicas(world.workspaceId, "ended")).toMatchObject({ replicas: { length: 50 } });
    expect(world.db.exec("SELECT count(*) AS kept FROM replicas")[0]?.kept).toBe(50);
    expect(days(world)[0]?.started).toBe(60);
  });

  it("say why, also when the pod was faster to say that it is over", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    report(world, replica, "loading");
    world.call((core) => core.replicaGone(world.podId, replica.id, "The replica crashed.", false));
    expect(shown(world, replica).state).toBe("stopped");
    report(world, replica, "crashed", { error: "no CUDA", log: ["Traceback"], log_from: 0 });
    expect(shown(world, replica)).toMatchObject({ state: "crashed", error: "no CUDA" });
    expect(text(world, replica)).toEqual(["Traceback"]);
    expect(days(world)).toMatchObject([{ started: 1, crashed: 1 }]);
  });
});

describe("what a starting replica is at", () => {
  it("is told of it, and of the jobs that wait for it", () => {
    const world = new EndpointHarness();
    const job = world.submit();
    const replica = world.replica();
    const doing = "3.1 of 6.9 GB of model.safetensors, 82 MB/s";
    report(world, replica, "preparing", { doing });
    expect(shown(world, replica).doing).toBe(doing);
    const why = world.core.whyJob(world.workspaceId, job);
    if (!why.ok) throw new Error(why.code);
    const starting = why.why.reasons.find(({ code }) => code === "replica_starting");
    expect(starting).toMatchObject({ doing, detail: expect.stringContaining(doing) });
    report(world, replica, "booting");
    expect(shown(world, replica).doing).toBe(null);
  });

  it("costs no row, however often it changes", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    report(world, replica, "preparing", { doing: "1 of 100 MB", log: ["a"], log_from: 0 });
    const changes = () => world.db.exec("SELECT total_changes() AS rows")[0]?.rows;
    const before = changes();
    for (let n = 1; n < 100; n += 1) {
      report(world, replica, "preparing", { doing: `${n} of 100 MB`, log: [`line ${n}`], log_from: n });
    }
    expect(changes()).toBe(before);
    expect(lines(world, replica).lines).toHaveLength(100);
    report(world, replica, "ready");
    // Its own row, and the log's.
    expect(Number(changes()) - Number(before)).toBeLessThanOrEqual(6);
  });
});

describe("the log of a replica", () => {
  it("has each line once, with its number and time, whatever arrives twice", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    expect(report(world, replica, "preparing", { log: ["a", "b"], log_from: 0 }).log_next).toBe(2);
    expect(report(world, replica, "preparing", { log: ["a", "b"], log_from: 0 }).log_next).toBe(2);
    expect(report(world, replica, "preparing", { log: ["b", "c"], log_from: 1 }).log_next).toBe(3);
    expect(text(world, replica)).toEqual(["a", "b", "c"]);
    expect(lines(world, replica, 2)).toMatchObject({ lines: [{ number: 2, at: world.now, line: "c" }], next: 3 });
    expect(lines(world, replica, 3)).toMatchObject({ lines: [], next: 3 });
  });

  it("asks for lines that a restart has lost, and says which cannot be had", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    report(world, replica, "preparing", { log: ["a", "b"], log_from: 0 });
    world.restart();
    expect(report(world, replica, "preparing", { log: ["c"], log_from: 2 }).log_next).toBe(0);
    expect(report(world, replica, "preparing", { log: ["b", "c"], log_from: 1 }).log_next).toBe(3);
    expect(text(world, replica)).toEqual(["… 1 line is lost", "b", "c"]);
  });

  it("outlives the object once the replica is ready, or has ended", () => {
    const world = new EndpointHarness();
    const [one, two] = [world.replica(), world.replica()];
    report(world, one, "preparing", { log: ["a"], log_from: 0 });
    report(world, one, "ready");
    report(world, two, "preparing", { log: ["b"], log_from: 0 });
    report(world, two, "crashed", { error: "no", log: ["c"], log_from: 1 });
    world.restart();
    expect([text(world, one), text(world, two)]).toEqual([["a"], ["b", "c"]]);
  });

  it("is bounded, in lines and in length", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    for (let n = 0; n < 30; n += 1) {
      const log = Array.from({ length: 100 }, (_, index) => `line ${n * 100 + index}`);
      report(world, replica, "preparing", { log, log_from: n * 100 });
    }
    expect(text(world, replica)).toHaveLength(LOG_LINES_KEPT);
    expect(lines(world, replica).lines[0]).toMatchObject({ number: 2_000, line: "line 2000" });
    for (let n = 30; n < 40; n += 1) {
      report(world, replica, "preparing", {
        log: Array.from({ length: 100 }, () => "x".repeat(1_000)),
        log_from: n * 100,
      });
    }
    expect(text(world, replica).join("").length).toBeLessThanOrEqual(200_000);
    expect(lines(world, replica).next).toBe(4_000);
  });
});
