import { describe, expect, it } from "vitest";
import { type EndpointId, makeId, type NodeId, ownerKey, type PodId, ReplicaId, type WorkspaceId } from "#contract/ids";
import { NODE_LOST_MS } from "#contract/limits";
import { PodCore } from "#durable-objects/pod/pod-core";
import { QUIET_NOTED_MS } from "#durable-objects/pod/pod-state";
import { FAST_FAILURE_MS, FAST_FAILURES_MAX } from "#durable-objects/replicas/crash-backoff";
import { FAIR_TURN_MS } from "#durable-objects/replicas/reclaim";
import { FLAPS_MAX } from "#durable-objects/replicas/trust";
import { NodeDatabase } from "../queue/node-database.ts";
import { seededBytes } from "../seeded-bytes.ts";
import { held, PodHarness, replicaOnNode } from "./pod-harness.ts";

describe("a node", () => {
  it("is told at once what to run when it waits, and then left alone", () => {
    const pod = new PodHarness();
    const node = pod.node();
    expect(pod.poll(node)).toBe("waiting");
    const endpoint = pod.endpoint();
    const { replicas, shortage } = pod.demand(endpoint, 1);
    expect([replicas.length, shortage.code]).toEqual([1, "none"]);
    const wanted = { replica_id: replicas[0]?.replicaId, slot: 0, endpoint_id: endpoint, action: "run" };
    expect(pod.answers).toEqual([{ nodeId: node, answer: { replicas: [wanted] } }]);
    expect(pod.poll(node, [held(replicas[0]?.replicaId ?? ("" as ReplicaId), "preparing")])).toBe("waiting");
  });

  it("is told again what it has not done, but not in a tight loop", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.demand(pod.endpoint(), 1);
    expect(pod.poll(node)).toHaveLength(1);
    expect(pod.poll(node)).toBe("waiting");
    pod.pass(3_000);
    expect(pod.poll(node)).toHaveLength(1);
  });

  it("must not run what is not wanted, and its slot counts as taken until it has stopped it", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    const stray = makeId(ReplicaId, "rep", pod.now, seededBytes(9), ownerKey(endpoint));
    expect(pod.poll(node, [held(stray)])).toEqual([]);
    expect(pod.demand(endpoint, 1)).toMatchObject({ replicas: [], shortage: { code: "all_slots_busy", error: null } });
    pod.pass(3_000);
    expect(pod.poll(node, [], { waitMs: 0 })).toHaveLength(1);
  });

  it("that was not heard of loses its replicas, and their endpoints are told until when it was", () => {
    const { pod, node, replicaId } = replicaOnNode();
    pod.poll(node, [held(replicaId, "booting")], { waitMs: 0 });
    for (let beats = 0; beats < 30; beats += 1) {
      pod.pass(10_000);
      pod.poll(node, [held(replicaId, "booting")], { waitMs: 0 });
    }
    const heardAt = pod.now;
    pod.pass(NODE_LOST_MS);
    expect(pod.farewells()).toMatchObject([{ replicaId, silent: true, heardAt }]);
    pod.restart();
    pod.pass(4_000);
    expect(pod.farewells()).toMatchObject([{ replicaId, silent: true, heardAt }]);
  });

  it("that was not heard of loses its replicas, and their endpoints are told until they take note", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    pod.pass(NODE_LOST_MS);
    expect(pod.farewells()).toMatchObject([
      { endpointId: endpoint, replicaId, reason: expect.stringContaining("machine") },
    ]);
    pod.pass(4_000);
    expect(pod.farewells()).toMatchObject([{ replicaId }]);
    pod.call((core) => core.farewellTaken(replicaId));
    pod.pass(120_000);
    expect(pod.farewells()).toEqual([]);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(false);
    expect(pod.core.listNodes(pod.workspaceId)).toMatchObject({
      nodes: [{ online: false, slots: [{ replica_id: null }] }],
    });
  });

  it("that comes back after it was lost is told to stop what it still runs and nobody wants", () => {
    const { pod, node, endpoint, replicaId: old } = replicaOnNode();
    pod.pass(NODE_LOST_MS);
    pod.demand(endpoint, 0);
    expect(pod.poll(node, [held(old)], { waitMs: 0 })).toEqual([]);
    pod.demand(endpoint, 1);
    expect(pod.wanted(node)).not.toBe(old);
  });

  it("has the time to speak up after the object itself was away", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const replicaId = pod.wanted(node);
    pod.now += 10 * NODE_LOST_MS;
    pod.restart();
    pod.pass(NODE_LOST_MS - 1);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
    pod.pass(1);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(false);
  });

  it("is lost although each alarm finds the object thrown out of memory", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    for (let alarms = 0; pod.core.verifyReplica(endpoint, replicaId, node) && alarms < 20; alarms += 1) {
      pod.now = Math.max(pod.now, pod.armedAt ?? pod.now);
      pod.restart();
      pod.armedAt = null;
      pod.call((core) => core.wake());
    }
    expect(pod.farewells()).toMatchObject([{ replicaId }]);
  });

  it("that dies alone in its pod is lost within 45 s, although the object is thrown out of memory meanwhile", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    for (const more of [{}, { waitMs: 24_000 }]) {
      expect(pod.poll(node, [held(replicaId)], more)).toBe("waiting");
      pod.pass(more.waitMs === undefined ? 1_000 : 24_000);
    }
    const died = pod.now - 24_000;
    pod.call((core) => core.pollTimedOut(node, pod.waiting.get(node) ?? ""));
    pod.evict();
    while (pod.core.verifyReplica(endpoint, replicaId, node) && pod.now < died + 60_000) pod.pass(100);
    expect(pod.now - died).toBeLessThanOrEqual(24_000 + NODE_LOST_MS + 100);
    expect(pod.farewells()).toMatchObject([{ replicaId, silent: true, heardAt: died }]);
  });

  it("that goes away again and again is found out, although it is alone in its pod", () => {
    const { pod, node, replicaId } = replicaOnNode();
    for (let times = 0; times < FLAPS_MAX; times += 1) {
      const back = pod.now + 20_500;
      pod.evict();
      pod.pass(back - pod.now);
      pod.poll(node, [held(replicaId)], { waitMs: 0 });
    }
    expect(pod.shown(node).quarantine?.reason).toContain("went away");
  });

  it("keeps what it has when the object restarts just before its alarm, which was for an earlier poll", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    pod.pass(QUIET_NOTED_MS);
    pod.call((core) => core.noteQuiet());
    expect(pod.poll(node, [held(replicaId)])).toBe("waiting");
    pod.now += NODE_LOST_MS - QUIET_NOTED_MS - 1;
    pod.restart();
    pod.pass(NODE_LOST_MS - 1);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
  });

  it("that was quiet when the object went away has the time to speak up when it is back", () => {
    const { pod, node, endpoint, replicaId } = replicaOnNode();
    pod.pass(QUIET_NOTED_MS);
    pod.call((core) => core.noteQuiet());
    pod.now += 60_000;
    pod.restart();
    pod.pass(NODE_LOST_MS - 1);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
    pod.pass(1);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(false);
  });

  it("is noted as quiet after some seconds, and nothing is written for one that polls again at once", () => {
    const { pod, node, replicaId } = replicaOnNode();
    expect(pod.core.noteQuiet()).toBe(pod.now + QUIET_NOTED_MS);
    pod.poll(node, [held(replicaId)]);
    expect(pod.core.noteQuiet()).toBeNull();
    const quiet = () => pod.db.exec("SELECT quiet_at FROM nodes")[0]?.quiet_at;
    pod.pass(25_000);
    pod.call((core) => core.pollTimedOut(node, pod.waiting.get(node) ?? ""));
    const endedAt = pod.now;
    pod.pass(QUIET_NOTED_MS);
    expect(quiet()).toBeNull();
    expect(pod.core.noteQuiet()).toBeNull();
    expect(quiet()).toBe(endedAt);
    pod.poll(node, [held(replicaId)]);
    expect(quiet()).toBeNull();
  });

  it("has its time again when the object went away before anybody could be heard", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const replicaId = pod.wanted(node);
    for (const away of [10 * NODE_LOST_MS, NODE_LOST_MS + 5_000]) {
      pod.now += away;
      pod.restart();
      pod.pass(1);
    }
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
  });

  it("that polls after each waking is never lost, however often the object restarts", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const replicaId = pod.wanted(node);
    for (let round = 0; round < 20; round += 1) {
      pod.restart();
      pod.pass(2_000);
      pod.poll(node, [held(replicaId)], { waitMs: 0 });
      pod.pass(NODE_LOST_MS - 3_000);
    }
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
  });

  it("that restarted runs nothing any more: its replicas are gone", () => {
    const { pod, node, replicaId: old } = replicaOnNode();
    expect(pod.poll(node, [], { waitMs: 0 })).toEqual([]);
    expect(pod.farewells()).toMatchObject([{ replicaId: old }]);
    pod.pass(5_000);
    expect(pod.wanted(node)).not.toBe(old);
  });

  it("does not lose a replica by a copy of an old poll", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const answer = pod.poll(node, [], { pollId: "early-poll", waitMs: 0 });
    const replicaId = typeof answer === "string" ? undefined : answer[0]?.replica_id;
    if (replicaId === undefined) throw new Error("nothing is wanted");
    pod.poll(node, [held(replicaId)], { waitMs: 0 });
    expect(pod.poll(node, [], { pollId: "early-poll", waitMs: 0 })).toHaveLength(1);
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
  });

  it("that drains gets nothing new, and its replicas are let go", () => {
    const pod = new PodHarness();
    const [leaving, staying] = [pod.node(), pod.node()];
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const at =
      [leaving, staying].find((node) => (pod.poll(node, [], { waitMs: 0 }) as unknown[]).length === 1) ?? leaving;
    const replicaId = pod.wanted(at);
    expect(pod.poll(at, [held(replicaId)], { draining: true, waitMs: 0 })).toMatchObject([{ action: "drain" }]);
    const other = at === leaving ? staying : leaving;
    expect(pod.wanted(other)).not.toBe(replicaId);
    pod.demand(endpoint, 3);
    expect(pod.poll(at, [held(replicaId, "draining")], { draining: true, waitMs: 0 })).toHaveLength(1);
  });

  it("is known only with its own workspace and pod", () => {
    const pod = new PodHarness();
    const nodeId = pod.node();
    const strangers = "ws_00000000000000000000000000" as WorkspaceId;
    const poll = { poll_id: "some-poll", comfyui: "", gpus: [], slots: 1, draining: false, replicas: [], wait_ms: 0 };
    const outcome = pod.core.pollNode({ workspaceId: strangers, podId: pod.podId, nodeId }, poll);
    expect(outcome).toMatchObject({ reply: { ok: false, code: "node_not_found" } });
    expect(pod.core.listNodes(strangers)).toMatchObject({ ok: false, code: "pod_not_found" });
    expect(pod.core.join(strangers, { name: "x", agent_version: "1", comfyui: "", gpus: [], slots: 1 })).toMatchObject({
      code: "pod_not_found",
    });
    expect(pod.core.configure(pod.podId, strangers)).toMatchObject({ code: "pod_not_found" });
  });
});

describe("a demand", () => {
  it("that is older than the last is ignored", () => {
    const pod = new PodHarness();
    pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1, { version: 10 });
    expect(pod.demand(endpoint, 0, { version: 9 }).replicas).toHaveLength(1);
    const node = pod.demand(endpoint, 0, { version: 11 }).replicas[0]?.nodeId;
    expect(pod.poll(node ?? ("" as NodeId), [], { waitMs: 0 })).toEqual([]);
  });

  it("that shrinks takes back what no node has begun, and nothing that works", () => {
    const pod = new PodHarness();
    const [first, second] = [pod.node(), pod.node()];
    const endpoint = pod.endpoint();
    const placed = pod.demand(endpoint, 2).replicas;
    const started = placed.find(({ nodeId }) => nodeId === first)?.replicaId;
    if (started === undefined) throw new Error("nothing on the first node");
    pod.poll(first, [held(started)], { waitMs: 0 });
    pod.demand(endpoint, 1);
    expect(pod.poll(first, [held(started)], { waitMs: 0 })).toMatchObject([{ replica_id: started, action: "run" }]);
    expect(pod.poll(second, [], { waitMs: 0 })).toEqual([]);
    pod.demand(endpoint, 0);
    expect(pod.poll(first, [held(started)], { waitMs: 0 })).toMatchObject([{ action: "run" }]);
    pod.demand(endpoint, 0, { drain: [started] });
    expect(pod.poll(first, [held(started)], { waitMs: 0 })).toMatchObject([{ action: "drain" }]);
  });

  it("says why it is not met", () => {
    const pod = new PodHarness();
    const endpoint = pod.endpoint();
    expect(pod.demand(endpoint, 1).shortage.code).toBe("no_node_online");
    pod.node();
    expect(pod.demand(endpoint, 2).shortage.code).toBe("all_slots_busy");
  });

  it("comes back to the node that ran the endpoint before", () => {
    const pod = new PodHarness();
    const nodes = [pod.node(), pod.node(), pod.node()];
    const endpoint = pod.endpoint();
    const [placed] = pod.demand(endpoint, 1).replicas;
    if (placed === undefined) throw new Error("nothing was placed");
    pod.poll(placed.nodeId, [held(placed.replicaId)], { waitMs: 0 });
    pod.demand(endpoint, 0, { drain: [placed.replicaId] });
    pod.poll(placed.nodeId, [held(placed.replicaId, "stopped")], { waitMs: 0 });
    for (const node of nodes) pod.poll(node, [], { waitMs: 0 });
    expect(pod.demand(endpoint, 1).replicas[0]?.nodeId).toBe(placed.nodeId);
  });
});

describe("a replica that crashes", () => {
  const crash = (pod: PodHarness, node: NodeId): void => {
    const replicaId = pod.wanted(node);
    pod.poll(node, [{ ...held(replicaId, "crashed"), error: "out of memory" }], { waitMs: 0 });
  };

  it("is tried again after a pause that doubles, on the only node there is", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    for (const pause of [5_000, 10_000, 20_000, 40_000]) {
      crash(pod, node);
      expect(pod.demand(endpoint, 1)).toMatchObject({
        replicas: [],
        shortage: { code: "crash_looping", error: "out of memory" },
      });
      pod.pass(pause / 2);
      pod.poll(node, [], { waitMs: 0 });
      expect(pod.demand(endpoint, 1).replicas).toEqual([]);
      pod.pass(pause / 2);
      pod.poll(node, [], { waitMs: 0 });
      expect(pod.demand(endpoint, 1).replicas).toHaveLength(1);
    }
    expect(pod.farewells()[0]?.reason).toBe("out of memory");
  });

  it("does not hold up the next build, which may be the mended one", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    const [broken, mended] = ["a".repeat(64), "b".repeat(64)];
    pod.demand(endpoint, 1, { build: broken });
    for (let failure = 0; failure < FAST_FAILURES_MAX; failure += 1) {
      crash(pod, node);
      pod.pass(20_000);
      pod.poll(node, [], { waitMs: 0 });
    }
    crash(pod, node);
    expect(pod.demand(endpoint, 1, { build: broken }).shortage.code).toBe("crash_looping");
    expect(pod.demand(endpoint, 1, { build: mended })).toMatchObject({ shortage: { code: "none" } });
    expect(pod.core.listNodes(pod.workspaceId)).toMatchObject({ nodes: [{ quarantine: null }] });
  });

  it("goes elsewhere after a few fast failures, though the node has run it before", () => {
    const pod = new PodHarness();
    const bad = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    pod.beat(bad, FAST_FAILURE_MS + 10_000, [held(pod.wanted(bad))]);
    const replicaId = pod.wanted(bad, []);
    pod.poll(bad, [held(replicaId, "crashed")], { waitMs: 0 });
    for (let failure = 1; failure < FAST_FAILURES_MAX; failure += 1) {
      pod.pass(30_000);
      crash(pod, bad);
    }
    pod.demand(endpoint, 0);
    pod.pass(39_000);
    pod.poll(bad, [], { waitMs: 0 });
    const good = pod.node();
    expect(pod.demand(endpoint, 1).replicas[0]?.nodeId).toBe(good);
  });
});

describe("a full pod", () => {
  it("asks for an idle replica of another endpoint, and places when its slot is free", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const [idle, eager] = [pod.endpoint(), pod.endpoint()];
    pod.demand(idle, 1);
    const replicaId = pod.wanted(node);
    pod.poll(node, [held(replicaId)], { waitMs: 0 });
    pod.demand(idle, 1, { needed: 0 });
    pod.demand(eager, 1);
    expect(pod.reclaims).toMatchObject([{ endpointId: idle, replicaId }]);
    pod.call((core) => core.reclaimAnswered(replicaId, true));
    expect(pod.poll(node, [held(replicaId)], { waitMs: 0 })).toMatchObject([{ action: "drain" }]);
    expect(pod.poll(node, [held(replicaId, "stopped")], { waitMs: 0 })).toMatchObject([
      { endpoint_id: eager, action: "run" },
    ]);
  });

  it("is asked for on a closed machine, too, where only the pod's containers are used up", () => {
    const pod = new PodHarness();
    pod.configure({ containers_max: 1 });
    const [closed, open] = [pod.node(), pod.node()];
    const [idle, eager] = [pod.endpoint(), pod.endpoint()];
    pod.poll(open, [], { waitMs: 0, draining: true });
    const replicaId = pod.demand(idle, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    pod.poll(closed, [held(replicaId)], { waitMs: 0 });
    pod.demand(idle, 1, { needed: 0 });
    pod.call((core) => core.changeNode(pod.workspaceId, closed, { cordoned: true }));
    pod.poll(open, [], { waitMs: 0 });
    pod.demand(eager, 1);
    expect(pod.reclaims).toMatchObject([{ endpointId: idle, replicaId }]);
  });

  it("is asked for on a full machine although there is room on one where it crashes", () => {
    const pod = new PodHarness();
    const [full, bad] = [pod.node(), pod.node()];
    const [idle, eager] = [pod.endpoint(), pod.endpoint()];
    pod.poll(bad, [], { waitMs: 0, draining: true });
    const replicaId = pod.demand(idle, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    pod.poll(full, [held(replicaId)], { waitMs: 0 });
    pod.demand(idle, 1, { needed: 0 });
    pod.poll(bad, [], { waitMs: 0 });
    const crashed = pod.demand(eager, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    expect(pod.reclaims).toEqual([]);
    pod.poll(bad, [held(crashed, "crashed")], { waitMs: 0 });
    expect(pod.demand(eager, 1).shortage.code).toBe("crash_looping");
    expect(pod.reclaims).toMatchObject([{ endpointId: idle, replicaId }]);
  });

  it("asks again later when the endpoint would not give it, and for no more than is missing", () => {
    const pod = new PodHarness();
    const node = pod.node(3);
    const [idle, eager] = [pod.endpoint(), pod.endpoint()];
    const placed = pod.demand(idle, 3).replicas;
    const running = placed.map(({ replicaId }, slot) => held(replicaId, "ready", slot));
    pod.poll(node, running, { waitMs: 0, slots: 3 });
    pod.demand(idle, 3, { needed: 0 });
    pod.demand(eager, 1);
    expect(pod.reclaims).toHaveLength(1);
    pod.call((core) => core.reclaimAnswered(pod.reclaims[0]?.replicaId ?? ("" as ReplicaId), false));
    expect(pod.reclaims).toHaveLength(1);
    pod.pass(5_000);
    expect(pod.reclaims).toHaveLength(2);
  });

  it("ends the turn of one that had it for long, for one that has waited as long", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const [greedy, patient] = [pod.endpoint(), pod.endpoint()];
    pod.demand(greedy, 5);
    const replicaId = pod.wanted(node);
    const beat = () => pod.poll(node, [held(replicaId, "busy")], { waitMs: 0 });
    beat();
    pod.demand(patient, 1);
    for (let tens = 0; tens < FAIR_TURN_MS / 10_000 - 1; tens += 1) {
      pod.pass(10_000);
      expect(beat()).toMatchObject([{ action: "run" }]);
    }
    pod.pass(10_000);
    expect(beat()).toMatchObject([{ action: "drain" }]);
    expect(pod.poll(node, [], { waitMs: 0 })).toMatchObject([{ endpoint_id: patient, action: "run" }]);
  });
});

describe("a pod nobody has configured", () => {
  it("takes the word of the first endpoint that wants something of it", () => {
    const pod = new PodHarness();
    const fresh = new PodCore(new NodeDatabase(), { now: () => pod.now, randomBytes: seededBytes(3) }, null);
    expect(fresh.listNodes(pod.workspaceId)).toEqual({ ok: true, nodes: [] });
    const { podId, workspaceId } = pod;
    const wish = {
      podId,
      workspaceId,
      endpointId: pod.endpoint(),
      version: 1,
      wanted: 1,
      needed: 1,
      drain: [],
      regions: [],
      build: null,
      models: [],
      trials: [],
      warm: 0,
      calls: true,
    };
    expect(fresh.setDemand(wish)).toMatchObject({ ok: true, shortage: { code: "no_node_online", error: null } });
    expect(fresh.setDemand({ ...wish, workspaceId: "ws_00000000000000000000000000" as WorkspaceId })).toMatchObject({
      ok: false,
      code: "pod_not_found",
    });
  });

  it("stores nothing when it is only asked", () => {
    const db = new NodeDatabase();
    const fresh = new PodCore(db, { now: () => 1, randomBytes: seededBytes(3) }, null);
    const ids = { workspaceId: "ws_0" as WorkspaceId, podId: "pod_0" as PodId, nodeId: "node_0" as NodeId };
    const poll = { poll_id: "some-poll", comfyui: "", gpus: [], slots: 1, draining: false, replicas: [], wait_ms: 0 };
    expect(fresh.pollNode(ids, poll)).toMatchObject({ reply: { code: "node_not_found" } });
    expect(fresh.verifyReplica("ep_0" as EndpointId, "rep_0" as ReplicaId, ids.nodeId)).toBe(false);
    fresh.wake();
    expect(fresh.takeEffects()).toEqual([]);
    expect(db.exec("SELECT name FROM sqlite_master")).toEqual([]);
  });
});
