import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { type BinaryFrame, frameName, isText } from "../comfy-contract/comfy-client.ts";
import { type ServerUnderTest, startServer } from "./server-under-test.ts";
import { RunCounter, testLibrary } from "./test-nodes.ts";

let server: ServerUnderTest | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(...flags: string[]): Promise<{ server: ServerUnderTest; counter: RunCounter }> {
  const counter = new RunCounter();
  server = await startServer(flags, testLibrary(counter));
  return { server, counter };
}

const image = (color: number) => ({ class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color } });
const preview = (from: string) => ({ class_type: "PreviewImage", inputs: { images: [from, 0] } });
const slow = (from: string, inputs: JsonObject = {}) => ({
  class_type: "SlowPass",
  inputs: { image: [from, 0], steps: 2, ms: 1, mode: "ok", preview: true, ...inputs },
});

async function outputsOf(under: ServerUnderTest, prompt: object, fields: object = {}): Promise<Json> {
  const entry = await under.client.finished(await under.client.submit(prompt, fields));
  return entry.outputs ?? null;
}

describe("inputs", () => {
  it("marked lazy are computed only when the node asks for them", async () => {
    const { server: under, counter } = await start();
    const prompt = {
      "1": image(1),
      "2": slow("1", { preview: false }),
      "3": { class_type: "Pick", inputs: { first: true, a: ["1", 0], b: ["2", 0] } },
      "4": preview("3"),
    };
    await outputsOf(under, prompt);
    expect([counter.counts.get("EmptyImage"), counter.counts.get("SlowPass")]).toEqual([1, undefined]);
    await outputsOf(under, {
      ...prompt,
      "3": { class_type: "Pick", inputs: { first: false, a: ["1", 0], b: ["2", 0] } },
    });
    expect([counter.counts.get("EmptyImage"), counter.counts.get("SlowPass")]).toEqual([1, 1]);
  });

  it("that are lists run the node once per item, and what it shows is joined", async () => {
    const { server: under } = await start();
    const outputs = await outputsOf(under, {
      "1": { class_type: "Numbers", inputs: { count: 3 } },
      "2": { class_type: "Double", inputs: { value: ["1", 0] } },
      "3": { class_type: "ShowNumbers", inputs: { value: ["2", 0] } },
    });
    expect(outputs).toEqual({ "3": { numbers: [0, 2, 4] } });
  });

  it("arrive converted, and only when the class declares them", async () => {
    const { server: under } = await start();
    const inputs = { text: 5, amount: "1.5", flag: "false", choice: "one", big: 18_446_744_073_709_551_615n, extra: 1 };
    expect(await outputsOf(under, { "1": { class_type: "Texts", inputs } })).toEqual({
      "1": { seen: [{ text: "5", amount: 1.5, flag: true, choice: "one", big: 18_446_744_073_709_551_615n }] },
    });
  });

  it("wrapped in __value__ may be lists", async () => {
    const { server: under } = await start();
    const inputs = { text: { __value__: ["a", 1] }, amount: 1, flag: true, choice: "one", big: 0 };
    const outputs = await outputsOf(under, { "1": { class_type: "Texts", inputs } });
    expect(outputs).toMatchObject({ "1": { seen: [{ text: "['a', 1]" }] } });
  });
});

describe("previews", () => {
  const framesOf = async (flags: string[], features: JsonObject | undefined, extra: object = {}) => {
    const { server: under } = await start(...flags);
    const socket = await under.client.connect("me", features);
    const prompt = { "1": image(7), "2": slow("1"), "3": preview("2") };
    const id = await under.client.submit(prompt, { client_id: "me", extra_data: extra });
    return (await socket.untilEnd(id)).filter((frame) => /^(binary|progress) /.test(frameName(frame)));
  };

  it("go before the progress frame, with metadata, to clients that ask for it", async () => {
    const frames = await framesOf(["--preview-method", "auto", "--preview-size", "16"], {
      supports_preview_metadata: true,
    });
    expect(frames.map(frameName)).toEqual(["binary 4", "progress 1/2", "binary 4", "progress 2/2"]);
    const { payload } = frames[0] as BinaryFrame;
    const length = payload.readUInt32BE(0);
    expect(JSON.parse(payload.subarray(4, 4 + length).toString())).toMatchObject({
      node_id: "2",
      display_node_id: "2",
      parent_node_id: null,
      real_node_id: "2",
      image_type: "image/jpeg",
    });
    const { default: sharp } = await import("sharp");
    expect(await sharp(payload.subarray(4 + length)).metadata()).toMatchObject({
      format: "jpeg",
      width: 16,
      height: 16,
    });
  });

  it("go after the progress frame, bare, to others", async () => {
    const frames = await framesOf(["--preview-method", "auto"], undefined);
    expect(frames.map(frameName)).toEqual(["progress 1/2", "binary 1", "progress 2/2", "binary 1"]);
    const { payload } = frames[1] as BinaryFrame;
    expect([payload.readUInt32BE(0), payload.subarray(4, 6).toString("hex")]).toEqual([1, "ffd8"]);
  });

  it("are off unless a method is given", async () => {
    expect((await framesOf([], undefined)).map(frameName)).toEqual(["progress 1/2", "progress 2/2"]);
  });

  it("are turned on by the prompt in newer servers", async () => {
    const asked = { preview_method: "latent2rgb" };
    expect((await framesOf(["--generation", "newer"], undefined, asked)).map(frameName)).toContain("binary 1");
    await server?.close();
    expect((await framesOf([], undefined, asked)).map(frameName)).not.toContain("binary 1");
  });
});

describe("the cache", () => {
  const runsOf = async (flags: string[], prompts: object[]) => {
    const { server: under, counter } = await start(...flags);
    for (const prompt of prompts) await outputsOf(under, prompt, { client_id: "me" });
    return counter.counts.get("EmptyImage");
  };
  const [one, two] = [
    { "1": image(1), "2": preview("1") },
    { "1": image(2), "2": preview("1") },
  ];

  it("keeps only the last prompt's results by default", async () => {
    expect(await runsOf([], [one, one, two, one])).toBe(3);
  });

  it("keeps more with --cache-lru, and by default in newer servers", async () => {
    expect(await runsOf(["--cache-lru", "10"], [one, two, one, two])).toBe(2);
    await server?.close();
    expect(await runsOf(["--generation", "newer"], [one, two, one, two])).toBe(2);
    await server?.close();
    expect(await runsOf(["--generation", "newer", "--cache-classic"], [one, two, one, two])).toBe(4);
  });

  it("keeps nothing with --cache-none, not even what is shared within a prompt for later ones", async () => {
    expect(await runsOf(["--cache-none"], [one, one])).toBe(2);
    const shared = {
      "1": image(3),
      "2": preview("1"),
      "3": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
      "4": preview("3"),
    };
    await server?.close();
    expect(await runsOf(["--cache-none"], [shared])).toBe(1);
  });

  it("gives nodes that know their id a key of their own", async () => {
    const { server: under, counter } = await start();
    await outputsOf(under, {
      "1": { class_type: "IdAware", inputs: { value: 1 } },
      "2": { class_type: "IdAware", inputs: { value: 1 } },
      "3": { class_type: "ShowNumbers", inputs: { value: ["1", 0] } },
      "4": { class_type: "ShowNumbers", inputs: { value: ["2", 0] } },
    });
    expect(counter.counts.get("IdAware")).toBe(2);
  });

  it("computes two equal nodes of one prompt once", async () => {
    const { server: under, counter } = await start();
    const outputs = await outputsOf(under, { "1": image(1), "2": image(1), "3": preview("1"), "4": preview("2") });
    expect(counter.counts.get("EmptyImage")).toBe(1);
    expect(isJsonObject(outputs) && outputs["3"]).toEqual(isJsonObject(outputs) && outputs["4"]);
  });

  it("is pinned by a fingerprint that came with the prompt", async () => {
    const { server: under, counter } = await start();
    const file = path.join(under.folder, "input", "a.png");
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, "one");
    const prompt = {
      "1": { class_type: "LoadImage", inputs: { image: "a.png" }, is_changed: ["old"] },
      "2": preview("1"),
    };
    await outputsOf(under, prompt);
    writeFileSync(file, "two");
    await outputsOf(under, prompt);
    expect(counter.counts.get("LoadImage")).toBe(1);
    await outputsOf(under, { ...prompt, "1": { class_type: "LoadImage", inputs: { image: "a.png" } } });
    expect(counter.counts.get("LoadImage")).toBe(2);
  });

  it("never holds a node with NaN among its inputs", async () => {
    const { server: under, counter } = await start();
    const inputs = { text: "a", amount: 1, flag: true, choice: "one", big: 1, unknown: Number.NaN };
    for (let count = 0; count < 2; count += 1) await outputsOf(under, { "1": { class_type: "Texts", inputs } });
    expect(counter.counts.get("Texts")).toBe(2);
  });
});

describe("a worker that dies", () => {
  it("of extra_data null keeps the prompt running for ever and goes on accepting", async () => {
    const { server: under } = await start();
    const prompt = { "1": image(1), "2": preview("1") };
    const id = await under.client.submit(prompt, { extra_data: null });
    await under.client.poll(async () =>
      under.log.lines().some(({ m }) => m.includes("Exception in thread")) ? true : undefined,
    );
    const later = await under.client.submit(prompt);
    const { json } = await under.client.get("/queue");
    expect(json).toMatchObject({
      queue_running: [[0, id, {}, null, ["2"]]],
      queue_pending: [[1, later, {}, {}, ["2"]]],
    });
    expect((await under.client.post("/interrupt", { prompt_id: id })).status).toBe(200);
    expect((await under.client.get(`/history/${id}`)).json).toEqual({});
  });

  it("does not die of it in newer servers, which refuse it", async () => {
    const { server: under } = await start("--generation", "newer");
    const prompt = { "1": image(1), "2": preview("1") };
    expect((await under.client.post("/prompt", { prompt, extra_data: null })).status).toBe(500);
    expect(await outputsOf(under, prompt)).toHaveProperty("2");
  });

  it("of an unreachable node without inputs too", async () => {
    const { server: under } = await start();
    await under.client.submit({ "1": image(1), "2": preview("1"), "3": { class_type: "ImageInvert" } });
    await under.client.poll(async () =>
      under.log.lines().some(({ m }) => m.includes("KeyError: 'inputs'")) ? true : undefined,
    );
    expect((await under.client.get("/prompt")).json).toEqual({ exec_info: { queue_remaining: 1 } });
  });
});

describe("a marker in a text", () => {
  const texts = (text: string) => ({
    "1": { class_type: "Texts", inputs: { text, amount: 1, flag: true, choice: "one", big: 0 } },
  });

  it("__fail__ makes the node raise, each time", async () => {
    const { server: under } = await start();
    for (let count = 0; count < 2; count += 1) {
      const { status } = await under.client.finished(await under.client.submit(texts("please __fail__ now")));
      const messages = isJsonObject(status) && Array.isArray(status.messages) ? status.messages : [];
      expect(messages.at(-1)).toMatchObject(["execution_error", { node_id: "1", exception_type: "RuntimeError" }]);
    }
  });

  it("__slow__ takes its time with progress, and finishes", async () => {
    const { server: under } = await start("--fault-slow-marker-ms", "600");
    const socket = await under.client.connect("me");
    const id = await under.client.submit(texts("__slow__"), { client_id: "me" });
    const frames = await socket.untilEnd(id);
    expect(frames.map(frameName).filter((name) => name.startsWith("progress "))).toEqual([
      "progress 1/2",
      "progress 2/2",
    ]);
    expect(frames.map(frameName)).toContain("executed 1");
  });

  it("__slow__ lasts 30 seconds by itself, and can be interrupted", async () => {
    const { server: under } = await start();
    const socket = await under.client.connect("me");
    const id = await under.client.submit(texts("__slow__"), { client_id: "me" });
    await socket.until((frame) => frameName(frame) === "progress 1/60");
    await under.client.post("/interrupt", { prompt_id: id });
    const frames = await socket.untilEnd(id);
    expect(frames.some((frame) => isText(frame) && frame.type === "execution_interrupted")).toBe(true);
  });
});

describe("metadata", () => {
  const saved = async (...flags: string[]) => {
    const { server: under } = await start(...flags);
    const file = path.join(under.folder, "input", "a.png");
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, "one");
    const prompt = {
      "1": { class_type: "LoadImage", inputs: { image: "a.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "meta" } },
    };
    await outputsOf(under, prompt, {
      extra_data: { extra_pnginfo: { workflow: { seed: 18_446_744_073_709_551_615n } } },
    });
    const { text } = await under.client.get("/view?filename=meta_00001_.txt");
    return JSON.parse(text) as Record<string, string>;
  };

  it("carries the prompt with its fingerprints, and the workflow with every digit", async () => {
    const { prompt = "", workflow } = await saved();
    expect(workflow).toBe('{"seed": 18446744073709551615}');
    expect(JSON.parse(prompt)).toMatchObject({ "1": { is_changed: [expect.stringMatching(/^[0-9a-f]{64}$/)] } });
  });

  it("is left out with --disable-metadata", async () => {
    expect(await saved("--disable-metadata")).toEqual({});
  });
});
