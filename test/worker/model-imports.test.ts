import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { MODEL_BYTES_MAX, MODEL_PART_BYTES, MODEL_STREAM_BYTES_MAX } from "#contract/limits";
import { Model } from "#contract/model";
import { type FileServer, fileServer, type ServedFile, safetensors, served } from "#test/worker/model-files";
import { jsonOf, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";
import { sha256Hex } from "#worker/auth/digest";

const ADDRESS = "https://files.example.org/models/a.safetensors";
const HF = "https://huggingface.co/owner/name/resolve/main/dir/a%2Bb.safetensors";
const HF_SOURCE = "hf:owner/name@main/dir/a+b.safetensors";

let workspace: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** The outside world is this server. */
function outside(files: Parameters<typeof fileServer>[0]): FileServer {
  const server = fileServer(files);
  vi.spyOn(globalThis, "fetch").mockImplementation(server.answer);
  return server;
}

const importFrom = (source: string, more: Record<string, unknown> = {}, key = workspace.key) =>
  send("POST", "/v1/model-imports", {
    key,
    json: { source, type: "checkpoints", filename: "a.safetensors", ...more },
  });
const read = async (name: string, key = workspace.key): Promise<Model> =>
  Model.parse(await (await send("GET", `/v1/models/${name}`, { key })).json());

/** The import's model, once it is ready or failed. */
async function imported(source: string, more: Record<string, unknown> = {}): Promise<Model> {
  const answer = await importFrom(source, more);
  if (answer.status !== 202) throw new Error(`import refused: ${await answer.text()}`);
  return settled(String((await jsonOf(answer)).id));
}

async function settled(name: string): Promise<Model> {
  await expect.poll(async () => (await read(name)).status, { timeout: 30_000 }).toMatch(/^(ready|failed)$/);
  return read(name);
}

async function storedBytes(model: Model): Promise<Uint8Array> {
  const prefix = `models/${workspace.workspaceId}/${model.id}/`;
  const { objects } = await env.STORE.list({ prefix });
  const object = await env.STORE.get(objects[0]?.key ?? "");
  return new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer(0));
}

describe("importing a model", () => {
  it("fetches it part by part, with If-Range, and learns its hash", async () => {
    const bytes = safetensors(MODEL_PART_BYTES + 500, 11);
    const server = outside({ [ADDRESS]: { bytes, etag: '"v1"' } });
    const answer = await importFrom(ADDRESS);
    expect(answer.status).toBe(202);
    const begun = Model.parse(await answer.json());
    expect(begun).toMatchObject({ status: "importing", sha256: null, sources: [ADDRESS] });
    const model = await settled(begun.id);
    expect(model).toMatchObject({ status: "ready", sha256: await sha256Hex(bytes), size: bytes.byteLength });
    expect(await sha256Hex(await storedBytes(model))).toBe(model.sha256);
    const ranges = server.seen.map(({ headers }) => headers.get("range"));
    expect(ranges.toSorted()).toEqual(
      ["bytes=0-0", `bytes=0-${MODEL_PART_BYTES - 1}`, `bytes=${MODEL_PART_BYTES}-${bytes.byteLength - 1}`].toSorted(),
    );
    expect(server.seen.slice(1).every(({ headers }) => headers.get("if-range") === '"v1"')).toBe(true);
    // It can be found by what it turned out to be.
    expect((await read(String(model.sha256))).id).toBe(model.id);
  });

  it("knows the hash that Hugging Face names, and sends the token there alone", async () => {
    const bytes = safetensors(700, 12);
    const sha256 = await sha256Hex(bytes);
    const cdn = "https://cdn.example.net/blob?signature=secret";
    const server = outside({
      [HF]: () => new Response(null, { status: 302, headers: { location: cdn, "x-linked-etag": `"${sha256}"` } }),
      [cdn]: { bytes, etag: '"v1"' },
    });
    const stub = env.MODELS.getByName(workspace.workspaceId);
    await withToken(stub, async () => {
      const model = await imported(HF_SOURCE);
      expect(model).toMatchObject({ status: "ready", sha256, sources: [HF_SOURCE] });
    });
    const sentTo = server.seen.map(({ url, headers }) => [new URL(url).host, headers.get("authorization")]);
    expect(sentTo).toContainEqual(["huggingface.co", "Bearer hf_secret"]);
    expect(sentTo.filter(([host, token]) => host !== "huggingface.co" && token !== null)).toEqual([]);
    // Where the redirects led is asked again at once.
    expect(server.seen.map(({ url }) => url)).toEqual([HF, cdn, HF, cdn]);
  });

  it("takes nothing that hashes to something else", async () => {
    const bytes = safetensors(701, 12);
    const other = "b".repeat(64);
    outside({ [ADDRESS]: { bytes, etag: '"v1"' } });
    const model = await imported(ADDRESS, { sha256: other });
    expect(model).toMatchObject({ status: "failed", sha256: other });
    expect(model.reason).toContain(await sha256Hex(bytes));
  });

  it("fails early when Hugging Face names another hash than the caller", async () => {
    const server = outside({
      [HF]: () => new Response("x", { headers: { "x-linked-etag": `"${"c".repeat(64)}"` } }),
    });
    const model = await imported(HF_SOURCE, { sha256: "d".repeat(64) });
    expect(model.reason).toContain("c".repeat(64));
    expect(server.seen).toHaveLength(1);
  });

  it("downloads nothing when the workspace has these bytes already", async () => {
    const bytes = safetensors(702, 12);
    const sha256 = await sha256Hex(bytes);
    outside({ [ADDRESS]: { bytes, etag: '"v1"' } });
    const first = await imported(ADDRESS);
    const server = outside({
      [HF]: (headers) => served({ bytes, headers: { "x-linked-etag": `"${sha256}"` } }, headers),
    });
    const answer = await importFrom(HF_SOURCE, { filename: "again.safetensors" });
    const { id } = Model.parse(await answer.json());
    const second = await settled(id);
    // The import's own id still leads there.
    expect(second).toMatchObject({ id: first.id, status: "ready", sources: [ADDRESS, HF_SOURCE] });
    expect(second.places.map(({ filename }) => filename)).toEqual(["a.safetensors", "again.safetensors"]);
    expect(server.seen).toHaveLength(1);
    // Two imports that nobody names a hash for become one when it is known.
    const third = "https://files.example.org/other.safetensors";
    outside({ [third]: { bytes, etag: '"v9"' } });
    expect((await imported(third)).id).toBe(first.id);
  });

  it("asks Civitai which file it is, and what it hashes to", async () => {
    const bytes = safetensors(703, 13);
    const sha256 = await sha256Hex(bytes);
    const download = "https://civitai.com/api/download/models/42";
    const files = [
      { downloadUrl: "https://civitai.com/api/download/models/42?type=Other", hashes: { SHA256: "0".repeat(64) } },
      { downloadUrl: download, primary: true, hashes: { SHA256: sha256.toUpperCase() } },
    ];
    outside({
      "https://civitai.com/api/v1/model-versions/42": () => Response.json({ files }),
      [download]: () => new Response(null, { status: 307, headers: { location: "https://b2.example.net/f" } }),
      "https://b2.example.net/f": { bytes, etag: '"v1"' },
    });
    expect(await imported("civitai:42")).toMatchObject({ status: "ready", sha256 });
  });

  it("takes a file whose server sends no ranges in one go", async () => {
    const bytes = safetensors(9 * 1024 * 1024, 14);
    outside({ [ADDRESS]: { bytes, ranges: false } });
    const model = await imported(ADDRESS);
    expect(model).toMatchObject({ status: "ready", sha256: await sha256Hex(bytes), size: bytes.byteLength });
    expect(await sha256Hex(await storedBytes(model))).toBe(model.sha256);
  });

  it("takes a file of which nobody says how long it is", async () => {
    const bytes = safetensors(704, 14);
    outside({ [ADDRESS]: () => new Response(new Blob([bytes]).stream()) });
    expect(await imported(ADDRESS)).toMatchObject({ status: "ready", size: bytes.byteLength });
  });

  it("tries again after what may pass, and says meanwhile why it waits", async () => {
    const bytes = safetensors(705, 15);
    let isDown = true;
    const server = outside({
      [ADDRESS]: (headers) =>
        isDown ? new Response("busy", { status: 503 }) : served({ bytes, etag: '"1"' }, headers),
    });
    const { id } = Model.parse(await (await importFrom(ADDRESS)).json());
    await expect.poll(async () => (await read(id)).notice).toBe("Its source answered 503.");
    expect((await read(id)).status).toBe("importing");
    isDown = false;
    expect(await settled(id)).toMatchObject({ status: "ready", notice: null });
    expect(server.seen.length).toBeGreaterThan(2);
  });

  it("asks its source again when the address behind it has had its time", async () => {
    const bytes = safetensors(2 * MODEL_PART_BYTES, 16);
    let hop = 0;
    const isOld = (url: string) => url === "https://cdn.example.net/1";
    const files: Record<string, (headers: Headers, request: number) => Response> = {
      [ADDRESS]: () => {
        hop += 1;
        return new Response(null, {
          status: 302,
          headers: { location: `https://cdn.example.net/${Math.min(hop, 2)}` },
        });
      },
    };
    let given = 0;
    for (const url of ["https://cdn.example.net/1", "https://cdn.example.net/2"]) {
      files[url] = (headers) => {
        given += 1;
        // The first address works for the look at the file alone.
        if (isOld(url) && given > 1) return new Response("expired", { status: 403 });
        return served({ bytes, etag: '"1"' }, headers);
      };
    }
    outside(files);
    expect(await imported(ADDRESS)).toMatchObject({ status: "ready", sha256: await sha256Hex(bytes) });
  });

  it.each<[string, ServedFile | ((headers: Headers, request: number) => Response), string]>([
    ["is not there", () => new Response("no", { status: 404 }), "answered 404"],
    ["is not for everybody", () => new Response("no", { status: 401 }), "A token or signature"],
    ["is a web page", () => new Response("<html>", { headers: { "content-type": "text/html" } }), "web page"],
    [
      "redirects to a private address",
      () => new Response(null, { status: 302, headers: { location: "https://169.254.169.254/x" } }),
      "may not be fetched",
    ],
    [
      "redirects without an end",
      () => new Response(null, { status: 302, headers: { location: ADDRESS } }),
      "more than 5 times",
    ],
    ["is no safetensors file", { bytes: new Uint8Array(100).fill(7), etag: '"1"' }, "not taken as safetensors"],
    ["is empty", { bytes: new Uint8Array(0), ranges: false }, "empty"],
    [
      "is too large for a model",
      () =>
        new Response("x", {
          status: 206,
          headers: { etag: '"1"', "content-range": `bytes 0-0/${MODEL_BYTES_MAX + 1}` },
        }),
      String(MODEL_BYTES_MAX),
    ],
    [
      "is large and comes without ranges",
      () => new Response(null, { headers: { "content-length": String(MODEL_STREAM_BYTES_MAX + 1) } }),
      "sends no ranges",
    ],
    [
      "is large and of no known version",
      () => new Response("x", { status: 206, headers: { "content-range": `bytes 0-0/${MODEL_STREAM_BYTES_MAX + 1}` } }),
      "state the sha256",
    ],
    [
      "changes while it is fetched",
      (headers, request) => served({ bytes: safetensors(706, request), etag: `"${request}"` }, headers),
      "changed while it was fetched",
    ],
  ])("says why, when the file %s", async (_, file, reason) => {
    outside({ [ADDRESS]: file });
    const model = await imported(ADDRESS);
    expect(model.status).toBe("failed");
    expect(model.reason).toContain(reason);
    const { objects } = await env.STORE.list({ prefix: `models/${workspace.workspaceId}/${model.id}/` });
    expect(objects).toEqual([]);
  });

  it("shows no query of an address, which may hold a token", async () => {
    const bytes = safetensors(707, 17);
    outside({ [`${ADDRESS}?token=secret`]: { bytes, etag: '"1"' } });
    const answer = await importFrom(`${ADDRESS}?token=secret`);
    const text = await answer.clone().text();
    expect(text).not.toContain("secret");
    const model = await settled(Model.parse(await answer.json()).id);
    expect(model).toMatchObject({ status: "ready", sources: [ADDRESS] });
    const stub = env.MODELS.getByName(workspace.workspaceId);
    const rows = await runInDurableObject(stub, async (_, { storage }) =>
      JSON.stringify(storage.sql.exec("SELECT * FROM models").toArray()),
    );
    expect(rows).not.toContain("secret");
  });

  it("goes on after its object was restarted", async () => {
    const other = await makeWorkspace();
    const bytes = safetensors(708, 18);
    outside({ [ADDRESS]: () => new Response("busy", { status: 503 }) });
    const { id } = Model.parse(await (await importFrom(ADDRESS, {}, other.key)).json());
    await expect.poll(async () => (await read(id, other.key)).notice).not.toBeNull();
    outside({ [ADDRESS]: { bytes, etag: '"1"' } });
    await evictDurableObject(env.MODELS.getByName(other.workspaceId));
    await expect.poll(async () => (await read(id, other.key)).status, { timeout: 30_000 }).toBe("ready");
  });

  it("is one import when it is asked for twice, and ends when it is deleted", async () => {
    outside({ [ADDRESS]: () => new Response("busy", { status: 503 }) });
    const first = Model.parse(await (await importFrom(ADDRESS)).json());
    const again = await importFrom(ADDRESS, { type: "vae" });
    expect(again.status).toBe(200);
    expect(Model.parse(await again.json())).toMatchObject({ id: first.id, places: { length: 2 } });
    expect((await send("DELETE", `/v1/models/${first.id}`, { key: workspace.key })).status).toBe(204);
    expect((await send("GET", `/v1/models/${first.id}`, { key: workspace.key })).status).toBe(404);
  });

  it.each([
    ["a form nobody knows", "ftp://files.example.org/a", "invalid_model"],
    ["a repository without a revision", "hf:owner/name/file.safetensors", "invalid_model"],
    ["a path that climbs", "hf:owner/name@main/../../x", "invalid_model"],
    ["a private address", "https://10.0.0.1/a.safetensors", "invalid_url"],
    ["this service itself", "https://pilotlight.test/v1/models", "invalid_url"],
  ])("refuses %s", async (_, source, code) => {
    expect(await refusalOf(await importFrom(source))).toEqual({ status: 422, code, paths: ["/source"] });
  });
});

/** Runs with a Hugging Face token in the deployment's settings; the object reads them when it is made. */
async function withToken(stub: ReturnType<typeof env.MODELS.getByName>, work: () => Promise<void>): Promise<void> {
  const settings = env as { HF_TOKEN?: string };
  settings.HF_TOKEN = "hf_secret";
  try {
    await evictDurableObject(stub);
    await work();
  } finally {
    delete settings.HF_TOKEN;
    await evictDurableObject(stub);
  }
}
