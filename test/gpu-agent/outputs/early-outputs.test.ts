import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { OUTPUTS_PER_JOB_MAX } from "#contract/limits";
import { ComfyHttp } from "#gpu-agent/comfy/comfy-http";
import type { ComfyFolders } from "#gpu-agent/comfy/comfy-server";
import { EarlyOutputs } from "#gpu-agent/outputs/early-outputs";
import { output } from "#test/gpu-agent/agent-harness";
import { FakeComfy } from "#test/gpu-agent/fake-comfy";

let comfy: FakeComfy;
let spool: string;

beforeEach(async () => {
  comfy = await FakeComfy.start();
  spool = mkdtempSync(join(tmpdir(), "pilotlight-early-"));
});
afterEach(async () => {
  await comfy.stop();
  rmSync(spool, { recursive: true, force: true });
});

const specs = [output("image", "9")];
const image = (filename: string) => ({ filename, subfolder: "jobs/j/1/9", type: "output" });
const shown = (...filenames: string[]): JsonObject => ({ "9": { images: filenames.map(image) } });
const put = (filename: string, bytes: Buffer) => comfy.files.set(`output/jobs/j/1/9/${filename}`, bytes);
/** What was stored, in order: number, name, bytes. */
let stored: [index: number, filename: string, size: number][];
let storing: () => Promise<void>;
beforeEach(() => {
  stored = [];
  storing = () => Promise.resolve();
});
const early = (folders: ComfyFolders | null = null, signal = new AbortController().signal) =>
  new EarlyOutputs({
    source: { http: new ComfyHttp(comfy.url, 5_000), folders, spool, freeBytesMin: 0 },
    store: async (index, filename, file) => {
      await storing();
      stored.push([index, filename, file.size]);
    },
    signal,
  });

it("has sent the bytes before they are asked for, once", async () => {
  put("a.png", Buffer.from("a"));
  const outputs = early();
  void outputs.send(shown("a.png"), specs);
  const taken = await outputs.take(image("a.png"));
  const sha256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
  expect(taken).toMatchObject({ index: 0, isStored: true, file: { size: 1, sha256 } });
  expect(taken?.file.body).toEqual(new Uint8Array(Buffer.from("a")));
  expect(stored).toEqual([[0, "a.png", 1]]);
  expect(await outputs.take(image("a.png"))).toBeNull();
});

it("knows nothing of a file that was not named, or is not there", async () => {
  const outputs = early();
  void outputs.send(shown("gone.png"), specs);
  expect(await outputs.take(image("gone.png"))).toBeNull();
  expect(await outputs.take(image("other.png"))).toBeNull();
});

it("resolves once all is read, whether it is stored by then or not", async () => {
  put("a.png", Buffer.from("a"));
  const { promise, resolve } = Promise.withResolvers<void>();
  storing = () => promise;
  const outputs = early();
  await outputs.send(shown("a.png"), specs);
  expect(stored).toEqual([]);
  resolve();
  expect(await outputs.take(image("a.png"))).toMatchObject({ isStored: true });
});

it("says when a file could not be stored, and keeps its number for the next try", async () => {
  put("a.png", Buffer.from("a"));
  storing = () => Promise.reject(new Error("the server is away"));
  const outputs = early();
  await outputs.send(shown("a.png", "gone.png"), specs);
  expect(await outputs.take(image("a.png"))).toMatchObject({ index: 0, isStored: false, file: { size: 1 } });
  expect(outputs.begun).toBe(2);
});

it("sends what lies on this machine's disk from there", async () => {
  mkdirSync(join(spool, "jobs/j/1/9"), { recursive: true });
  writeFileSync(join(spool, "jobs/j/1/9/a.png"), "abc");
  const outputs = early({ input: spool, output: spool, temp: spool });
  void outputs.send(shown("a.png"), specs);
  expect(await outputs.take(image("a.png"))).toMatchObject({ index: 0, isStored: true, file: { size: 3 } });
});

it("sends no more than go up at once", async () => {
  const names = ["a.png", "b.png", "c.png", "d.png", "e.png"];
  for (const name of names) put(name, Buffer.from(name));
  const outputs = early();
  void outputs.send(shown(...names.slice(0, 3)), specs);
  // Told again, with more: what is on its way counts.
  void outputs.send(shown(...names), specs);
  const taken = await Promise.all(names.map((name) => outputs.take(image(name))));
  expect(taken.map((each) => each?.index)).toEqual([0, 1, 2, 3, undefined]);
  expect(outputs.begun).toBe(4);
});

it("sends none where every number may be needed", async () => {
  const names = Array.from({ length: OUTPUTS_PER_JOB_MAX - 3 }, (_, at) => `${at}.png`);
  const outputs = early();
  void outputs.send(shown(...names), specs);
  expect(outputs.begun).toBe(0);
});

it("leaves no copy behind of a file that nobody takes, and stops sending it", async () => {
  // Too large to be held in memory.
  put("large.png", Buffer.alloc(5 * 1024 * 1024));
  const taking = early();
  void taking.send(shown("large.png"), specs);
  const taken = await taking.take(image("large.png"));
  expect(readdirSync(spool)).toHaveLength(1);
  await taken?.file.discard();
  const outputs = early();
  void outputs.send(shown("large.png"), specs);
  await outputs.discard();
  expect(readdirSync(spool)).toEqual([]);
  expect(await outputs.take(image("large.png"))).toBeNull();
});
