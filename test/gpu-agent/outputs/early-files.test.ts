import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { ComfyHttp } from "#gpu-agent/comfy/comfy-http";
import type { ComfyFolders } from "#gpu-agent/comfy/comfy-server";
import { EarlyFiles } from "#gpu-agent/outputs/early-files";
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
const early = (folders: ComfyFolders | null = null, signal = new AbortController().signal) =>
  new EarlyFiles({ http: new ComfyHttp(comfy.url, 5_000), folders, spool, freeBytesMin: 0 }, signal);

it("has the bytes before they are asked for, once", async () => {
  put("a.png", Buffer.from("a"));
  const files = early();
  files.fetch(shown("a.png"), specs);
  const taken = await files.take(image("a.png"));
  expect(taken).toMatchObject({
    size: 1,
    sha256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
  });
  expect(taken?.body).toEqual(new Uint8Array(Buffer.from("a")));
  expect(await files.take(image("a.png"))).toBeNull();
});

it("knows nothing of a file that was not named, or is not there", async () => {
  const files = early();
  files.fetch(shown("gone.png"), specs);
  expect(await files.take(image("gone.png"))).toBeNull();
  expect(await files.take(image("other.png"))).toBeNull();
});

it("fetches nothing that lies on this machine's disk", async () => {
  put("a.png", Buffer.from("a"));
  const files = early({ input: spool, output: spool, temp: spool });
  files.fetch(shown("a.png"), specs);
  expect(await files.take(image("a.png"))).toBeNull();
});

it("fetches no more than go up at once", async () => {
  const names = ["a.png", "b.png", "c.png", "d.png", "e.png"];
  for (const name of names) put(name, Buffer.from(name));
  const files = early();
  files.fetch(shown(...names.slice(0, 3)), specs);
  // Told again, with more: what is on its way counts.
  files.fetch(shown(...names), specs);
  const taken = await Promise.all(names.map((name) => files.take(image(name))));
  expect(taken.map((file) => file !== null)).toEqual([true, true, true, true, false]);
});

it("leaves no copy behind of a file that nobody takes", async () => {
  // Too large to be held in memory.
  put("large.png", Buffer.alloc(5 * 1024 * 1024));
  const taking = early();
  taking.fetch(shown("large.png"), specs);
  const taken = await taking.take(image("large.png"));
  expect(readdirSync(spool)).toHaveLength(1);
  await taken?.discard();
  const files = early();
  files.fetch(shown("large.png"), specs);
  await files.discard();
  expect(readdirSync(spool)).toEqual([]);
  expect(await files.take(image("large.png"))).toBeNull();
});
