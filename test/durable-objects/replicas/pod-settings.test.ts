import { describe, expect, it } from "vitest";
import type { ReplicaId } from "#contract/ids";
import { card, disk, held, PodHarness } from "./pod-harness.ts";

const SMALL = card("NVIDIA GeForce RTX 3090", 24_576);
const LARGE = card("NVIDIA L40S", 46_068);

describe("the cards that a pod takes", () => {
  it("are asked for when a machine joins, and the answer names what was found", () => {
    const pod = new PodHarness();
    pod.configure({ gpu_types: ["l40s", "rtx-4090"] });
    expect(pod.join({ gpus: [LARGE] })).toMatchObject({ ok: true });
    const refused = pod.join({ gpus: [LARGE, SMALL], slots: 2 });
    expect(refused).toMatchObject({ ok: false, code: "gpu_mismatch" });
    for (const named of ["RTX 3090", "rtx-3090", "l40s, rtx-4090"]) {
      expect(refused.ok ? "" : refused.detail).toContain(named);
    }
    expect(pod.join({ gpus: [card("Some Card", 9_000)] })).toMatchObject({ code: "gpu_mismatch" });
    expect(pod.join()).toMatchObject({ code: "gpu_mismatch" });
  });

  it("are told with how many slots share each", () => {
    const pair = [SMALL, { ...SMALL, index: 1 }];
    for (const [gpus, slots, slotsPerGpu, shares] of [
      [[SMALL], 1, 1, [1]],
      [[SMALL], 2, 2, [2, 2]],
      [pair, 2, 1, [1, 1]],
      [pair, 3, 2, [1, 2, 2]],
    ] as const) {
      const pod = new PodHarness();
      pod.machine({ gpus, slots, slotsPerGpu });
      const { replicas } = pod.demand(pod.endpoint(), slots);
      expect(replicas.map(({ slotsOnCard }) => slotsOnCard).toSorted()).toEqual(shares);
    }
  });

  it("may be the workspace's own", () => {
    const pod = new PodHarness();
    const own = { name: "home-card", vram_mb: 9_000, matches: ["Some Card"] };
    pod.configure({ gpu_types: ["home-card"] }, [own]);
    const node = pod.machine({ gpus: [card("Some Card", 9_000)] });
    expect(pod.shown(node).gpu_type).toBe("home-card");
    expect(pod.demand(pod.endpoint(), 1)).toMatchObject({ replicas: [{ gpuType: "home-card" }] });
    pod.restart();
    expect(pod.shown(node).gpu_type).toBe("home-card");
  });

  it("may change: a machine that no longer fits finishes what it runs, and is then sent away", () => {
    const pod = new PodHarness();
    const gpus = [SMALL];
    const node = pod.machine({ gpus });
    const endpoint = pod.endpoint();
    const id = pod.demand(endpoint, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    const beat = (...replicas: ReturnType<typeof held>[]) => pod.poll(node, replicas, { waitMs: 0, gpus });
    expect(beat(held(id, "busy"))).toMatchObject([{ action: "run" }]);
    pod.configure({ gpu_types: ["l40s"] });
    expect(beat(held(id, "busy"))).toMatchObject([{ action: "drain" }]);
    expect(pod.demand(endpoint, 2)).toMatchObject({ shortage: { code: "no_node_online" }, room: 0, gpuTypes: [] });
    expect(beat(held(id, "stopped"))).toBe("refused");
    pod.configure({ gpu_types: [] });
    expect(beat()).toMatchObject([{ action: "run" }]);
  });

  it("may change: a machine that no longer fits and does nothing is sent away at once", () => {
    const pod = new PodHarness();
    const [small, large] = [pod.machine({ gpus: [SMALL] }), pod.machine({ gpus: [LARGE] })];
    expect([pod.poll(small, [], { gpus: [SMALL] }), pod.poll(large, [], { gpus: [LARGE] })]).toEqual([
      "waiting",
      "waiting",
    ]);
    pod.configure({ gpu_types: ["l40s"] });
    expect([...pod.waiting.keys()]).toEqual([large]);
    expect(pod.poll(small, [], { gpus: [SMALL] })).toBe("refused");
  });

  it("are used in the pod's order", () => {
    for (const [order, expected] of [
      [["rtx-3090", "l40s"], "rtx-3090"],
      [["l40s", "rtx-3090"], "l40s"],
    ] as const) {
      const pod = new PodHarness();
      pod.configure({ gpu_types: [...order] });
      for (const gpu of [SMALL, LARGE]) pod.machine({ gpus: [gpu] });
      expect(pod.demand(pod.endpoint(), 1).replicas).toMatchObject([{ gpuType: expected }]);
      expect(pod.demand(pod.endpoint(), 0).gpuTypes.toSorted()).toEqual(["l40s", "rtx-3090"]);
    }
  });
});

describe("a pod's regions", () => {
  it("keep machines elsewhere empty, also those that were there before", () => {
    const pod = new PodHarness();
    const west = pod.node(1, "eu-west");
    const endpoint = pod.endpoint();
    const id = pod.demand(endpoint, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    pod.configure({ regions: ["us-east"] });
    expect(pod.poll(west, [held(id)], { waitMs: 0, region: "eu-west" })).toMatchObject([{ action: "drain" }]);
    const east = pod.node(1, "us-east");
    expect(pod.demand(endpoint, 1).replicas.map(({ nodeId }) => nodeId)).toContain(east);
  });
});

describe("a pod's containers", () => {
  it("bound all endpoints together, and those on their way out count until they are gone", () => {
    const pod = new PodHarness();
    pod.configure({ containers_max: 2 });
    const node = pod.node(5);
    const [first, second] = [pod.endpoint(), pod.endpoint()];
    const placed = pod.demand(first, 1).replicas;
    expect(pod.demand(second, 3)).toMatchObject({ shortage: { code: "all_slots_busy" }, room: 0 });
    const all = () => pod.shown(node).slots.flatMap(({ replica_id }) => (replica_id === null ? [] : [replica_id]));
    expect(all()).toHaveLength(2);
    const id = placed[0]?.replicaId ?? ("" as ReplicaId);
    const others = all().filter((each) => each !== id);
    const beat = (state: "ready" | "stopped") =>
      pod.poll(node, [held(id, state), ...others.map((each) => held(each, "ready", 1))], { waitMs: 0, slots: 5 });
    beat("ready");
    pod.demand(first, 0, { drain: [id] });
    expect(all()).toHaveLength(2);
    beat("stopped");
    expect(pod.demand(second, 3).replicas).toHaveLength(2);
    pod.configure({ containers_max: null });
    expect(pod.demand(second, 3)).toMatchObject({ shortage: { code: "none" }, room: 2 });
  });

  it("that become fewer are left, first by who has more than it needs, after the jobs in hand", () => {
    const pod = new PodHarness();
    const node = pod.node(6);
    const [works, idles] = [pod.endpoint(), pod.endpoint()];
    const working = pod.demand(works, 3).replicas.map(({ replicaId }) => replicaId);
    const idle = pod.demand(idles, 2, { needed: 0 }).replicas.map(({ replicaId }) => replicaId);
    const running = [...working, ...idle].map((id, slot) => held(id, working.includes(id) ? "busy" : "ready", slot));
    const beat = () => {
      const answer = pod.poll(node, running, { waitMs: 0, slots: 6 });
      if (typeof answer === "string") throw new Error(answer);
      return new Set(answer.filter(({ action }) => action === "run").map(({ replica_id }) => replica_id));
    };
    expect(beat().size).toBe(5);
    pod.configure({ containers_max: 4 });
    const four = beat();
    expect([working, idle].map((ids) => ids.filter((id) => four.has(id)).length)).toEqual([3, 1]);
    pod.configure({ containers_max: 2 });
    const two = beat();
    expect([working, idle].map((ids) => ids.filter((id) => two.has(id)).length)).toEqual([2, 0]);
    // What drains is not taken back when there is room again.
    pod.configure({ containers_max: null });
    expect(new Set([...beat()].filter((id) => running.some((each) => each.replica_id === id)))).toEqual(two);
  });

  it("are shared: who has none gets an idle one, and a turn when none is idle", () => {
    const pod = new PodHarness();
    pod.configure({ containers_max: 1 });
    const node = pod.node(3);
    const [has, hasNone] = [pod.endpoint(), pod.endpoint()];
    const id = pod.demand(has, 1).replicas[0]?.replicaId ?? ("" as ReplicaId);
    pod.poll(node, [held(id)], { waitMs: 0, slots: 3 });
    pod.demand(has, 1, { needed: 0 });
    pod.demand(hasNone, 1);
    expect(pod.reclaims).toMatchObject([{ endpointId: has, replicaId: id }]);
  });
});

describe("a pod's warm floor", () => {
  it("falls to who needed a replica last, and who had it is told to ask again until it does", () => {
    const pod = new PodHarness();
    pod.configure({ min_replicas: 1 });
    pod.node(4);
    const [first, second] = [pod.endpoint(), pod.endpoint()];
    expect(pod.demand(first, 1).floor).toBe(1);
    expect(pod.demand(first, 1, { needed: 0 }).floor).toBe(1);
    pod.now += 1_000;
    expect(pod.demand(second, 1).floor).toBe(1);
    expect(pod.termsChanged).toEqual([first]);
    pod.pass(2_000);
    expect(pod.termsChanged).toEqual([first, first]);
    expect(pod.demand(first, 0, { needed: 0 }).floor).toBe(0);
    pod.pass(60_000);
    expect(pod.termsChanged).toHaveLength(2);
    expect(pod.demand(second, 1, { needed: 0 }).floor).toBe(1);
  });

  it("and its idle time are told anew when an operator changes them", () => {
    const pod = new PodHarness();
    pod.node(4);
    const endpoint = pod.endpoint();
    expect(pod.demand(endpoint, 1)).toMatchObject({ floor: 0, idleTimeoutMs: null });
    pod.configure({ min_replicas: 2, idle_timeout_s: 30 });
    expect(pod.termsChanged).toEqual([endpoint]);
    pod.restart();
    expect(pod.termsChanged).toHaveLength(2);
    expect(pod.demand(endpoint, 1)).toMatchObject({ floor: 2, idleTimeoutMs: 30_000 });
    pod.configure({ min_replicas: 2, idle_timeout_s: 30 });
    pod.restart();
    expect(pod.termsChanged).toHaveLength(2);
  });
});

describe("trials", () => {
  it("start one replica on each named card, which a smaller wish does not take back", () => {
    const pod = new PodHarness();
    for (const gpu of [SMALL, LARGE]) pod.machine({ gpus: [gpu] });
    const endpoint = pod.endpoint();
    const trials = ["l40s", "rtx-3090"];
    expect(
      pod
        .demand(endpoint, 0, { trials })
        .replicas.map(({ gpuType }) => gpuType)
        .toSorted(),
    ).toEqual(trials);
    expect(pod.demand(endpoint, 0, { trials }).replicas).toHaveLength(2);
    pod.demand(endpoint, 0, { trials: ["l40s"] });
    expect(pod.demand(endpoint, 1, { trials: ["l40s"] })).toMatchObject({ shortage: { code: "none" } });
  });
});

describe("what a machine has on its disk", () => {
  const build = "b".repeat(64);

  it("draws the replicas that need it, is asked for when it is not known, and outlives a restart", () => {
    const pod = new PodHarness();
    const [bare, built] = [pod.node(), pod.machine({ slotsPerGpu: 1, inventory: disk([build]) })];
    expect(pod.demand(pod.endpoint(), 1, { build }).replicas).toMatchObject([{ nodeId: built }]);
    const asked = () => {
      const outcome = pod.call((core) =>
        core.pollNode(
          { workspaceId: pod.workspaceId, podId: pod.podId, nodeId: bare },
          {
            poll_id: `poll-of-${pod.now}`,
            comfyui: "",
            gpus: [],
            slots: 1,
            slots_per_gpu: 1,
            draining: false,
            replicas: [],
            wait_ms: 0,
          },
        ),
      );
      pod.now += 1;
      return outcome.type === "answered" && outcome.reply.ok ? outcome.reply.answer : null;
    };
    expect(asked()).toEqual({ replicas: [], send_inventory: true });
    pod.poll(bare, [], { waitMs: 0, slotsPerGpu: 1, inventory: disk([], ["m"]) });
    expect(asked()).toEqual({ replicas: [] });
    pod.restart();
    expect(asked()).toEqual({ replicas: [] });
    expect(pod.shown(bare).inventory?.models).toEqual(["m"]);
  });

  it("is written when it changes and not otherwise", () => {
    const pod = new PodHarness();
    const node = pod.machine({ slotsPerGpu: 1, inventory: disk([build]) });
    const rows = () => pod.db.exec("SELECT total_changes() AS rows")[0]?.rows;
    const beat = (builds: string[]) => pod.poll(node, [], { waitMs: 0, slotsPerGpu: 1, inventory: disk(builds) });
    pod.pass(1_000);
    beat([build]);
    const before = rows();
    beat([build]);
    expect(rows()).toBe(before);
    beat([]);
    expect(rows()).not.toBe(before);
  });
});
