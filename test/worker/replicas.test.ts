import { beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { until } from "#test/until";
import {
  agentHeaders,
  GPU,
  joinNode,
  pollNode,
  readyReplica,
  report,
  sendLease,
  type TestReplica,
  takeLease,
} from "#test/worker/agent-node";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
let replica: TestReplica;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
  for (const { key } of [workspace, stranger])
    await makeEndpoint(key, "fox", { workflow: textGraph(1), settings: { min_replicas: 1 } });
  await submitJob(workspace.key, "fox", { seed: 1 });
  replica = await readyReplica(await joinNode(workspace));
});

const below = (path = "") => `/v1/endpoints/fox/replicas/${replica.replicaId}${path}`;
const get = async (path: string): Promise<JsonObject> => {
  const answer = await send("GET", path, { key: workspace.key });
  expect(answer.status).toBe(200);
  return jsonOf(answer);
};
const tell = (json: JsonObject) =>
  send("POST", `/agent/v1/replicas/${replica.replicaId}/state`, {
    key: replica.node.session,
    headers: agentHeaders(),
    json,
  });

describe("a replica", () => {
  it("is shown with where it runs, its states and what its time went to", async () => {
    const lease = await takeLease(replica);
    const [listed = {}] = (await get("/v1/endpoints/fox/replicas")).data as JsonObject[];
    expect(listed).toEqual({ ...(await get(below())), seconds: listed.seconds });
    expect(listed).toMatchObject({ id: replica.replicaId, pod_id: workspace.podId, state: "busy", doing: null });
    const states = (listed.states as JsonObject[]).map(({ state }) => state);
    expect(states).toEqual(expect.arrayContaining(["placed", "ready"]));
    const done = await sendLease(replica, lease, "POST", "complete", { json: { outputs: [], phases: [] } });
    expect(done.status).toBe(200);
    const { seconds } = await get(below());
    const sum = Object.values(seconds as JsonObject).reduce((total: number, each) => total + Number(each), 0);
    expect(sum).toBeGreaterThan(0);
    const today = new Date().toISOString().slice(0, 10);
    const days = (await get(`/v1/endpoints/fox/replica-seconds?from=${today}`)).data as JsonObject[];
    const unpriced = { gpu_type: null, price_per_hour: null, cost: null };
    expect(days.at(-1)).toMatchObject({ pod_id: workspace.podId, crashed: 0, ...unpriced });
    expect(days.reduce((total, { started }) => total + Number(started), 0)).toBe(1);
  });

  it("has a log, which comes in by number, and a report that says too much is refused", async () => {
    const lines = { state: "ready", phases: [], log: ["nodes: $ git clone", "python: done"], log_from: 0 };
    for (let times = 0; times < 2; times += 1) {
      expect(await jsonOf(await tell(lines))).toMatchObject({ log_next: 2, stop: false });
    }
    const log = await get(below("/logs"));
    expect(log).toMatchObject({ next: 2, data: [{ number: 0, line: "nodes: $ git clone" }, { line: "python: done" }] });
    expect(await get(below("/logs?from=1"))).toMatchObject({ next: 2, data: [{ number: 1 }] });
    const events = await send("GET", below("/logs"), { key: workspace.key, headers: { accept: "text/event-stream" } });
    expect(events.headers.get("content-type")).toContain("text/event-stream");
    const [first, second, end] = (await events.text()).trimEnd().split("\n\n");
    expect(first).toMatch(/^id: 1\nevent: line\ndata: \{"number":0,.*"line":"nodes: \$ git clone"\}$/);
    expect([second?.split("\n")[0], end]).toEqual(["id: 2", 'event: end\ndata: {"state":"ready"}']);
    const rest = { key: workspace.key, headers: { accept: "text/event-stream", "last-event-id": "1" } };
    expect(await (await send("GET", below("/logs"), rest)).text()).toMatch(/^id: 2\n/);
    const flood = { ...lines, log: Array.from({ length: 101 }, () => "x") };
    expect((await refusalOf(await tell(flood))).status).toBe(422);
  });

  it("is followed while it starts: lines come as they are written, and the end with its state", async () => {
    await makeEndpoint(workspace.key, "owl", { workflow: textGraph(1), settings: { min_replicas: 1 } });
    const node = await joinNode(workspace);
    const { replica_id: id } = await until("a replica is wanted", async () =>
      (await pollNode(node, [], 200)).replicas.find(({ action }) => action === "run"),
    );
    const write = (state: string, log: string[], from: number) =>
      send("POST", `/agent/v1/replicas/${id}/state`, {
        key: node.session,
        headers: agentHeaders(),
        json: { state, phases: [], log, log_from: from },
      });
    await write("preparing", ["first"], 0);
    const path = `/v1/endpoints/owl/replicas/${id}/logs`;
    const answer = await send("GET", path, { key: workspace.key, headers: { accept: "text/event-stream" } });
    const reader = (answer.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader();
    let read = "";
    const reads = async (text: string): Promise<void> => {
      while (!read.includes(text)) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended after ${read}`);
        read += value;
      }
    };
    await reads('"line":"first"');
    await write("booting", ["second"], 1);
    await reads('"line":"second"');
    await write("ready", [], 2);
    await reads('event: end\ndata: {"state":"ready"}');
  });

  it("is replaced and stopped by hand, and says so when it has ended", async () => {
    const post = (what: string, key = workspace.key) => send("POST", below(what), { key });
    expect(await jsonOf(await post("/replace"))).toMatchObject({ id: replica.replicaId });
    expect(await jsonOf(await post("/stop"))).toMatchObject({ state: "draining" });
    expect(await report(replica, "draining")).toMatchObject({ stop: true });
    await report(replica, "stopped");
    expect(await refusalOf(await post("/stop"))).toEqual({ status: 409, code: "replica_ended" });
    const ended = (await get("/v1/endpoints/fox/replicas?state=ended")).data as JsonObject[];
    expect(ended).toMatchObject([{ id: replica.replicaId, state: "stopped", error: null }]);
    expect((await get(below("/logs"))).next).toBe(2);
  });

  it("is nobody else's", async () => {
    for (const [method, path] of [
      ["GET", ""],
      ["GET", "/logs"],
      ["POST", "/stop"],
      ["POST", "/replace"],
    ] as const) {
      const refusal = await refusalOf(await send(method, below(path), { key: stranger.key }));
      expect(refusal).toEqual({ status: 404, code: "replica_not_found" });
    }
    const nothing = await send("GET", "/v1/endpoints/fox/replica-seconds", { key: stranger.key });
    expect(await jsonOf(nothing)).toEqual({ data: [] });
  });
});

describe("what replicas cost", () => {
  it("follows the card's price as the workspace, then the pod, sets it, and is unknown for a card without a type", async () => {
    const owner = await makeWorkspace();
    const { key, podId } = owner;
    const set = (path: string, json: JsonObject, method = "PUT") => send(method, path, { key, json });
    const type = { vram_mb: GPU.vram_mb, matches: [GPU.name], price_per_hour: 36 };
    expect((await set("/v1/gpu-types/my-card", type)).status).toBe(200);
    await makeEndpoint(key, "hare", { workflow: textGraph(1), settings: { min_replicas: 1 } });
    await submitJob(key, "hare", { seed: 1 });
    await readyReplica(await joinNode(owner));
    const today = async () => {
      const days = await jsonOf(await send("GET", "/v1/endpoints/hare/replica-seconds", { key }));
      return (days.data as JsonObject[]).at(-1) ?? {};
    };
    const costs = ({ seconds, price_per_hour, cost }: JsonObject) => {
      const sum = Object.values(seconds as JsonObject).reduce((total: number, each) => total + Number(each), 0);
      expect(Number(cost)).toBeCloseTo((sum / 3_600) * Number(price_per_hour), 5);
      expect(Number(cost)).toBeGreaterThan(0);
      return price_per_hour;
    };
    const first = await until("the card is known", async () => {
      const day = await today();
      return day.gpu_type === "my-card" ? day : undefined;
    });
    expect(costs(first)).toBe(36);
    expect((await set(`/v1/pods/${podId}`, { prices: { "my-card": 72 } }, "PATCH")).status).toBe(200);
    expect(costs(await today())).toBe(72);
    expect((await set(`/v1/pods/${podId}`, { prices: {} }, "PATCH")).status).toBe(200);
    expect((await set("/v1/gpu-types/my-card", { ...type, price_per_hour: 18 })).status).toBe(200);
    expect(costs(await today())).toBe(18);
  });

  it("keeps the price of a pod that was deleted", async () => {
    const owner = await makeWorkspace();
    const { key } = owner;
    const at = (method: string, path: string, json?: JsonObject) =>
      send(method, path, json === undefined ? { key } : { key, json });
    const type = { vram_mb: GPU.vram_mb, matches: [GPU.name], price_per_hour: 36 };
    expect((await at("PUT", "/v1/gpu-types/my-card", type)).status).toBe(200);
    const rack = await jsonOf(await at("POST", "/v1/pods", { name: "rack", prices: { "my-card": 72 } }));
    const podId = String(rack.id);
    await makeEndpoint(key, "moving", { workflow: textGraph(1), pod_id: podId });
    await submitJob(key, "moving", { seed: 1 });
    const node = await joinNode({ ...owner, podId });
    const left = await readyReplica(node);
    const seconds = async () => {
      const days = await jsonOf(await at("GET", "/v1/endpoints/moving/replica-seconds"));
      return (days.data as JsonObject[]).find((day) => day.pod_id === podId && day.gpu_type === "my-card");
    };
    expect(await until("the card is known", seconds)).toMatchObject({ price_per_hour: 72 });
    expect((await at("PATCH", "/v1/endpoints/moving", { pods: [{ pod_id: owner.podId }] })).status).toBe(200);
    await report(left, "stopped");
    expect((await at("DELETE", `/v1/pods/${podId}/nodes/${node.nodeId}`)).status).toBe(204);
    expect((await at("DELETE", `/v1/pods/${podId}`)).status).toBe(204);
    expect(await seconds()).toMatchObject({ price_per_hour: 72 });
  });

  it("is a card's price in equal parts for those that share it", async () => {
    const owner = await makeWorkspace();
    const { key } = owner;
    const type = { vram_mb: GPU.vram_mb, matches: [GPU.name], price_per_hour: 36 };
    expect((await send("PUT", "/v1/gpu-types/my-card", { key, json: type })).status).toBe(200);
    await makeEndpoint(key, "pair", { workflow: textGraph(1), settings: { min_replicas: 1 } });
    await submitJob(key, "pair", { seed: 1 });
    await readyReplica(await joinNode(owner, 2));
    const day = await until("the card is known", async () => {
      const days = await jsonOf(await send("GET", "/v1/endpoints/pair/replica-seconds", { key }));
      const [first] = days.data as JsonObject[];
      return first?.gpu_type === "my-card" ? first : undefined;
    });
    const { cold, idle, busy } = day.seconds as Record<string, number>;
    const sum = Number(cold) + Number(idle) + Number(busy);
    expect(Number(day.card_seconds)).toBeCloseTo(sum / 2, 2);
    expect(Number(day.cost)).toBeCloseTo((Number(day.card_seconds) / 3_600) * 36, 5);
    expect(sum).toBeGreaterThan(0);
  });
});
