import { readdirSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, describe, expect, it } from "vitest";
import {
  AgentHarness,
  fileInput,
  type HarnessOptions,
  integerInput,
  output,
  pictureGraph,
  type Specs,
} from "#test/gpu-agent/agent-harness";
import { comesTrue } from "#test/gpu-agent/quick-timings";

let harness: AgentHarness;
afterEach(() => harness.close());

async function withEndpoint(graph: object, specs: Specs = {}, options: HarnessOptions = {}) {
  harness = await AgentHarness.start(options);
  return harness.ready(graph, specs);
}

describe.each(["0.3.64", "newer"])("a job on ComfyUI %s", (generation) => {
  const comfy = { kind: "stand-in" as const, args: ["--generation", generation] };

  it("runs, and its picture arrives with size and hash", async () => {
    const { endpointId, replicaId } = await withEndpoint(
      pictureGraph,
      { inputs: [integerInput("width", "1", "width")], outputs: [output("image", "2")] },
      { comfy },
    );
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { inputs: { width: 24 } }), "succeeded");
    expect(job.outputs).toHaveLength(1);
    expect(job.outputs[0]).toMatchObject({
      index: 0,
      name: "image.png",
      output: "image",
      kind: "image",
      filename: "ComfyUI_00001_.png",
      content_type: "image/png",
    });
    const { width, height } = await sharp(job.outputs[0]?.bytes).metadata();
    expect([width, height]).toEqual([24, 16]);
    expect(job.phases.map((each) => each.phase)).toEqual(["inputs", "queue", "executing", "uploading"]);
    const phases = harness.plane.state.replicas.get(replicaId)?.reports.find((each) => each.state === "ready")?.phases;
    expect(phases?.map((each) => each.phase)).toEqual(["preparing", "boot", "loading", "warm_up"]);
  });

  it("that repeats another one exactly has its own picture again", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] }, { comfy });
    const first = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    const second = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(second.outputs[0]?.sha256).toBe(first.outputs[0]?.sha256);
  });

  it("gets its file inputs, whatever they are called", async () => {
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "example.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "ComfyUI" } },
    };
    const { endpointId } = await withEndpoint(
      graph,
      { inputs: [fileInput("image", "1", "image")], outputs: [output("image", "2")] },
      { comfy },
    );
    const png = (color: string) =>
      sharp({ create: { width: 5, height: 4, channels: 3, background: color } })
        .png()
        .toBuffer();
    // The same name for two jobs, with other bytes.
    const ids = [];
    for (const color of ["#102030", "#405060"]) {
      const files = [{ input: "image", filename: "фото (1) 写真.png", bytes: await png(color) }];
      ids.push(harness.plane.state.enqueue(endpointId, { files }));
    }
    const pixels = [];
    for (const id of ids) {
      const job = await harness.jobIs(id, "succeeded");
      pixels.push([...(await sharp(job.outputs[0]?.bytes).raw().toBuffer()).subarray(0, 3)]);
    }
    expect(pixels).toEqual([
      [0x10, 0x20, 0x30],
      [0x40, 0x50, 0x60],
    ]);
  });
});

describe("outputs", () => {
  it("have names of their own: unicode prefixes, batches, several nodes", async () => {
    const graph = {
      "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 2, color: 255 } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "sub folder/Ünïcode 写真" } },
      "3": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "sub folder/Ünïcode 写真" } },
    };
    const { endpointId } = await withEndpoint(graph, { outputs: [output("image", "2"), output("copy", "3")] });
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(job.outputs.map(({ name, output: of, filename }) => [name, of, filename])).toEqual([
      ["image.png", "image", "Ünïcode 写真_00001_.png"],
      ["image_2.png", "image", "Ünïcode 写真_00002_.png"],
      ["copy.png", "copy", "Ünïcode 写真_00001_.png"],
      ["copy_2.png", "copy", "Ünïcode 写真_00002_.png"],
    ]);
  });

  it("may be texts and previews", async () => {
    const graph = {
      ...pictureGraph,
      "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      "3": { class_type: "PrimitiveString", inputs: { value: "grüße" } },
      "4": { class_type: "PreviewAny", inputs: { source: ["3", 0] } },
    };
    const outputs = [output("preview", "2", { temporary: true }), output("caption", "4", { kind: "text" })];
    const { endpointId } = await withEndpoint(graph, { outputs });
    // Twice: the second one is answered from ComfyUI's cache, with the first one's temporary file.
    for (let times = 0; times < 2; times += 1) {
      const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
      expect(job.outputs.map(({ name, kind, text }) => [name, kind, text])).toEqual([
        ["preview.png", "image", undefined],
        ["caption.txt", "text", "grüße"],
      ]);
      expect(job.outputs[1]?.bytes.toString()).toBe("grüße");
    }
  });

  it("larger than one request go up in parts", async () => {
    const { endpointId } = await withEndpoint(
      pictureGraph,
      { inputs: [integerInput("width", "1", "width")], outputs: [output("image", "2")] },
      { settings: { putBytesMax: 200, partBytes: 100 }, plane: { partBytesMin: 100 } },
    );
    const small = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(small.outputs[0]?.parts).toBe(1);
    const large = await harness.jobIs(
      harness.plane.state.enqueue(endpointId, { inputs: { width: 4_000 } }),
      "succeeded",
    );
    expect(large.outputs[0]?.parts).toBeGreaterThan(1);
    expect((await sharp(large.outputs[0]?.bytes).metadata()).width).toBe(4_000);
  });

  it("that the store lost are sent again before the job is done", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] });
    harness.plane.plan(/^POST leases\/[^/]+\/complete$/, { type: "refuse", code: "output_missing" });
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(job.attempts).toBe(1);
  });

  it("go over the socket when they are small, and over HTTP when they did not arrive that way", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] });
    await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    const ways = () =>
      [harness.plane.socketCalls, harness.plane.requests].map(
        (list) => list.filter((each) => each.endsWith("outputs/0")).length,
      );
    await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(ways()).toEqual([1, 1]);
    harness.plane.plan(/outputs\/0$/, { type: "refuse", code: "internal" });
    const again = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(ways()).toEqual([2, 3]);
    expect([again.attempts, again.outputs.length]).toEqual([1, 1]);
    // The connection ends under the output.
    harness.plane.plan(/outputs\/0$/, { type: "cut" });
    const cut = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(ways()).toEqual([3, 5]);
    expect([cut.attempts, cut.outputs.length]).toEqual([1, 1]);
  });

  it("go over HTTP to a server that knows nothing of them on a socket, and the socket stays", async () => {
    const { endpointId } = await withEndpoint(
      pictureGraph,
      { outputs: [output("image", "2")] },
      { plane: { socketOutputs: false } },
    );
    await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    await comesTrue("its socket is open again", () => harness.plane.sockets.size === 1);
    const calls = harness.plane.socketCalls.length;
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(job.attempts).toBe(1);
    expect(harness.plane.sockets.size).toBe(1);
    expect(harness.plane.socketCalls.length).toBeGreaterThan(calls);
    expect(harness.plane.socketCalls.filter((each) => each.endsWith("outputs/0"))).toEqual([]);
  });

  it("that take long to send go up while the next job runs", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, {
      inputs: [integerInput("width", "1", "width")],
      outputs: [output("image", "2")],
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    harness.plane.plan(/outputs\/0$/, { type: "hold", until: promise });
    const first = harness.plane.state.enqueue(endpointId, { inputs: { width: 20 } });
    const others = [30, 40].map((width) => harness.plane.state.enqueue(endpointId, { inputs: { width } }));
    for (const id of others) await harness.jobIs(id, "succeeded");
    expect(harness.plane.state.jobs.get(first)?.state).toBe("running");
    resolve();
    for (const id of [first, ...others]) {
      const job = await harness.jobIs(id, "succeeded");
      expect(job.attempts).toBe(1);
      expect((await sharp(job.outputs[0]?.bytes).metadata()).width).toBe(
        id === first ? 20 : id === others[0] ? 30 : 40,
      );
    }
  });

  it("of three jobs at most are under way", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] });
    const { promise, resolve } = Promise.withResolvers<void>();
    harness.plane.plan(/outputs\/0$/, { type: "hold", until: promise }, 3);
    const ids = [1, 2, 3, 4].map(() => harness.plane.state.enqueue(endpointId, {}));
    const states = () => ids.map((id) => harness.plane.state.jobs.get(id)?.state);
    const held = () => harness.plane.requests.filter((each) => each.endsWith("outputs/0")).length === 3;
    await comesTrue("three jobs send their outputs", held);
    expect(states()).toEqual(["running", "running", "running", "queued"]);
    resolve();
    for (const id of ids) expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("leave nothing behind on the machine", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] });
    await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    const jobs = (folder: string) => readdirSync(join(harness.slot, folder, "jobs"), { recursive: true });
    await comesTrue("the job's files are gone", () => jobs("output").length === 0);
    expect(await readdir(join(harness.stateDirectory, "spool"))).toEqual([]);
  });
});

describe("errors", () => {
  const cases = [
    {
      what: "a node class that is not there",
      graph: { ...pictureGraph, "3": { class_type: "NoSuchNode", inputs: {} } },
      error: { code: "missing_node", class_type: "NoSuchNode" },
    },
    {
      what: "a model that is not there",
      graph: {
        "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "absent.safetensors" } },
        "2": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
        "3": { class_type: "VAEDecode", inputs: { samples: ["2", 0], vae: ["1", 2] } },
        "4": { class_type: "SaveImage", inputs: { images: ["3", 0], filename_prefix: "x" } },
      },
      args: ["--fault-missing-model", "absent.safetensors"],
      error: { code: "missing_model", node_id: "1", class_type: "CheckpointLoaderSimple" },
    },
    {
      what: "a value out of range",
      graph: {
        ...pictureGraph,
        "1": { class_type: "EmptyImage", inputs: { width: 0, height: 16, batch_size: 1, color: 0 } },
      },
      error: { code: "invalid_workflow", node_id: "1" },
    },
    {
      what: "one good and one bad output, which ComfyUI accepts in part",
      graph: { ...pictureGraph, "3": { class_type: "SaveImage", inputs: { filename_prefix: "x" } } },
      error: { code: "invalid_workflow", node_id: "3" },
    },
    {
      what: "a node that raises",
      graph: pictureGraph,
      args: ["--fault-node-exception", "SaveImage"],
      error: { code: "execution_error", node_id: "2", class_type: "SaveImage" },
    },
  ] as const;

  it.each(cases)("says: $what", async ({ graph, error, ...more }) => {
    const args = "args" in more ? [...more.args] : [];
    const { endpointId } = await withEndpoint(
      graph,
      { outputs: [output("image", "2")] },
      { comfy: { kind: "stand-in", args } },
    );
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "failed");
    expect(job.errors).toEqual([expect.objectContaining(error)]);
    expect(job.attempts).toBe(1);
  });

  it("tries again after the GPU ran out of memory", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] });
    await harness.faults({ out_of_memory: 1 });
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    expect(job.errors).toEqual([expect.objectContaining({ code: "out_of_memory" })]);
  });

  it("calls a full disk what it is", async () => {
    const { endpointId } = await withEndpoint(pictureGraph, { outputs: [output("image", "2")] });
    await harness.faults({ disk_full: true });
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "failed");
    expect(job.errors.map((error) => error.code)).toEqual(["output_failed", "output_failed", "output_failed"]);
  });
});
