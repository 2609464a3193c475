/** Classes that take a model or text encoder and give back one that behaves differently. */
import type { ObjectInfo } from "../object-info.ts";
import { bool, exactFloat, extras, float, int, oneOf, percent, share, side, text, v1, v3 } from "./builder.ts";

const MODEL = "MODEL";
const FOR_TESTING = "_for_testing";
const ATTENTION = "_for_testing/attention_experiments";
const PATCHED = { patched_model: MODEL } as const;
const shift = (initial: number) => float(initial, 0, 100, 0.01);
const factor = float(1, 0, 10, 0.01);
const attention = { q: factor, k: factor, v: factor, out: factor } as const;
const freeU = (b1: number, b2: number) => ({
  model: MODEL,
  b1: float(b1, 0, 10, 0.01),
  b2: float(b2, 0, 10, 0.01),
  s1: float(0.9, 0, 10, 0.01),
  s2: float(0.2, 0, 10, 0.01),
});
const layers = text("7, 8, 9", { multiline: false });
const guidedSpan = {
  scale: float(3, 0, 10, 0.1),
  start_percent: percent(0.01),
  end_percent: percent(0.15),
} as const;
const scaling = oneOf(["bicubic", "nearest-exact", "bilinear", "area", "bislerp"]);
const cache = {
  model: MODEL,
  reuse_threshold: float(0.2, 0, 3, 0.01),
  start_percent: share(0.15),
  end_percent: share(0.95),
  verbose: bool(false),
} as const;
const contextChoices = {
  context_schedule: oneOf(["standard_static", "standard_uniform", "looped_uniform", "batched"]),
  context_stride: int(1, 1),
  closed_loop: bool(false),
  fuse_method: oneOf(["pyramid", "relative", "flat", "overlap-linear"], { default: "pyramid" }),
} as const;

export const modelPatches: ObjectInfo = {
  ...v1(extras("model_advanced"), {
    ModelSamplingDiscrete: {
      category: "advanced/model",
      inputs: {
        model: MODEL,
        sampling: oneOf(["eps", "v_prediction", "lcm", "x0", "img_to_img"]),
        zsnr: bool(false),
      },
      outputs: [MODEL],
    },
    ModelSamplingContinuousEDM: {
      category: "advanced/model",
      inputs: {
        model: MODEL,
        sampling: oneOf(["v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"]),
        sigma_max: exactFloat(120, 0, 1000, 0.001),
        sigma_min: exactFloat(0.002, 0, 1000, 0.001),
      },
      outputs: [MODEL],
    },
    ModelSamplingContinuousV: {
      category: "advanced/model",
      inputs: {
        model: MODEL,
        sampling: oneOf(["v_prediction"]),
        sigma_max: exactFloat(500, 0, 1000, 0.001),
        sigma_min: exactFloat(0.03, 0, 1000, 0.001),
      },
      outputs: [MODEL],
    },
    ModelSamplingStableCascade: {
      category: "advanced/model",
      inputs: { model: MODEL, shift: shift(2) },
      outputs: [MODEL],
    },
    ModelSamplingSD3: { category: "advanced/model", inputs: { model: MODEL, shift: shift(3) }, outputs: [MODEL] },
    ModelSamplingAuraFlow: {
      category: "advanced/model",
      inputs: { model: MODEL, shift: shift(1.73) },
      outputs: [MODEL],
    },
    ModelSamplingFlux: {
      category: "advanced/model",
      inputs: {
        model: MODEL,
        max_shift: shift(1.15),
        base_shift: shift(0.5),
        width: side(1024, 16, 8),
        height: side(1024, 16, 8),
      },
      outputs: [MODEL],
    },
    RescaleCFG: { category: "advanced/model", inputs: { model: MODEL, multiplier: share(0.7) }, outputs: [MODEL] },
    ModelComputeDtype: {
      category: "advanced/debug/model",
      inputs: { model: MODEL, dtype: oneOf(["default", "fp32", "fp16", "bf16"]) },
      outputs: [MODEL],
    },
  }),
  ...v3("lt", {
    ModelSamplingLTXV: {
      category: "advanced/model",
      inputs: { model: MODEL, max_shift: shift(2.05), base_shift: shift(0.95) },
      optional: { latent: "LATENT" },
      outputs: [MODEL],
    },
  }),
  ...v3("lumina2", {
    RenormCFG: {
      category: "advanced/model",
      inputs: { model: MODEL, cfg_trunc: shift(100), renorm_cfg: shift(1) },
      outputs: [MODEL],
    },
  }),
  ...v1(extras("freelunch"), {
    FreeU: { category: "model_patches/unet", inputs: freeU(1.1, 1.2), outputs: [MODEL] },
    FreeU_V2: { category: "model_patches/unet", inputs: freeU(1.3, 1.4), outputs: [MODEL] },
  }),
  ...v3("tomesd", {
    TomePatchModel: { category: "model_patches/unet", inputs: { model: MODEL, ratio: share(0.3) }, outputs: [MODEL] },
  }),
  ...v3("hypertile", {
    HyperTile: {
      category: "model_patches/unet",
      inputs: {
        model: MODEL,
        tile_size: int(256, 1, 2048),
        swap_size: int(2, 1, 128),
        max_depth: int(0, 0, 10),
        scale_depth: bool(false),
      },
      outputs: [MODEL],
    },
  }),
  ...v3("model_downscale", {
    PatchModelAddDownscale: {
      title: "PatchModelAddDownscale (Kohya Deep Shrink)",
      category: "model_patches/unet",
      inputs: {
        model: MODEL,
        block_number: int(3, 1, 32, 1),
        downscale_factor: float(2, 0.1, 9, 0.001),
        start_percent: percent(0),
        end_percent: percent(0.35),
        downscale_after_skip: bool(true),
        downscale_method: scaling,
        upscale_method: scaling,
      },
      outputs: [MODEL],
    },
  }),
  ...v3("pag", {
    PerturbedAttentionGuidance: {
      category: "model_patches/unet",
      inputs: { model: MODEL, scale: float(3, 0, 100, 0.01, { round: 0.01 }) },
      outputs: [MODEL],
    },
  }),
  ...v3("eps", {
    "Epsilon Scaling": {
      category: "model_patches/unet",
      inputs: { model: MODEL, scaling_factor: float(1.005, 0.5, 1.5, 0.001, { display: "number" }) },
      outputs: [MODEL],
    },
  }),
  ...v3("chroma_radiance", {
    ChromaRadianceOptions: {
      category: "model_patches/chroma_radiance",
      inputs: {
        model: MODEL,
        preserve_wrapper: bool(true),
        start_sigma: float(1, 0, 1),
        end_sigma: float(0, 0, 1),
        nerf_tile_size: int(-1, -1),
      },
      outputs: [MODEL],
    },
  }),
  ...v3("sag", {
    SelfAttentionGuidance: {
      title: "Self-Attention Guidance",
      category: FOR_TESTING,
      inputs: { model: MODEL, scale: float(0.5, -2, 5, 0.01), blur_sigma: float(2, 0, 10, 0.1) },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("perpneg", {
    PerpNeg: {
      title: "Perp-Neg (DEPRECATED by PerpNegGuider)",
      category: FOR_TESTING,
      inputs: { model: MODEL, empty_conditioning: "CONDITIONING", neg_scale: float(1, 0, 100, 0.01) },
      outputs: [MODEL],
      experimental: true,
      deprecated: true,
    },
  }),
  ...v3("differential_diffusion", {
    DifferentialDiffusion: {
      title: "Differential Diffusion",
      category: FOR_TESTING,
      inputs: { model: MODEL },
      optional: { strength: share(1) },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("torch_compile", {
    TorchCompileModel: {
      category: FOR_TESTING,
      inputs: { model: MODEL, backend: oneOf(["inductor", "cudagraphs"]) },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("mahiro", {
    Mahiro: {
      title: "Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)",
      category: FOR_TESTING,
      inputs: { model: MODEL },
      outputs: PATCHED,
      experimental: true,
    },
  }),
  ...v3("fresca", {
    FreSca: {
      title: "FreSca",
      category: FOR_TESTING,
      inputs: {
        model: MODEL,
        scale_low: float(1, 0, 10, 0.01),
        scale_high: float(1.25, 0, 10, 0.01),
        freq_cutoff: int(20, 1, 10000, 1),
      },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("cfg", {
    CFGZeroStar: { category: "advanced/guidance", inputs: { model: MODEL }, outputs: PATCHED },
    CFGNorm: {
      category: "advanced/guidance",
      inputs: { model: MODEL, strength: float(1, 0, 100, 0.01) },
      outputs: PATCHED,
      experimental: true,
    },
  }),
  ...v3("tcfg", {
    TCFG: {
      title: "Tangential Damping CFG",
      category: "advanced/guidance",
      inputs: { model: MODEL },
      outputs: PATCHED,
    },
  }),
  ...v3("apg", {
    APG: {
      title: "Adaptive Projected Guidance",
      category: "sampling/custom_sampling",
      inputs: {
        model: MODEL,
        eta: float(1, -10, 10, 0.01),
        norm_threshold: float(5, 0, 50, 0.1),
        momentum: float(0, -5, 1, 0.01),
      },
      outputs: [MODEL],
    },
  }),
  ...v3("sd3", {
    SkipLayerGuidanceSD3: {
      category: "advanced/guidance",
      inputs: { model: MODEL, layers, ...guidedSpan },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("slg", {
    SkipLayerGuidanceDiT: {
      category: "advanced/guidance",
      inputs: {
        model: MODEL,
        double_layers: layers,
        single_layers: layers,
        ...guidedSpan,
        rescaling_scale: float(0, 0, 10, 0.01),
      },
      outputs: [MODEL],
      experimental: true,
    },
    SkipLayerGuidanceDiTSimple: {
      category: "advanced/guidance",
      inputs: {
        model: MODEL,
        double_layers: layers,
        single_layers: layers,
        start_percent: percent(0),
        end_percent: percent(1),
      },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v1(extras("video_model"), {
    VideoLinearCFGGuidance: {
      category: "sampling/video_models",
      inputs: { model: MODEL, min_cfg: float(1, 0, 100, 0.5, { round: 0.01 }) },
      outputs: [MODEL],
    },
    VideoTriangleCFGGuidance: {
      category: "sampling/video_models",
      inputs: { model: MODEL, min_cfg: float(1, 0, 100, 0.5, { round: 0.01 }) },
      outputs: [MODEL],
    },
  }),
  ...v3("attention_multiply", {
    UNetSelfAttentionMultiply: {
      category: ATTENTION,
      inputs: { model: MODEL, ...attention },
      outputs: [MODEL],
      experimental: true,
    },
    UNetCrossAttentionMultiply: {
      category: ATTENTION,
      inputs: { model: MODEL, ...attention },
      outputs: [MODEL],
      experimental: true,
    },
    CLIPAttentionMultiply: {
      category: ATTENTION,
      inputs: { clip: "CLIP", ...attention },
      outputs: ["CLIP"],
      experimental: true,
    },
    UNetTemporalAttentionMultiply: {
      category: ATTENTION,
      inputs: {
        model: MODEL,
        self_structural: factor,
        self_temporal: factor,
        cross_structural: factor,
        cross_temporal: factor,
      },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("easycache", {
    EasyCache: {
      title: "EasyCache",
      category: "advanced/debug/model",
      inputs: cache,
      outputs: [MODEL],
      experimental: true,
    },
    LazyCache: {
      title: "LazyCache",
      category: "advanced/debug/model",
      inputs: cache,
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v3("context_windows", {
    ContextWindowsManual: {
      title: "Context Windows (Manual)",
      category: "context",
      inputs: {
        model: MODEL,
        context_length: int(16, 1),
        context_overlap: int(4, 0),
        ...contextChoices,
        dim: int(0, 0, 5),
      },
      outputs: [MODEL],
      experimental: true,
    },
    WanContextWindowsManual: {
      title: "WAN Context Windows (Manual)",
      category: "context",
      inputs: { model: MODEL, context_length: side(81, 1, 4), context_overlap: int(30, 0), ...contextChoices },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v1(extras("model_patch"), {
    QwenImageDiffsynthControlnet: {
      category: "advanced/loaders/qwen",
      inputs: {
        model: MODEL,
        model_patch: "MODEL_PATCH",
        vae: "VAE",
        image: "IMAGE",
        strength: float(1, -10, 10, 0.01),
      },
      optional: { mask: "MASK" },
      outputs: [MODEL],
      experimental: true,
    },
    USOStyleReference: {
      category: "advanced/model_patches/flux",
      inputs: { model: MODEL, model_patch: "MODEL_PATCH", clip_vision_output: "CLIP_VISION_OUTPUT" },
      outputs: [MODEL],
      experimental: true,
    },
  }),
  ...v1(extras("model_merging"), {
    ModelMergeSimple: {
      category: "advanced/model_merging",
      inputs: { model1: MODEL, model2: MODEL, ratio: share(1) },
      outputs: [MODEL],
    },
    ModelMergeBlocks: {
      category: "advanced/model_merging",
      inputs: { model1: MODEL, model2: MODEL, input: share(1), middle: share(1), out: share(1) },
      outputs: [MODEL],
    },
    ModelMergeSubtract: {
      category: "advanced/model_merging",
      inputs: { model1: MODEL, model2: MODEL, multiplier: float(1, -10, 10, 0.01) },
      outputs: [MODEL],
    },
    ModelMergeAdd: {
      category: "advanced/model_merging",
      inputs: { model1: MODEL, model2: MODEL },
      outputs: [MODEL],
    },
    CLIPMergeSimple: {
      category: "advanced/model_merging",
      inputs: { clip1: "CLIP", clip2: "CLIP", ratio: share(1) },
      outputs: ["CLIP"],
    },
    CLIPMergeSubtract: {
      category: "advanced/model_merging",
      inputs: { clip1: "CLIP", clip2: "CLIP", multiplier: float(1, -10, 10, 0.01) },
      outputs: ["CLIP"],
    },
    CLIPMergeAdd: {
      category: "advanced/model_merging",
      inputs: { clip1: "CLIP", clip2: "CLIP" },
      outputs: ["CLIP"],
    },
    CheckpointSave: {
      title: "Save Checkpoint",
      category: "advanced/model_merging",
      inputs: { model: MODEL, clip: "CLIP", vae: "VAE", filename_prefix: text("checkpoints/ComfyUI") },
      hidden: "saves",
      isOutput: true,
    },
    CLIPSave: {
      category: "advanced/model_merging",
      inputs: { clip: "CLIP", filename_prefix: text("clip/ComfyUI") },
      hidden: "saves",
      isOutput: true,
    },
    VAESave: {
      category: "advanced/model_merging",
      inputs: { vae: "VAE", filename_prefix: text("vae/ComfyUI_vae") },
      hidden: "saves",
      isOutput: true,
    },
    ModelSave: {
      category: "advanced/model_merging",
      inputs: { model: MODEL, filename_prefix: text("diffusion_models/ComfyUI") },
      hidden: "saves",
      isOutput: true,
    },
  }),
};
