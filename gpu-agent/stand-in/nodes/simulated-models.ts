/**
 * Models that are not there. A loader gives a description that says which files it stands for; what samples, encodes or
 * decodes with it draws on nothing else.
 */
import { createHash } from "node:crypto";
import type { NodeImplementation, NodeInputs } from "../node.ts";
import { numberOf, textOf } from "./inputs.ts";

/** A model, text encoder, VAE or the like that this server pretends to have loaded. */
export interface Simulated {
  readonly simulated: true;
  /** ComfyUI's type, such as "MODEL". */
  readonly kind: string;
  /** The file it is named after. */
  readonly name: string;
  /** Everything done to it since, oldest first: LoRAs, patches, merges. */
  readonly changes: readonly string[];
}

/** True for what a simulated loader returned. */
export function isSimulated(value: unknown): value is Simulated {
  return typeof value === "object" && value !== null && "simulated" in value && value.simulated === true;
}

export function simulated(kind: string, name: string): Simulated {
  return { simulated: true, kind, name, changes: [] };
}

/** A text that is the same exactly when model and changes are. */
export function describeModel(value: unknown): string {
  return isSimulated(value) ? [value.kind, value.name, ...value.changes].join("|") : "";
}

/** The model with one more change. */
export function changed(value: unknown, change: string): unknown {
  return isSimulated(value) ? { ...value, changes: [...value.changes, change] } : value;
}

/** File names this server claims to have, by models folder. */
export const simulatedModels: Readonly<Record<string, readonly string[]>> = {
  checkpoints: [
    "512-inpainting-ema.safetensors",
    "ace_step_v1_3.5b.safetensors",
    "dreamshaper_8.safetensors",
    "flux1-dev-fp8.safetensors",
    "flux1-schnell-fp8.safetensors",
    "ltx-video-2b-v0.9.5.safetensors",
    "sd3.5_large_fp8_scaled.safetensors",
    "sd_xl_base_1.0.safetensors",
    "sd_xl_refiner_1.0.safetensors",
    "sd_xl_turbo_1.0_fp16.safetensors",
    "stable-audio-open-1.0.safetensors",
    "svd.safetensors",
    "svd_xt.safetensors",
    "v1-5-pruned-emaonly-fp16.safetensors",
    "v1-5-pruned-emaonly.ckpt",
    "v1-5-pruned-emaonly.safetensors",
    "v2-1_768-ema-pruned.safetensors",
  ],
  diffusion_models: [
    "flux1-dev-kontext_fp8_scaled.safetensors",
    "flux1-dev.safetensors",
    "flux1-fill-dev.safetensors",
    "flux1-schnell.safetensors",
    "hidream_i1_dev_fp8.safetensors",
    "hunyuan_video_t2v_720p_bf16.safetensors",
    "qwen_image_edit_2509_fp8_e4m3fn.safetensors",
    "qwen_image_edit_fp8_e4m3fn.safetensors",
    "qwen_image_fp8_e4m3fn.safetensors",
    "wan2.1_i2v_480p_14B_fp16.safetensors",
    "wan2.1_t2v_1.3B_fp16.safetensors",
    "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
    "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors",
    "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
    "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
    "wan2.2_ti2v_5B_fp16.safetensors",
  ],
  text_encoders: [
    "clip_g.safetensors",
    "clip_g_hidream.safetensors",
    "clip_l.safetensors",
    "clip_l_hidream.safetensors",
    "llama_3.1_8b_instruct_fp8_scaled.safetensors",
    "llava_llama3_fp8_scaled.safetensors",
    "qwen_2.5_vl_7b_fp8_scaled.safetensors",
    "t5xxl_fp16.safetensors",
    "t5xxl_fp8_e4m3fn.safetensors",
    "t5xxl_fp8_e4m3fn_scaled.safetensors",
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
  ],
  vae: [
    "ae.safetensors",
    "hunyuan_video_vae_bf16.safetensors",
    "qwen_image_vae.safetensors",
    "sdxl_vae.safetensors",
    "vae-ft-mse-840000-ema-pruned.safetensors",
    "wan2.2_vae.safetensors",
    "wan_2.1_vae.safetensors",
  ],
  loras: [
    "Qwen-Image-Edit-2509-Lightning-4steps-V1.0-bf16.safetensors",
    "Qwen-Image-Lightning-4steps-V1.0.safetensors",
    "Qwen-Image-Lightning-8steps-V1.0.safetensors",
    "flux_realism_lora.safetensors",
    "lcm-lora-sdv1-5.safetensors",
    "more_details.safetensors",
    "pixel-art-xl.safetensors",
    "sdxl_lightning_4step_lora.safetensors",
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
  ],
  controlnet: [
    "control_v11f1p_sd15_depth_fp16.safetensors",
    "control_v11p_sd15_canny_fp16.safetensors",
    "control_v11p_sd15_openpose_fp16.safetensors",
    "control_v11p_sd15_scribble_fp16.safetensors",
    "controlnet-union-sdxl-promax.safetensors",
    "flux1-dev-controlnet-union.safetensors",
    "t2iadapter_depth_sd14v1.pth",
  ],
  clip_vision: [
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    "clip_vision_g.safetensors",
    "clip_vision_h.safetensors",
    "sigclip_vision_patch14_384.safetensors",
  ],
  style_models: ["flux1-redux-dev.safetensors"],
  upscale_models: [
    "4x-UltraSharp.pth",
    "4x_NMKD-Siax_200k.pth",
    "RealESRGAN_x2plus.pth",
    "RealESRGAN_x4plus.pth",
    "RealESRGAN_x4plus_anime_6B.pth",
  ],
  embeddings: ["EasyNegative.safetensors", "bad-hands-5.pt"],
  gligen: ["gligen_sd14_textbox_pruned.safetensors"],
  hypernetworks: ["sample_hypernetwork.pt"],
  photomaker: ["photomaker-v1.bin"],
  model_patches: [
    "qwen_image_canny_diffsynth_controlnet.safetensors",
    "qwen_image_depth_diffsynth_controlnet.safetensors",
    "uso-flux1-projector-v1.safetensors",
  ],
  audio_encoders: ["wav2vec2_large_english_fp16.safetensors"],
  configs: ["v1-inference.yaml", "v1-inpainting-inference.yaml", "v2-inference-v.yaml"],
};

/** A loader whose outputs are all named after the same files. */
function loader(names: readonly string[], kinds: readonly string[]): NodeImplementation {
  return {
    run: (inputs) => {
      const name = names.map((input) => textOf(inputs, input)).join("+");
      return { outputs: kinds.map((kind) => simulated(kind, name)) };
    },
  };
}

/** A node that changes the things at `names` in a way that its other inputs tell, and passes them on in this order. */
function patch(...names: readonly string[]): NodeImplementation {
  return {
    run: (inputs) => {
      const change = changeOf(inputs, names);
      return { outputs: names.map((name) => changed(inputs[name], change)) };
    },
  };
}

/** What a node's other inputs say, as text. */
export function changeOf(inputs: NodeInputs, besides: readonly string[]): string {
  const parts = Object.entries(inputs)
    .filter(([name]) => !besides.includes(name))
    .map(([name, value]) => `${name}=${isSimulated(value) ? `(${describeModel(value)})` : plainText(value)}`);
  return parts.join(",");
}

function plainText(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    if ("data" in value && value.data instanceof Float32Array) {
      return createHash("sha256")
        .update(new Uint8Array(value.data.buffer, value.data.byteOffset, value.data.byteLength))
        .digest("hex");
    }
    return "";
  }
  return String(value);
}

/** Two models become one; the first gives the name. */
function merge(first: string, second: string): NodeImplementation {
  return {
    run: (inputs) => ({
      outputs: [changed(inputs[first], changeOf(inputs, [first, second]) + describeModel(inputs[second]))],
    }),
  };
}

const CHECKPOINT = ["MODEL", "CLIP", "VAE"];
const model = patch("model");
const clip = patch("clip");

/** ComfyUI leaves everything as it is when a LoRA has no strength at all. */
const loraLoader: NodeImplementation = {
  run(inputs) {
    const name = textOf(inputs, "lora_name");
    const lora = (target: string, strength: string) => {
      const value = inputs[strength] === undefined ? 0 : numberOf(inputs, strength);
      return value === 0 ? inputs[target] : changed(inputs[target], `lora ${name} ${value}`);
    };
    return { outputs: [lora("model", "strength_model"), lora("clip", "strength_clip")] };
  },
};

export const modelNodes: Readonly<Record<string, NodeImplementation>> = {
  CheckpointLoaderSimple: loader(["ckpt_name"], CHECKPOINT),
  CheckpointLoader: loader(["ckpt_name"], CHECKPOINT),
  unCLIPCheckpointLoader: loader(["ckpt_name"], [...CHECKPOINT, "CLIP_VISION"]),
  ImageOnlyCheckpointLoader: loader(["ckpt_name"], ["MODEL", "CLIP_VISION", "VAE"]),
  UNETLoader: loader(["unet_name"], ["MODEL"]),
  CLIPLoader: loader(["clip_name"], ["CLIP"]),
  DualCLIPLoader: loader(["clip_name1", "clip_name2"], ["CLIP"]),
  TripleCLIPLoader: loader(["clip_name1", "clip_name2", "clip_name3"], ["CLIP"]),
  QuadrupleCLIPLoader: loader(["clip_name1", "clip_name2", "clip_name3", "clip_name4"], ["CLIP"]),
  VAELoader: loader(["vae_name"], ["VAE"]),
  ControlNetLoader: loader(["control_net_name"], ["CONTROL_NET"]),
  DiffControlNetLoader: loader(["control_net_name"], ["CONTROL_NET"]),
  CLIPVisionLoader: loader(["clip_name"], ["CLIP_VISION"]),
  StyleModelLoader: loader(["style_model_name"], ["STYLE_MODEL"]),
  UpscaleModelLoader: loader(["model_name"], ["UPSCALE_MODEL"]),
  GLIGENLoader: loader(["gligen_name"], ["GLIGEN"]),
  PhotoMakerLoader: loader(["photomaker_model_name"], ["PHOTOMAKER"]),
  ModelPatchLoader: loader(["name"], ["MODEL_PATCH"]),
  AudioEncoderLoader: loader(["audio_encoder_name"], ["AUDIO_ENCODER"]),
  LoraLoader: loraLoader,
  LoraLoaderModelOnly: {
    run: async (inputs, context) => ({ outputs: [(await loraLoader.run(inputs, context)).outputs[0]] }),
  },
  HypernetworkLoader: model,
  CLIPSetLastLayer: clip,
  CLIPAttentionMultiply: clip,
  T5TokenizerOptions: clip,
  SetUnionControlNetType: patch("control_net"),
  ModelSamplingDiscrete: model,
  ModelSamplingContinuousEDM: model,
  ModelSamplingContinuousV: model,
  ModelSamplingStableCascade: model,
  ModelSamplingSD3: model,
  ModelSamplingAuraFlow: model,
  ModelSamplingFlux: model,
  ModelSamplingLTXV: model,
  ModelComputeDtype: model,
  RescaleCFG: model,
  RenormCFG: model,
  FreeU: model,
  FreeU_V2: model,
  TomePatchModel: model,
  HyperTile: model,
  PatchModelAddDownscale: model,
  PerturbedAttentionGuidance: model,
  "Epsilon Scaling": model,
  ChromaRadianceOptions: model,
  SelfAttentionGuidance: model,
  PerpNeg: model,
  DifferentialDiffusion: model,
  TorchCompileModel: model,
  Mahiro: model,
  FreSca: model,
  CFGZeroStar: model,
  CFGNorm: model,
  TCFG: model,
  APG: model,
  SkipLayerGuidanceSD3: model,
  SkipLayerGuidanceDiT: model,
  SkipLayerGuidanceDiTSimple: model,
  VideoLinearCFGGuidance: model,
  VideoTriangleCFGGuidance: model,
  UNetSelfAttentionMultiply: model,
  UNetCrossAttentionMultiply: model,
  UNetTemporalAttentionMultiply: model,
  EasyCache: model,
  LazyCache: model,
  ContextWindowsManual: model,
  WanContextWindowsManual: model,
  QwenImageDiffsynthControlnet: model,
  USOStyleReference: model,
  ModelMergeSimple: merge("model1", "model2"),
  ModelMergeBlocks: merge("model1", "model2"),
  ModelMergeSubtract: merge("model1", "model2"),
  ModelMergeAdd: merge("model1", "model2"),
  CLIPMergeSimple: merge("clip1", "clip2"),
  CLIPMergeSubtract: merge("clip1", "clip2"),
  CLIPMergeAdd: merge("clip1", "clip2"),
};
