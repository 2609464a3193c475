import { describe, expect, it } from "vitest";
import { makeId, type NodeId, ownerKey, ReplicaId, type WorkspaceId } from "#contract/ids";
import {
  METRICS_UNWATCHED_MS,
  METRICS_WATCH_MS,
  METRICS_WATCHED_MS,
  NODE_LISTED_MAX,
  NODE_LOST_MS,
  NODES_PER_POD_MAX,
} from "#contract/limits";
import { CARD_SWAPS_MAX, FLAPS_MAX, QUARANTINE_MS, STRAYS_MAX } from "#durable-objects/replicas/trust";
import { seededBytes } from "../seeded-bytes.ts";
import { card, disk, held, PodHarness } from "./pod-harness.ts";

const change = (
  pod: PodHarness,
  node: NodeId,
  what: { cordoned?: boolean; draining?: boolean; quarantined?: false },
) => {
  const reply = pod.call((core) => core.changeNode(pod.workspaceId, node, what));
  if (!reply.ok) throw new Error(reply.code);
  return reply.node;
};

/** The next replica placed on the node is told, starts and dies at once. */
function dies(pod: PodHarness, node: NodeId, error = "out of memory"): void {
  const id = pod.wanted(node);
  pod.poll(node, [{ ...held(id, "crashed"), error }], { waitMs: 0 });
}

describe("an operator", () => {
  it("cordons a node: it gets nothing new, and what runs stays", () => {
    const pod = new PodHarness();
    const node = pod.node(2);
    const endpoint = pod.endpoint();
    const id = pod.demand(endpoint, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    const beat = () => pod.poll(node, [held(id)], { waitMs: 0, slots: 2 });
    beat();
    expect(change(pod, node, { cordoned: true })).toMatchObject({ cordoned: true, draining: false });
    expect(pod.demand(endpoint, 2)).toMatchObject({ replicas: [{ replicaId: id }], room: 0 });
    pod.restart();
    expect(beat()).toMatchObject([{ replica_id: id, action: "run" }]);
    change(pod, node, { cordoned: false });
    expect(pod.demand(endpoint, 2).replicas).toHaveLength(2);
  });

  it("drains a node although its agent does not, and takes it back", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    const id = pod.demand(endpoint, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    pod.poll(node, [held(id, "busy")]);
    expect(pod.waiting.has(node)).toBe(true);
    expect(change(pod, node, { draining: true }).draining).toBe(true);
    expect(pod.answers.at(-1)).toMatchObject({ nodeId: node, answer: { replicas: [{ action: "drain" }] } });
    expect(pod.poll(node, [held(id, "stopped")], { waitMs: 0 })).toEqual([]);
    expect(pod.demand(endpoint, 1).shortage.code).toBe("no_node_online");
    change(pod, node, { draining: false });
    expect(pod.wanted(node)).not.toBe(id);
  });

  it("removes a node: its replicas end, and its session is void", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    const id = pod.demand(endpoint, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    pod.poll(node, [held(id, "busy")]);
    expect(pod.call((core) => core.removeNode(pod.workspaceId, node))).toEqual({ ok: true });
    expect(pod.answers.at(-1)).toEqual({ nodeId: node, answer: { replicas: [] } });
    // Its job goes on under its lease: nobody has said that the machine is dead.
    expect(pod.farewells()).toMatchObject([{ replicaId: id, silent: true }]);
    expect(pod.poll(node, [held(id, "busy")])).toBe("refused");
    expect(pod.core.verifyReplica(endpoint, id, node)).toBe(false);
    expect(pod.core.listNodes(pod.workspaceId)).toEqual({ ok: true, nodes: [] });
    expect(pod.call((core) => core.removeNode(pod.workspaceId, node))).toMatchObject({ code: "node_not_found" });
  });

  it("may do so only in the own workspace", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const strangers = "ws_00000000000000000000000000" as WorkspaceId;
    for (const reply of [
      pod.core.changeNode(strangers, node, { cordoned: true }),
      pod.core.removeNode(strangers, node),
      pod.core.watchNode(strangers, node),
    ]) {
      expect(reply).toMatchObject({ ok: false, code: "node_not_found" });
    }
    expect(pod.core.remove(strangers)).toMatchObject({ ok: false, code: "pod_not_found" });
  });

  it("deletes a pod only when no machine of it is online", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    const id = pod.demand(endpoint, 1).replicas[0]?.replicaId;
    expect(pod.call((core) => core.remove(pod.workspaceId))).toMatchObject({ ok: false, code: "pod_in_use" });
    pod.now += NODE_LOST_MS;
    expect(pod.call((core) => core.remove(pod.workspaceId))).toEqual({ ok: true });
    expect(pod.farewells()).toMatchObject([{ replicaId: id }]);
    expect(pod.poll(node)).toBe("refused");
    expect(pod.join()).toMatchObject({ code: "pod_not_found" });
    pod.restart();
    expect(pod.join()).toMatchObject({ code: "pod_not_found" });
    expect(() => pod.demand(endpoint, 1)).toThrow("pod_not_found");
    pod.call((core) => core.farewellTaken(id ?? ("" as ReplicaId)));
    pod.armedAt = null;
    pod.pass(60_000);
    expect(pod.farewells()).toEqual([]);
    expect(pod.armedAt).toBeNull();
  });
});

describe("a node in quarantine", () => {
  it("because replicas of several endpoints died there: the others get them, and `why` says it", () => {
    const pod = new PodHarness();
    const bad = pod.machine({ name: "attic" });
    const [first, second] = [pod.endpoint(), pod.endpoint()];
    for (const endpoint of [first, second, first]) {
      pod.demand(endpoint, 1);
      dies(pod, bad, "CUDA error: unspecified launch failure");
      pod.demand(endpoint, 0);
      pod.pass(5_000);
    }
    const { quarantine } = pod.shown(bad);
    expect(quarantine?.reason).toContain("unspecified launch failure");
    pod.poll(bad, [], { waitMs: 0 });
    const third = pod.endpoint();
    const { shortage, room } = pod.demand(third, 1);
    expect([shortage.code, room]).toEqual(["no_node_online", 0]);
    expect(shortage.error).toContain("attic is in quarantine");
    pod.restart();
    pod.poll(bad, [], { waitMs: 0 });
    expect(pod.shown(bad).quarantine).toEqual(quarantine);
    const good = pod.node();
    expect(pod.demand(third, 1).replicas).toMatchObject([{ nodeId: good }]);
  });

  it("gets work again when its time is over, by itself, with nobody asking", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoints = [pod.endpoint(), pod.endpoint(), pod.endpoint()];
    for (const endpoint of endpoints) {
      pod.demand(endpoint, 1);
      dies(pod, node);
      pod.demand(endpoint, 0);
    }
    const last = pod.endpoint();
    expect(pod.demand(last, 1).replicas).toEqual([]);
    pod.beat(node, QUARANTINE_MS - 10_000);
    expect(pod.shown(node).slots).toEqual([{ slot: 0, replica_id: null }]);
    pod.beat(node, 20_000);
    expect(pod.shown(node)).toMatchObject({ quarantine: null, slots: [{ replica_id: expect.any(String) }] });
  });

  it("is for one endpoint only where nothing but its own replicas die, and takes others on", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const broken = pod.endpoint();
    pod.demand(broken, 1);
    for (const pause of [5_000, 10_000, 0]) {
      dies(pod, node, "no such node: Foo");
      pod.pass(pause);
    }
    expect(pod.shown(node).quarantine?.reason).toMatch(new RegExp(`For ${broken} only.*no such node: Foo`));
    expect(pod.demand(pod.endpoint(), 1).replicas).toMatchObject([{ nodeId: node }]);
  });

  it("is trusted again when an operator says so", () => {
    const pod = new PodHarness();
    const node = pod.node();
    for (const endpoint of [pod.endpoint(), pod.endpoint(), pod.endpoint()]) {
      pod.demand(endpoint, 1);
      dies(pod, node);
      pod.demand(endpoint, 0);
    }
    const waiting = pod.endpoint();
    expect(pod.demand(waiting, 1).replicas).toEqual([]);
    expect(change(pod, node, { quarantined: false }).quarantine).toBeNull();
    expect(pod.demand(waiting, 1).replicas).toHaveLength(1);
  });

  it("because it comes and goes", () => {
    const pod = new PodHarness();
    const node = pod.node();
    for (let times = 0; times < FLAPS_MAX; times += 1) {
      expect(pod.shown(node).quarantine).toBeNull();
      pod.pass(NODE_LOST_MS);
      pod.poll(node, [], { waitMs: 0 });
    }
    expect(pod.shown(node).quarantine?.reason).toContain("came back");
  });

  it("because it offers more slots than its cards hold, for as long as it does", () => {
    const pod = new PodHarness();
    const gpus = [card()];
    const node = pod.machine({ gpus, slots: 8, slotsPerGpu: 2 });
    expect(pod.shown(node).quarantine?.reason).toContain("8 slots on 1 cards");
    pod.beat(node, 5 * QUARANTINE_MS, [], { gpus, slots: 8, slotsPerGpu: 2 });
    expect(pod.demand(pod.endpoint(), 1).replicas).toEqual([]);
    pod.beat(node, 2 * QUARANTINE_MS, [], { gpus, slots: 2, slotsPerGpu: 2 });
    expect(pod.demand(pod.endpoint(), 1).replicas).toHaveLength(1);
  });

  it("because its cards change while its agent runs; with a new start they may", () => {
    const pod = new PodHarness();
    const [first, second] = [card(), card("NVIDIA L40S", 46_068)];
    const node = pod.machine({ gpus: [first] });
    const beat = (gpu: typeof first, start: number, seq: number) =>
      pod.poll(node, [], { waitMs: 0, gpus: [gpu], order: { start, seq } });
    beat(first, 1, 1);
    beat(second, 2, 1);
    expect(pod.shown(node).quarantine).toBeNull();
    beat(first, 2, 2);
    expect(pod.shown(node).quarantine?.reason).toContain("cards changed");
  });

  it("because it runs what it was never given, again and again", () => {
    const pod = new PodHarness();
    const node = pod.node(4);
    const bytes = seededBytes(5);
    const strays: ReplicaId[] = [];
    const report = () =>
      pod.poll(
        node,
        strays.map((id, slot) => held(id, "ready", slot)),
        { waitMs: 0, slots: 4 },
      );
    report();
    for (let times = 0; times < STRAYS_MAX; times += 1) {
      expect(pod.shown(node).quarantine).toBeNull();
      strays.push(makeId(ReplicaId, "rep", pod.now, bytes, ownerKey(pod.endpoint())));
      // The same one again counts once: it may take its time to stop.
      for (let beats = 0; beats < 3; beats += 1) report();
      pod.pass(5_000);
    }
    expect(pod.shown(node).quarantine?.reason).toContain("never given");
  });

  it("is not what a node gets that comes back with what it ran, or that this object does not remember", () => {
    const pod = new PodHarness();
    const node = pod.node(4);
    const endpoint = pod.endpoint();
    const running = pod.demand(endpoint, 4).replicas.map(({ replicaId }, slot) => held(replicaId, "busy", slot));
    const beat = () => pod.poll(node, running, { waitMs: 0, slots: 4 });
    beat();
    pod.pass(NODE_LOST_MS);
    beat();
    pod.restart();
    beat();
    expect(pod.shown(node).quarantine).toBeNull();
  });
});

describe("the list of a pod's nodes", () => {
  it("names of what each has only what it used last, and is bounded", () => {
    const pod = new PodHarness();
    const builds = Array.from({ length: NODE_LISTED_MAX + 1 }, (_, index) => String(index).padStart(64, "0"));
    const node = pod.machine({ inventory: disk(builds, builds) });
    expect(pod.shown(node).inventory).toMatchObject({
      builds: builds.slice(0, NODE_LISTED_MAX),
      models: builds.slice(0, NODE_LISTED_MAX),
    });
    expect(pod.call((core) => core.watchNode(pod.workspaceId, node))).toMatchObject({
      node: { inventory: { builds, models: builds } },
    });
    for (let nodes = 1; nodes < NODES_PER_POD_MAX; nodes += 1) pod.node();
    expect(pod.join()).toMatchObject({ code: "node_limit", detail: expect.stringContaining("Remove those") });
    pod.call((core) => core.removeNode(pod.workspaceId, node));
    expect(pod.join()).toMatchObject({ ok: true });
  });

  it("says why a node that is online gets nothing", () => {
    const pod = new PodHarness();
    const node = pod.machine({ gpus: [card()] });
    expect(pod.shown(node).unused_because).toBeNull();
    pod.configure({ gpu_types: ["rtx-3090"] });
    expect(pod.poll(node, [], { waitMs: 0 })).toBe("refused");
    expect(pod.shown(node)).toMatchObject({ online: true, unused_because: expect.stringContaining("rtx-3090") });
    pod.configure({ gpu_types: ["rtx-4090"] });
    expect(pod.poll(node, [], { waitMs: 0 })).toEqual([]);
    expect(pod.shown(node).unused_because).toBeNull();
    pod.pass(NODE_LOST_MS);
    change(pod, node, { cordoned: true });
    expect(pod.shown(node).unused_because).toBeNull();
  });
});

describe("a node's name and its agent's version", () => {
  it("are those of its last poll", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.poll(node, [], { waitMs: 0, name: "attic", version: "0.2.0" });
    pod.restart();
    expect(pod.shown(node)).toMatchObject({ name: "attic", agent_version: "0.2.0" });
    pod.poll(node, [], { waitMs: 0 });
    expect(pod.shown(node)).toMatchObject({ name: "attic", agent_version: "0.2.0" });
  });
});

describe("two nodes with one card", () => {
  const gpus = [{ ...card(), uuid: "GPU-1" }];
  const more = { gpus, slotsPerGpu: 1 };

  it("are one machine: the second takes nothing as long as the first is there", () => {
    const pod = new PodHarness();
    const first = pod.machine({ name: "first", ...more });
    pod.poll(first, [], more);
    pod.now += 1;
    const second = pod.machine({ name: "second", ...more });
    expect(pod.shown(second).quarantine?.reason).toContain("card GPU-1 is that of the node first");
    for (let beats = 0; beats < 20; beats += 1) {
      for (const node of [first, second]) pod.poll(node, [], { waitMs: 0, ...more });
      pod.pass(10_000);
    }
    expect(pod.shown(first).quarantine).toBeNull();
    expect(pod.demand(pod.endpoint(), 2).replicas).toMatchObject([{ nodeId: first }]);
    pod.pass(NODE_LOST_MS);
    pod.beat(second, QUARANTINE_MS, [], more);
    expect(pod.shown(second).quarantine).toBeNull();
  });

  it("are the same machine, joined anew, when the first is not heard of again", () => {
    const pod = new PodHarness();
    const first = pod.machine(more);
    pod.poll(first, [], { waitMs: 0, ...more });
    pod.now += 5_000;
    const again = pod.machine(more);
    pod.beat(again, 60_000, [], more);
    expect(pod.shown(again).quarantine).toBeNull();
    expect(pod.shown(first).online).toBe(false);
  });
});

describe("a node whose cards change", () => {
  const other = (name: string) => [{ ...card(), uuid: name }];

  it("with every start of its agent is not believed for long", () => {
    const pod = new PodHarness();
    const node = pod.machine({ gpus: other("GPU-0") });
    for (let start = 1; start <= CARD_SWAPS_MAX; start += 1) {
      expect(pod.shown(node).quarantine).toBeNull();
      pod.poll(node, [], { waitMs: 0, gpus: other(`GPU-${start}`), order: { start, seq: 0 } });
    }
    expect(pod.shown(node).quarantine?.reason).toContain(`cards changed ${CARD_SWAPS_MAX} times`);
  });

  it("and who does not say that it was started anew is not believed, unless it was away", () => {
    const pod = new PodHarness();
    const node = pod.machine({ gpus: other("GPU-0") });
    pod.poll(node, [], { waitMs: 0 });
    pod.pass(NODE_LOST_MS);
    pod.poll(node, [], { waitMs: 0, gpus: other("GPU-1") });
    expect(pod.shown(node).quarantine).toBeNull();
    pod.poll(node, [], { waitMs: 0, gpus: other("GPU-2") });
    expect(pod.shown(node).quarantine?.reason).toContain("changed while its agent ran");
  });
});

describe("when a node was last seen", () => {
  it("is not the time at which its pod woke", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.poll(node, [], { waitMs: 0 });
    const seen = pod.shown(node).last_seen_at;
    pod.now += 10 * 60_000;
    pod.restart();
    pod.call((core) => core.watchNode(pod.workspaceId, node));
    expect(pod.shown(node).last_seen_at).toBe(seen);
  });
});

describe("a node's figures", () => {
  const figures = {
    gpus: [{ index: 0, busy_percent: 97, vram_used_mb: 1, vram_total_mb: 2, temperature_c: 71, power_w: 300 }],
    cpu_percent: 12,
    memory_used_mb: 1,
    memory_total_mb: 2,
    disk_free_mb: 3,
    disk_total_mb: 4,
    network_in_bytes_per_s: 5,
    network_out_bytes_per_s: 6,
  };

  it("are shown as they came last, and asked for each second only while somebody looks", () => {
    const pod = new PodHarness();
    const node = pod.machine({ gpus: [card()] });
    const identity = { workspaceId: pod.workspaceId, podId: pod.podId, nodeId: node };
    const report = () => pod.call((core) => core.reportMetrics(identity, figures));
    expect(pod.shown(node).metrics).toBeNull();
    expect(report()).toEqual({ ok: true, nextInMs: METRICS_UNWATCHED_MS });
    expect(pod.shown(node).metrics).toEqual({ ...figures, at: new Date(pod.now).toISOString() });
    pod.poll(node);
    expect(pod.call((core) => core.watchNode(pod.workspaceId, node))).toMatchObject({ node: { metrics: figures } });
    expect(pod.answers.at(-1)?.answer).toEqual({ replicas: [], metrics_every_ms: METRICS_WATCHED_MS });
    expect(report()).toEqual({ ok: true, nextInMs: METRICS_WATCHED_MS });
    // Looking on does not cut the next poll short.
    pod.poll(node);
    pod.call((core) => core.watchNode(pod.workspaceId, node));
    expect(pod.answers).toHaveLength(1);
    pod.now += METRICS_WATCH_MS;
    expect(report()).toEqual({ ok: true, nextInMs: METRICS_UNWATCHED_MS });
  });

  it("are of its own cards", () => {
    const pod = new PodHarness();
    const node = pod.machine({ gpus: [card()] });
    const identity = { workspaceId: pod.workspaceId, podId: pod.podId, nodeId: node };
    const many = { ...figures, gpus: figures.gpus.flatMap((gpu) => [gpu, { ...gpu, index: 1 }]) };
    expect(pod.call((core) => core.reportMetrics(identity, many))).toMatchObject({
      code: "invalid_body",
      detail: "The figures are of a card 1, and the node has no such card.",
    });
    expect(pod.shown(node).metrics).toBeNull();
  });

  it("are asked for with the next poll when somebody began to look while none was open", () => {
    const pod = new PodHarness();
    const node = pod.node();
    pod.call((core) => core.watchNode(pod.workspaceId, node));
    expect(pod.poll(node)).toEqual([]);
    expect(pod.poll(node)).toBe("waiting");
  });

  it("are written nowhere, move no alarm, and go when the node does", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const identity = { workspaceId: pod.workspaceId, podId: pod.podId, nodeId: node };
    const rows = () => pod.db.exec("SELECT total_changes() AS rows")[0]?.rows;
    const [before, armed] = [rows(), pod.armedAt];
    for (let second = 0; second < 10; second += 1) {
      pod.now += 1_000;
      pod.call((core) => core.reportMetrics(identity, figures));
      pod.call((core) => core.watchNode(pod.workspaceId, node));
    }
    expect([rows(), pod.armedAt]).toEqual([before, armed]);
    pod.pass(NODE_LOST_MS);
    expect(pod.shown(node)).toMatchObject({ online: false, metrics: null });
    expect(pod.call((core) => core.reportMetrics({ ...identity, nodeId: "node_0" as NodeId }, figures))).toMatchObject({
      code: "node_not_found",
    });
  });
});
