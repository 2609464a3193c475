import { describe, expect, it } from "vitest";
import { LEASE_MS, REPLICA_LOST_MS } from "#contract/limits";
import { DEMAND_SETTLE_MS } from "#durable-objects/endpoint/demand";
import { EndpointHarness, type FakeReplica, podReply } from "../queue/endpoint-harness.ts";

/** The replica polls as a live agent does, so that it is not taken for lost. */
function idle(world: EndpointHarness, replicas: readonly FakeReplica[], ms: number): void {
  for (let passed = 0; passed < ms; passed += 1_000) {
    for (const replica of replicas) world.poll(replica);
    world.pass(1_000);
  }
}

const wish = (world: EndpointHarness) => {
  const demand = world.core.demand();
  return demand === null ? null : [demand.needed, demand.wanted, demand.drain.length];
};

describe("the demand", () => {
  it("is told at once when work comes, as far as max_replicas", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    expect(wish(world)).toEqual([0, 0, 0]);
    world.submit();
    expect([wish(world), world.demandsToSend]).toEqual([[1, 1, 0], 1]);
    world.submit();
    world.submit();
    expect([wish(world), world.demandsToSend]).toEqual([[2, 2, 0], 2]);
  });

  it("is told anew when the regions change, and not when other settings do", () => {
    const world = new EndpointHarness({ min_replicas: 1, regions: ["eu-west"] });
    const first = world.core.demand();
    expect(first?.regions).toEqual(["eu-west"]);
    world.demandsToSend = 0;
    world.configure({ min_replicas: 1, regions: ["us-east"] });
    const second = world.core.demand();
    expect([world.demandsToSend, second?.regions, second?.wanted]).toEqual([1, ["us-east"], 1]);
    expect(second?.version).toBeGreaterThan(first?.version ?? Number.POSITIVE_INFINITY);
    world.configure({ min_replicas: 1, regions: ["us-east"], idle_timeout_s: 99 });
    expect(world.demandsToSend).toBe(1);
  });

  it("includes the warm floor", () => {
    const world = new EndpointHarness({ min_replicas: 2, max_replicas: 3 });
    expect(wish(world)).toEqual([2, 2, 0]);
  });

  it("has the floor of the hour, whatever hour it was while the clock was ahead", () => {
    const saturday = { days: ["sat" as const], from: "00:00", to: "24:00", time_zone: "UTC", replicas: 2 };
    const world = new EndpointHarness({ max_replicas: 3, warm_schedule: [saturday] });
    const floorAt = (at: string) => {
      world.now = Date.parse(at);
      world.ring();
      const reply = world.core.scaling(world.workspaceId, 1);
      return reply.ok ? reply.scaling.floor : reply.code;
    };
    expect(floorAt("2027-01-22T12:00:00Z")).toBe(0);
    expect(floorAt("2027-01-23T12:00:00Z")).toBe(2);
    expect(floorAt("2027-01-22T12:01:00Z")).toBe(0);
    expect(floorAt("2027-01-23T00:00:00Z")).toBe(2);
  });

  it("has a version that grows, so that an older one can be told from a newer one", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const versions = [1, 2, 3].map(() => {
      world.submit();
      return world.core.demand()?.version ?? 0;
    });
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    expect(new Set(versions).size).toBe(3);
  });

  it("falls only after a moment, so that one job after another costs no message each", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.answerDemand([replica]);
    for (let job = 0; job < 10; job += 1) {
      world.submit();
      world.complete(replica, world.take(replica));
    }
    expect(world.demandsToSend).toBe(1);
    expect(wish(world)).toEqual([1, 1, 0]);
    world.pass(DEMAND_SETTLE_MS);
    // It idles for a minute, and is kept for that long; nobody needs it.
    expect(wish(world)).toEqual([0, 1, 0]);
    idle(world, [replica], 58_000);
    expect(wish(world)).toEqual([0, 0, 1]);
  });

  it("is repeated until the pod has answered it, also after a restart", () => {
    const world = new EndpointHarness();
    world.submit();
    world.demandsToSend = 0;
    world.pass(10_000);
    expect(world.demandsToSend).toBeGreaterThan(0);
    world.demandsToSend = 0;
    world.restart();
    world.pass(60_000);
    expect(world.demandsToSend).toBeGreaterThan(0);
  });

  it("is silent once it is answered and fulfilled", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.answerDemand([replica]);
    idle(world, [replica], 120_000);
    expect(world.demandsToSend).toBe(0);
  });

  it("is an older one's answer when it was sent before: then it is still repeated", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    world.submit();
    const old = world.core.demand();
    if (old === null) throw new Error("no endpoint");
    world.submit();
    world.call((core) => core.demandAnswered(old, podReply([]), world.now));
    world.demandsToSend = 0;
    world.pass(10_000);
    expect(world.demandsToSend).toBeGreaterThan(0);
  });
});

describe("a replica", () => {
  it("that idles for too long is let go, told so, and named to the pod", () => {
    const world = new EndpointHarness({ idle_timeout_s: 30 });
    const replica = world.replica();
    world.poll(replica);
    world.pass(29_999);
    expect(wish(world)?.[2]).toBe(0);
    world.pass(1);
    expect(world.answers.at(-1)?.answer.stop).toBe(true);
    expect(world.core.demand()?.drain).toEqual([replica.id]);
    expect(world.poll(replica)).toMatchObject({ lease: null, stop: true });
    world.submit();
    expect(world.poll(replica)).toMatchObject({ lease: null, stop: true });
  });

  it("of the warm floor stays, the most recently used one", () => {
    const world = new EndpointHarness({ min_replicas: 1, max_replicas: 2, idle_timeout_s: 10 });
    const replicas = [world.replica(), world.replica()] as const;
    world.submit();
    world.complete(replicas[1], world.take(replicas[1]));
    idle(world, replicas, 20_000);
    expect(world.core.demand()?.drain).toEqual([replicas[0].id]);
  });

  it("that works is never let go for idling", () => {
    const world = new EndpointHarness({ idle_timeout_s: 1 });
    const replica = world.replica();
    world.submit({ timeoutMs: 600_000 });
    const lease = world.take(replica);
    for (let beat = 0; beat < 12; beat += 1) {
      world.progress(replica, lease);
      world.pass(5_000);
    }
    expect(world.core.demand()?.drain).toEqual([]);
  });

  it("that is silent is given up: the pod is told to stop it", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.poll(replica, [], { waitMs: 0 });
    world.pass(REPLICA_LOST_MS);
    expect(world.core.demand()).toMatchObject({ needed: 1, wanted: 1, drain: [replica.id] });
  });

  it("that still starts is not given up, however long it takes", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "loading", phases: [] }));
    world.answerDemand([replica]);
    world.pass(3_600_000);
    expect(world.core.demand()?.drain).toEqual([]);
  });

  it("that crashes loses its job to another and is shown with its error", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    world.progress(replica, world.take(replica));
    const report = { state: "crashed" as const, error: "CUDA is gone", phases: [] };
    const answer = world.call((core) => core.reportReplica(replica.node, replica.id, report));
    expect(answer).toMatchObject({ ok: true, answer: { stop: true } });
    expect(world.job(id)).toMatchObject({ state: "queued", attempt: 1 });
    expect(world.core.listReplicas(world.workspaceId)).toMatchObject({
      replicas: [{ state: "crashed", error: "CUDA is gone" }],
    });
    expect(wish(world)?.slice(0, 2)).toEqual([1, 1]);
    world.settle();
    world.pass(3_600_000);
    expect(world.core.listReplicas(world.workspaceId)).toMatchObject({ replicas: [] });
  });

  it("is shown busy while it works", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const phases = [{ phase: "booting", ms: 5_000 }];
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "ready", phases }));
    const shown = () => {
      const reply = world.core.listReplicas(world.workspaceId);
      return reply.ok ? reply.replicas.map(({ state, phases: taken }) => [state, taken]) : reply.code;
    };
    expect(shown()).toEqual([["ready", phases]]);
    world.submit();
    world.take(replica);
    expect(shown()).toEqual([["busy", phases]]);
  });

  it("that the pod no longer has is forgotten, unless it came after the question", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const old = world.replica();
    const id = world.submit();
    world.progress(old, world.take(old));
    world.pass(1);
    const sentAt = world.now;
    const young = world.replica();
    const asked = world.core.demand();
    if (asked === null) throw new Error("no endpoint");
    world.call((core) => core.demandAnswered(asked, podReply([]), sentAt));
    expect(world.core.listReplicas(world.workspaceId)).toMatchObject({ replicas: [{ id: young.id }] });
    // Its lease lives on for as long as its agent is heard under it, which it is not.
    expect(world.job(id).state).toBe("running");
    world.pass(LEASE_MS);
    expect(world.job(id).state).toBe("queued");
  });
});

describe("a pod that needs the slot", () => {
  it("gets an idle replica that is not needed", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    expect(world.poll(replica)).toBe("waiting");
    expect(world.call((core) => core.reclaimIdle(world.podId, replica.id))).toBe(true);
    expect(world.answers.at(-1)?.answer.stop).toBe(true);
    expect(world.call((core) => core.reclaimIdle(world.podId, replica.id))).toBe(true);
  });

  it("gets one for another's backlog only where it does a batch job, after that job", () => {
    const world = new EndpointHarness({ max_replicas: 3, batch_target_wait_s: 0 });
    const [idle, busy, more] = [world.replica(), world.replica(), world.replica()];
    for (const replica of [busy, more]) {
      world.submit({ lane: "batch" });
      world.take(replica);
    }
    world.poll(idle);
    const ask = ({ id }: FakeReplica) => world.call((core) => core.reclaimIdle(world.podId, id, true));
    expect([ask(idle), ask(busy)]).toEqual([false, true]);
  });

  it("gets none that works, is needed, or is another pod's business", () => {
    const world = new EndpointHarness({ min_replicas: 1, max_replicas: 2 });
    const [floor, busy] = [world.replica(), world.replica()];
    world.submit();
    world.take(busy);
    const ask = (podId: string, replica: FakeReplica) =>
      world.call((core) => core.reclaimIdle(podId as typeof world.podId, replica.id));
    expect(ask(world.podId, busy)).toBe(false);
    world.call((core) => core.replicaGone(world.podId, busy.id, "gone", false));
    expect(ask(world.podId, floor)).toBe(false);
    expect(ask("pod_00000000000000000000000000", floor)).toBe(false);
  });
});

describe("lowering max_replicas", () => {
  it("lets those go first that start, then the idle ones, then those that work", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const [working, starting, free] = [world.replica(), world.replica(), world.replica()];
    world.poll(free, [], { waitMs: 0 });
    world.submit();
    world.take(working);
    world.configure({ max_replicas: 2 });
    expect(world.core.demand()?.drain).toEqual([starting.id]);
    world.configure({ max_replicas: 1 });
    expect(world.core.demand()?.drain).toEqual([free.id, starting.id].sort());
    const reply = world.core.scaling(world.workspaceId, 1);
    expect(reply.ok && reply.scaling.decisions[0]?.reason).toBe("2 -> 1: max_replicas allows 1");
  });

  it.each(["queue_delay", "request_count"] as const)(
    "does not take one that starts for the warm floor that the ready one is, %s",
    (policy) => {
      const world = new EndpointHarness({ policy, min_replicas: 1, max_replicas: 2, idle_timeout_s: 20 });
      const [free] = [world.replica(), world.replica()];
      world.poll(free, [], { waitMs: 0 });
      world.pass(25_000);
      expect(world.core.demand()?.drain).toEqual([]);
    },
  );
});

describe("what a pod is told that replicas are needed for", () => {
  const reasons = ({ core }: EndpointHarness) => {
    const demand = core.demand();
    return [demand?.needed, demand?.warm, demand?.calls];
  };

  it("is a warm floor until a call waits and there is none, at once, also after a waking", () => {
    const world = new EndpointHarness({ min_replicas: 1, max_replicas: 2 });
    expect(reasons(world)).toEqual([1, 1, false]);
    const short = { room: 0, shortage: { code: "all_slots_busy", error: null } } as const;
    world.answerDemand([], short);
    world.restart();
    world.submit();
    expect(reasons(world)).toEqual([1, 1, true]);
    expect(world.demandsToSend).toBe(1);
  });

  it("is batch jobs where only those wait", () => {
    const world = new EndpointHarness({ batch_target_wait_s: 0 });
    world.submit({ lane: "batch" });
    expect(reasons(world)).toEqual([1, 0, false]);
  });

  it("is not told with each call once there is a replica", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.answerDemand([replica]);
    for (let call = 0; call < 3; call += 1) {
      world.submit();
      const lease = world.take(replica);
      world.complete(replica, lease);
      world.pass(5_000);
    }
    expect(world.demandsToSend).toBe(0);
  });
});
