import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { INLINE_TEXT_BYTES_MAX, OUTPUTS_PER_JOB_MAX } from "#contract/limits";
import { ComfyHttp } from "#gpu-agent/comfy/comfy-http";
import type { ComfyFolders } from "#gpu-agent/comfy/comfy-server";
import { AgentCalls } from "#gpu-agent/control/agent-calls";
import { ControlClient } from "#gpu-agent/control/control-client";
import { deliverOutputs, storeOutput } from "#gpu-agent/outputs/deliver-outputs";
import { EarlyOutputs } from "#gpu-agent/outputs/early-outputs";
import { ControlPlane } from "#test/fakes/control-plane";
import type { LiveLease } from "#test/fakes/control-plane-state";
import { output } from "#test/gpu-agent/agent-harness";
import { FakeComfy } from "#test/gpu-agent/fake-comfy";
import { keptLog, quickTimings } from "#test/gpu-agent/quick-timings";

let plane: ControlPlane;
let comfy: FakeComfy;
let root: string;
let folders: ComfyFolders;
let live: LiveLease;
let calls: AgentCalls;

beforeEach(async () => {
  plane = await ControlPlane.start({ leaseConfirmMs: 600_000, partBytesMin: 10 });
  comfy = await FakeComfy.start();
  root = mkdtempSync(join(tmpdir(), "pilotlight-outputs-"));
  folders = { input: join(root, "input"), output: join(root, "output"), temp: join(root, "temp") };
  for (const folder of [...Object.values(folders), join(root, "spool")]) mkdirSync(folder);
  const { session } = plane.state.join();
  const endpointId = plane.state.addEndpoint({ graph: "{}", inputs: [], outputs: [] });
  const replicaId = plane.state.place(endpointId, 0);
  plane.state.enqueue(endpointId, {});
  plane.state.grant(replicaId, "poll-of-the-test");
  const [granted] = plane.state.leases.values();
  if (granted === undefined) throw new Error("no lease");
  live = granted;
  const { log } = keptLog();
  const client = new ControlClient({ url: plane.url, session: () => session, log, timings: quickTimings() });
  calls = new AgentCalls(client);
});
afterEach(async () => {
  await plane.close();
  await comfy.stop();
  rmSync(root, { recursive: true, force: true });
});

function save(path: string, content = path): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

const sending = () => ({ calls, lease: live.lease, limits: { putBytesMax: 100, partBytes: 40 }, mayBeOnItsWay: true });
const source = () => ({
  http: new ComfyHttp(comfy.url, 5_000),
  folders,
  spool: join(root, "spool"),
  freeBytesMin: 0,
});
const deliver = (outputs: JsonObject, specs = [output("image", "9")], early?: EarlyOutputs) =>
  deliverOutputs(
    { promptId: "p", outputs, meta: {} },
    {
      ...sending(),
      source: source(),
      specs,
      folder: "jobs/j/1",
      signal: new AbortController().signal,
      ...(early === undefined ? {} : { early }),
    },
  );
const stored = () =>
  [...live.stored].sort(([a], [b]) => a - b).map(([, { bytes, parts }]) => [bytes.toString(), parts]);
const image = (filename: string, subfolder: string, type = "output") => ({ filename, subfolder, type });

describe("outputs on this machine's disk", () => {
  it("are sent as they are: whole, in parts, empty", async () => {
    save("output/jobs/j/1/9/a.png", "a");
    save("output/jobs/j/1/9/b.png", "b".repeat(101));
    save("output/jobs/j/1/9/c.png", "");
    const images = ["a.png", "b.png", "c.png"].map((name) => image(name, "jobs/j/1/9"));
    const manifest = await deliver({ "9": { images } });
    expect(manifest.map(({ index, name, size }) => [index, name, size])).toEqual([
      [0, "image.png", 1],
      [1, "image_2.png", 101],
      [2, "image_3.png", 0],
    ]);
    expect(stored()).toEqual([
      ["a", 1],
      ["b".repeat(101), 3],
      ["", 1],
    ]);
  });

  it("are sent ahead as the socket told, and listed as the history does", async () => {
    for (const name of ["a", "b", "c"]) save(`output/jobs/j/1/9/${name}.png`, name);
    const images = (...names: string[]) => ({ images: names.map((name) => image(`${name}.png`, "jobs/j/1/9")) });
    const early = new EarlyOutputs({
      source: source(),
      store: (index, filename, file, signal) => storeOutput(sending(), index, filename, file, signal),
      signal: new AbortController().signal,
    });
    void early.send({ "9": images("b", "a") }, [output("image", "9")]);
    // The history has another order, one file less, and one that nobody told of.
    const manifest = await deliver({ "9": images("a", "c") }, [output("image", "9")], early);
    expect(manifest.map(({ index, name, filename }) => [index, name, filename])).toEqual([
      [1, "image.png", "a.png"],
      [2, "image_2.png", "c.png"],
    ]);
    await early.discard();
    expect([live.stored.get(1)?.bytes.toString(), live.stored.get(2)?.bytes.toString()]).toEqual(["a", "c"]);
  });

  it("keep their numbers when they are delivered again", async () => {
    for (const name of ["a", "b"]) save(`output/jobs/j/1/9/${name}.png`, name);
    const images = ["a", "b"].map((name) => image(`${name}.png`, "jobs/j/1/9"));
    const early = new EarlyOutputs({
      source: source(),
      store: (index, filename, file, signal) => storeOutput(sending(), index, filename, file, signal),
      signal: new AbortController().signal,
    });
    void early.send({ "9": { images: images.slice(0, 1) } }, [output("image", "9")]);
    const first = await deliver({ "9": { images } }, [output("image", "9")], early);
    expect(await deliver({ "9": { images } }, [output("image", "9")], early)).toEqual(first);
    expect(first.map(({ index, filename }) => [index, filename])).toEqual([
      [0, "a.png"],
      [1, "b.png"],
    ]);
  });

  it("that could not be sent ahead are sent under the same number", async () => {
    save("output/jobs/j/1/9/a.png", "a");
    const early = new EarlyOutputs({
      source: source(),
      store: () => Promise.reject(new Error("the server is away")),
      signal: new AbortController().signal,
    });
    const images = [image("a.png", "jobs/j/1/9")];
    void early.send({ "9": { images } }, [output("image", "9")]);
    expect(await deliver({ "9": { images } }, [output("image", "9")], early)).toMatchObject([{ index: 0, size: 1 }]);
    expect(stored()).toEqual([["a", 1]]);
  });

  it("are found where a node saved them and said nothing", async () => {
    save("output/jobs/j/1/9/silent_00001_.png");
    save("output/jobs/j/1/9/deeper/silent_00002_.webm");
    save("output/jobs/other/1/9/not mine.png");
    save("output/jobs/j/1/8/told.png");
    const specs = [output("image", "8"), output("film", "9")];
    const manifest = await deliver({ "8": { images: [image("told.png", "jobs/j/1/8")] } }, specs);
    expect(manifest.map(({ name, output: of, filename, kind }) => [name, of, filename, kind]).sort()).toEqual([
      ["film.png", "film", "silent_00001_.png", "image"],
      ["film.webm", "film", "silent_00002_.webm", "video"],
      ["image.png", "image", "told.png", "image"],
    ]);
  });

  it("are all that the job saved when nothing else came", async () => {
    save("output/jobs/j/1/77/x.png");
    const manifest = await deliver({});
    expect(manifest.map(({ name, output: of }) => [name, of])).toEqual([["output.png", "output"]]);
  });

  it("may be none", async () => {
    expect(await deliver({})).toEqual([]);
  });

  it("never lead out of the output folder", async () => {
    writeFileSync(join(root, "secret.png"), "secret");
    symlinkSync(join(root, "secret.png"), join(folders.output, "link.png"));
    for (const file of [image("link.png", ""), image("secret.png", ".."), image("../secret.png", "")]) {
      await expect(deliver({ "9": { images: [file] } })).rejects.toMatchObject({ jobError: { code: "output_failed" } });
    }
    expect(stored()).toEqual([]);
  });

  it("that are gone make the job fail", async () => {
    await expect(deliver({ "9": { images: [image("gone.png", "")] } })).rejects.toMatchObject({
      jobError: { code: "output_failed", message: expect.stringContaining("gone.png") },
    });
  });
});

describe("texts", () => {
  it("are files, and short ones are in the manifest too", async () => {
    const long = "ü".repeat(INLINE_TEXT_BYTES_MAX / 2 + 1);
    const manifest = await deliver({ "9": { text: ["short", long] } });
    expect(manifest.map(({ name, kind, content_type, size, text }) => [name, kind, content_type, size, text])).toEqual([
      ["image.txt", "text", "text/plain; charset=utf-8", 5, "short"],
      ["image_2.txt", "text", "text/plain; charset=utf-8", long.length * 2, undefined],
    ]);
    expect(stored()[0]).toEqual(["short", 1]);
  });

  it("are not in the manifest by the hundreds", async () => {
    const manifest = await deliver({ "9": { text: Array.from({ length: 120 }, (_, index) => `text ${index}`) } });
    expect(manifest.filter((entry) => entry.text !== undefined)).toHaveLength(100);
  });
});

it("refuses more outputs than a job may have", async () => {
  const text = Array.from({ length: OUTPUTS_PER_JOB_MAX + 1 }, () => "x");
  await expect(deliver({ "9": { text } })).rejects.toMatchObject({ jobError: { code: "output_failed" } });
  expect(stored()).toEqual([]);
});

describe("the store", () => {
  it("that got altered bytes gets them again", async () => {
    plane.plan(/outputs\/0$/, { type: "refuse", code: "checksum_mismatch" });
    await deliver({ "9": { text: ["a"] } });
    expect(stored()).toEqual([["a", 1]]);
  });

  it("that lost the parts gets them again from the first", async () => {
    save("output/jobs/j/1/9/b.png", "b".repeat(101));
    plane.plan(/multipart\/3$/, { type: "refuse", code: "output_missing" });
    await deliver({ "9": { images: [image("b.png", "jobs/j/1/9")] } });
    expect(stored()).toEqual([["b".repeat(101), 3]]);
    expect(live.uploads.size).toBe(2);
  });

  it("that refuses for good makes the job fail, and the lease is not lost by it", async () => {
    plane.plan(/outputs\/0$/, { type: "refuse", code: "output_conflict" });
    await expect(deliver({ "9": { text: ["a"] } })).rejects.toMatchObject({ jobError: { code: "output_failed" } });
    plane.plan(/outputs\/0$/, { type: "refuse", code: "lease_lost" });
    await expect(deliver({ "9": { text: ["a"] } })).rejects.toMatchObject({ code: "lease_lost" });
  });
});

it("leaves no copies behind", async () => {
  comfy.files.set("output//far.png", Buffer.from("far"));
  await deliver({ "9": { images: [image("far.png", "")] } });
  expect(stored()).toEqual([["far", 1]]);
  expect(readdirSync(join(root, "spool"))).toEqual([]);
});
