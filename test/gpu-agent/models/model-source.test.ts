import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AGENT_PROTOCOL, PROTOCOL_HEADER } from "#contract/agent";
import { resolveSource, type SourceSettings } from "#gpu-agent/models/model-source";
import { serverRegistry } from "#gpu-agent/models/server-registry";
import { cleanUp, modelOf, never, onCleanUp, safetensors, temporaryFolder, testStore } from "./model-files.ts";
import { ModelServer } from "./model-server.ts";

const SETTINGS: SourceSettings = {
  reach: "public",
  allowFiles: false,
  huggingFaceUrl: "https://huggingface.co",
  huggingFaceToken: "hf_secret",
  civitaiUrl: "https://civitai.com",
  civitaiToken: "civ_secret",
};
const HASH = "a".repeat(64);
const resolved = async (source: string, settings: Partial<SourceSettings> = {}) => {
  const result = await resolveSource(source, HASH, { ...SETTINGS, ...settings }, never());
  if (result.kind !== "http") throw new Error("is a file");
  return result;
};

describe("a source", () => {
  it.each([
    ["https://files.example.org/a.safetensors?x=1", "https://files.example.org/a.safetensors?x=1", "files.example.org"],
    [
      "hf:stabilityai/sd-turbo@b261bac6fd2cf515557d5d0707481eafa0485ec2/unet/model.safetensors",
      "https://huggingface.co/stabilityai/sd-turbo/resolve/b261bac6fd2cf515557d5d0707481eafa0485ec2/unet/model.safetensors",
      "huggingface.co",
    ],
    [
      "hf:a/b@main/c#d?e.safetensors",
      "https://huggingface.co/a/b/resolve/main/c%23d%3Fe.safetensors",
      "huggingface.co",
    ],
    ["civitai:128713", "https://civitai.com/api/download/models/128713", "civitai.com"],
  ])("%s is %s", async (source, url, host) => {
    const result = await resolved(source);
    expect([result.url.href, result.host]).toEqual([url, host]);
  });

  it.each([
    "http://files.example.org/a",
    "https://127.0.0.1/a",
    "https://10.0.0.1/a",
    "https://localhost/a",
    "https://files.internal/a",
    "https://user:word@files.example.org/a",
    "https://files.example.org:8443/a",
    "ftp://files.example.org/a",
    "file:///etc/passwd",
    "hf:a/b",
    "hf:a/b@main/../../../x",
    "hf:a/..@main/x",
    "civitai:1/../2",
    "registry:",
    "nonsense",
  ])("%s is refused", async (source) => {
    await expect(resolved(source)).rejects.toMatchObject({ code: "source_refused", retryable: false });
  });

  it("may be a private machine's where the owner says so", async () => {
    const result = await resolved("https://nas.local:8443/a", { reach: "private" });
    expect(result.url.href).toBe("https://nas.local:8443/a");
    await expect(resolved("ftp://nas.local/a", { reach: "private" })).rejects.toMatchObject({ code: "source_refused" });
    await expect(resolved("https://a:b@nas.local/a", { reach: "private" })).rejects.toMatchObject({
      code: "source_refused",
    });
  });

  it.each([
    ["hf:a/b@main/c", "Bearer hf_secret", "https://huggingface.co/other"],
    ["civitai:1", "Bearer civ_secret", "https://civitai.com/other"],
  ])("%s has its token for its own origin alone", async (source, authorization, own) => {
    const { headersFor } = await resolved(source);
    expect(headersFor(new URL(own))).toEqual({ authorization });
    for (const other of [
      "https://cdn.huggingface.co/x",
      "https://huggingface.co:444/x",
      "https://x.org/",
      "http://civitai.com/",
    ]) {
      expect(headersFor(new URL(other))).toEqual({});
    }
  });

  it("that is only an address has no token, even for a host that has one", async () => {
    const { headersFor, url } = await resolved("https://huggingface.co/a/b/resolve/main/c");
    expect(headersFor(url)).toEqual({});
  });
});

describe("the way to a source", () => {
  let server: ModelServer;
  let other: ModelServer;
  const bytes = safetensors(30_000);

  beforeEach(async () => {
    [server, other] = [await new ModelServer().start(), await new ModelServer().start()];
    onCleanUp(() => server.stop());
    onCleanUp(() => other.stop());
  });
  afterEach(cleanUp);

  it("carries the token to its host, through its redirects, and never to another", async () => {
    const target = other.serve("/signed", { bytes });
    server.serve("/a/b/resolve/main/c.safetensors", {
      bytes,
      behave: () => ({ status: 307, headers: { location: "/moved" } }),
    });
    server.serve("/moved", { bytes, behave: () => ({ status: 302, headers: { location: target } }) });
    const store = await testStore(await temporaryFolder(), {
      huggingFaceUrl: server.origin,
      huggingFaceToken: "hf_secret",
    });
    await store.ensure(modelOf(bytes, ["hf:a/b@main/c.safetensors"]), { signal: never() });
    expect(server.seen.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      ["/a/b/resolve/main/c.safetensors", "Bearer hf_secret"],
      ["/moved", "Bearer hf_secret"],
    ]);
    expect(other.seen.length).toBe(4);
    expect(other.seen.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it("asks for a token when there is none, without saying what was sent", async () => {
    server.serve("/api/download/models/7", { bytes, behave: () => ({ status: 401 }) });
    const store = await testStore(await temporaryFolder(), { civitaiUrl: server.origin, civitaiToken: "civ_secret" });
    const error: unknown = await store
      .ensure(modelOf(bytes, ["civitai:7"]), { signal: never() })
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "source_denied", message: expect.stringContaining("may need a token") });
    expect(JSON.stringify(error) + String(error)).not.toContain("civ_secret");
  });

  it("to the registry is what the registry says, whose own address is not judged", async () => {
    const url = server.serve("/agent/v1/models/x", { bytes });
    const asked: string[] = [];
    const store = await testStore(await temporaryFolder(), {
      reach: "public",
      registry: (sha256) => {
        asked.push(sha256);
        return Promise.resolve({ url, headers: () => ({ authorization: "Bearer node" }) });
      },
    });
    const model = modelOf(bytes, ["registry:"]);
    const { path } = await store.ensure(model, { signal: never() });
    expect((await readFile(path)).equals(bytes)).toBe(true);
    expect(asked).toEqual([model.sha256]);
    expect(server.seen.every(({ headers }) => headers.authorization === "Bearer node")).toBe(true);

    const away = other.serve("/private", { bytes });
    server.serve("/agent/v1/models/x", { bytes, behave: () => ({ status: 302, headers: { location: away } }) });
    const fresh = await testStore(await temporaryFolder(), {
      reach: "public",
      registry: () => Promise.resolve({ url, headers: () => ({}) }),
    });
    await expect(fresh.ensure(model, { signal: never() })).rejects.toMatchObject({ code: "source_refused" });
    expect(other.seen).toEqual([]);
  });

  it("to the server's registry goes on when the session is renewed on the way", async () => {
    const model = modelOf(bytes, ["registry:"]);
    let session = "old";
    const path = `/under/agent/v1/models/${model.sha256}`;
    server.serve(path, {
      bytes,
      behave: ({ nth, headers }) => {
        if (nth === 2) session = "new";
        return nth >= 2 && headers.authorization !== "Bearer new" ? { status: 401 } : undefined;
      },
    });
    const registry = serverRegistry(`${server.origin}/under/`, () => session);
    const store = await testStore(await temporaryFolder(), { reach: "public", registry });
    await store.ensure(model, { signal: never() });
    expect(server.seen.every(({ headers }) => headers[PROTOCOL_HEADER] === String(AGENT_PROTOCOL))).toBe(true);
    expect(server.seen.some(({ headers }) => headers.authorization === "Bearer new")).toBe(true);
  });

  it("to the server's registry needs a session", async () => {
    const store = await testStore(await temporaryFolder(), { registry: serverRegistry(server.origin, () => null) });
    await expect(store.ensure(modelOf(bytes, ["registry:"]), { signal: never() })).rejects.toMatchObject({
      code: "source_unreachable",
    });
    expect(server.seen).toEqual([]);
  });

  it("to a registry that does not answer may be tried later", async () => {
    const store = await testStore(await temporaryFolder(), { registry: () => Promise.reject(new Error("down")) });
    await expect(store.ensure(modelOf(bytes, ["registry:"]), { signal: never() })).rejects.toMatchObject({
      code: "source_unreachable",
      retryable: true,
    });
  });

  it("ends before a connection where a public name leads to a private address", async () => {
    const asked: string[] = [];
    const store = await testStore(await temporaryFolder(), {
      reach: "public",
      resolve: (hostname) => {
        asked.push(hostname);
        return Promise.resolve([{ address: "127.0.0.1", family: 4 }]);
      },
    });
    const model = modelOf(bytes, ["https://rebind.example.org/model"]);
    await expect(store.ensure(model, { signal: never() })).rejects.toMatchObject({
      code: "source_refused",
      message: expect.stringContaining("rebind.example.org leads to a private address"),
    });
    expect(asked).toEqual(["rebind.example.org"]);
  });
});
