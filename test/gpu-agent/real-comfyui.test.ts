/**
 * The agent with a ComfyUI of its own, a real one: `COMFYUI_DIR=… COMFYUI_PYTHON=… COMFYUI_ARGS=--cpu npx vitest run
 * test/gpu-agent/real-comfyui.test.ts`. Needs no models and no GPU.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { InputSpec } from "#contract/workflow";
import { readSettings } from "#gpu-agent/settings";
import { AgentHarness, fileInput, integerInput, output } from "#test/gpu-agent/agent-harness";
import { comesTrue } from "#test/gpu-agent/quick-timings";

const directory = process.env.COMFYUI_DIR;

/** Many blurs one after the other: long enough to be interrupted, each one short. */
function slowGraph(blurs: number) {
  const graph: Record<string, object> = {
    "1": { class_type: "EmptyImage", inputs: { width: 1024, height: 1024, batch_size: 1, color: 255 } },
  };
  for (let at = 0; at < blurs; at += 1) {
    const image = [at === 0 ? "1" : `b${at - 1}`, 0];
    graph[`b${at}`] = { class_type: "ImageBlur", inputs: { image, blur_radius: 15, sigma: 1 + at / 100 } };
  }
  graph["9"] = { class_type: "SaveImage", inputs: { images: [`b${blurs - 1}`, 0], filename_prefix: "slow" } };
  return graph;
}

/** Every file below a folder with its time, but for what git or Python's cache keep there. */
function snapshot(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.includes("/.git/"))
    .map((path) => `${path} ${statSync(path).mtimeMs}`);
}

describe.skipIf(directory === undefined)("a real ComfyUI", () => {
  let harness: AgentHarness;
  beforeEach(async () => {
    const { comfy } = await readSettings(
      ["--url", "http://127.0.0.1"],
      { ...process.env, COMFYUI_URL: undefined },
      () => Promise.resolve(""),
    );
    harness = await AgentHarness.start({ comfy, timings: { hangMs: 60_000, interruptMs: 20_000, queuePollMs: 500 } });
  });
  afterEach(() => harness.close());

  it("runs jobs with files in and out, and its installation stays as it was", async () => {
    const before = snapshot(directory ?? "");
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "x.png" } },
      "2": {
        class_type: "ImageScale",
        inputs: { image: ["1", 0], upscale_method: "area", width: 8, height: 8, crop: "disabled" },
      },
      "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "a/写真" } },
      "4": {
        class_type: "SaveAnimatedWEBP",
        inputs: { images: ["2", 0], filename_prefix: "film", fps: 6, lossless: true, quality: 80, method: "default" },
      },
    };
    const { endpointId } = await harness.ready(graph, {
      inputs: [fileInput("image", "1", "image"), integerInput("width", "2", "width")],
      outputs: [output("image", "3"), output("animation", "4")],
    });
    const picture = { create: { width: 32, height: 32, channels: 3 as const, background: "#336699" } };
    const files = [{ input: "image", filename: "ä b.png", bytes: await sharp(picture).png().toBuffer() }];
    for (const width of [16, 24]) {
      const id = harness.plane.state.enqueue(endpointId, { files, inputs: { width } });
      const job = await harness.jobIs(id, "succeeded");
      expect(job.outputs.map(({ name, filename }) => [name, filename])).toEqual([
        ["image.png", "写真_00001_.png"],
        ["animation.webp", "film_00001_.webp"],
      ]);
      const { width: found, exif } = await sharp(job.outputs[0]?.bytes).metadata();
      expect([found, exif]).toEqual([width, undefined]);
      expect(job.outputs[0]?.bytes.includes("class_type")).toBe(false);
    }
    expect(snapshot(directory ?? "")).toEqual(before);
  });

  it("is interrupted by a cancel, and goes on with the next job", async () => {
    const { endpointId } = await harness.ready(slowGraph(200), {
      inputs: [integerInput("width", "1", "width")],
      outputs: [output("image", "9")],
    });
    const id = harness.plane.state.enqueue(endpointId, {});
    const job = harness.plane.state.jobs.get(id);
    await comesTrue("it makes progress", () => (job?.progress.at(-1)?.progress?.nodes_done ?? 0) > 2);
    harness.plane.state.cancel(id);
    await comesTrue("it was stopped", () => harness.has("job_ended"));
    expect(harness.has("comfy_restarts")).toBe(false);
    await harness.jobIs(harness.plane.state.enqueue(endpointId, { inputs: { width: 32 } }), "succeeded");
  });

  it("is started again when it is killed in the middle of a job", async () => {
    const { endpointId } = await harness.ready(slowGraph(12), { outputs: [output("image", "9")] });
    const id = harness.plane.state.enqueue(endpointId, {});
    const job = harness.plane.state.jobs.get(id);
    await comesTrue("it makes progress", () => (job?.progress.at(-1)?.progress?.nodes_done ?? 0) > 2);
    process.kill(harness.comfyReady.pid, "SIGKILL");
    await harness.jobIs(id, "succeeded");
    expect(job?.errors.map((error) => error.code)).toEqual(["replica_failed"]);
    expect(job?.attempts).toBe(2);
  });

  it("is ready for a release after it has decoded a picture, a mask, a sound and a film that the agent made", async () => {
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "x.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "picture" } },
      "3": { class_type: "LoadImageMask", inputs: { image: "x.png", channel: "alpha" } },
      "4": { class_type: "MaskToImage", inputs: { mask: ["3", 0] } },
      "5": { class_type: "SaveImage", inputs: { images: ["4", 0], filename_prefix: "mask" } },
      "6": { class_type: "LoadAudio", inputs: { audio: "x.flac" } },
      "7": { class_type: "SaveAudio", inputs: { audio: ["6", 0], filename_prefix: "sound" } },
      "8": { class_type: "LoadVideo", inputs: { file: "x.mp4" } },
      "9": {
        class_type: "SaveVideo",
        inputs: { video: ["8", 0], filename_prefix: "film", format: "auto", codec: "auto" },
      },
    };
    const outputs = [
      output("picture", "2"),
      output("mask", "5"),
      output("sound", "7", { kind: "audio" }),
      output("film", "9", { kind: "video" }),
    ];
    const endpointId = harness.plane.state.addEndpoint({
      graph: JSON.stringify(graph),
      inputs: [
        fileInput("picture", "1", "image"),
        { ...fileInput("mask", "3", "image"), media: "mask" } as InputSpec,
        { ...fileInput("sound", "6", "audio"), media: "audio" } as InputSpec,
        { ...fileInput("film", "8", "file"), media: "video" } as InputSpec,
      ],
      outputs,
      smoke_test: { inputs: {}, outputs: outputs.map(({ name }) => name) },
    });
    const replicaId = harness.plane.state.place(endpointId, 0);
    const ended = () => ["ready", "crashed"].includes(harness.stateOf(replicaId) ?? "");
    await comesTrue("the replica has made up its mind", ended, 110_000);
    expect(harness.plane.state.replicas.get(replicaId)?.reports.at(-1)?.error).toBeUndefined();
    expect(harness.has("smoke_test_passed")).toBe(true);
  });

  it("says what is wrong with a graph", async () => {
    const graph = {
      "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "absent.safetensors" } },
      "2": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
      "3": { class_type: "VAEDecode", inputs: { samples: ["2", 0], vae: ["1", 2] } },
      "4": { class_type: "SaveImage", inputs: { images: ["3", 0], filename_prefix: "x" } },
    };
    const { endpointId } = await harness.ready(graph, { outputs: [output("image", "4")] });
    const missing = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "failed");
    expect(missing.errors).toEqual([expect.objectContaining({ code: "missing_model", node_id: "1" })]);
    const unknown = { "1": { class_type: "NoSuchNode", inputs: {} } };
    harness.plane.state.addRelease(endpointId, { graph: JSON.stringify(unknown), inputs: [], outputs: [] });
    const strange = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "failed");
    expect(strange.errors).toEqual([expect.objectContaining({ code: "missing_node", class_type: "NoSuchNode" })]);
  });
});
