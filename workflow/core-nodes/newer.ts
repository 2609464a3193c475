/**
 * Core classes of servers newer than the one the other tables describe, which public workflows of the editor use and
 * do not explain themselves: without the names here, nobody could say which value of such a file is which.
 */
import type { Json, JsonObject } from "#contract/exact-json";
import type { ObjectInfo } from "../object-info.ts";
import { BATCH, bool, float, type InputRow, int, oneOf, PROMPT, SEED, SIDE_MAX, side, text, v3 } from "./builder.ts";

const DYNAMIC_CHOICE = "COMFY_DYNAMICCOMBO_V3";

/** A choice that brings inputs of its own; they are called `<choice>.<name>`. */
function dynamicChoice(options: Readonly<Record<string, Readonly<Record<string, Json>>>>): InputRow {
  return { type: DYNAMIC_CHOICE, options: dynamicOptions(options) };
}

/** The same inside another one. */
function innerChoice(options: Readonly<Record<string, Readonly<Record<string, Json>>>>): Json {
  return [DYNAMIC_CHOICE, dynamicOptions(options)];
}

function dynamicOptions(options: Readonly<Record<string, Readonly<Record<string, Json>>>>): JsonObject {
  return { options: Object.entries(options).map(([key, required]) => ({ key, inputs: { required } })) };
}

/** An input that grows by one with each connection: `images.image0`, `images.image1` … */
function growing(prefix: string, type: string, min: number): InputRow {
  return {
    type: "COMFY_AUTOGROW_V3",
    options: { template: { input: { required: { [prefix]: [type, {}] } }, prefix, min, max: 50 } },
  };
}

const pixels: Json = ["INT", { default: 512, min: 0, max: SIDE_MAX, step: 1 }];
const fraction = (initial: number, max: number): Json => ["FLOAT", { default: initial, min: 0.01, max, step: 0.01 }];
/** A plain choice inside a dynamic one; the first is the default unless another is named. */
const choice = (options: string[], initial = options[0] ?? ""): Json => [
  "COMBO",
  { multiselect: false, default: initial, options },
];
const crop = choice(["disabled", "center"], "center");

const LANGUAGES = (
  "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk sr " +
  "sv sw ta te th tl tr uk ur vi yue zh unknown"
).split(" ");
const KEYS = ["major", "minor"].flatMap((quality) =>
  ["C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B"].map(
    (root) => `${root} ${quality}`,
  ),
);

/** What a ComfyUI of autumn 2026 says of them. A class that the server itself describes is never looked up here. */
export const newerNodes: ObjectInfo = {
  ...v3("post_processing", {
    ResizeImageMaskNode: {
      title: "Resize Image/Mask",
      category: "transform",
      inputs: {
        input: "COMFY_MATCHTYPE_V3",
        resize_type: dynamicChoice({
          "scale dimensions": { width: pixels, height: pixels, crop },
          "scale by multiplier": { multiplier: fraction(1, 8) },
          "scale longer dimension": { longer_size: pixels },
          "scale shorter dimension": { shorter_size: pixels },
          "scale width": { width: pixels },
          "scale height": { height: pixels },
          "scale total pixels": { megapixels: fraction(1, 16) },
          "match size": { match: ["IMAGE,MASK", {}], crop },
          "scale to multiple": { multiple: ["INT", { default: 8, min: 1, max: SIDE_MAX, step: 1 }] },
        }),
        scale_method: oneOf(["nearest-exact", "bilinear", "area", "bicubic", "lanczos"], { default: "area" }),
      },
      outputs: { resized: "*" },
    },
    BatchImagesNode: {
      title: "Batch Images",
      category: "image",
      inputs: { images: growing("image", "IMAGE", 2) },
      outputs: ["IMAGE"],
    },
    BatchMasksNode: {
      title: "Batch Masks",
      category: "mask",
      inputs: { masks: growing("mask", "MASK", 2) },
      outputs: ["MASK"],
    },
    BatchLatentsNode: {
      title: "Batch Latents",
      category: "latent",
      inputs: { latents: growing("latent", "LATENT", 2) },
      outputs: ["LATENT"],
    },
  }),
  ...v3("images", {
    SaveImageAdvanced: {
      title: "Save Image (Advanced)",
      category: "image",
      inputs: {
        images: "IMAGE",
        filename_prefix: text("ComfyUI"),
        format: dynamicChoice({
          png: { bit_depth: choice(["8-bit", "16-bit"]), input_color_space: choice(["sRGB"]) },
          exr: { bit_depth: choice(["32-bit float"]), input_color_space: choice(["sRGB", "HDR", "linear"]) },
          avif: {
            bit_depth: choice(["auto", "8-bit YUV420", "10-bit YUV420"]),
            input_color_space: choice(["sRGB", "HDR", "HDR PQ"]),
            crf: ["INT", { default: 18, min: 1, max: 63 }],
            save_mode: innerChoice({
              "still images": {},
              animated: {
                fps: ["FLOAT", { default: 6, min: 0.01, max: 1000, step: 0.01 }],
                loop_count: ["INT", { default: 0, min: 0, max: 1000 }],
              },
            }),
          },
        }),
      },
      hidden: "saves",
      outputs: { images: "IMAGE" },
      isOutput: true,
    },
  }),
  ...v3("image_compare", {
    ImageCompare: {
      title: "Image Compare",
      category: "image",
      inputs: { compare_view: { type: "IMAGECOMPARE", options: { socketless: true } } },
      optional: { image_a: "IMAGE", image_b: "IMAGE" },
      isOutput: true,
      experimental: true,
    },
  }),
  ...v3("logic", {
    ComfySwitchNode: {
      title: "Switch",
      category: "logic",
      inputs: { switch: bool(), on_false: "COMFY_MATCHTYPE_V3", on_true: "COMFY_MATCHTYPE_V3" },
      outputs: { output: "*" },
      experimental: true,
    },
    CustomCombo: {
      title: "Custom Combo",
      category: "utilities",
      inputs: { choice: oneOf([]) },
      outputs: { STRING: "STRING", INDEX: "INT" },
      experimental: true,
    },
  }),
  ...v3("flux", {
    EmptyFlux2LatentImage: {
      title: "Empty Flux 2 Latent",
      category: "latent",
      inputs: { width: side(1024, 16, 16), height: side(1024, 16, 16), batch_size: BATCH },
      outputs: ["LATENT"],
    },
    Flux2Scheduler: {
      category: "sampling/custom_sampling/schedulers",
      inputs: { steps: int(20, 1, 4096), width: side(1024, 16), height: side(1024, 16) },
      outputs: ["SIGMAS"],
    },
  }),
  ...v3("ace", {
    "TextEncodeAceStepAudio1.5": {
      category: "conditioning",
      inputs: {
        clip: "CLIP",
        tags: PROMPT,
        lyrics: PROMPT,
        seed: SEED,
        bpm: int(120, 10, 300),
        duration: float(120, 0, 2000, 0.1),
        timesignature: oneOf(["2", "3", "4", "6"]),
        language: oneOf(LANGUAGES, { default: "en" }),
        keyscale: oneOf(KEYS),
        generate_audio_codes: bool(true),
        cfg_scale: float(2, 0, 100, 0.1),
        temperature: float(0.85, 0, 2, 0.01),
        top_p: float(0.9, 0, 2000, 0.01),
        top_k: int(0, 0, 100),
        min_p: float(0, 0, 1, 0.001),
      },
      outputs: ["CONDITIONING"],
    },
    "EmptyAceStep1.5LatentAudio": {
      title: "Empty Ace Step 1.5 Latent Audio",
      category: "latent/audio",
      inputs: { seconds: float(120, 1, 1000, 0.01), batch_size: BATCH },
      outputs: ["LATENT"],
    },
  }),
};

/**
 * Inputs that classes of the other tables have got since, by class. Servers without them pass over what they do not
 * know, newer ones may insist.
 */
export const newerInputs: Readonly<Record<string, Readonly<Record<string, Json>>>> = {
  ChromaRadianceOptions: { force_sequential_txt_ids: ["BOOLEAN", { default: false }] },
  ContextWindowsManual: {
    freenoise: ["BOOLEAN", { default: false }],
    cond_retain_index_list: ["STRING", { default: "" }],
    split_conds_to_windows: ["BOOLEAN", { default: false }],
    latent_retain_index_list: ["STRING", { default: "" }],
    causal_window_fix: ["BOOLEAN", { default: true }],
  },
  WanContextWindowsManual: {
    freenoise: ["BOOLEAN", { default: true }],
    retain_first_frame: ["BOOLEAN", { default: false }],
    split_conds_to_windows: ["BOOLEAN", { default: false }],
  },
  CFGNorm: { pre_cfg: ["BOOLEAN", { default: false }] },
  ImageScaleToTotalPixels: { resolution_steps: ["INT", { default: 1, min: 1, max: 256 }] },
};
