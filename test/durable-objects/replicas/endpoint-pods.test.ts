/** An endpoint on several pods: who is asked for what, whose replicas take which jobs, and how a pod is left. */
import { describe, expect, it } from "vitest";
import type { EndpointSettings } from "#contract/endpoint";
import { makeId, NodeId, ownerKey, PodId, ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { DemandReply } from "#durable-objects/pod/rpc";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { seededBytes } from "../seeded-bytes.ts";

const BOTH: readonly Lane[] = ["interactive", "batch"];

/** An endpoint on two pods, with what each of them has. */
class TwoPods {
  readonly world: EndpointHarness;
  readonly first: PodId;
  readonly second: PodId;
  readonly #bytes = seededBytes(77);
  readonly #settings: Partial<EndpointSettings>;

  constructor(settings: Partial<EndpointSettings>, lanes: readonly [readonly Lane[], readonly Lane[]] = [BOTH, BOTH]) {
    this.#settings = { max_replicas: 6, batch_target_wait_s: 0, ...settings };
    this.world = new EndpointHarness(this.#settings);
    this.first = this.world.podId;
    this.second = makeId(PodId, "pod", this.world.now, this.#bytes);
    this.use([
      { podId: this.first, lanes: lanes[0] },
      { podId: this.second, lanes: lanes[1] },
    ]);
  }

  use(pods: readonly { readonly podId: PodId; readonly lanes: readonly Lane[] }[]): void {
    this.world.configure(this.#settings, { pods });
  }

  asked(): (number | undefined)[] {
    return [this.first, this.second].map((podId) => this.world.core.demand(podId)?.wanted);
  }

  /** A replica that the pod has placed on a machine of its own. */
  place(podId: PodId): FakeReplica {
    const { world } = this;
    const nodeId = makeId(NodeId, "node", world.now, this.#bytes, ownerKey(podId));
    const id = makeId(ReplicaId, "rep", world.now, this.#bytes, ownerKey(world.endpointId));
    return { id, node: { workspaceId: world.workspaceId, podId, nodeId } };
  }

  /** The pod places so many, says how much room is left, and they get ready. */
  answer(podId: PodId, replicas: readonly FakeReplica[], more: Partial<DemandReply> = {}): void {
    this.world.answerDemand(replicas, more, podId);
  }
}

const full = { room: 0, shortage: { code: "all_slots_busy", error: null } } as const;
const empty = { room: 0, shortage: { code: "no_node_online", error: null } } as const;
const leaseOf = (world: EndpointHarness, replica: FakeReplica) => {
  const answer = world.poll(replica);
  return typeof answer === "string" ? null : answer.lease;
};

describe("two pods", () => {
  it("are asked in their order: the second for what the first has no room for", () => {
    const pods = new TwoPods({});
    for (let job = 0; job < 4; job += 1) pods.world.submit();
    expect(pods.asked()).toEqual([4, 0]);
    const here = [pods.place(pods.first)];
    pods.answer(pods.first, here, full);
    expect(pods.asked()).toEqual([1, 3]);
    pods.answer(pods.second, [pods.place(pods.second)], { room: 1, shortage: { code: "all_slots_busy", error: null } });
    // What fits nowhere is asked of the preferred one.
    expect(pods.asked()).toEqual([2, 2]);
  });

  it("are asked for what fits nowhere where others can make room, by one lasting claim", () => {
    const pods = new TwoPods({});
    const { world } = pods;
    world.submit();
    pods.answer(pods.first, [], empty);
    pods.answer(pods.second, [], { ...full, held: 1 });
    expect(pods.asked()).toEqual([0, 1]);
    const claim = world.core.demand(pods.second);
    for (let asked = 0; asked < 12; asked += 1) {
      // Nothing is wanted of the first, and so it lacks nothing; what one more would lack, it says.
      pods.answer(pods.first, [], { room: 0, lack: empty.shortage });
      pods.answer(pods.second, [], { ...full, held: 1 });
      world.pass(9_000);
      expect(world.demandsToSend).toBe(0);
      world.pass(1_000);
      expect(world.demandsToSend).toBe(2);
      expect(world.core.demand(pods.second)).toEqual(claim);
    }
    for (let asked = 0; asked < 12; asked += 1) {
      // What it needs the replica for is said again after a waking, and nothing else.
      world.restart();
      world.pass(10_000);
      expect(world.core.demand(pods.second)).toMatchObject({ wanted: 1, needed: 1 });
      expect(world.core.demand(pods.first)).toMatchObject({ wanted: 0, needed: 0 });
      pods.answer(pods.first, [], { room: 0, lack: empty.shortage });
      pods.answer(pods.second, [], { ...full, held: 1 });
    }
    pods.answer(pods.first, [], { room: 1 });
    expect(pods.asked()).toEqual([1, 0]);
  });

  it("are not believed any more once nothing has been missing: the first one is asked before the second", () => {
    const pods = new TwoPods({ max_replicas: 1 });
    const { world } = pods;
    const id = world.submit();
    pods.answer(pods.first, [], empty);
    pods.answer(pods.first, [], { room: 0, lack: empty.shortage });
    expect(pods.asked()).toEqual([0, 1]);
    world.call((core) => core.cancelJob(world.workspaceId, id));
    world.pass(11_000);
    world.submit();
    expect(pods.asked()).toEqual([1, 0]);
  });

  it("are both looked at for why a job waits: that the first is empty does not hide why the second takes nothing", () => {
    const pods = new TwoPods({});
    const { world } = pods;
    const id = world.submit();
    const why = () => {
      const reply = world.core.whyJob(world.workspaceId, id);
      return reply.ok ? reply.why.summary : reply.code;
    };
    pods.answer(pods.first, [], empty);
    expect(why()).toContain("Start one, or join one");
    pods.answer(pods.second, [], { room: 0, shortage: { code: "no_node_online", error: "The machine a drains." } });
    expect(why()).toContain("The machine a drains.");
    pods.answer(pods.second, [], full);
    expect(why()).toContain("Every slot of the pod works for other endpoints");
  });

  it("are asked again for what the first has no room for once that is no longer known", () => {
    const pods = new TwoPods({});
    pods.world.submit();
    pods.answer(pods.first, [], full);
    expect(pods.asked()).toEqual([0, 1]);
    const there = pods.place(pods.second);
    pods.answer(pods.second, [there]);
    pods.world.pass(11_000);
    pods.world.submit();
    expect(pods.asked()).toEqual([1, 1]);
  });

  it("each hear their own drains and answer for their own replicas", () => {
    const pods = new TwoPods({ idle_timeout_s: 5 });
    const { world } = pods;
    for (let job = 0; job < 2; job += 1) world.submit();
    const here = pods.place(pods.first);
    pods.answer(pods.first, [here], full);
    const there = pods.place(pods.second);
    pods.answer(pods.second, [there]);
    for (const replica of [here, there]) world.complete(replica, world.take(replica));
    // The second pod's answer says nothing of the first pod's replica.
    pods.answer(pods.second, [there]);
    for (const replica of [here, there]) world.poll(replica);
    world.pass(5_000);
    expect([pods.first, pods.second].map((podId) => world.core.demand(podId)?.drain)).toEqual([[here.id], [there.id]]);
    world.call((core) => core.replicaGone(pods.second, there.id, "It has stopped.", false));
    expect(world.core.demand(pods.first)?.drain).toEqual([here.id]);
  });

  it("do not reclaim each other's replicas", () => {
    const pods = new TwoPods({});
    const { world } = pods;
    const here = pods.place(pods.first);
    pods.answer(pods.first, [here]);
    world.poll(here);
    expect(world.call((core) => core.reclaimIdle(pods.second, here.id))).toBe(false);
    expect(world.call((core) => core.reclaimIdle(pods.first, here.id))).toBe(true);
  });

  it("keep what they were told over a restart", () => {
    const pods = new TwoPods({ max_replicas: 2 });
    pods.world.submit();
    pods.world.submit();
    pods.answer(pods.first, [pods.place(pods.first)], full);
    const before = [pods.first, pods.second].map((podId) => pods.world.core.demand(podId));
    pods.world.restart();
    const after = [pods.first, pods.second].map((podId) => pods.world.core.demand(podId));
    expect(after.map((demand) => demand?.wanted)).toEqual(before.map((demand) => demand?.wanted));
    after.forEach((demand, index) => {
      expect(demand?.version).toBeGreaterThanOrEqual(before[index]?.version ?? Number.POSITIVE_INFINITY);
    });
  });
});

describe("lanes of pods", () => {
  it("bind replicas: one takes jobs of the lanes that its pod serves, and no others", () => {
    const pods = new TwoPods({}, [["interactive"], BOTH]);
    const { world } = pods;
    const [here, there] = [pods.place(pods.first), pods.place(pods.second)];
    world.submit({ lane: "batch" });
    pods.answer(pods.first, [here], full);
    pods.answer(pods.second, [there]);
    expect(leaseOf(world, here)).toBeNull();
    expect(leaseOf(world, there)).not.toBeNull();
    const id = world.submit();
    expect(world.answers.at(-1)?.answer.lease?.job_id).toBe(id);
    expect(world.answers.at(-1)?.replicaId).toBe(here.id);
  });

  it("lead a batch job to the pod that serves it, though the preferred one has room", () => {
    const pods = new TwoPods({}, [["interactive"], BOTH]);
    pods.world.submit({ lane: "batch" });
    expect(pods.asked()).toEqual([0, 1]);
  });

  it("lead a batch job past a pod that serves it and has no machine", () => {
    const pods = new TwoPods({}, [["interactive"], BOTH]);
    const { world } = pods;
    const last = makeId(PodId, "pod", world.now + 1, seededBytes(3));
    pods.use([
      { podId: pods.first, lanes: ["interactive"] },
      { podId: pods.second, lanes: BOTH },
      { podId: last, lanes: BOTH },
    ]);
    world.submit({ lane: "batch" });
    expect(pods.asked()).toEqual([0, 1]);
    pods.answer(pods.second, [], empty);
    expect([...pods.asked(), world.core.demand(last)?.wanted]).toEqual([0, 0, 1]);
    for (let asked = 0; asked < 4; asked += 1) {
      pods.answer(pods.second, [], { room: 0, lack: empty.shortage });
      pods.answer(last, [], { ...full, held: 1 });
      world.pass(10_000);
      expect([...pods.asked(), world.core.demand(last)?.wanted]).toEqual([0, 0, 1]);
    }
  });

  it("that share nothing are scaled apart, within one ceiling", () => {
    const pods = new TwoPods({ max_replicas: 5 }, [["interactive"], ["batch"]]);
    const { world } = pods;
    for (let job = 0; job < 3; job += 1) world.submit();
    for (let job = 0; job < 9; job += 1) world.submit({ lane: "batch" });
    expect(pods.asked()).toEqual([3, 2]);
    const reply = world.core.scaling(world.workspaceId, 10);
    expect(reply).toMatchObject({ ok: true, scaling: { wanted: 5, ceiling: 5 } });
    expect(reply.ok && reply.scaling.reason).toContain("batch lane: ");
  });

  it.each(["predictive", "queue_delay", "request_count"] as const)(
    "that share nothing start nothing for batch jobs because interactive ones run elsewhere, %s",
    (policy) => {
      const pods = new TwoPods({ policy, max_replicas: 5, queue_delay_s: 0 }, [["interactive"], ["batch"]]);
      const { world } = pods;
      world.submit();
      const here = pods.place(pods.first);
      pods.answer(pods.first, [here]);
      world.take(here);
      world.submit({ lane: "batch" });
      expect(pods.asked()).toEqual([1, 1]);
      // It is there for batch jobs, and no warm floor.
      const reply = world.core.scaling(world.workspaceId, 10);
      expect(reply.ok && reply.scaling.decisions[0]?.reason).toBe(
        "1 -> 2: batch lane: batch jobs have waited as long as they may",
      );
    },
  );

  it("that share nothing are not counted for each other's jobs in why one waits", () => {
    const pods = new TwoPods({ min_replicas: 1, max_replicas: 1 }, [["interactive"], ["batch"]]);
    const { world } = pods;
    const here = pods.place(pods.first);
    pods.answer(pods.first, [here]);
    world.poll(here);
    const reply = world.core.whyJob(world.workspaceId, world.submit({ lane: "batch" }));
    expect(reply.ok && reply.why.reasons.map(({ detail }) => detail)).toEqual([
      "All replicas that max_replicas allows are on pods that do not take this lane. Raise it, or lower the warm floor.",
    ]);
    expect(reply).toMatchObject({ why: { eta_ms: null } });
  });

  it("that share nothing leave an idle replica of the other lane alone", () => {
    const pods = new TwoPods({ idle_timeout_s: 3_600 }, [["interactive"], ["batch"]]);
    const { world } = pods;
    const here = pods.place(pods.first);
    pods.answer(pods.first, [here]);
    world.poll(here);
    const id = world.submit({ lane: "batch" });
    expect(world.job(id).state).toBe("queued");
    expect(pods.asked()[1]).toBe(1);
  });
});

describe("a pod that is left", () => {
  it("gets its replicas drained and is asked for nothing, and is forgotten when all is gone", () => {
    const pods = new TwoPods({});
    const { world } = pods;
    world.submit();
    const here = pods.place(pods.first);
    pods.answer(pods.first, [here]);
    const lease = world.take(here);
    world.progress(here, lease);
    pods.use([{ podId: pods.second, lanes: BOTH }]);
    expect(world.core.demand(pods.first)).toMatchObject({ drain: [here.id] });
    // The job in hand is finished there.
    expect(world.complete(here, lease)).toMatchObject({ ok: true });
    expect(world.poll(here)).toMatchObject({ lease: null, stop: true });
    expect(world.core.pods()).toEqual([pods.second, pods.first]);
    world.call((core) => core.replicaGone(pods.first, here.id, "It has stopped.", false));
    world.pass(3_000);
    pods.answer(pods.first, []);
    world.pass(61_000);
    expect(world.core.demand(pods.first)).toMatchObject({ wanted: 0, needed: 0, drain: [] });
    expect(world.core.pods()).toEqual([pods.second]);
    expect(world.call((core) => core.reportReplica(here.node, here.id, { state: "ready", phases: [] }))).toMatchObject({
      ok: false,
      code: "replica_not_found",
    });
  });

  it("starts with a higher version when it is used again", () => {
    const pods = new TwoPods({ max_replicas: 1 });
    const { world } = pods;
    world.submit();
    const before = world.core.demand(pods.first)?.version ?? Number.POSITIVE_INFINITY;
    pods.use([{ podId: pods.second, lanes: BOTH }]);
    world.pass(3_000);
    pods.answer(pods.first, []);
    world.pass(61_000);
    expect(world.core.pods()).toEqual([pods.second]);
    pods.use([{ podId: pods.first, lanes: BOTH }]);
    expect(world.core.demand(pods.first)?.version).toBeGreaterThan(before);
    expect(world.core.demand(pods.first)).toMatchObject({ wanted: 1 });
  });
});

describe("a pod that has given all it was asked for", () => {
  it("is asked once one of them is gone, and says why it gives no other", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.answerDemand([replica]);
    world.poll(replica, [], { waitMs: 3_600_000 });
    world.answerDemand([replica]);
    const before = world.demandsToSend;
    world.pass(5_000);
    expect(world.demandsToSend).toBe(before);
    world.call((core) => core.replicaGone(world.podId, replica.id, "Its node was not heard of.", true));
    world.pass(5_000);
    expect(world.demandsToSend).toBeGreaterThan(before);
    world.answerDemand([], empty);
    const reply = world.core.whyJob(world.workspaceId, world.submit());
    expect(reply.ok && reply.why.reasons.map(({ code }) => code)).toContain("no_node_online");
  });

  it("is not asked because one that nobody needs any more goes", () => {
    const world = new EndpointHarness({ idle_timeout_s: 10 });
    world.submit();
    const replica = world.replica();
    world.answerDemand([replica]);
    world.complete(replica, world.take(replica));
    world.poll(replica);
    world.pass(30_000);
    world.answerDemand([replica]);
    world.call((core) => core.replicaGone(world.podId, replica.id, "It has stopped.", false));
    world.settle();
    const before = world.demandsToSend;
    world.pass(600_000);
    expect([world.core.demand()?.wanted, world.demandsToSend - before]).toEqual([0, 0]);
  });
});

describe("what a pod wishes", () => {
  it("is a floor of its own, which nobody needs", () => {
    const world = new EndpointHarness({ max_replicas: 3, idle_timeout_s: 10 });
    world.submit();
    const replica = world.replica();
    world.answerDemand([replica], { floor: 1 });
    world.complete(replica, world.take(replica));
    for (let passed = 0; passed < 60; passed += 1) {
      world.poll(replica);
      world.pass(1_000);
    }
    expect(world.core.demand()).toMatchObject({ wanted: 1, needed: 0, drain: [] });
  });

  it("is an idle time, which counts where it is shorter than the endpoint's own", () => {
    const world = new EndpointHarness({ max_replicas: 3, idle_timeout_s: 600 });
    world.submit();
    const replica = world.replica();
    world.answerDemand([replica], { idleTimeoutMs: 15_000 });
    world.complete(replica, world.take(replica));
    world.poll(replica);
    world.pass(14_999);
    expect(world.core.demand()?.drain).toEqual([]);
    world.pass(1);
    expect(world.core.demand()?.drain).toEqual([replica.id]);
  });

  it("does not take the warm floor away", () => {
    const world = new EndpointHarness({ min_replicas: 1, max_replicas: 3 });
    const replica = world.replica();
    world.answerDemand([replica], { idleTimeoutMs: 1_000 });
    for (let passed = 0; passed < 30; passed += 1) {
      world.poll(replica);
      world.pass(1_000);
    }
    expect(world.core.demand()).toMatchObject({ wanted: 1, needed: 1, drain: [] });
  });

  it("is told again when the endpoint's release needs another build", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const version = world.core.demand()?.version ?? Number.POSITIVE_INFINITY;
    const needs = { build: "b".repeat(64), models: ["m".repeat(64)] };
    world.configure({ min_replicas: 1 }, { needs });
    const demand = world.core.demand();
    expect(demand).toMatchObject(needs);
    expect(demand?.version).toBeGreaterThan(version);
  });
});
