import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type { WorkspaceGpuType } from "#contract/api/gpu-types";
import type { JsonObject } from "#contract/exact-json";
import { GPU_PRICES_AS_OF, GPU_TYPES } from "#contract/gpu-types";
import { GPU_TYPES_PER_WORKSPACE_MAX } from "#contract/limits";
import { agentHeaders, joinToken } from "#test/worker/agent-node";
import { jsonOf, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const put = (name: string, json: JsonObject, key = workspace.key) =>
  send("PUT", `/v1/gpu-types/${name}`, { key, json });
const remove = (name: string, key = workspace.key) => send("DELETE", `/v1/gpu-types/${name}`, { key });
const list = async (key = workspace.key): Promise<WorkspaceGpuType[]> =>
  (await jsonOf(await send("GET", "/v1/gpu-types", { key }))).data as unknown as WorkspaceGpuType[];
const typeOf = async (name: string, key = workspace.key) => (await list(key)).find((type) => type.name === name);
const doubled = { vram_mb: 49_152, matches: ["RTX 4090"], price_per_hour: 0.4 };

describe("the types of GPU", () => {
  it("are the shipped table, with the date of its prices", async () => {
    const answer = await jsonOf(await send("GET", "/v1/gpu-types", { key: stranger.key }));
    expect(answer.prices_as_of).toBe(GPU_PRICES_AS_OF);
    expect(answer.data).toEqual(GPU_TYPES.map((type) => ({ ...type, own: false, changed: [] })));
  });

  it("have the workspace's price, and say so, until it is taken back", async () => {
    const shipped = await typeOf("rtx-4090", stranger.key);
    const set = await put("rtx-4090", { price_per_hour: 0.06 });
    expect([set.status, await jsonOf(set)]).toEqual([
      200,
      { ...shipped, price_per_hour: 0.06, changed: ["price_per_hour"] },
    ]);
    expect(await typeOf("rtx-4090")).toMatchObject({ price_per_hour: 0.06, changed: ["price_per_hour"] });
    expect(await typeOf("rtx-4090", stranger.key)).toEqual(shipped);
    // What is left out is as shipped again.
    await put("rtx-4090", { suits: "the office heating" });
    expect(await typeOf("rtx-4090")).toMatchObject({ price_per_hour: shipped?.price_per_hour, changed: ["suits"] });
    expect((await remove("rtx-4090")).status).toBe(204);
    expect(await typeOf("rtx-4090")).toEqual(shipped);
    expect((await remove("rtx-4090")).status).toBe(204);
  });

  it("of the shipped table keep their memory and their names", async () => {
    expect(await refusalOf(await put("l4", { vram_mb: 1, matches: ["x"] }))).toEqual({
      status: 422,
      code: "invalid_body",
      paths: ["/vram_mb", "/matches"],
    });
    expect(await refusalOf(await put("l4", {}))).toMatchObject({ paths: ["/price_per_hour"] });
  });

  it("may be added to, with all that a type needs", async () => {
    expect(await refusalOf(await put("rtx-4090-48", {}))).toEqual({
      status: 422,
      code: "invalid_body",
      paths: ["/vram_mb", "/price_per_hour", "/matches"],
    });
    const added = await jsonOf(await put("rtx-4090-48", doubled));
    expect(added).toMatchObject({ name: "rtx-4090-48", title: "rtx-4090-48", own: true, changed: [], ...doubled });
    expect((await list()).at(-1)).toEqual(added);
    expect(await typeOf("rtx-4090-48", stranger.key)).toBeUndefined();
  });

  it("that a pod names stay", async () => {
    const own = await makeWorkspace();
    await put("mine", doubled, own.key);
    const patch = (json: JsonObject) => send("PATCH", `/v1/pods/${own.podId}`, { key: own.key, json });
    expect((await patch({ gpu_types: ["mine"] })).status).toBe(200);
    const refused = { status: 409, code: "gpu_type_in_use" };
    expect(await refusalOf(await remove("mine", own.key))).toEqual(refused);
    expect((await patch({ gpu_types: [], prices: { mine: 1 } })).status).toBe(200);
    expect(await refusalOf(await remove("mine", own.key))).toEqual(refused);
    expect((await patch({ prices: {} })).status).toBe(200);
    expect((await remove("mine", own.key)).status).toBe(204);
    expect(await refusalOf(await remove("mine", own.key))).toEqual({ status: 404, code: "gpu_type_not_found" });
  });

  it("of one's own are known to its pods, which tell machines by them", async () => {
    const own = await makeWorkspace();
    const join = async (vram_mb: number) =>
      send("POST", "/agent/v1/nodes", {
        key: await joinToken(own),
        headers: agentHeaders(),
        json: {
          name: "m",
          agent_version: "1",
          comfyui: "test",
          gpus: [{ index: 0, name: "NVIDIA GeForce RTX 4090", uuid: null, vram_mb, driver: null }],
          slots: 1,
        },
      });
    await put("rtx-4090-48", doubled, own.key);
    const patched = await send("PATCH", `/v1/pods/${own.podId}`, {
      key: own.key,
      json: { gpu_types: ["rtx-4090-48"] },
    });
    expect(patched.status).toBe(200);
    expect(await refusalOf(await join(24_564))).toEqual({ status: 409, code: "gpu_mismatch" });
    expect((await join(49_140)).status).toBe(201);
    const nodes = await jsonOf(await send("GET", `/v1/pods/${own.podId}/nodes`, { key: own.key }));
    expect(nodes.data).toMatchObject([{ gpu_type: "rtx-4090-48" }]);
    // A change of the type reaches the pods by itself.
    await put("rtx-4090-48", { ...doubled, vram_mb: 24_576 }, own.key);
    await expect.poll(async () => (await join(24_564)).status).toBe(201);
  });

  it("stay what the workspace made of them when the shipped table changes", async () => {
    const own = await makeWorkspace();
    const row = (name: string, settings: JsonObject) =>
      env.CATALOG.prepare("INSERT INTO gpu_types (workspace_id, name, settings, updated_at) VALUES (?, ?, ?, 1)")
        .bind(own.workspaceId, name, JSON.stringify(settings))
        .run();
    // A price of a type that is shipped no more, and an own type that is shipped by now.
    await row("gone", { price_per_hour: 1 });
    await row("l4", doubled);
    expect(await typeOf("gone", own.key)).toBeUndefined();
    expect(await typeOf("l4", own.key)).toMatchObject({ own: true, ...doubled });
    expect((await list(own.key)).filter(({ name }) => name === "l4")).toHaveLength(1);
    expect((await remove("l4", own.key)).status).toBe(204);
    expect(await typeOf("l4", own.key)).toMatchObject({ own: false });
  });

  it("are at most so many changed or added ones", async () => {
    const own = await makeWorkspace();
    for (let index = 0; index < GPU_TYPES_PER_WORKSPACE_MAX; index += 1) {
      expect((await put(`own-${index}`, doubled, own.key)).status).toBe(200);
    }
    expect(await refusalOf(await put("one-more", doubled, own.key))).toEqual({ status: 409, code: "gpu_type_limit" });
    expect((await put("own-0", { ...doubled, price_per_hour: 1 }, own.key)).status).toBe(200);
  });

  it.each(["RTX-4090", "-x", "x".repeat(33)])("have names of one form: not %s", async (name) => {
    expect(await refusalOf(await put(name, doubled))).toEqual({ status: 404, code: "gpu_type_not_found" });
  });
});
