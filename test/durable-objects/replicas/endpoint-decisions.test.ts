/** How an endpoint uses its scaler: what it tells it, when it asks, and what becomes of the answer. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ScalingPolicy } from "#contract/endpoint";
import { makeId, PodId } from "#contract/ids";
import { SCALING_DECISIONS_KEPT } from "#contract/limits";
import { PredictiveScaler } from "#durable-objects/autoscaler/predictive";
import { RequestCountScaler } from "#durable-objects/autoscaler/request-count";
import type { ScalerObservation } from "#durable-objects/autoscaler/scaler";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { ScaledWorld } from "./scaled-world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const scalingOf = (world: EndpointHarness, limit = 50) => {
  const reply = world.core.scaling(world.workspaceId, limit);
  if (!reply.ok) throw new Error(reply.code);
  return reply.scaling;
};

/** A replica the pod has placed, ready after so long. */
function started(world: EndpointHarness, bootMs = 8_000): FakeReplica {
  const replica = world.replica();
  world.call((core) => core.reportReplica(replica.node, replica.id, { state: "loading", phases: [] }));
  world.pass(bootMs);
  world.call((core) => core.reportReplica(replica.node, replica.id, { state: "ready", phases: [] }));
  return replica;
}

function runJob(world: EndpointHarness, replica: FakeReplica, ms: number): void {
  const lease = world.take(replica);
  world.progress(replica, lease);
  world.pass(ms);
  world.complete(replica, lease);
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("what the scaler is told", () => {
  it("is each thing that a job and a replica do, once, in order", () => {
    const note = vi.spyOn(PredictiveScaler.prototype, "note");
    const world = new EndpointHarness({ policy: "predictive", idle_timeout_s: 3_600 });
    const from = world.now;
    world.submit();
    const replica = started(world, 8_000);
    runJob(world, replica, 3_000);
    world.pass(500);
    world.submit({ lane: "batch" });
    world.pass(1_000);
    runJob(world, replica, 2_000);
    expect(note.mock.calls.map(([event]) => ({ ...event, at: event.at - from }))).toEqual([
      { type: "arrived", at: 0, lane: "interactive" },
      { type: "booted", at: 8_000, bootMs: 8_000 },
      { type: "started", at: 8_000, lane: "interactive", waitedMs: 8_000, cold: true },
      { type: "finished", at: 11_000, lane: "interactive", busyMs: 3_000 },
      { type: "arrived", at: 11_500, lane: "batch" },
      { type: "started", at: 12_500, lane: "batch", waitedMs: 1_000, cold: false },
      { type: "finished", at: 14_500, lane: "batch", busyMs: 2_000 },
    ]);
  });

  it("is a job's second try as well, from when the first had failed", () => {
    const note = vi.spyOn(PredictiveScaler.prototype, "note");
    const world = new EndpointHarness({ policy: "predictive", idle_timeout_s: 3_600 });
    const replica = started(world, 1_000);
    world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(2_000);
    world.fail(replica, lease);
    const failedAt = world.now;
    world.pass(20_000);
    world.take(replica);
    const events = note.mock.calls.map(([event]) => event).filter(({ at }) => at >= failedAt);
    expect(events).toMatchObject([
      { type: "finished", busyMs: 2_000 },
      { type: "arrived", at: failedAt },
      { type: "started", waitedMs: 20_000 },
    ]);
  });

  it("is no duration of a job that was lost, however long nothing was heard of it", () => {
    const note = vi.spyOn(PredictiveScaler.prototype, "note");
    const world = new EndpointHarness({ policy: "predictive", max_replicas: 4, min_replicas: 1 });
    const replica = started(world);
    world.submit();
    runJob(world, replica, 3_000);
    world.pass(10_000);
    world.submit();
    world.progress(replica, world.take(replica));
    // The server is away, and nobody comes back after it.
    world.now += 10 * HOUR;
    world.restart();
    note.mockClear();
    world.pass(MINUTE);
    expect(note.mock.calls.map(([event]) => event.type)).toEqual(["arrived"]);
    expect(scalingOf(world)).toMatchObject({ service_s: 3, replicas: { busy: 0 }, waiting: { interactive: 1 } });
  });

  it("is what waits and what every replica does", () => {
    const seen: ScalerObservation[] = [];
    const decide = RequestCountScaler.prototype.decide;
    vi.spyOn(RequestCountScaler.prototype, "decide").mockImplementation(function (
      this: RequestCountScaler,
      settings,
      observation,
    ) {
      seen.push(observation);
      return decide.call(this, settings, observation);
    });
    const world = new EndpointHarness({ max_replicas: 5 });
    const busy = started(world, 1_000);
    const idle = started(world, 1_000);
    const idleSince = world.now;
    world.submit();
    world.take(busy);
    const busySince = world.now;
    const starting = world.replica();
    world.pass(100);
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.submit();
    expect(seen.at(-1)).toMatchObject({ waiting: [], waitingTotal: 0, batchWaiting: 0 });
    world.call((core) => core.resumeQueue(world.workspaceId));
    const arrivals = [world.now];
    world.submit({ lane: "batch" });
    expect(seen.at(-1)).toEqual({
      now: world.now,
      waiting: arrivals,
      waitingTotal: 1,
      batchWaiting: 1,
      batchOldestAt: world.now,
      replicas: expect.arrayContaining([
        { id: busy.id, state: "busy", since: busySince, lane: "interactive" },
        { id: idle.id, state: "idle", since: idleSince, lane: null },
        { id: starting.id, state: "starting", since: world.now - 100, lane: null },
      ]),
    });
  });
});

describe("a queue that starts nothing", () => {
  it("gets no replica, however many jobs come, until it starts them again", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const { decide } = RequestCountScaler.prototype;
    vi.spyOn(RequestCountScaler.prototype, "decide").mockImplementation(function (
      this: RequestCountScaler,
      settings,
      observation,
    ) {
      // A policy that expects more jobs than it may have replicas for.
      return { ...decide.call(this, settings, observation), wanted: settings.ceiling };
    });
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.submit();
    expect(world.core.demand()?.wanted).toBe(0);
    expect(scalingOf(world).reason).toContain("no job may start for now");
    world.configure({ max_replicas: 3, min_replicas: 1 });
    expect(world.core.demand()?.wanted).toBe(1);
    world.call((core) => core.resumeQueue(world.workspaceId));
    expect(world.core.demand()?.wanted).toBe(3);
  });
});

describe("a bound on the starts of a minute", () => {
  /** Forty jobs at once, two of which may start in a minute, on replicas that are ready within 8 s and take 5 s for a job. */
  function bounded(policy: ScalingPolicy) {
    const world = new ScaledWorld({
      settings: { policy, max_replicas: 10, starts_per_minute_max: 2 },
      slots: 10,
      bootMs: 8_000,
      serviceMs: { interactive: 5_000, batch: 5_000 },
      seed: 3,
    });
    for (let job = 0; job < 40; job += 1) world.submit("interactive");
    return world;
  }

  it.each<ScalingPolicy>(["predictive", "queue_delay", "request_count"])(
    "is what replicas are started and kept for, not the jobs that may start only later: %s",
    (policy) => {
      const world = bounded(policy);
      const most: number[] = [];
      for (let second = 0; second < 25 * 60; second += 1) {
        world.run(1_000);
        most.push(world.replicas);
        const { wanted, replicas, waiting, reason } = scalingOf(world.endpoint, 1);
        expect(wanted).toBeLessThanOrEqual(2);
        expect(replicas.starting + replicas.idle + replicas.busy).toBeLessThanOrEqual(2);
        if (waiting.interactive > 2) expect(reason).toContain("starts_per_minute_max lets");
      }
      expect(Math.max(...most)).toBe(2);
      expect(world.waits.interactive).toHaveLength(40);
      // Two a minute, nearly as early as they may: twenty minutes for all of them.
      expect(Math.max(...world.waits.interactive)).toBeLessThan(20 * MINUTE);
    },
  );

  it("lets those go that it leaves idle for longer than a start takes, and has them again when it lets more jobs start", () => {
    const world = bounded("predictive");
    world.run(30_000);
    expect(scalingOf(world.endpoint)).toMatchObject({ wanted: 0, replicas: { starting: 0, idle: 0, busy: 0 } });
    expect(scalingOf(world.endpoint).reason).toBe("0: starts_per_minute_max lets none of 38 waiting jobs start soon");
    world.run(90_000);
    expect(world.waits.interactive.map((ms) => Math.floor(ms / 10_000))).toEqual([0, 0, 6, 6]);
    expect(world.gpuMs).toBeLessThan(60_000);
  });

  it("is reached where jobs take longer: there are as many replicas as it lets be at work at once", () => {
    const world = new ScaledWorld({
      settings: { policy: "request_count", max_replicas: 20, starts_per_minute_max: 6 },
      slots: 20,
      bootMs: 8_000,
      serviceMs: { interactive: 16_000, batch: 16_000 },
      seed: 3,
    });
    for (let job = 0; job < 60; job += 1) world.submit("interactive");
    world.run(9 * MINUTE);
    expect(world.replicas).toBeLessThanOrEqual(6);
    world.run(MINUTE);
    expect(world.waits.interactive).toHaveLength(60);
  });
});

describe("decisions", () => {
  it("are made once for a thousand jobs that come together", () => {
    const decide = vi.spyOn(RequestCountScaler.prototype, "decide");
    const world = new EndpointHarness({ max_replicas: 4 });
    const before = decide.mock.calls.length;
    const items = Array.from({ length: 1_000 }, () => ({ inputs: "{}", files: [] }));
    const { idempotency: _, batchId: __, retryOf: ___, ...request } = world.request();
    expect(world.call((core) => core.enqueueBatch({ ...request, items }))).toMatchObject({ ok: true });
    expect(decide.mock.calls.length - before).toBe(1);
    expect(world.core.demand()).toMatchObject({ wanted: 4 });
  });

  it("are made at a pace when jobs come by the thousand, and none is forgotten", () => {
    const decide = vi.spyOn(RequestCountScaler.prototype, "decide");
    const world = new EndpointHarness({ max_replicas: 100 });
    for (let job = 0; job < 90; job += 1) {
      world.submit();
      world.pass(1);
    }
    expect(decide.mock.calls.length).toBeLessThan(30);
    world.pass(1_000);
    expect(world.core.demand()).toMatchObject({ wanted: 90 });
  });

  it("are left to the next call under steady traffic: the alarm does not ring for each of them", () => {
    const world = new EndpointHarness({ policy: "predictive", min_replicas: 1, max_replicas: 1 });
    const replica = started(world);
    const ring = vi.spyOn(world, "ring");
    const seconds = 20;
    for (let job = 0; job < 20 * seconds; job += 1) {
      world.submit();
      runJob(world, replica, 50);
    }
    expect(ring.mock.calls.length).toBeLessThan(1.5 * seconds);
  });

  it("are kept with their reason when they change the number, the newest first, and no more than so many", () => {
    const world = new EndpointHarness({ max_replicas: 3, idle_timeout_s: 1 });
    world.submit();
    const replica = started(world);
    runJob(world, replica, 1_000);
    world.poll(replica);
    world.pass(2_000);
    const { decisions, reason } = scalingOf(world);
    expect(decisions.map(({ from, to }) => [from, to])).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(decisions[0]?.reason).toBe("1 -> 0: idle for 1 s");
    expect(reason).toBe("0: idle for 1 s");
    expect(scalingOf(world, 1).decisions).toHaveLength(1);
    for (let round = 0; round <= SCALING_DECISIONS_KEPT; round += 1) {
      world.call((core) => core.warm(world.workspaceId, { replicas: 1 + (round % 3), forMs: HOUR }, 1));
      world.pass(200);
    }
    expect(world.db.exec("SELECT count(*) AS kept FROM scaling_decisions")).toEqual([{ kept: SCALING_DECISIONS_KEPT }]);
  });

  it("say that replicas are gone, have come late, or are not asked for any more, where no policy has decided that", () => {
    const world = new EndpointHarness({ max_replicas: 4, idle_timeout_s: 3_600 });
    const reasons = () => scalingOf(world).decisions.map(({ reason }) => reason);
    const warm = (count: number) =>
      world.call((core) => core.warm(world.workspaceId, { replicas: count, forMs: 10_000 }, 1));
    warm(2);
    const [, crashed] = [started(world, 1_000), started(world, 1_000)];
    world.pass(10_000);
    world.call((core) =>
      core.reportReplica(crashed.node, crashed.id, { state: "crashed", phases: [], error: "out of memory" }),
    );
    expect(reasons()[0]).toBe("2 -> 1: 1 replica fewer than before; enough for 0 jobs at 1 per replica");
    started(world, 0);
    expect(reasons()[0]).toBe("1 -> 2: 1 replica more than before; enough for 0 jobs at 1 per replica");
    warm(4);
    world.pass(10_000);
    expect(reasons()[0]).toBe("4 -> 2: 2 replicas fewer asked for; enough for 0 jobs at 1 per replica");
  });

  it("write nothing while the number stays, however many jobs run", () => {
    const world = new EndpointHarness({ policy: "predictive", min_replicas: 1, max_replicas: 1 });
    const replica = started(world);
    world.submit();
    runJob(world, replica, 100);
    const written: string[] = [];
    const { exec } = world.db;
    world.db.exec = (sql, ...bindings) => {
      if (/^\s*(INSERT|UPDATE|DELETE)/.test(sql)) written.push(sql);
      return exec.call(world.db, sql, ...bindings);
    };
    for (let job = 0; job < 50; job += 1) {
      world.submit();
      world.complete(replica, world.take(replica));
    }
    expect(written.filter((sql) => /scal|demands/.test(sql))).toEqual([]);
  });

  it("are made anew by what was learned before the object was thrown out of memory", () => {
    const world = new EndpointHarness({ policy: "predictive", max_replicas: 4 });
    world.submit();
    const replica = started(world, 12_000);
    runJob(world, replica, 4_000);
    world.pass(MINUTE);
    const before = scalingOf(world);
    expect(before).toMatchObject({ cold_start_s: 12, service_s: 4 });
    world.restart();
    expect(scalingOf(world)).toMatchObject({ cold_start_s: 12, service_s: 4 });
  });
});

describe("an endpoint without jobs", () => {
  it.each<ScalingPolicy>(["predictive", "queue_delay", "request_count"])(
    "has no replica and is not woken for an hour, by %s",
    (policy) => {
      const world = new EndpointHarness({ policy, max_replicas: 4 });
      // With the start deadline that jobs have by default: the alarm that was set for it rings, though the job has ended.
      world.submit({ expiresInMs: 86_400_000 });
      const replica = started(world);
      runJob(world, replica, 4_000);
      // The agent goes on asking until it is told to stop, and the pod then says that it is gone.
      for (let asked = 0; world.core.demand()?.drain.length === 0; asked += 1) {
        if (asked > 1_000) throw new Error("the replica is never let go");
        world.poll(replica);
        world.pass(20_000);
      }
      world.call((core) => core.replicaGone(world.podId, replica.id, "It has stopped.", false));
      for (let round = 0; round < 3; round += 1) {
        world.pass(5_000);
        world.answerDemand([]);
      }
      world.pass(MINUTE);
      expect(scalingOf(world)).toMatchObject({ wanted: 0, replicas: { starting: 0, idle: 0, busy: 0 } });
      const ring = vi.spyOn(world, "ring");
      world.pass(HOUR);
      expect(ring).not.toHaveBeenCalled();
      expect(world.core.demand()).toMatchObject({ wanted: 0, needed: 0, drain: [] });
    },
  );

  it("keep what has been learned while a policy that learns nothing decides", () => {
    const world = new EndpointHarness({ policy: "predictive", max_replicas: 2 });
    const memories = () =>
      world.db.exec("SELECT policy, memory FROM scalers").map(({ policy, memory }) => [policy, memory]);
    const work = () => {
      world.submit();
      world.pass(15_000);
      world.call((core) => core.wake());
    };
    work();
    const learned = memories();
    expect(learned).toEqual([["predictive", expect.stringContaining("variants")]]);
    world.configure({ policy: "queue_delay", max_replicas: 2 });
    work();
    world.restart();
    work();
    expect(memories()).toEqual(learned);
    world.configure({ policy: "predictive", max_replicas: 2 });
    work();
    expect(memories()).not.toEqual(learned);
  });

  it("keep what they know of interactive jobs when batch jobs get pods of their own, and when they get them no longer", () => {
    const world = new EndpointHarness({ policy: "predictive", max_replicas: 6, wait_value: 100 });
    world.call((core) => core.warm(world.workspaceId, { replicas: 2, forMs: 5 * MINUTE }, 1));
    const replicas = [started(world, 20_000), started(world, 20_000)];
    for (let pair = 0; pair < 60; pair += 1) {
      world.submit();
      world.submit();
      const leases = replicas.map((replica) => [replica, world.take(replica)] as const);
      world.pass(6_000);
      for (const [replica, lease] of leases) world.complete(replica, lease);
      world.pass(10_000);
    }
    const kept = { cold_start_s: 20, service_s: 6, wanted: 2, replicas: { idle: 2, draining: 0 } };
    expect(scalingOf(world)).toMatchObject(kept);
    const other = makeId(PodId, "pod", world.now, (length) => new Uint8Array(length).fill(9));
    const pods = [
      { podId: world.podId, lanes: ["interactive" as const] },
      { podId: other, lanes: ["batch" as const] },
    ];
    const settings = { policy: "predictive" as const, max_replicas: 6, wait_value: 100 };
    world.configure(settings, { pods });
    expect(scalingOf(world)).toMatchObject(kept);
    world.restart();
    expect(scalingOf(world)).toMatchObject({ cold_start_s: 20, service_s: 6 });
    world.submit();
    world.submit();
    for (const replica of replicas) runJob(world, replica, 16_000);
    const { service_s: learned } = scalingOf(world);
    expect(learned).toBeGreaterThan(6);
    world.configure(settings, { pods: [{ podId: world.podId, lanes: ["interactive", "batch"] }] });
    expect(scalingOf(world)).toMatchObject({ ...kept, service_s: learned });
  });

  it("is woken for its schedule alone, when that begins and ends", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    // A day in UTC whose windows are seen from midnight on.
    world.now = Date.parse("2027-01-04T00:00:00Z");
    const schedule = [{ days: ["mon" as const], from: "08:00", to: "18:00", time_zone: "UTC", replicas: 2 }];
    world.configure({ max_replicas: 2, idle_timeout_s: 60, warm_schedule: schedule });
    world.pass(MINUTE);
    const rings: string[] = [];
    const { ring } = world;
    world.ring = () => {
      rings.push(new Date(world.now).toISOString().slice(11, 16));
      ring.call(world);
    };
    world.pass(8 * HOUR - MINUTE - 1);
    expect([rings, world.core.demand()?.wanted]).toEqual([[], 0]);
    world.pass(1);
    expect([rings, world.core.demand()?.wanted]).toEqual([["08:00"], 2]);
    expect(scalingOf(world)).toMatchObject({ floor: 2, wanted: 2 });
    world.answerDemand([], { shortage: { code: "no_node_online", error: null } });
    rings.length = 0;
    world.pass(10 * HOUR + 3_000);
    expect(rings).toContain("18:00");
    expect(world.core.demand()).toMatchObject({ wanted: 0, needed: 0 });
  });
});

describe("replicas that are warm by hand", () => {
  it("are a floor for as long as was said, over a restart, and then go as they would", () => {
    const world = new EndpointHarness({ max_replicas: 3, idle_timeout_s: 30 });
    world.call((core) => core.warm(world.workspaceId, { replicas: 2, forMs: HOUR }, 1));
    expect(world.core.demand()).toMatchObject({ wanted: 2, needed: 2 });
    const replicas = [started(world), started(world)];
    world.answerDemand(replicas);
    world.restart();
    const rest = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 10_000) {
        for (const replica of replicas) world.poll(replica);
        world.pass(10_000);
      }
    };
    rest(50 * MINUTE);
    expect(scalingOf(world)).toMatchObject({ floor: 2, replicas: { idle: 2 }, warm: { replicas: 2 } });
    rest(11 * MINUTE);
    expect(scalingOf(world)).toMatchObject({ floor: 0, warm: null, replicas: { idle: 0, draining: 2 } });
  });

  it("are never more than there may be, and end when that is asked for", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    world.call((core) => core.warm(world.workspaceId, { replicas: 9, forMs: HOUR }, 1));
    expect(world.core.demand()).toMatchObject({ wanted: 2 });
    world.call((core) => core.warm(world.workspaceId, null, 1));
    world.pass(3_000);
    expect(world.core.demand()).toMatchObject({ wanted: 0 });
  });
});

describe("a replica that its pod took back while it idled", () => {
  /** A policy that always finds one more replica worth having than there is work for. */
  function eager(): void {
    vi.spyOn(PredictiveScaler.prototype, "decide").mockImplementation(
      ({ ceiling, floor }, { waitingTotal, replicas }) => {
        const work = waitingTotal + replicas.filter(({ state }) => state === "busy").length;
        return {
          wanted: Math.min(ceiling, Math.max(floor, work + 1)),
          letGo: [],
          reason: "one ahead",
          lookAgainAt: null,
        };
      },
    );
  }
  const wanted = (world: EndpointHarness) => world.core.demand()?.wanted;
  const reclaimed = (world: EndpointHarness, replica: FakeReplica) => {
    expect(world.call((core) => core.reclaimIdle(world.podId, replica.id))).toBe(true);
    world.call((core) => core.replicaGone(world.podId, replica.id, "Others need the slot.", false));
    world.pass(3_000);
  };

  it("is not started again until there is work for it, or some time has passed", () => {
    eager();
    const world = new EndpointHarness({ policy: "predictive", max_replicas: 3 });
    world.submit();
    const replica = started(world);
    runJob(world, replica, 1_000);
    world.poll(replica);
    world.pass(3_000);
    expect(wanted(world)).toBe(1);
    reclaimed(world, replica);
    expect(wanted(world)).toBe(0);
    // Another lifetime of the object does not know better.
    world.pass(15_000);
    world.restart();
    world.settle();
    expect(wanted(world)).toBe(0);
    expect(scalingOf(world).reason).toContain("none is started ahead of work");
    // One for the job, and none ahead of it.
    world.submit();
    expect(wanted(world)).toBe(1);
    world.pass(10 * MINUTE);
    world.submit();
    expect(wanted(world)).toBe(3);
  });

  it("is none that the pod lets idle no longer, either", () => {
    eager();
    const world = new EndpointHarness({ policy: "predictive", max_replicas: 3 });
    world.submit();
    const replica = started(world);
    world.answerDemand([replica], { idleTimeoutMs: 5_000 });
    runJob(world, replica, 1_000);
    world.poll(replica);
    world.pass(4_000);
    expect(wanted(world)).toBe(1);
    world.pass(4_000);
    expect(world.core.demand()).toMatchObject({ wanted: 0, drain: [replica.id] });
  });
});
