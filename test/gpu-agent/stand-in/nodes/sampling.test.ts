import { createHash } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import type { ImageBatch } from "#gpu-agent/stand-in/node";
import { runPrompt } from "./run-prompt.ts";
import { temporaryFolders } from "./temporary-folders.ts";

const { folders, remove } = temporaryFolders();
afterAll(remove);

interface Changes {
  readonly prompt?: string;
  readonly seed?: number | bigint;
  readonly steps?: number;
  readonly cfg?: number;
  readonly denoise?: number;
  readonly checkpoint?: string;
  readonly width?: number;
  readonly batch?: number;
  /** A node whose latent is sampled instead of an empty one. */
  readonly latent?: readonly [string, number];
  readonly more?: Readonly<Record<string, unknown>>;
}

function textToImage(changes: Changes = {}) {
  const size = { width: changes.width ?? 64, height: 64, batch_size: changes.batch ?? 1 };
  return {
    model: {
      class_type: "CheckpointLoaderSimple",
      inputs: { ckpt_name: changes.checkpoint ?? "v1-5-pruned-emaonly-fp16.safetensors" },
    },
    positive: { class_type: "CLIPTextEncode", inputs: { text: changes.prompt ?? "a lake", clip: ["model", 1] } },
    negative: { class_type: "CLIPTextEncode", inputs: { text: "ugly", clip: ["model", 1] } },
    empty: { class_type: "EmptyLatentImage", inputs: size },
    sampler: {
      class_type: "KSampler",
      inputs: {
        model: ["model", 0],
        seed: changes.seed ?? 1,
        steps: changes.steps ?? 4,
        cfg: changes.cfg ?? 7,
        sampler_name: "euler",
        scheduler: "normal",
        positive: ["positive", 0],
        negative: ["negative", 0],
        latent_image: changes.latent ?? ["empty", 0],
        denoise: changes.denoise ?? 1,
      },
    },
    decode: { class_type: "VAEDecode", inputs: { samples: ["sampler", 0], vae: ["model", 2] } },
    ...changes.more,
  };
}

async function picture(prompt: unknown, node = "decode"): Promise<ImageBatch> {
  const { runs } = await runPrompt(prompt, folders);
  return runs.get(node)?.outputs[0] as ImageBatch;
}

const print = ({ data, width, height }: ImageBatch): string =>
  createHash("sha256").update(`${width}x${height}`).update(new Uint8Array(data.buffer)).digest("hex");

const distance = (a: ImageBatch, b: ImageBatch): number =>
  a.data.reduce((sum, value, i) => sum + Math.abs(value - (b.data[i] ?? 0)), 0) / a.data.length;

describe("a simulated picture", () => {
  it("is the same for the same job", async () => {
    expect(print(await picture(textToImage()))).toBe(print(await picture(textToImage())));
  });

  it.each<[string, Changes]>([
    ["prompt", { prompt: "a burning forest" }],
    ["seed", { seed: 2 }],
    ["seed beyond 2^53", { seed: 18446744073709551615n }],
    ["steps", { steps: 5 }],
    ["cfg", { cfg: 12 }],
    ["model", { checkpoint: "sd_xl_base_1.0.safetensors" }],
    ["size", { width: 72 }],
  ])("is another for another %s", async (_what, changes) => {
    expect(print(await picture(textToImage(changes)))).not.toBe(print(await picture(textToImage())));
  });

  it("tells two seeds apart that a double cannot", async () => {
    const seeds = [18446744073709551614n, 18446744073709551615n];
    const pictures = await Promise.all(seeds.map((seed) => picture(textToImage({ seed }))));
    expect(new Set(pictures.map(print)).size).toBe(2);
  });

  it("has values a picture can have, and differs within a batch", async () => {
    const image = await picture(textToImage({ batch: 2 }));
    expect([image.batch, image.height, image.width, image.channels]).toEqual([2, 64, 64, 3]);
    expect(image.data.every((value) => value >= 0 && value <= 1)).toBe(true);
    const half = image.data.length / 2;
    expect(Buffer.from(image.data.slice(0, half).buffer).equals(Buffer.from(image.data.slice(half).buffer))).toBe(
      false,
    );
  });

  it("changes with a LoRA of any strength but none", async () => {
    const withLora = (strength: number) => {
      const prompt = textToImage();
      const inputs = {
        model: ["model", 0],
        clip: ["model", 1],
        lora_name: "x",
        strength_model: strength,
        strength_clip: 0,
      };
      const sampler = { ...prompt.sampler, inputs: { ...prompt.sampler.inputs, model: ["lora", 0] } };
      return { ...prompt, lora: { class_type: "LoraLoader", inputs }, sampler };
    };
    const plain = print(await picture(textToImage()));
    expect(print(await picture(withLora(0)))).toBe(plain);
    expect(print(await picture(withLora(0.5)))).not.toBe(plain);
  });
});

describe("sampling over a picture", () => {
  const source = {
    image: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 0x00ff00 } },
    encode: { class_type: "VAEEncode", inputs: { pixels: ["image", 0], vae: ["model", 2] } },
  };
  const over = (denoise: number) => picture(textToImage({ denoise, latent: ["encode", 0], more: source }));

  it("leaves the picture alone at denoise 0 and covers it at 1", async () => {
    const original = (await runPrompt(source.image === undefined ? {} : { image: source.image }, folders)).runs;
    const green = original.get("image")?.outputs[0] as ImageBatch;
    expect(distance(await over(0), green)).toBe(0);
    expect(print(await over(1))).toBe(print(await picture(textToImage())));
  });

  it("keeps less of the picture the more it repaints", async () => {
    const full = await over(1);
    const distances: number[] = [];
    for (const denoise of [0.2, 0.5, 0.8]) distances.push(distance(await over(denoise), full));
    expect(distances).toEqual([...distances].sort((a, b) => b - a));
    expect(new Set(distances).size).toBe(3);
  });

  it("spares what a noise mask leaves out", async () => {
    const more = {
      ...source,
      mask: { class_type: "SolidMask", inputs: { value: 1, width: 32, height: 64 } },
      black: { class_type: "SolidMask", inputs: { value: 0, width: 64, height: 64 } },
      half: {
        class_type: "MaskComposite",
        inputs: { destination: ["black", 0], source: ["mask", 0], x: 0, y: 0, operation: "add" },
      },
      masked: { class_type: "SetLatentNoiseMask", inputs: { samples: ["encode", 0], mask: ["half", 0] } },
    };
    const image = await picture(textToImage({ latent: ["masked", 0], more }));
    const pixel = (x: number, y: number) => [...image.data.subarray((y * 64 + x) * 3, (y * 64 + x) * 3 + 3)];
    expect(pixel(63, 10)).toEqual([0, 1, 0]);
    expect(pixel(2, 10)).not.toEqual([0, 1, 0]);
  });
});

describe("the steps of a sampler", () => {
  it("are reported one by one, each with a small picture", async () => {
    const { reports } = await runPrompt(textToImage({ steps: 3 }), folders);
    expect(reports.progress.map(({ nodeId, value, max }) => [nodeId, value, max])).toEqual([
      ["sampler", 1, 3],
      ["sampler", 2, 3],
      ["sampler", 3, 3],
    ]);
    expect(reports.progress.every(({ preview }) => preview !== undefined && preview.width <= 512)).toBe(true);
  });

  it("come nearer to the result", async () => {
    const { runs, reports } = await runPrompt(textToImage({ steps: 6 }), folders);
    const previews = reports.progress.map(({ preview }) => preview).filter((preview) => preview !== undefined);
    const last = previews.at(-1);
    if (last === undefined) throw new Error("no preview");
    const distances = previews.map((preview) => distance(preview, last));
    expect(distances).toEqual([...distances].sort((a, b) => b - a));
    expect(runs.get("decode")).toBeDefined();
  });

  it("are as many as an advanced sampler is told to take, and two stages make one picture", async () => {
    const base = textToImage();
    const stage = (start: number, end: number, latent: readonly [string, number], first: boolean) => {
      const { seed, denoise: _denoise, latent_image: _latent, ...kept } = base.sampler.inputs;
      return {
        class_type: "KSamplerAdvanced",
        inputs: {
          ...kept,
          noise_seed: seed,
          steps: 10,
          start_at_step: start,
          end_at_step: end,
          latent_image: latent,
          add_noise: first ? "enable" : "disable",
          return_with_leftover_noise: first ? "enable" : "disable",
        },
      };
    };
    const prompt = { ...base, sampler: stage(4, 10000, ["first", 0], false), first: stage(0, 4, ["empty", 0], true) };
    const { runs, reports } = await runPrompt(prompt, folders);
    expect(reports.progress.filter(({ nodeId }) => nodeId === "first")).toHaveLength(4);
    expect(reports.progress.filter(({ nodeId }) => nodeId === "sampler")).toHaveLength(6);
    const decoded = runs.get("decode")?.outputs[0] as ImageBatch;
    expect(decoded.data.every((value) => value >= 0 && value <= 1)).toBe(true);
  });
});

describe("custom sampling", () => {
  const custom = (denoise: number) => ({
    unet: { class_type: "UNETLoader", inputs: { unet_name: "flux1-dev.safetensors", weight_dtype: "default" } },
    clip: {
      class_type: "DualCLIPLoader",
      inputs: { clip_name1: "clip_l.safetensors", clip_name2: "t5xxl_fp16.safetensors", type: "flux" },
    },
    vae: { class_type: "VAELoader", inputs: { vae_name: "ae.safetensors" } },
    text: { class_type: "CLIPTextEncode", inputs: { text: "a fox in the snow", clip: ["clip", 0] } },
    guidance: { class_type: "FluxGuidance", inputs: { conditioning: ["text", 0], guidance: 3.5 } },
    guider: { class_type: "BasicGuider", inputs: { model: ["unet", 0], conditioning: ["guidance", 0] } },
    noise: { class_type: "RandomNoise", inputs: { noise_seed: 5 } },
    select: { class_type: "KSamplerSelect", inputs: { sampler_name: "euler" } },
    sigmas: { class_type: "BasicScheduler", inputs: { model: ["unet", 0], scheduler: "simple", steps: 8, denoise } },
    empty: { class_type: "EmptySD3LatentImage", inputs: { width: 64, height: 48, batch_size: 1 } },
    sampler: {
      class_type: "SamplerCustomAdvanced",
      inputs: {
        noise: ["noise", 0],
        guider: ["guider", 0],
        sampler: ["select", 0],
        sigmas: ["sigmas", 0],
        latent_image: ["empty", 0],
      },
    },
    decode: { class_type: "VAEDecode", inputs: { samples: ["sampler", 0], vae: ["vae", 0] } },
  });

  it("takes as many steps as the scheduler gives and draws the prompt", async () => {
    const { runs, reports } = await runPrompt(custom(1), folders);
    expect(reports.progress).toHaveLength(8);
    const image = runs.get("decode")?.outputs[0] as ImageBatch;
    expect([image.width, image.height]).toEqual([64, 48]);
  });

  it("does nothing without steps", async () => {
    const image = await picture(custom(0));
    expect(image.data.every((value) => value === 0.5)).toBe(true);
  });
});

describe("latents", () => {
  it("keep the prompt's picture when they are enlarged and sampled again", async () => {
    const base = textToImage({ width: 64 });
    const again = { ...base.sampler, inputs: { ...base.sampler.inputs, latent_image: ["larger", 0], denoise: 0.5 } };
    const prompt = {
      ...base,
      larger: {
        class_type: "LatentUpscaleBy",
        inputs: { samples: ["sampler", 0], upscale_method: "nearest-exact", scale_by: 1.5 },
      },
      again,
      decode: { class_type: "VAEDecode", inputs: { samples: ["again", 0], vae: ["model", 2] } },
    };
    const image = await picture(prompt);
    expect([image.width, image.height]).toEqual([96, 96]);
  });

  it("of a video decode to its frames", async () => {
    const video = {
      class_type: "EmptyHunyuanLatentVideo",
      inputs: { width: 64, height: 32, length: 11, batch_size: 1 },
    };
    const image = await picture(textToImage({ latent: ["video", 0], more: { video } }));
    // Models of this kind count frames in fours after the first.
    expect([image.batch, image.width, image.height]).toEqual([9, 64, 32]);
  });

  it("of sound decode to sound of their length", async () => {
    const sound = { class_type: "EmptyAceStepLatentAudio", inputs: { seconds: 1.5, batch_size: 1 } };
    const decode = { class_type: "VAEDecodeAudio", inputs: { samples: ["sampler", 0], vae: ["model", 2] } };
    const { runs } = await runPrompt(textToImage({ latent: ["sound", 0], more: { sound, decode } }), folders);
    const audio = runs.get("decode")?.outputs[0] as { sampleRate: number; waveform: Float32Array[][] };
    expect([audio.sampleRate, audio.waveform[0]?.length, audio.waveform[0]?.[0]?.length]).toEqual([44100, 2, 66150]);
    expect(audio.waveform[0]?.[0]?.some((value) => Math.abs(value) > 0.01)).toBe(true);
    expect(audio.waveform[0]?.[0]?.every((value) => Math.abs(value) <= 1)).toBe(true);
  });
});
