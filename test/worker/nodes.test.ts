import { beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { METRICS_UNWATCHED_MS, METRICS_WATCHED_MS } from "#contract/limits";
import { agentHeaders, joinNode, pollNode, type TestNode } from "#test/worker/agent-node";
import { jsonOf, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
let node: TestNode;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
  node = await joinNode(workspace);
  await pollNode(node, []);
});

const pathOf = (id: string, verb = "", podId: string = workspace.podId) => `/v1/pods/${podId}/nodes/${id}${verb}`;
const read = async (id = node.nodeId) => jsonOf(await send("GET", pathOf(id), { key: workspace.key }));
const act = async (verb: string, id = node.nodeId) => {
  const answer = await send("POST", pathOf(id, `/${verb}`), { key: workspace.key });
  expect(answer.status).toBe(200);
  return jsonOf(answer);
};
const figures = (busy: number): JsonObject => ({
  gpus: [{ index: 0, busy_percent: busy, vram_used_mb: 9_000, vram_total_mb: 24_000, temperature_c: 61, power_w: 300 }],
  cpu_percent: 12,
  memory_used_mb: 8_000,
  memory_total_mb: 64_000,
  disk_free_mb: 100_000,
  disk_total_mb: 500_000,
  network_in_bytes_per_s: 1_000_000,
  network_out_bytes_per_s: null,
});
const reportFigures = (metrics: JsonObject, { nodeId, session }: TestNode = node, named = nodeId) =>
  send("POST", `/agent/v1/nodes/${named}/metrics`, { key: session, headers: agentHeaders(), json: { metrics } });

describe("a node", () => {
  it("is listed and read with what it has", async () => {
    const listed = await jsonOf(await send("GET", `/v1/pods/${workspace.podId}/nodes`, { key: workspace.key }));
    expect(listed.data).toEqual([expect.objectContaining({ id: node.nodeId, online: true })]);
    expect(await read()).toMatchObject({
      id: node.nodeId,
      pod_id: workspace.podId,
      online: true,
      draining: false,
      cordoned: false,
      quarantine: null,
      gpu_type: null,
      slots: [{ slot: 0, replica_id: null }],
    });
  });

  it("drains and is undrained, each as often as one likes", async () => {
    expect(await act("drain")).toMatchObject({ draining: true });
    expect(await act("drain")).toMatchObject({ draining: true });
    expect(await read()).toMatchObject({ draining: true });
    // Its own heartbeats, which know nothing of it, do not undo it.
    await pollNode(node, []);
    expect(await read()).toMatchObject({ draining: true });
    expect(await act("undrain")).toMatchObject({ draining: false });
  });

  it("is cordoned and uncordoned", async () => {
    expect(await act("cordon")).toMatchObject({ cordoned: true, draining: false });
    expect(await act("uncordon")).toMatchObject({ cordoned: false });
  });

  it("is trusted again when somebody says so", async () => {
    const fresh = await joinNode(workspace);
    // More slots than its one card can have.
    const lie = await send("POST", `/agent/v1/nodes/${fresh.nodeId}/poll`, {
      key: fresh.session,
      headers: agentHeaders(),
      json: {
        poll_id: "more-than-it-has",
        comfyui: "test",
        gpus: [{ index: 0, name: "test", uuid: null, vram_mb: 24_000, driver: null }],
        slots: 4,
        slots_per_gpu: 1,
        draining: false,
        replicas: [],
        wait_ms: 0,
      },
    });
    await lie.body?.cancel();
    expect(await read(fresh.nodeId)).toMatchObject({ quarantine: { reason: expect.stringContaining("slots") } });
    expect(await act("trust", fresh.nodeId)).toMatchObject({ id: fresh.nodeId, quarantine: null });
    await send("DELETE", pathOf(fresh.nodeId), { key: workspace.key });
  });

  it("is removed: its session is void, and it is told to join again", async () => {
    const gone = await joinNode(workspace);
    await pollNode(gone, []);
    expect((await send("DELETE", pathOf(gone.nodeId), { key: workspace.key })).status).toBe(204);
    const again = await send("DELETE", pathOf(gone.nodeId), { key: workspace.key });
    expect(await refusalOf(again)).toEqual({ status: 404, code: "node_not_found" });
    await expect(pollNode(gone, [])).rejects.toThrow();
    expect(await refusalOf(await reportFigures(figures(1), gone))).toEqual({ status: 404, code: "node_not_found" });
    const listed = JSON.stringify(
      await jsonOf(await send("GET", `/v1/pods/${workspace.podId}/nodes`, { key: workspace.key })),
    );
    expect(listed).not.toContain(gone.nodeId);
  });
});

describe("a node's figures", () => {
  it("are shown with the time they came, and asked for each second while somebody looks", async () => {
    const own = await makeWorkspace();
    const watched = await joinNode(own);
    const unseen = await jsonOf(await reportFigures(figures(10), watched));
    expect(unseen).toEqual({ next_in_ms: METRICS_UNWATCHED_MS });
    const seen = await jsonOf(await send("GET", pathOf(watched.nodeId, "", own.podId), { key: own.key }));
    expect(seen.metrics).toMatchObject({ ...figures(10), at: expect.stringContaining("T") });
    expect(await jsonOf(await reportFigures(figures(95), watched))).toEqual({ next_in_ms: METRICS_WATCHED_MS });
    const later = await jsonOf(await send("GET", pathOf(watched.nodeId, "", own.podId), { key: own.key }));
    expect(later.metrics).toMatchObject({ gpus: [{ busy_percent: 95 }] });
  });

  it("are of the node that sends them, and of their form", async () => {
    const other = await joinNode(workspace);
    expect(await refusalOf(await reportFigures(figures(1), other, node.nodeId))).toEqual({
      status: 404,
      code: "node_not_found",
    });
    expect(await refusalOf(await reportFigures({ ...figures(101), made_up: 1 }))).toEqual({
      status: 422,
      code: "invalid_body",
      paths: ["/metrics/gpus/0/busy_percent", "/metrics/made_up"],
    });
    const gpu = { index: 0, busy_percent: 1, vram_used_mb: 1, vram_total_mb: null, temperature_c: 1, power_w: 1 };
    const hot = { ...gpu, vram_used_mb: 9e99, temperature_c: -1e308, power_w: 1e300 };
    expect(await refusalOf(await reportFigures({ ...figures(1), gpus: [hot] }))).toMatchObject({
      paths: ["/metrics/gpus/0/vram_used_mb", "/metrics/gpus/0/temperature_c", "/metrics/gpus/0/power_w"],
    });
    const twice = { ...figures(1), gpus: [gpu, { ...gpu, vram_used_mb: 2, vram_total_mb: 1 }] };
    expect(await refusalOf(await reportFigures(twice))).toMatchObject({
      paths: ["/metrics/gpus/1/vram_used_mb", "/metrics/gpus/1/index"],
    });
    expect(await refusalOf(await reportFigures(figures(1), { nodeId: node.nodeId, session: workspace.key }))).toEqual({
      status: 401,
      code: "unauthenticated",
    });
  });
});

describe("strangers", () => {
  it.each([
    ["GET", ""],
    ["POST", "/drain"],
    ["POST", "/undrain"],
    ["POST", "/cordon"],
    ["POST", "/uncordon"],
    ["POST", "/trust"],
    ["DELETE", ""],
  ])("find no node by %s %s, in its pod or in theirs", async (method, verb) => {
    const there = await send(method, pathOf(node.nodeId, verb), { key: stranger.key });
    expect(await refusalOf(there)).toEqual({ status: 404, code: "pod_not_found" });
    const here = await send(method, pathOf(node.nodeId, verb, stranger.podId), { key: stranger.key });
    expect(await refusalOf(here)).toEqual({ status: 404, code: "node_not_found" });
    const invented = await send(method, pathOf("node_x", verb), { key: workspace.key });
    expect(await refusalOf(invented)).toEqual({ status: 404, code: "node_not_found" });
    expect(await read()).toMatchObject({ draining: false, cordoned: false });
  });
});
