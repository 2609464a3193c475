import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { SHA256_HEADER } from "#contract/agent";
import {
  MODEL_BYTES_MAX,
  MODEL_PART_BYTES,
  MODEL_UPLOAD_IDLE_MS,
  MODELS_BYTES_PER_WORKSPACE_MAX,
} from "#contract/limits";
import { Model } from "#contract/model";
import { exampleBuild, exampleModel } from "#test/contract/example-build";
import { agentHeaders, joinNode, readyReplica, type TestNode } from "#test/worker/agent-node";
import { safetensors } from "#test/worker/model-files";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
} from "#test/worker/workspace";
import { sha256Hex } from "#worker/auth/digest";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const begin = (body: object, key = workspace.key) => send("POST", "/v1/models", { key, json: body });
const modelOf = async (answer: Response): Promise<Model> => Model.parse(await answer.json());

async function read(name: string, key = workspace.key): Promise<Model> {
  return modelOf(await send("GET", `/v1/models/${name}`, { key }));
}

async function sendPart(
  name: string,
  part: number,
  bytes: Uint8Array<ArrayBuffer>,
  sha256?: string,
): Promise<Response> {
  return send("PUT", `/v1/models/${name}/parts/${part}`, {
    key: workspace.key,
    body: bytes,
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(bytes.byteLength),
      [SHA256_HEADER]: sha256 ?? (await sha256Hex(bytes)),
    },
  });
}

const complete = (name: string) => send("POST", `/v1/models/${name}/complete`, { key: workspace.key });

/** The model once it is ready or failed. */
async function settled(name: string): Promise<Model> {
  await expect.poll(async () => (await read(name)).status, { timeout: 30_000 }).toMatch(/^(ready|failed)$/);
  return read(name);
}

/** Begins, sends every part and completes. */
async function upload(bytes: Uint8Array<ArrayBuffer>, more: Record<string, unknown> = {}): Promise<Model> {
  const sha256 = await sha256Hex(bytes);
  const wanted = { sha256, size: bytes.byteLength, type: "checkpoints", filename: "a.safetensors", ...more };
  const begun = await modelOf(await begin(wanted));
  for (let at = 0, part = 1; at < bytes.byteLength; at += MODEL_PART_BYTES, part += 1) {
    expect((await sendPart(begun.id, part, bytes.slice(at, at + MODEL_PART_BYTES))).status).toBe(204);
  }
  expect((await complete(begun.id)).status).toBe(202);
  return settled(begun.id);
}

const keysOf = async ({ id }: Model) =>
  (await env.STORE.list({ prefix: `models/${workspace.workspaceId}/${id}/` })).objects.map(({ key }) => key);

describe("uploading a model", () => {
  it("sends parts, joins them, reads the whole back and is ready", async () => {
    const bytes = safetensors(MODEL_PART_BYTES + 1_000, 3);
    const sha256 = await sha256Hex(bytes);
    const answer = await begin({ sha256, size: bytes.byteLength, type: "checkpoints", filename: "sd/big.safetensors" });
    expect(answer.status).toBe(201);
    const begun = await modelOf(answer);
    expect(begun).toMatchObject({
      sha256,
      status: "uploading",
      bytes_done: 0,
      upload: { part_bytes: MODEL_PART_BYTES, part_count: 2, parts: [] },
    });

    // In any order; what is missing is told, and what is there.
    expect((await sendPart(sha256, 2, bytes.slice(MODEL_PART_BYTES))).status).toBe(204);
    expect(await read(sha256)).toMatchObject({
      bytes_done: bytes.byteLength - MODEL_PART_BYTES,
      upload: { parts: [2] },
    });
    const early = await complete(sha256);
    expect(await refusalOf(early.clone())).toEqual({ status: 409, code: "model_incomplete" });
    expect((await jsonOf(early)).detail).toContain("1 parts are missing: 1.");
    // Begun again, it goes on where it was.
    const again = await begin({ sha256, size: bytes.byteLength, type: "checkpoints", filename: "sd/big.safetensors" });
    expect(again.status).toBe(200);
    expect((await modelOf(again)).upload?.parts).toEqual([2]);

    expect((await sendPart(sha256, 1, bytes.slice(0, MODEL_PART_BYTES))).status).toBe(204);
    expect((await complete(sha256)).status).toBe(202);
    const ready = await settled(sha256);
    expect(ready).toMatchObject({
      status: "ready",
      format: "safetensors",
      size: bytes.byteLength,
      reason: null,
      upload: null,
    });
    expect(ready.bytes_done).toBe(bytes.byteLength);
    // Said twice, it is still so.
    expect((await complete(sha256)).status).toBe(202);
    expect((await read(sha256)).status).toBe("ready");
  });

  it("is the same model for the same bytes: nothing is sent twice, and it has both names", async () => {
    const bytes = safetensors(100, 4);
    const first = await upload(bytes);
    const answer = await begin({
      sha256: await sha256Hex(bytes),
      size: bytes.byteLength,
      type: "loras",
      filename: "b.safetensors",
    });
    expect(answer.status).toBe(200);
    const second = await modelOf(answer);
    expect(second).toMatchObject({ id: first.id, status: "ready", upload: null });
    expect(second.places).toEqual([
      { type: "checkpoints", filename: "a.safetensors" },
      { type: "loras", filename: "b.safetensors" },
    ]);
    expect(await keysOf(first)).toHaveLength(1);
  });

  it("takes a part that is sent again instead of the first one", async () => {
    const bytes = safetensors(200, 5);
    const sha256 = await sha256Hex(bytes);
    await begin({ sha256, size: bytes.byteLength, type: "vae", filename: "c.safetensors" });
    expect((await sendPart(sha256, 1, new Uint8Array(bytes.byteLength))).status).toBe(204);
    expect((await sendPart(sha256, 1, bytes)).status).toBe(204);
    await complete(sha256);
    expect((await settled(sha256)).status).toBe("ready");
  });

  it("forgets a part whose new bytes were damaged on their way", async () => {
    const bytes = safetensors(201, 5);
    const sha256 = await sha256Hex(bytes);
    await begin({ sha256, size: bytes.byteLength, type: "vae", filename: "c.safetensors" });
    await sendPart(sha256, 1, bytes);
    const damaged = await sendPart(sha256, 1, new Uint8Array(bytes.byteLength), sha256);
    expect(await refusalOf(damaged)).toEqual({ status: 422, code: "checksum_mismatch" });
    expect((await read(sha256)).upload?.parts).toEqual([]);
  });

  it("refuses parts that cannot be", async () => {
    const bytes = safetensors(202, 5);
    const sha256 = await sha256Hex(bytes);
    await begin({ sha256, size: bytes.byteLength, type: "vae", filename: "d.safetensors" });
    expect(await refusalOf(await sendPart(sha256, 1, bytes.slice(1)))).toEqual({ status: 422, code: "invalid_model" });
    expect(await refusalOf(await sendPart(sha256, 2, bytes))).toEqual({ status: 422, code: "invalid_model" });
    expect((await sendPart(sha256, 0, bytes)).status).toBe(404);
    const unstated = await send("PUT", `/v1/models/${sha256}/parts/1`, {
      key: workspace.key,
      body: bytes,
      headers: { "content-type": "application/octet-stream", "content-length": String(bytes.byteLength) },
    });
    expect(await refusalOf(unstated)).toEqual({ status: 400, code: "malformed_request" });
    const ready = await upload(safetensors(203, 5));
    expect(await refusalOf(await sendPart(ready.id, 1, bytes))).toEqual({ status: 409, code: "model_conflict" });
  });

  it("fails when the whole has another hash, leaves nothing in the store, and may be begun again", async () => {
    const bytes = safetensors(300, 6);
    const stated = await sha256Hex(safetensors(300, 7));
    const failed = await upload(bytes, { sha256: stated });
    expect(failed.status).toBe("failed");
    expect(failed.reason).toContain(await sha256Hex(bytes));
    await expect.poll(() => keysOf(failed)).toEqual([]);
    const again = await begin({ sha256: stated, size: 308, type: "checkpoints", filename: "a.safetensors" });
    expect(again.status).toBe(201);
    expect(await modelOf(again)).toMatchObject({ id: failed.id, status: "uploading", reason: null });
  });

  it.each([
    ["is cut off", safetensors(500, 1).slice(0, 400), "outside the file"],
    ["has another form", new Uint8Array(100).fill(0x47), "no safetensors file"],
    ["is tiny", new Uint8Array([1, 2, 3]), "too few"],
  ])("fails when the file %s", async (_, bytes, reason) => {
    const failed = await upload(bytes);
    expect(failed.status).toBe("failed");
    expect(failed.reason).toContain(reason);
  });

  it("takes other formats only when that is asked for, under a name of their own", async () => {
    const pickle = new Uint8Array([0x50, 0x4b, 3, 4, ...new Uint8Array(100)]);
    const sha256 = await sha256Hex(pickle);
    const wanted = { sha256, size: pickle.byteLength, type: "checkpoints", filename: "old.ckpt" };
    expect(await refusalOf(await begin(wanted))).toEqual({ status: 422, code: "invalid_model", paths: ["/filename"] });
    const asSafe = await upload(pickle, { filename: "lie.safetensors", allow_unsafe: true });
    expect(asSafe.status).toBe("failed");
    const taken = await upload(pickle, { filename: "old.ckpt", allow_unsafe: true });
    expect(taken).toMatchObject({ status: "ready", format: "pickle" });
    // Once it is known what it is, it gets no name that says something else.
    const renamed = await begin({ ...wanted, filename: "x.safetensors", allow_unsafe: true });
    expect(await refusalOf(renamed)).toEqual({ status: 422, code: "invalid_model", paths: ["/filename"] });
  });

  it.each([
    ["a hash that is none", { sha256: "x" }, "/sha256"],
    ["no bytes", { size: 0 }, "/size"],
    ["too many bytes", { size: MODEL_BYTES_MAX + 1 }, "/size"],
    ["a folder that leads out", { type: "../x" }, "/type"],
    ["a name that leads out", { filename: "../a.safetensors" }, "/filename"],
    ["an absolute name", { filename: "/etc/a.safetensors" }, "/filename"],
    ["an unknown field", { extra: 1 }, "/extra"],
  ])("refuses %s and names the field", async (_, change, path) => {
    const wanted = { sha256: "a".repeat(64), size: 10, type: "vae", filename: "a.safetensors", ...change };
    expect(await refusalOf(await begin(wanted))).toMatchObject({ status: 422, code: "invalid_body", paths: [path] });
  });

  it("refuses more bytes than a workspace may store", async () => {
    const full = await makeWorkspace();
    const count = MODELS_BYTES_PER_WORKSPACE_MAX / MODEL_BYTES_MAX;
    for (let index = 0; index < count; index += 1) {
      const sha256 = index.toString(16).padStart(64, "0");
      const one = { sha256, size: MODEL_BYTES_MAX, type: "vae", filename: `${index}.safetensors` };
      expect((await begin(one, full.key)).status).toBe(201);
    }
    const more = { sha256: "f".repeat(64), size: 1, type: "vae", filename: "more.safetensors" };
    expect(await refusalOf(await begin(more, full.key))).toEqual({ status: 409, code: "model_limit" });
    // What is deleted makes room.
    const first = `/v1/models/${"0".repeat(64)}`;
    expect((await send("DELETE", first, { key: full.key })).status).toBe(204);
    expect((await begin(more, full.key)).status).toBe(201);
  });

  it("ends an upload of which no part has come for days", async () => {
    const idle = await makeWorkspace();
    const sha256 = "e".repeat(64);
    await begin({ sha256, size: 10, type: "vae", filename: "e.safetensors" }, idle.key);
    const stub = env.MODELS.getByName(idle.workspaceId);
    const upload = await runInDurableObject(stub, async (_, { storage }) => {
      const past = Date.now() - MODEL_UPLOAD_IDLE_MS;
      storage.sql.exec("UPDATE models SET due_at = due_at - ?", MODEL_UPLOAD_IDLE_MS + 1_000);
      await storage.setAlarm(past);
      return storage.sql.exec<{ object_key: string; upload_id: string }>("SELECT * FROM models").one();
    });
    await runDurableObjectAlarm(stub);
    await expect.poll(async () => (await read(sha256, idle.key)).status).toBe("failed");
    const dead = env.STORE.resumeMultipartUpload(upload.object_key, upload.upload_id);
    await expect
      .poll(() =>
        dead.uploadPart(1, "0123456789").then(
          () => "taken",
          () => "over",
        ),
      )
      .toBe("over");
  });
});

describe("the list of models", () => {
  it("goes newest first, page by page, by type and status", async () => {
    const owner = await makeWorkspace();
    const names = ["1", "2", "3"];
    for (const name of names) {
      const sha256 = name.padStart(64, "0");
      await begin(
        { sha256, size: 5, type: name === "2" ? "loras" : "vae", filename: `${name}.safetensors` },
        owner.key,
      );
    }
    const listed = async (query: string) => jsonOf(await send("GET", `/v1/models${query}`, { key: owner.key }));
    const filenames = (page: { data?: unknown }) => (page.data as Model[]).map(({ filename }) => filename);
    const first = await listed("?limit=2");
    expect(filenames(first)).toEqual(["3.safetensors", "2.safetensors"]);
    const second = await listed(`?limit=2&cursor=${String(first.next_cursor)}`);
    expect(filenames(second)).toEqual(["1.safetensors"]);
    expect(second.next_cursor).toBeNull();
    expect(filenames(await listed("?type=loras"))).toEqual(["2.safetensors"]);
    expect(filenames(await listed("?status=ready"))).toEqual([]);
    expect(filenames(await listed("?status=uploading&type=vae"))).toEqual(["3.safetensors", "1.safetensors"]);
    const foreign = await send("GET", `/v1/models?type=vae&cursor=${String(first.next_cursor)}`, { key: owner.key });
    expect(await refusalOf(foreign)).toEqual({ status: 400, code: "invalid_cursor" });
  });
});

describe("a model", () => {
  it("is unknown to strangers, whatever they ask", async () => {
    const model = await upload(safetensors(400, 8));
    const unknown = { status: 404, code: "model_not_found" };
    for (const name of [model.id, String(model.sha256), "no-model"]) {
      expect(await refusalOf(await send("GET", `/v1/models/${name}`, { key: stranger.key }))).toEqual(unknown);
      expect(await refusalOf(await send("DELETE", `/v1/models/${name}`, { key: stranger.key }))).toEqual(unknown);
      const completed = await send("POST", `/v1/models/${name}/complete`, { key: stranger.key });
      expect(await refusalOf(completed)).toEqual(unknown);
    }
    expect((await read(model.id)).status).toBe("ready");
  });

  it("stays while an endpoint's active release has a build with it, unless that is forced", async () => {
    const model = await upload(safetensors(402, 8));
    const entry = { ...exampleModel, sha256: String(model.sha256), sources: ["registry:"] };
    const key = workspace.key;
    const build = await jsonOf(await send("POST", "/v1/builds", { key, json: { ...exampleBuild, models: [entry] } }));
    await makeEndpoint(key, "needs-it", { build: build.digest });
    const path = `/v1/models/${model.id}`;
    expect(await refusalOf(await send("DELETE", path, { key }))).toEqual({ status: 409, code: "model_in_use" });
    await send("PATCH", "/v1/endpoints/needs-it", { key, json: { build: null } });
    await makeEndpoint(key, "forced", { build: build.digest });
    expect(await refusalOf(await send("DELETE", path, { key }))).toMatchObject({ code: "model_in_use" });
    expect((await send("DELETE", `${path}?force=true`, { key })).status).toBe(204);
    const other = await upload(safetensors(403, 8));
    expect((await send("DELETE", `/v1/models/${other.id}`, { key })).status).toBe(204);
  });

  it("goes with its bytes when it is deleted", async () => {
    const model = await upload(safetensors(401, 8));
    expect(await keysOf(model)).toHaveLength(1);
    expect((await send("DELETE", `/v1/models/${model.id}`, { key: workspace.key })).status).toBe(204);
    const gone = await send("GET", `/v1/models/${model.id}`, { key: workspace.key });
    expect(await refusalOf(gone)).toEqual({ status: 404, code: "model_not_found" });
    await expect.poll(() => keysOf(model)).toEqual([]);
  });
});

describe("a machine", () => {
  /** Read to the end: an answer that nobody reads stays open. @returns 0 where it is a refusal */
  const bytesOf = async (answer: Response) => (answer.ok ? (await answer.arrayBuffer()).byteLength : 0);

  /** The hash of a model of the workspace with these bytes. */
  const hashOf = async (bytes: Uint8Array<ArrayBuffer>) => String((await upload(bytes)).sha256);

  /** A machine, the only one of its pod, with a replica whose release has a build with the model. */
  async function machineThatRuns(sha256: string): Promise<TestNode & { readonly podId: string }> {
    const { key } = workspace;
    const slug = `runs-${sha256.slice(0, 8)}`;
    const { id } = await jsonOf(await send("POST", "/v1/pods", { key, json: { name: slug } }));
    const podId = String(id);
    const entry = { ...exampleModel, sha256, sources: ["registry:"] };
    const build = await jsonOf(await send("POST", "/v1/builds", { key, json: { ...exampleBuild, models: [entry] } }));
    const pods = [{ pod_id: podId, lanes: ["interactive", "batch"] }];
    await makeEndpoint(key, slug, { build: build.digest, pods });
    await submitJob(key, slug);
    const { node } = await readyReplica(await joinNode({ ...workspace, podId }));
    return { ...node, podId };
  }
  const download = (sha256: string, from: TestNode, headers: Record<string, string> = {}, method = "GET") =>
    send(method, `/agent/v1/models/${sha256}`, { key: from.session, headers: { ...agentHeaders(), ...headers } });

  it("gets a model of its workspace, whole or in ranges", async () => {
    const bytes = safetensors(1_000, 9);
    const sha256 = await hashOf(bytes);
    const node = await machineThatRuns(sha256);
    const whole = await download(String(sha256), node);
    expect(whole.status).toBe(200);
    expect(whole.headers.get(SHA256_HEADER)).toBe(sha256);
    expect(whole.headers.get("content-length")).toBe(String(bytes.byteLength));
    expect(new Uint8Array(await whole.arrayBuffer())).toEqual(bytes);
    const part = await download(String(sha256), node, { range: "bytes=10-19", "if-range": `"${sha256}"` });
    expect(part.status).toBe(206);
    expect(part.headers.get("content-range")).toBe(`bytes 10-19/${bytes.byteLength}`);
    expect(new Uint8Array(await part.arrayBuffer())).toEqual(bytes.slice(10, 20));
    const other = await download(String(sha256), node, { range: "bytes=10-19", "if-range": '"other"' });
    expect(other.status).toBe(200);
    expect((await other.arrayBuffer()).byteLength).toBe(bytes.byteLength);
    const outside = await download(String(sha256), node, { range: "bytes=999999-" });
    expect(await refusalOf(outside)).toEqual({ status: 416, code: "range_not_satisfiable" });
    const head = await download(String(sha256), node, {}, "HEAD");
    expect(head.headers.get("content-length")).toBe(String(bytes.byteLength));
  });

  it("gets nothing that is not ready, unknown or another workspace's", async () => {
    const node = await joinNode(workspace);
    const missing = { status: 404, code: "model_not_found" };
    expect(await refusalOf(await download("a".repeat(64), node))).toEqual(missing);
    const { sha256 } = await upload(safetensors(1_001, 9));
    const foreign = await joinNode(stranger);
    expect(await refusalOf(await download(String(sha256), foreign))).toEqual(missing);
    const open = await sha256Hex(safetensors(1_002, 9));
    await begin({ sha256: open, size: 1_100, type: "vae", filename: "open.safetensors" });
    expect(await refusalOf(await download(open, node))).toEqual(missing);
    const unknown = await send("GET", `/agent/v1/models/${sha256}`, { headers: agentHeaders() });
    expect(unknown.status).toBe(401);
  });

  it("gets nothing any more once it is removed", async () => {
    const sha256 = await hashOf(safetensors(1_004, 9));
    const removed = await machineThatRuns(sha256);
    expect(await bytesOf(await download(String(sha256), removed))).toBeGreaterThan(0);
    const path = `/v1/pods/${removed.podId}/nodes/${removed.nodeId}`;
    expect((await send("DELETE", path, { key: workspace.key })).status).toBe(204);
    const unknown = { status: 404, code: "node_not_found" };
    expect(await refusalOf(await download(String(sha256), removed, { range: "bytes=0-1" }))).toEqual(unknown);
  });

  it("gets no model that none of its replicas needs", async () => {
    const missing = { status: 404, code: "model_not_found" };
    const needed = await hashOf(safetensors(1_003, 9));
    const other = await hashOf(safetensors(1_005, 9));
    const node = await machineThatRuns(needed);
    expect(await bytesOf(await download(needed, node))).toBeGreaterThan(0);
    expect(await refusalOf(await download(other, node))).toEqual(missing);
    const idle = await joinNode({ ...workspace, podId: node.podId });
    expect(await refusalOf(await download(needed, idle))).toEqual(missing);
  });
});
