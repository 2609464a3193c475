import { describe, expect, it } from "vitest";
import type { HeldReplica } from "#contract/agent";
import { LONG_POLL_MS, NODE_LOST_MS } from "#contract/limits";
import { EndpointHarness } from "../queue/endpoint-harness.ts";
import { held, replicaOnNode } from "./pod-harness.ts";

/** A node with one ready replica, which was then silent for so long that it was given up. */
function lostNode(slots = 1) {
  const { pod, node, endpoint, replicaId } = replicaOnNode(slots);
  pod.pass(NODE_LOST_MS);
  expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(false);
  const runs = (...replicas: HeldReplica[]) => pod.poll(node, replicas, { waitMs: 0, slots });
  return { pod, node, endpoint, replicaId, runs };
}

describe("a node that comes back from silence", () => {
  it("keeps what it still runs, and its endpoint is asked to ask", () => {
    const { pod, node, endpoint, replicaId, runs } = lostNode();
    pod.farewells();
    expect(pod.core.mayReturn(endpoint, replicaId, node)).toBe(true);
    expect(runs(held(replicaId, "busy"))).toMatchObject([{ replica_id: replicaId, action: "run" }]);
    expect(pod.termsChanged).toEqual([endpoint]);
    expect(pod.core.mayReturn(endpoint, replicaId, node)).toBe(false);
    expect(pod.demand(endpoint, 1).replicas).toMatchObject([{ replicaId }]);
    // Nobody is told any more that it is gone.
    pod.beat(node, 60_000, [held(replicaId)]);
    expect(pod.farewells()).toEqual([]);
    expect(pod.shown(node)).toMatchObject({ online: true, quarantine: null, slots: [{ replica_id: replicaId }] });
  });

  it("keeps it through a restart of the pod's object", () => {
    const { pod, replicaId, runs } = lostNode();
    pod.restart();
    expect(runs(held(replicaId))).toMatchObject([{ replica_id: replicaId, action: "run" }]);
  });

  it("keeps one that had not got ready, too", () => {
    const { replicaId, runs } = lostNode();
    expect(runs(held(replicaId, "loading"))).toMatchObject([{ replica_id: replicaId, action: "run" }]);
  });

  it("starts cleanly where its agent was started anew: what it does not list is gone", () => {
    const { pod, replicaId, runs } = lostNode();
    const answer = runs();
    expect(answer).toMatchObject([{ action: "run" }]);
    expect(answer).not.toMatchObject([{ replica_id: replicaId }]);
    expect(pod.termsChanged).toEqual([]);
    // A word about the old one that comes later is a replica that nobody gave it.
    const again = runs(held(replicaId));
    expect(again).not.toMatchObject([{ replica_id: replicaId }]);
  });

  it("stops what nobody wants any more", () => {
    const { pod, endpoint, replicaId, runs } = lostNode();
    pod.demand(endpoint, 0);
    expect(runs(held(replicaId))).toEqual([]);
  });

  it.each(["draining", "stopped", "crashed"] as const)("takes nothing up that is %s", (state) => {
    const { pod, node, endpoint, replicaId, runs } = lostNode();
    runs(held(replicaId, state));
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(false);
  });

  it("takes nothing up on another slot than it was given", () => {
    const { pod, node, endpoint, replicaId, runs } = lostNode(2);
    runs(held(replicaId, "ready", 1));
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(false);
  });

  it("stops what was on its way out before the silence", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    pod.demand(endpoint, 1, { drain: [replicaId] });
    pod.pass(LONG_POLL_MS + NODE_LOST_MS);
    expect(pod.poll(node, [held(replicaId)], { waitMs: 0 })).toEqual([]);
  });

  it("is preferred to one that boots in its place, which goes", () => {
    const { pod, endpoint, replicaId, runs } = lostNode();
    const other = pod.node();
    const newcomer = pod.wanted(other);
    pod.poll(other, [held(newcomer, "booting")], { waitMs: 0 });
    expect(runs(held(replicaId))).toMatchObject([{ replica_id: replicaId, action: "run" }]);
    expect(pod.poll(other, [held(newcomer, "booting")], { waitMs: 0 })).toMatchObject([{ action: "drain" }]);
    expect(pod.demand(endpoint, 1).shortage.code).toBe("none");
  });

  it("makes room for nobody's newcomer that works already", () => {
    const { pod, replicaId, runs } = lostNode();
    const other = pod.node();
    const newcomer = pod.wanted(other);
    pod.poll(other, [held(newcomer, "ready")], { waitMs: 0 });
    expect(runs(held(replicaId))).toEqual([]);
    expect(pod.poll(other, [held(newcomer, "ready")], { waitMs: 0 })).toMatchObject([{ action: "run" }]);
  });

  it("exceeds neither the pod's containers nor its regions", () => {
    const full = lostNode();
    full.pod.configure({ containers_max: 1 });
    const other = full.pod.node();
    full.pod.wanted(other);
    expect(full.runs(held(full.replicaId))).toEqual([]);
    const moved = lostNode();
    moved.pod.configure({ regions: ["home"] });
    expect(moved.runs(held(moved.replicaId))).toEqual([]);
  });

  it("keeps what it runs also while nothing new may go there", () => {
    const { pod, node, replicaId, runs } = lostNode();
    pod.call((core) => core.changeNode(pod.workspaceId, node, { cordoned: true }));
    expect(runs(held(replicaId))).toMatchObject([{ replica_id: replicaId, action: "run" }]);
  });

  it("empties itself where somebody has said so meanwhile", () => {
    const { pod, node, replicaId, runs } = lostNode();
    pod.call((core) => core.changeNode(pod.workspaceId, node, { draining: true }));
    expect(runs(held(replicaId))).toEqual([]);
  });

  it("is nothing to wait for once it was removed", () => {
    const { pod, node, endpoint, replicaId } = lostNode();
    pod.call((core) => core.removeNode(pod.workspaceId, node));
    expect(pod.core.mayReturn(endpoint, replicaId, node)).toBe(false);
  });
});

/** An endpoint with a ready replica whose pod has missed its node for a while. */
function missed() {
  const world = new EndpointHarness({ min_replicas: 1, idle_timeout_s: 3_600 });
  const replica = world.replica();
  world.call((core) => core.reportReplica(replica.node, replica.id, { state: "ready", phases: [] }));
  world.poll(replica);
  world.pass(6_000);
  world.call((core) => core.abandonPoll(replica.id, world.waiting.get(replica.id) ?? ""));
  world.pass(20_000);
  const lose = () =>
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true));
  lose();
  const shown = () => {
    const reply = world.core.listReplicas(world.workspaceId, "all");
    return reply.ok ? reply.replicas.find(({ id }) => id === replica.id) : undefined;
  };
  const ask = () => {
    const poll = { poll_id: `poll-asks-${world.now}`, leases: [], wait_ms: 25_000 };
    return world.call((core) => core.pollReplica(replica.node, replica.id, poll));
  };
  return { world, replica, lose, shown, ask };
}

describe("an endpoint whose replica was taken for ended", () => {
  it("asks the pod when the replica speaks, and takes it back at its word: all its seconds count", () => {
    const { world, replica, shown, ask } = missed();
    expect(shown()).toMatchObject({ state: "stopped", seconds: { idle: 6 } });
    world.pass(10_000);
    expect(ask()).toEqual({ type: "unverified" });
    expect(world.core.isReplicaInDoubt(replica.id)).toBe(true);
    world.call((core) => core.admitReplica(replica.node, replica.id));
    expect(world.core.isReplicaInDoubt(replica.id)).toBe(false);
    expect(shown()).toMatchObject({ state: "ready", error: null, seconds: { cold: 0, idle: 36, busy: 0 } });
    expect(ask()).toMatchObject({ type: "waiting" });
    world.submit();
    expect(shown()?.state).toBe("busy");
    // Of two ends and one start, one replica was started.
    const days = world.core.replicaDays(world.workspaceId, 0, 40_000);
    expect(days.ok ? days.days.map(({ started, used }) => [started, used.idle]) : days).toEqual([[1, 36_000]]);
  });

  it("takes it back by the pod's answer to what was asked after the news, and by no older one", () => {
    const { world, replica, lose, shown } = missed();
    world.answerDemand([replica]);
    expect(shown()?.state).toBe("stopped");
    world.pass(1);
    world.answerDemand([replica]);
    expect(shown()?.state).toBe("ready");
    // The news of its node's silence comes once more, late: the next answer knows better again.
    world.pass(5_000);
    lose();
    expect(shown()?.state).toBe("stopped");
    world.pass(1);
    world.answerDemand([replica]);
    expect(shown()?.state).toBe("ready");
  });

  it("takes it back after a restart of its object", () => {
    const { world, replica, shown, ask } = missed();
    world.restart();
    world.pass(1_000);
    expect(ask()).toEqual({ type: "unverified" });
    world.call((core) => core.admitReplica(replica.node, replica.id));
    expect(shown()).toMatchObject({ state: "ready", seconds: { idle: 27 } });
  });

  it("does not tell one that waits for work to stop: it asks again", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "ready", phases: [] }));
    world.poll(replica);
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true));
    expect(world.answers.at(-1)?.answer).toMatchObject({ stop: false });
  });

  it("does not take back what said itself that it has ended", () => {
    const { world, replica, shown } = missed();
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "crashed", phases: [] }));
    world.pass(1_000);
    world.call((core) => core.admitReplica(replica.node, replica.id));
    world.answerDemand([replica]);
    expect(shown()?.state).toBe("crashed");
  });

  it("keeps a job under its lease, and gives it to nobody twice", () => {
    const world = new EndpointHarness({ min_replicas: 1, idle_timeout_s: 3_600 });
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(20_000);
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true));
    world.pass(5_000);
    world.call((core) => core.admitReplica(replica.node, replica.id));
    expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: false } });
    expect(world.complete(replica, lease)).toMatchObject({ ok: true });
    expect(world.job(id)).toMatchObject({ state: "succeeded", attempt: 1 });
  });

  it("fences the lease that ran out meanwhile: the replica hears that it is over, and takes other work", () => {
    const world = new EndpointHarness({ min_replicas: 1, idle_timeout_s: 3_600 });
    const replica = world.replica();
    world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(20_000);
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true));
    world.pass(20_000);
    world.call((core) => core.admitReplica(replica.node, replica.id));
    expect(world.poll(replica, [lease])).toMatchObject({ ended: [lease.lease_id], stop: false });
    expect(world.complete(replica, lease)).toMatchObject({ ok: false, code: "lease_lost" });
  });
});

describe("a replica that is not heard of, while its pod says nothing", () => {
  it("is given up later than its pod gives up a node, however old its last poll is", () => {
    const world = new EndpointHarness({ min_replicas: 1, idle_timeout_s: 3_600 });
    const replica = world.replica();
    world.poll(replica);
    world.pass(24_000);
    world.call((core) => core.abandonPoll(replica.id, world.waiting.get(replica.id) ?? ""));
    world.pass(LONG_POLL_MS + NODE_LOST_MS);
    world.answerDemand([replica]);
    const states = () => {
      const reply = world.core.listReplicas(world.workspaceId);
      return reply.ok ? reply.replicas.map(({ state }) => state) : [];
    };
    expect(states()).toEqual(["ready"]);
    world.pass(10_000);
    expect(states()).toEqual(["draining"]);
  });
});
