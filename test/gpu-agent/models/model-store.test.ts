import { existsSync } from "node:fs";
import { chmod, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ModelProgress } from "#gpu-agent/models/progress-meter";
import {
  cleanUp,
  modelOf,
  never,
  onCleanUp,
  SOON,
  safetensors,
  sha256,
  temporaryFolder,
  testStore,
} from "./model-files.ts";
import { ModelServer } from "./model-server.ts";

let server: ModelServer;
let folder: string;
const bytes = safetensors(95_000);

beforeEach(async () => {
  server = await new ModelServer().start();
  onCleanUp(() => server.stop());
  folder = await temporaryFolder();
});
afterEach(cleanUp);

describe("a model that is not here", () => {
  it("comes in parts, is verified, and gets its hash as its name", async () => {
    const store = await testStore(folder);
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    const heard: ModelProgress[] = [];
    const ensured = await store.ensure(model, { signal: never(), onProgress: (progress) => heard.push(progress) });

    expect(ensured).toEqual({
      path: join(folder, "blobs", "sha256", model.sha256.slice(0, 2), model.sha256),
      wasThere: false,
    });
    expect(sha256(await readFile(ensured.path))).toBe(model.sha256);
    expect((await stat(ensured.path)).mode & 0o777).toBe(0o444);
    expect(await readdir(join(folder, "partial"))).toEqual([]);
    // Every byte was asked for once.
    const ranges = server.seen.map(({ range }) => range ?? [0, 0]).toSorted(([one], [other]) => one - other);
    expect(ranges.length).toBe(Math.ceil(bytes.byteLength / 10_000));
    expect(ranges.map(([start]) => start)).toEqual(ranges.map((_, index) => index * 10_000));
    expect(heard[0]).toEqual({
      phase: "waiting",
      bytesDone: 0,
      bytesTotal: bytes.byteLength,
      bytesPerSecond: 0,
      source: null,
    });
    expect(heard.map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(["waiting", "downloading", "verifying", "ready"]),
    );
    expect(heard.find(({ phase }) => phase === "downloading")?.source).toBe(new URL(server.origin).host);
    expect(heard.at(-1)).toMatchObject({ phase: "ready", bytesDone: bytes.byteLength });
  });

  it("is not fetched again once it is here, not even by another store of the folder", async () => {
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    await (await testStore(folder)).ensure(model, { signal: never() });
    const asked = server.seen.length;
    const heard: ModelProgress[] = [];
    const second = await (await testStore(folder)).ensure(model, {
      signal: never(),
      onProgress: (progress) => heard.push(progress),
    });
    expect(second.wasThere).toBe(true);
    expect(server.seen.length).toBe(asked);
    expect(heard.at(-1)).toMatchObject({ phase: "ready", bytesDone: bytes.byteLength });
  });

  it("is fetched once for all who ask at a time, in one store and in two", async () => {
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    const stores = [await testStore(folder), await testStore(folder)];
    const askers = stores.flatMap((store) => [1, 2, 3].map(() => store.ensure(model, { signal: never() })));
    const ensured = await Promise.all(askers);
    expect(new Set(ensured.map(({ path }) => path)).size).toBe(1);
    expect(server.seen.length).toBe(Math.ceil(bytes.byteLength / 10_000));
  });

  it("goes on for those who stay when one of those who wait leaves, and stops when all have left", async () => {
    const store = await testStore(folder);
    const gate = Promise.withResolvers<void>();
    const url = server.serve("/model", { bytes, behave: () => ({ hold: { after: 5_000, until: gate.promise } }) });
    const model = modelOf(bytes, [url]);
    const [leaves, stays] = [new AbortController(), new AbortController()];
    const gone = store.ensure(model, { signal: leaves.signal });
    const kept = store.ensure(model, { signal: stays.signal });
    leaves.abort(new Error("no longer needed"));
    await expect(gone).rejects.toThrow("no longer needed");
    gate.resolve();
    await expect(kept).resolves.toMatchObject({ wasThere: false });

    const other = safetensors(95_000, 2);
    const never2 = new Promise<void>(() => undefined);
    const heldUrl = server.serve("/held", { bytes: other, behave: () => ({ hold: { after: 5_000, until: never2 } }) });
    const alone = new AbortController();
    const left = store.ensure(modelOf(other, [heldUrl]), { signal: alone.signal });
    await expect.poll(() => server.requests("/held").length, SOON).toBeGreaterThan(0);
    alone.abort(new Error("left"));
    await expect(left).rejects.toThrow("left");
    // The lock is free again and what had come is still there.
    server.serve("/held", { bytes: other });
    await expect(store.ensure(modelOf(other, [heldUrl]), { signal: never() })).resolves.toMatchObject({
      wasThere: false,
    });
  });

  it.each([
    ["", 0],
    ["x", 1],
  ])("may be as small as %j", async (text, size) => {
    const small = Buffer.from(text);
    const store = await testStore(folder, { allowUnsafe: ["txt"] });
    const url = server.serve("/small", { bytes: small });
    const ensured = await store.ensure(modelOf(small, [url], { filename: "small.txt" }), { signal: never() });
    expect((await stat(ensured.path)).size).toBe(size);
  });

  it("comes from the next source when one does not have it, and says all reasons when none has", async () => {
    const store = await testStore(folder);
    const good = server.serve("/good", { bytes });
    const short = server.serve("/short", { bytes: bytes.subarray(0, 50_000) });
    const gone = `${server.origin}/gone`;
    const wrong = server.serve("/wrong", { bytes: safetensors(95_000, 3) });
    await expect(store.ensure(modelOf(bytes, [gone, short]), { signal: never() })).rejects.toMatchObject({
      code: "source_denied",
      message: expect.stringMatching(/HTTP 404.*has 50000 bytes; the build says/),
    });
    await store.ensure(modelOf(bytes, [gone, short, wrong, good]), { signal: never() });
    expect((await store.list()).map((blob) => blob.sha256)).toEqual([sha256(bytes)]);
  });

  it("is an error when the build names no source", async () => {
    const store = await testStore(folder);
    await expect(store.ensure(modelOf(bytes, []), { signal: never() })).rejects.toMatchObject({ code: "no_source" });
  });

  it("may come from the machine's own disks, where that is allowed", async () => {
    const path = join(folder, "own.safetensors");
    await writeFile(path, bytes);
    const model = modelOf(bytes, [pathToFileURL(path).href]);
    const strict = await testStore(join(folder, "a"));
    await expect(strict.ensure(model, { signal: never() })).rejects.toMatchObject({ code: "source_refused" });
    const store = await testStore(join(folder, "a"), { allowFiles: true });
    const { path: blob } = await store.ensure(model, { signal: never() });
    expect(sha256(await readFile(blob))).toBe(model.sha256);
    await writeFile(path, bytes.subarray(1));
    const other = { ...model, sha256: "0".repeat(64) };
    await expect(store.ensure(other, { signal: never() })).rejects.toMatchObject({ code: "wrong_size" });
  });
});

describe("bytes that are not what the build says", () => {
  it("are deleted, and the error says which hash was expected and which was found", async () => {
    const store = await testStore(folder);
    const wrong = safetensors(95_000, 7);
    const model = modelOf(bytes, [server.serve("/model", { bytes: wrong })]);
    await expect(store.ensure(model, { signal: never() })).rejects.toMatchObject({
      code: "wrong_hash",
      retryable: false,
      message: expect.stringContaining(`sha256 ${sha256(bytes)} was expected, ${sha256(wrong)} was found`),
    });
    expect(await store.list()).toEqual([]);
    expect(await readdir(join(folder, "partial"))).toEqual([]);
  });

  it("are refused by their size before they are fetched", async () => {
    const store = await testStore(folder);
    const model = modelOf(bytes, [server.serve("/model", { bytes: Buffer.concat([bytes, bytes]) })]);
    await expect(store.ensure(model, { signal: never() })).rejects.toMatchObject({ code: "wrong_size" });
    expect(server.seen.length).toBe(1);
  });

  it("are refused when they are no safetensors file, whatever their hash", async () => {
    const store = await testStore(folder);
    const pickle = Buffer.concat([Buffer.from("PK\u0003\u0004 archive/data.pkl"), Buffer.alloc(1_000)]);
    const model = modelOf(pickle, [server.serve("/model", { bytes: pickle })]);
    await expect(store.ensure(model, { signal: never() })).rejects.toMatchObject({ code: "bad_safetensors" });
    expect(await store.list()).toEqual([]);
    expect(existsSync(join(folder, "partial", model.sha256))).toBe(false);
  });

  it("are found out in a file that came under another name", async () => {
    const pickle = Buffer.from("no header at all");
    const url = server.serve("/model", { bytes: pickle });
    const store = await testStore(folder, { allowUnsafe: ["ckpt"] });
    const model = modelOf(pickle, [url], { filename: "model.ckpt" });
    await store.ensure(model, { signal: never() });
    const renamed = { ...model, filename: "model.safetensors" };
    await expect(store.ensure(renamed, { signal: never() })).rejects.toMatchObject({ code: "bad_safetensors" });
    const build = await temporaryFolder();
    await expect(store.link(build, renamed)).rejects.toMatchObject({ code: "bad_safetensors" });
    const strict = await testStore(folder);
    await expect(strict.link(build, model)).rejects.toMatchObject({ code: "format_refused" });
  });

  it("are fetched anew where the disk has lost some of them", async () => {
    const store = await testStore(folder);
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    const { path } = await store.ensure(model, { signal: never() });
    await chmod(path, 0o600);
    await truncate(path, 20_000);
    await expect(store.ensure(model, { signal: never() })).resolves.toMatchObject({ wasThere: false });
    expect(sha256(await readFile(path))).toBe(model.sha256);
  });

  it("cannot be told from a wrong size in the build, so that is said", async () => {
    const store = await testStore(folder);
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    await store.ensure(model, { signal: never() });
    const lying = { ...model, sizeBytes: 5 };
    await expect(store.ensure(lying, { signal: never() })).rejects.toMatchObject({ code: "wrong_size" });
    expect((await store.list()).length).toBe(1);
  });
});

describe("formats other than safetensors", () => {
  it.each([
    ["model.ckpt", /Python pickles.*allow the format "ckpt"/],
    ["model.PTH", /Python pickles.*allow the format "pth"/],
    ["model.gguf", /\.gguf is not checked/],
    ["folder.pt/model", /without an ending/],
  ])("are refused before anything is asked for: %s", async (filename, message) => {
    const store = await testStore(folder);
    const model = modelOf(bytes, [server.serve("/model", { bytes })], { filename });
    await expect(store.ensure(model, { signal: never() })).rejects.toMatchObject({
      code: "format_refused",
      message: expect.stringMatching(message),
    });
    expect(server.seen).toEqual([]);
  });

  it("are taken by name", async () => {
    const store = await testStore(folder, { allowUnsafe: ["gguf"] });
    const model = modelOf(bytes, [server.serve("/model", { bytes })], { filename: "a/b.gguf" });
    await expect(store.ensure(model, { signal: never() })).resolves.toMatchObject({ wasThere: false });
  });
});
