/**
 * Hooks on weights and prompts, and the nodes that make and show meshes, of a ComfyUI 0.3.64. Apart from the other core
 * tables, because the stand-in offers what those hold, and has nothing for these.
 */
import type { ObjectInfo } from "../object-info.ts";
import {
  BATCH,
  bool,
  type ClassRow,
  extras,
  float,
  type InputRow,
  int,
  MODEL_FILE,
  oneOf,
  percent,
  text,
  v1,
} from "./builder.ts";

const HOOKS = { prev_hooks: "HOOKS" } as const;
const KEYFRAMES = { prev_hook_kf: "HOOK_KEYFRAMES" } as const;
const AS_KEYFRAMES = { HOOK_KF: "HOOK_KEYFRAMES" } as const;
const PAIR = { positive: "CONDITIONING", negative: "CONDITIONING" } as const;
const strength = float(1, -20, 20, 0.01);
const conditions = (...names: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(names.map((name) => [name, "CONDITIONING"]));
const PROPERTIES: Readonly<Record<string, InputRow>> = {
  strength: float(1, 0, 10, 0.01),
  set_cond_area: oneOf(["default", "mask bounds"]),
};
const PROPERTY_SOURCES = { mask: "MASK", hooks: "HOOKS", timesteps: "TIMESTEPS_RANGE" } as const;

/** A class of this kind, which the server calls experimental. */
function hook(title: string, place: string, row: Omit<ClassRow, "category" | "title">): ClassRow {
  return { title, category: `advanced/hooks${place}`, experimental: true, ...row };
}

function combined(letters: string): ClassRow {
  const optional = Object.fromEntries([...letters].map((letter) => [`hooks_${letter}`, "HOOKS"]));
  return hook(`Combine Hooks [${letters.length}]`, "/combine", { optional, outputs: ["HOOKS"] });
}

const hooks = v1(extras("hooks"), {
  CreateHookLora: hook("Create Hook LoRA", "/create", {
    inputs: { lora_name: MODEL_FILE, strength_model: strength, strength_clip: strength },
    optional: HOOKS,
    outputs: ["HOOKS"],
  }),
  CreateHookLoraModelOnly: hook("Create Hook LoRA (MO)", "/create", {
    inputs: { lora_name: MODEL_FILE, strength_model: strength },
    optional: HOOKS,
    outputs: ["HOOKS"],
  }),
  CreateHookModelAsLora: hook("Create Hook Model as LoRA", "/create", {
    inputs: { ckpt_name: MODEL_FILE, strength_model: strength, strength_clip: strength },
    optional: HOOKS,
    outputs: ["HOOKS"],
  }),
  CreateHookModelAsLoraModelOnly: hook("Create Hook Model as LoRA (MO)", "/create", {
    inputs: { ckpt_name: MODEL_FILE, strength_model: strength },
    optional: HOOKS,
    outputs: ["HOOKS"],
  }),
  SetHookKeyframes: hook("Set Hook Keyframes", "/scheduling", {
    inputs: { hooks: "HOOKS" },
    optional: { hook_kf: "HOOK_KEYFRAMES" },
    outputs: ["HOOKS"],
  }),
  CreateHookKeyframe: hook("Create Hook Keyframe", "/scheduling", {
    inputs: { strength_mult: strength, start_percent: percent(0) },
    optional: KEYFRAMES,
    outputs: AS_KEYFRAMES,
  }),
  CreateHookKeyframesInterpolated: hook("Create Hook Keyframes Interp.", "/scheduling", {
    inputs: {
      strength_start: float(1, 0, 10, 0.001),
      strength_end: float(1, 0, 10, 0.001),
      interpolation: oneOf(["linear", "ease_in", "ease_out", "ease_in_out"]),
      start_percent: percent(0),
      end_percent: percent(1),
      keyframes_count: int(5, 2, 100, 1),
      print_keyframes: bool(false),
    },
    optional: KEYFRAMES,
    outputs: AS_KEYFRAMES,
  }),
  CreateHookKeyframesFromFloats: hook("Create Hook Keyframes From Floats", "/scheduling", {
    inputs: {
      floats_strength: { type: "FLOATS", options: { default: -1, min: -1, step: 0.001, forceInput: true } },
      start_percent: percent(0),
      end_percent: percent(1),
      print_keyframes: bool(false),
    },
    optional: KEYFRAMES,
    outputs: AS_KEYFRAMES,
  }),
  CombineHooks2: combined("AB"),
  CombineHooks4: combined("ABCD"),
  CombineHooks8: combined("ABCDEFGH"),
  ConditioningSetProperties: hook("Cond Set Props", "/cond single", {
    inputs: { ...conditions("cond_NEW"), ...PROPERTIES },
    optional: PROPERTY_SOURCES,
    outputs: ["CONDITIONING"],
  }),
  ConditioningSetPropertiesAndCombine: hook("Cond Set Props Combine", "/cond single", {
    inputs: { ...conditions("cond", "cond_NEW"), ...PROPERTIES },
    optional: PROPERTY_SOURCES,
    outputs: ["CONDITIONING"],
  }),
  PairConditioningSetProperties: hook("Cond Pair Set Props", "/cond pair", {
    inputs: { ...conditions("positive_NEW", "negative_NEW"), ...PROPERTIES },
    optional: PROPERTY_SOURCES,
    outputs: PAIR,
  }),
  PairConditioningSetPropertiesAndCombine: hook("Cond Pair Set Props Combine", "/cond pair", {
    inputs: { ...conditions("positive", "negative", "positive_NEW", "negative_NEW"), ...PROPERTIES },
    optional: PROPERTY_SOURCES,
    outputs: PAIR,
  }),
  ConditioningSetDefaultCombine: hook("Cond Set Default Combine", "/cond single", {
    inputs: conditions("cond", "cond_DEFAULT"),
    optional: { hooks: "HOOKS" },
    outputs: ["CONDITIONING"],
  }),
  PairConditioningSetDefaultCombine: hook("Cond Pair Set Default Combine", "/cond pair", {
    inputs: conditions("positive", "negative", "positive_DEFAULT", "negative_DEFAULT"),
    optional: { hooks: "HOOKS" },
    outputs: PAIR,
  }),
  PairConditioningCombine: hook("Cond Pair Combine", "/cond pair", {
    inputs: conditions("positive_A", "negative_A", "positive_B", "negative_B"),
    outputs: PAIR,
  }),
  SetClipHooks: hook("Set CLIP Hooks", "/clip", {
    inputs: { clip: "CLIP", apply_to_conds: bool(true), schedule_clip: bool(false) },
    optional: { hooks: "HOOKS" },
    outputs: ["CLIP"],
  }),
  ConditioningTimestepsRange: hook("Timesteps Range", "", {
    inputs: { start_percent: percent(0), end_percent: percent(1) },
    outputs: { TIMESTEPS_RANGE: "TIMESTEPS_RANGE", BEFORE_RANGE: "TIMESTEPS_RANGE", AFTER_RANGE: "TIMESTEPS_RANGE" },
  }),
});

const MODEL_UPLOAD = oneOf([], { file_upload: true });
const viewSide = int(1024, 1, 4096, 1);
const threshold = float(0.6, -1, 1, 0.01);
const SHOWN: Pick<ClassRow, "category" | "inputs" | "optional" | "isOutput" | "experimental"> = {
  category: "3d",
  inputs: { model_file: text("", { multiline: false }) },
  optional: { camera_info: "LOAD3D_CAMERA" },
  isOutput: true,
  experimental: true,
};

const viewers = v1(extras("load_3d"), {
  Load3D: {
    title: "Load 3D",
    category: "3d",
    inputs: { model_file: MODEL_UPLOAD, image: "LOAD_3D", width: viewSide, height: viewSide },
    outputs: {
      image: "IMAGE",
      mask: "MASK",
      mesh_path: "STRING",
      normal: "IMAGE",
      lineart: "IMAGE",
      camera_info: "LOAD3D_CAMERA",
      recording_video: "VIDEO",
    },
    experimental: true,
  },
  Load3DAnimation: {
    title: "Load 3D - Animation",
    category: "3d",
    inputs: { model_file: MODEL_UPLOAD, image: "LOAD_3D_ANIMATION", width: viewSide, height: viewSide },
    outputs: {
      image: "IMAGE",
      mask: "MASK",
      mesh_path: "STRING",
      normal: "IMAGE",
      camera_info: "LOAD3D_CAMERA",
      recording_video: "VIDEO",
    },
    experimental: true,
  },
  Preview3D: { title: "Preview 3D", ...SHOWN },
  Preview3DAnimation: { title: "Preview 3D - Animation", ...SHOWN },
});

const meshes = v1(extras("hunyuan3d"), {
  EmptyLatentHunyuan3Dv2: {
    category: "latent/3d",
    inputs: { resolution: int(3072, 1, 8192), batch_size: BATCH },
    outputs: ["LATENT"],
  },
  Hunyuan3Dv2Conditioning: {
    category: "conditioning/video_models",
    inputs: { clip_vision_output: "CLIP_VISION_OUTPUT" },
    outputs: PAIR,
  },
  Hunyuan3Dv2ConditioningMultiView: {
    category: "conditioning/video_models",
    optional: Object.fromEntries(["front", "left", "back", "right"].map((view) => [view, "CLIP_VISION_OUTPUT"])),
    outputs: PAIR,
  },
  VAEDecodeHunyuan3D: {
    category: "latent/3d",
    inputs: {
      samples: "LATENT",
      vae: "VAE",
      num_chunks: int(8000, 1000, 500_000),
      octree_resolution: int(256, 16, 512),
    },
    outputs: ["VOXEL"],
  },
  VoxelToMeshBasic: { category: "3d", inputs: { voxel: "VOXEL", threshold }, outputs: ["MESH"] },
  VoxelToMesh: {
    category: "3d",
    inputs: { voxel: "VOXEL", algorithm: oneOf(["surface net", "basic"]), threshold },
    outputs: ["MESH"],
  },
  SaveGLB: {
    category: "3d",
    inputs: { mesh: "MESH", filename_prefix: text("mesh/ComfyUI") },
    hidden: "saves",
    isOutput: true,
  },
});

/** What such a server says of them. */
export const hookAndMeshNodes: ObjectInfo = { ...hooks, ...viewers, ...meshes };
