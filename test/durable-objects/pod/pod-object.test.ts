import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { NodeId, ReplicaId } from "#contract/ids";
import { METRICS_WATCHED_MS, NODE_LOST_MS } from "#contract/limits";
import { DEFAULT_POD_SETTINGS } from "#contract/replica";
import { eventually, must, Objects } from "../endpoint/objects.ts";

const idlePoll = { comfyui: "stand-in", gpus: [], slots: 1, draining: false, replicas: [], wait_ms: 0 };
const figures = {
  gpus: [],
  cpu_percent: 12,
  memory_used_mb: 1,
  memory_total_mb: 2,
  disk_free_mb: 3,
  disk_total_mb: 4,
  network_in_bytes_per_s: 5,
  network_out_bytes_per_s: null,
};

describe("a pod object nobody has configured", () => {
  it("refuses, and stores nothing", async () => {
    const objects = new Objects();
    const node = { workspaceId: objects.workspaceId, podId: objects.podId, nodeId: "node_0" as NodeId };
    const poll = {
      poll_id: "some-poll",
      comfyui: "",
      gpus: [],
      slots: 1,
      draining: false,
      replicas: [],
      wait_ms: 25_000,
    };
    expect(await objects.pod.pollNode(node, poll)).toMatchObject({ ok: false, code: "node_not_found" });
    expect(await objects.pod.listNodes(objects.workspaceId)).toEqual({ ok: true, nodes: [] });
    expect(await objects.pod.verifyReplica(objects.endpointId, "rep_0" as ReplicaId, node.nodeId)).toBe(false);
    await objects.pod.abandonPoll(node.nodeId, "some-poll");
    const left = await runInDurableObject(objects.podStub, async (_, state) => ({
      tables: state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '_cf_%'").toArray(),
      alarm: await state.storage.getAlarm(),
    }));
    expect(left).toEqual({ tables: [], alarm: null });
  });
});

describe("a pod and its endpoints", () => {
  it("place a replica for a job on a machine whose poll waits", async () => {
    const objects = await Objects.open();
    const node = await objects.join();
    const waiting = objects.beat(node, [], 25_000);
    const id = await objects.submit();
    const { replicas } = await waiting;
    expect(replicas).toMatchObject([{ endpoint_id: objects.endpointId, slot: 0, action: "run" }]);
    const replicaId = replicas[0]?.replica_id ?? ("" as ReplicaId);
    await must(objects.endpoint.reportReplica(node, replicaId, { state: "booting", phases: [] }));
    const { proof } = await objects.take(node, replicaId);
    await must(objects.endpoint.complete(proof, { outputs: [], phases: [] }, []));
    const { timeline } = await objects.job(id);
    expect(timeline.map(({ phase }) => phase)).toContain("assigned");
    const { nodes } = await must(objects.pod.listNodes(objects.workspaceId));
    expect(nodes).toMatchObject([{ id: node.nodeId, online: true, slots: [{ slot: 0, replica_id: replicaId }] }]);
  });

  it("give the jobs of a machine that restarted back to the queue", async () => {
    const objects = await Objects.open();
    const id = await objects.submit();
    const { node, replicaId } = await objects.machine();
    const { proof } = await objects.take(node, replicaId);
    await must(objects.endpoint.progress(proof, { phase: "executing" }));
    await objects.beat(node, [replicaId]);
    await objects.beat(node, []);
    const job = await eventually(async () => {
      const seen = await objects.job(id);
      return seen.state === "queued" ? seen : null;
    });
    expect(job).toMatchObject({ attempt: 1, phase: "retrying" });
    expect(await objects.endpoint.progress(proof, { phase: "executing" })).toMatchObject({
      ok: false,
      code: "lease_lost",
    });
  });

  it("hand an idle replica's slot from one endpoint to another", async () => {
    const first = await Objects.open({ idle_timeout_s: 86_400 });
    const second = new Objects();
    Object.assign(second, { workspaceId: first.workspaceId, podId: first.podId });
    await second.configure({});
    const done = await first.submit();
    const { node, replicaId } = await first.machine();
    const { proof } = await first.take(node, replicaId);
    await must(first.endpoint.complete(proof, { outputs: [], phases: [] }, []));
    expect((await first.job(done)).state).toBe("succeeded");
    await second.submit();
    const drained = await eventually(async () => {
      const { replicas } = await first.beat(node, [replicaId]);
      return replicas[0]?.action === "drain" ? replicas[0] : null;
    });
    expect(drained.replica_id).toBe(replicaId);
    expect((await must(first.poll(node, replicaId))).answer.stop).toBe(true);
    const next = await eventually(async () => {
      const { replicas } = await first.beat(node, []);
      return replicas[0]?.endpoint_id === second.endpointId ? replicas[0] : null;
    });
    expect(next.action).toBe("run");
  }, 30_000);

  it("remember everything across a restart of both", async () => {
    const objects = await Objects.open();
    await objects.submit();
    const { node, replicaId } = await objects.machine();
    await evictDurableObject(objects.podStub);
    await evictDurableObject(objects.endpointStub);
    expect(await objects.pod.verifyReplica(objects.endpointId, replicaId, node.nodeId)).toBe(true);
    expect((await objects.take(node, replicaId)).lease.attempt).toBe(1);
    expect((await objects.beat(node, [replicaId])).replicas).toMatchObject([{ replica_id: replicaId, action: "run" }]);
  });

  it("give up a machine that is alone in its pod on time, although the pod is thrown out of memory", async () => {
    const objects = await Objects.open();
    const node = await objects.join();
    await objects.beat(node);
    const since = Date.now();
    await eventually(() =>
      runInDurableObject(objects.podStub, (_, state) => {
        const [row] = state.storage.sql.exec("SELECT quiet_at FROM nodes").toArray();
        return typeof row?.quiet_at === "number" ? true : null;
      }),
    );
    await evictDurableObject(objects.podStub);
    // Nobody calls it: its alarm alone wakes it.
    await new Promise((resolve) => setTimeout(resolve, since + NODE_LOST_MS + 500 - Date.now()));
    const online = await runInDurableObject(objects.podStub, (_, state) =>
      state.storage.sql.exec("SELECT online FROM nodes").toArray(),
    );
    expect(online).toEqual([{ online: 0 }]);
  }, 30_000);

  it("know of a replica what its endpoint has heard: nothing before it asks for work, then the job it holds", async () => {
    const objects = await Objects.open();
    await objects.submit();
    const { node, replicaId } = await objects.machine();
    await objects.beat(node, [replicaId]);
    const heard = () => objects.endpoint.heardOf(objects.podId, replicaId);
    await must(objects.endpoint.reportReplica(node, replicaId, { state: "loading", phases: [] }));
    expect(await heard()).toMatchObject({ works: false, leases: 0 });
    await objects.take(node, replicaId);
    expect(await heard()).toMatchObject({ works: true, leases: 1 });
    await must(objects.endpoint.reportReplica(node, replicaId, { state: "booting", phases: [] }));
    expect(await heard()).toMatchObject({ works: true });
    const stranger = new Objects();
    expect(await stranger.endpoint.heardOf(objects.podId, replicaId)).toMatchObject({ works: true, leases: 0 });
  });

  it("let a machine's poll end by itself and when its client has gone", async () => {
    const objects = await Objects.open();
    const node = await objects.join();
    expect(await objects.beat(node, [], 20)).toEqual({ replicas: [] });
    const poll = {
      poll_id: "abandoned-poll",
      comfyui: "",
      gpus: [],
      slots: 1,
      draining: false,
      replicas: [],
      wait_ms: 25_000,
    };
    const waiting = objects.pod.pollNode(node, poll);
    await objects.pod.abandonPoll(node.nodeId, "abandoned-poll");
    expect(await waiting).toEqual({ ok: true, answer: { replicas: [] } });
  });

  it("use a machine only where the endpoint may run, and take its word when it moves", async () => {
    const objects = await Objects.open({ regions: ["eu-west"] });
    const node = await objects.join();
    await objects.submit();
    const beat = async (seq: number, region: string) => {
      const machine = { comfyui: "stand-in", gpus: [], slots: 1, draining: false, replicas: [], wait_ms: 0, region };
      const poll = { ...machine, poll_id: objects.pollId(), order: { start: 1, seq } };
      return (await must(objects.pod.pollNode(node, poll))).answer.replicas;
    };
    expect(await beat(1, "us-east")).toEqual([]);
    const placed = await eventually(async () => (await beat(3, "eu-west"))[0] ?? null);
    expect(placed.endpoint_id).toBe(objects.endpointId);
    // A poll of before the move, late: the node stays where it is.
    expect(await beat(2, "us-east")).toMatchObject([{ action: "run" }]);
    const { nodes } = await must(objects.pod.listNodes(objects.workspaceId));
    expect(nodes).toMatchObject([{ region: "eu-west", slots: [{ replica_id: placed.replica_id }] }]);
  });

  it("drop the replicas of an endpoint that was removed", async () => {
    const objects = await Objects.open({ min_replicas: 1 });
    const { node, replicaId } = await objects.machine();
    await must(objects.poll(node, replicaId));
    await objects.beat(node, [replicaId]);
    await must(objects.endpoint.remove(objects.workspaceId));
    const drained = await eventually(async () => {
      const { replicas } = await objects.beat(node, [replicaId]);
      return replicas[0]?.action === "drain" ? replicas[0] : null;
    });
    expect(drained.replica_id).toBe(replicaId);
  });

  it("let an operator cordon, look at and remove a machine while its poll waits", async () => {
    const objects = await Objects.open();
    const { workspaceId, pod } = objects;
    const node = await objects.join();
    const cordoned = await must(pod.changeNode(workspaceId, node.nodeId, { cordoned: true }));
    expect(cordoned.node).toMatchObject({ cordoned: true, quarantine: null, slots_per_gpu: 1, gpu_type: null });
    const waiting = objects.beat(node, [], 25_000);
    await eventually(async () => {
      // Each look counts until the poll is there to be answered.
      await must(pod.watchNode(workspaceId, node.nodeId));
      return Promise.race([waiting, new Promise<null>((resolve) => setTimeout(() => resolve(null), 50))]);
    });
    expect(await waiting).toEqual({ replicas: [], metrics_every_ms: METRICS_WATCHED_MS });
    expect(await must(pod.reportMetrics(node, figures))).toEqual({ ok: true, nextInMs: METRICS_WATCHED_MS });
    const { nodes } = await must(pod.listNodes(workspaceId));
    expect(nodes).toMatchObject([{ metrics: figures }]);
    // Figures live in memory: who comes after a restart waits for the next ones.
    await evictDurableObject(objects.podStub);
    expect((await must(pod.listNodes(workspaceId))).nodes).toMatchObject([{ cordoned: true, metrics: null }]);
    await must(pod.removeNode(workspaceId, node.nodeId));
    expect(await pod.pollNode(node, { ...idlePoll, poll_id: objects.pollId() })).toMatchObject({
      code: "node_not_found",
    });
  });

  it("obey the pod's settings across a restart, and a pod that is deleted stays so", async () => {
    const objects = await Objects.open();
    const { workspaceId, podId, pod } = objects;
    const settings = { ...DEFAULT_POD_SETTINGS, gpu_types: ["l40s"] };
    await must(pod.configure(podId, workspaceId, { version: 2, settings }));
    await must(pod.configure(podId, workspaceId, { version: 1, settings: DEFAULT_POD_SETTINGS }));
    await evictDurableObject(objects.podStub);
    const machine = { name: "machine", agent_version: "1", comfyui: "stand-in", gpus: [], slots: 1 };
    expect(await pod.join(workspaceId, machine)).toMatchObject({ ok: false, code: "gpu_mismatch" });
    await must(pod.remove(workspaceId));
    await evictDurableObject(objects.podStub);
    expect(await pod.join(workspaceId, machine)).toMatchObject({ ok: false, code: "pod_not_found" });
    expect(await pod.configure(podId, workspaceId)).toMatchObject({ ok: false, code: "pod_not_found" });
  });

  it("tell an endpoint that its share of the warm floor has changed, until it has asked", async () => {
    const objects = await Objects.open({ idle_timeout_s: 86_400 });
    const { workspaceId, podId, pod } = objects;
    await objects.submit();
    const { node } = await objects.machine();
    const told = () =>
      runInDurableObject(objects.podStub, (_, state) => {
        const [row] = state.storage.sql.exec("SELECT told FROM demands").toArray();
        return JSON.parse(String(row?.told)) as { floor: number; idleTimeoutMs: number | null };
      });
    expect(await told()).toEqual({ floor: 0, idleTimeoutMs: null });
    const settings = { ...DEFAULT_POD_SETTINGS, min_replicas: 1, idle_timeout_s: 60 };
    await must(pod.configure(podId, workspaceId, { version: 1, settings }));
    await eventually(async () => ((await told()).floor === 1 ? true : null));
    expect(await told()).toEqual({ floor: 1, idleTimeoutMs: 60_000 });
    expect((await objects.beat(node)).replicas).toHaveLength(1);
  });
});
