import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { makeId, OwnerKey, PodId } from "#contract/ids";
import { PODS_PER_WORKSPACE_MAX } from "#contract/limits";
import { until } from "#test/until";
import { agentHeaders, joinNode, joinToken, pollNode, readyReplica } from "#test/worker/agent-node";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  ORIGIN,
  refusalOf,
  send,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";
import { createApp } from "#worker/app";
import { randomBytes } from "#worker/http/fresh-id";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});
afterEach(() => {
  vi.restoreAllMocks();
});

const post = (json: JsonObject, key = workspace.key) => send("POST", "/v1/pods", { key, json });
const patch = (pod: unknown, json: JsonObject, key = workspace.key) =>
  send("PATCH", `/v1/pods/${String(pod)}`, { key, json });
const read = (pod: unknown, key = workspace.key) => send("GET", `/v1/pods/${String(pod)}`, { key });
const remove = (pod: unknown, key = workspace.key) => send("DELETE", `/v1/pods/${String(pod)}`, { key });
const notFound = { status: 404, code: "pod_not_found" };
const NO_REPLICAS = { total: 0, placed: 0, preparing: 0, booting: 0, loading: 0, ready: 0, draining: 0 };
/** Of a pod that no machine has joined. */
const NOTHING = {
  nodes: { total: 0, online: 0, open: 0 },
  slots: { total: 0, taken: 0, draining: 0, free: 0 },
  containers_left: null,
  replicas: NO_REPLICAS,
  endpoints: [],
  endpoints_total: 0,
};
const appliedOf = (id: unknown) =>
  env.CATALOG.prepare("SELECT version, applied_version AS applied FROM pods WHERE id = ?")
    .bind(String(id))
    .first<{ version: number; applied: number }>();

describe("a pod", () => {
  it("is made with what is given and defaults for the rest, and its object is told", async () => {
    const made = await post({
      name: "rack",
      description: "two machines in the cellar",
      gpu_types: ["rtx-4090", "rtx-3090", "rtx-4090"],
      regions: ["home"],
      prices: { "rtx-4090": 0.08 },
    });
    expect(made.status).toBe(201);
    const pod = await jsonOf(made);
    expect(pod).toMatchObject({
      name: "rack",
      description: "two machines in the cellar",
      gpu_types: ["rtx-4090", "rtx-3090"],
      containers_max: null,
      regions: ["home"],
      min_replicas: 0,
      idle_timeout_s: null,
      prices: { "rtx-4090": 0.08 },
    });
    expect(pod.updated_at).toBe(pod.created_at);
    expect(await jsonOf(await read(pod.id))).toEqual({ ...pod, capacity: NOTHING });
    expect(await appliedOf(pod.id)).toEqual({ version: 1, applied: 1 });
  });

  it("is made once for one Idempotency-Key", async () => {
    const headers = { "idempotency-key": "the-same-pod" };
    const first = await send("POST", "/v1/pods", { key: workspace.key, json: { name: "once" }, headers });
    const again = await send("POST", "/v1/pods", { key: workspace.key, json: { name: "once" }, headers });
    expect([first.status, again.status]).toEqual([201, 201]);
    expect((await jsonOf(again)).id).toBe((await jsonOf(first)).id);
  });

  it("is changed field by field, and keeps what is left out", async () => {
    const { id } = await jsonOf(await post({ name: "changing", containers_max: 4, prices: { l4: 0.4, t4: 0.3 } }));
    const changed = await jsonOf(await patch(id, { name: "changed", min_replicas: 1, prices: { l4: 0.5 } }));
    expect(changed).toMatchObject({ name: "changed", containers_max: 4, min_replicas: 1, prices: { l4: 0.5 } });
    expect(await jsonOf(await patch(id, { containers_max: null }))).toMatchObject({ containers_max: null });
    expect(await appliedOf(id)).toEqual({ version: 3, applied: 3 });
  });

  it("keeps no more replicas warm than it may run, whichever of the two is changed", async () => {
    const refused = { status: 422, code: "invalid_body" };
    expect(await refusalOf(await post({ name: "floor", containers_max: 2, min_replicas: 3 }))).toMatchObject(refused);
    const { id } = await jsonOf(await post({ name: "floor", containers_max: 3, min_replicas: 3 }));
    const answer = await patch(id, { containers_max: 2 });
    expect(await jsonOf(answer)).toMatchObject({ status: 422, errors: [{ path: "/min_replicas" }] });
    expect(await refusalOf(await patch(id, { min_replicas: 4 }))).toMatchObject(refused);
    expect((await patch(id, { containers_max: 2, min_replicas: 2 })).status).toBe(200);
    expect((await patch(id, { containers_max: null, min_replicas: 9 })).status).toBe(200);
  });

  it("takes every change of those that arrive together", async () => {
    const { id } = await jsonOf(await post({ name: "busy" }));
    const changes = [{ containers_max: 3 }, { min_replicas: 2 }, { idle_timeout_s: 50 }, { description: "together" }];
    const answers = await Promise.all(changes.map((change) => patch(id, change)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    for (const answer of answers) await answer.body?.cancel();
    expect(await jsonOf(await read(id))).toMatchObject(Object.assign({}, ...changes));
    expect(await appliedOf(id)).toEqual({ version: 5, applied: 5 });
  });

  it("has a name of its own in the workspace", async () => {
    const { id } = await jsonOf(await post({ name: "first of the name" }));
    const taken = { status: 409, code: "pod_name_taken" };
    expect(await refusalOf(await post({ name: "first of the name" }))).toEqual(taken);
    const { id: other } = await jsonOf(await post({ name: "another" }));
    expect(await refusalOf(await patch(other, { name: "first of the name" }))).toEqual(taken);
    expect((await post({ name: "first of the name" }, stranger.key)).status).toBe(201);
    expect((await remove(id)).status).toBe(204);
    expect((await post({ name: "first of the name" })).status).toBe(201);
  });

  it.each([
    [{}, ["/name"]],
    [{ name: "  " }, ["/name"]],
    [{ name: "x", containers_max: 0 }, ["/containers_max"]],
    [{ name: "x", regions: ["EU West"] }, ["/regions/0"]],
    [{ name: "x", prices: { l4: -1 } }, ["/prices/l4"]],
    [{ name: "x", id: "pod_0" }, ["/id"]],
  ])("is refused with the fields that are wrong: %j", async (json, paths) => {
    expect(await refusalOf(await post(json))).toEqual({ status: 422, code: "invalid_body", paths });
  });

  it("is refused with cards that nobody knows, and the near ones are named", async () => {
    const refused = await post({ name: "x", gpu_types: ["l4", "4090", "a100"], prices: { "h-200": 1 } });
    expect(refused.status).toBe(422);
    const { errors } = (await jsonOf(refused)) as unknown as { errors: { path: string; reason: string }[] };
    expect(errors.map(({ path }) => path)).toEqual(["/gpu_types/1", "/gpu_types/2", "/prices/h-200"]);
    expect(errors[0]?.reason).toContain("rtx-4090");
    expect(errors[1]?.reason).toContain("a100-40 or a100-80");
    expect(errors[2]?.reason).toContain("h200");
  });

  it("is one of at most so many", async () => {
    const full = await makeWorkspace();
    const key = OwnerKey.parse("00000000");
    const rows = Array.from({ length: PODS_PER_WORKSPACE_MAX - 1 }, (_, index) =>
      env.CATALOG.prepare("INSERT INTO pods (id, workspace_id, name, created_at) VALUES (?, ?, ?, 1)").bind(
        makeId(PodId, "pod", index, randomBytes, key),
        full.workspaceId,
        `pod ${index}`,
      ),
    );
    await env.CATALOG.batch(rows);
    expect(await refusalOf(await post({ name: "one more" }, full.key))).toEqual({ status: 409, code: "pod_limit" });
  });
});

describe("a pod's capacity", () => {
  /** As reading the pod answers it. */
  const capacityOf = async ({ podId, key }: TestWorkspace) => {
    const answer = await read(podId, key);
    expect(answer.status).toBe(200);
    return (await jsonOf(answer)).capacity;
  };

  it("says what it has and what that is used for, from the first machine to its end", async () => {
    const own = await makeWorkspace();
    expect(await capacityOf(own)).toEqual(NOTHING);
    const node = await joinNode(own);
    const open = { nodes: { total: 1, online: 1, open: 1 }, slots: { total: 1, taken: 0, draining: 0, free: 1 } };
    expect(await capacityOf(own)).toEqual({ ...NOTHING, ...open });
    const { id } = await makeEndpoint(own.key, "fox", { workflow: textGraph(1), settings: { min_replicas: 1 } });
    const replica = await readyReplica(node);
    await pollNode(node, [{ replica_id: replica.replicaId, slot: 0, state: "ready" }]);
    const one = { ...NO_REPLICAS, total: 1, ready: 1 };
    const entry = { endpoint_id: id, wanted: 1, needed: 1, have: 1, trials: 0, waits_since: null, shortage: null };
    const used = {
      ...{ ...NOTHING, ...open, replicas: one, endpoints_total: 1 },
      slots: { total: 1, taken: 1, draining: 0, free: 0 },
      endpoints: [{ ...entry, replicas: one }],
    };
    expect(await capacityOf(own)).toEqual(used);
    expect((await send("DELETE", `/v1/pods/${own.podId}/nodes/${node.nodeId}`, { key: own.key })).status).toBe(204);
    expect(await capacityOf(own)).toEqual({
      ...NOTHING,
      endpoints: [
        {
          ...{ ...entry, have: 0, replicas: NO_REPLICAS, waits_since: expect.any(String) },
          shortage: { code: "no_node_online", error: null },
        },
      ],
      endpoints_total: 1,
    });
  });

  it("names who waits for a slot, since when, and whose replicas it waits for", async () => {
    const own = await makeWorkspace();
    const settings = { min_replicas: 1 };
    const { id: first } = await makeEndpoint(own.key, "first", { workflow: textGraph(1), settings });
    await readyReplica(await joinNode(own));
    const before = Date.now();
    const { id: second } = await makeEndpoint(own.key, "second", { workflow: textGraph(1), settings });
    const waiting = await until("the second endpoint waits", async () => {
      const { endpoints } = (await capacityOf(own)) as { endpoints: JsonObject[] };
      return endpoints.length === 2 ? endpoints : undefined;
    });
    expect(waiting).toMatchObject([
      { endpoint_id: second, wanted: 1, have: 0, shortage: { code: "all_slots_busy", error: null } },
      { endpoint_id: first, have: 1, waits_since: null, shortage: null },
    ]);
    const since = Date.parse(String(waiting[0]?.waits_since));
    expect(since).toBeGreaterThanOrEqual(before);
    expect(since).toBeLessThanOrEqual(Date.now());
  });

  it("is not in lists nor in answers to changes, which do not ask the object", async () => {
    const made = await jsonOf(await post({ name: "settings alone" }));
    expect(made).not.toHaveProperty("capacity");
    expect(await jsonOf(await patch(made.id, { containers_max: 3 }))).not.toHaveProperty("capacity");
    const listed = (await jsonOf(await send("GET", "/v1/pods", { key: workspace.key }))).data as JsonObject[];
    expect(listed.filter((pod) => "capacity" in pod)).toEqual([]);
    const alone = await jsonOf(await read(made.id));
    expect(alone).toMatchObject({ containers_max: 3, capacity: { containers_left: 3, slots: { free: 0 } } });
  });

  it("that no object answers for is a 503, and the list still answers", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const away = new Proxy(env.PODS, {
      get: () => () => {
        throw Object.assign(new Error("reset"), { overloaded: true });
      },
    });
    const ask = async (path: string) => {
      const context = createExecutionContext();
      const request = new Request(`${ORIGIN}${path}`, { headers: { "x-api-key": workspace.key } });
      const answer = await createApp().fetch(request, { ...env, PODS: away }, context);
      await waitOnExecutionContext(context);
      return answer;
    };
    const refused = await ask(`/v1/pods/${workspace.podId}`);
    expect(refused.headers.get("retry-after")).toMatch(/^[1-9]/);
    expect(await refusalOf(refused)).toEqual({ status: 503, code: "unavailable" });
    expect(await jsonOf(await ask("/v1/pods"))).toMatchObject({ data: expect.any(Array) });
  });
});

describe("strangers", () => {
  it("see, change and delete nothing", async () => {
    const { id } = await jsonOf(await post({ name: "mine alone" }));
    expect(await refusalOf(await read(id, stranger.key))).toEqual(notFound);
    expect(await refusalOf(await patch(id, { name: "theirs" }, stranger.key))).toEqual(notFound);
    expect(await refusalOf(await remove(id, stranger.key))).toEqual(notFound);
    const listed = JSON.stringify(await jsonOf(await send("GET", "/v1/pods", { key: stranger.key })));
    expect(listed).not.toContain(String(id));
    expect(await jsonOf(await read(id))).toMatchObject({ name: "mine alone" });
  });

  it("learn of invented names what they learn of others'", async () => {
    for (const name of ["pod_0dpx4n3m8k7q2wz6tgr1vyc5ha", "default", "pod_"]) {
      expect(await refusalOf(await read(name))).toEqual(notFound);
    }
  });
});

describe("deleting a pod", () => {
  it("is refused while an endpoint uses it, by its one pod or among several", async () => {
    const own = await makeWorkspace();
    const { id } = await jsonOf(await post({ name: "second" }, own.key));
    await makeEndpoint(own.key, "fox", { pod_id: id });
    const refused = await remove(id, own.key);
    expect(refused.status).toBe(409);
    expect(await jsonOf(refused)).toMatchObject({ code: "pod_in_use", detail: expect.stringContaining("fox") });
    const pods = JSON.stringify([
      { pod_id: own.podId, lanes: ["batch"] },
      { pod_id: id, lanes: ["interactive"] },
    ]);
    await env.CATALOG.prepare("UPDATE endpoints SET pod_id = ?, pods = ? WHERE workspace_id = ?")
      .bind(own.podId, pods, own.workspaceId)
      .run();
    expect(await refusalOf(await remove(id, own.key))).toEqual({ status: 409, code: "pod_in_use" });
    expect((await send("DELETE", "/v1/endpoints/fox", { key: own.key })).status).toBe(204);
    expect((await remove(id, own.key)).status).toBe(204);
    expect(await refusalOf(await read(id, own.key))).toEqual(notFound);
  });

  it("is refused while a node is online, and names it; then its tokens open nothing", async () => {
    const own = await makeWorkspace();
    const node = await joinNode(own);
    await pollNode(node, []);
    const token = await joinToken(own);
    const refused = await remove(own.podId, own.key);
    expect(refused.status).toBe(409);
    expect(await jsonOf(refused)).toMatchObject({ code: "pod_in_use", detail: expect.stringContaining(node.nodeId) });
    expect((await read(own.podId, own.key)).status).toBe(200);
    const path = `/v1/pods/${own.podId}/nodes/${node.nodeId}`;
    expect((await send("DELETE", path, { key: own.key })).status).toBe(204);
    expect((await remove(own.podId, own.key)).status).toBe(204);
    const joined = await send("POST", "/agent/v1/nodes", {
      key: token,
      headers: agentHeaders(),
      json: { name: "late", agent_version: "1", comfyui: "test", gpus: [], slots: 1 },
    });
    expect(await refusalOf(joined)).toEqual({ status: 401, code: "unauthenticated" });
  });

  it("that broke off is taken back by a node that is online", async () => {
    const own = await makeWorkspace();
    const node = await joinNode(own);
    await env.CATALOG.prepare("UPDATE pods SET deleted_at = 1, version = version + 1 WHERE id = ?")
      .bind(own.podId)
      .run();
    expect(await refusalOf(await read(own.podId, own.key))).toEqual(notFound);
    await pollNode(node, []);
    const isBack = async () => ((await read(own.podId, own.key)).status === 200 ? true : undefined);
    expect(await until("the pod is there again", isBack)).toBe(true);
    const listed = await jsonOf(await send("GET", `/v1/pods/${own.podId}/nodes`, { key: own.key }));
    expect(listed.data).toMatchObject([{ id: node.nodeId, online: true }]);
  });

  it("that the object did not hear of is finished by the same call, and not undone", async () => {
    const own = await makeWorkspace();
    await env.CATALOG.prepare("UPDATE pods SET deleted_at = 1, version = version + 1 WHERE id = ?")
      .bind(own.podId)
      .run();
    expect((await remove(own.podId, own.key)).status).toBe(204);
    const told = await appliedOf(own.podId);
    expect(told?.applied).toBe(told?.version);
    expect(await refusalOf(await remove(own.podId, own.key))).toEqual(notFound);
  });
});

describe("a change that the pod's object did not hear of", () => {
  it("is told when the pod is next used", async () => {
    const { id } = await jsonOf(await post({ name: "unheard" }));
    await env.CATALOG.prepare(`UPDATE pods SET settings = '{"gpu_types":["l4"]}', version = 5 WHERE id = ?`)
      .bind(String(id))
      .run();
    expect((await send("GET", `/v1/pods/${String(id)}/nodes`, { key: workspace.key })).status).toBe(200);
    expect(await appliedOf(id)).toEqual({ version: 5, applied: 5 });
    const join = await send("POST", "/agent/v1/nodes", {
      key: await joinToken({ ...workspace, podId: PodId.parse(id) }),
      headers: agentHeaders(),
      json: { name: "wrong card", agent_version: "1", comfyui: "test", gpus: [card("Tesla T4", 15_360)], slots: 1 },
    });
    expect(await refusalOf(join)).toEqual({ status: 409, code: "gpu_mismatch" });
  });

  it("is told by a node's heartbeat, although nobody asks", async () => {
    const own = await makeWorkspace();
    const node = await joinNode(own);
    await env.CATALOG.prepare("UPDATE pods SET version = 7 WHERE id = ?").bind(own.podId).run();
    await pollNode(node, []);
    const confirmed = async () => ((await appliedOf(own.podId))?.applied === 7 ? true : undefined);
    expect(await until("the object has confirmed it", confirmed)).toBe(true);
  });
});

function card(name: string, vram_mb: number): JsonObject {
  return { index: 0, name, uuid: null, vram_mb, driver: null };
}
