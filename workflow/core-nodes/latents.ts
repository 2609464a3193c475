/** Classes that make, move and combine latents. */
import type { ObjectInfo } from "../object-info.ts";
import {
  BATCH,
  bool,
  extras,
  float,
  type InputRow,
  int,
  offset,
  oneOf,
  SIDE_MAX,
  share,
  side,
  v1,
  v3,
} from "./builder.ts";
import { CROP, FLIP, LATENT_RESAMPLING, ROTATION } from "./choices.ts";

const LATENT = "LATENT";
const empty = (sides: readonly [width: number, height: number], least: number, step: number) => ({
  width: side(sides[0], least, step),
  height: side(sides[1], least, step),
  batch_size: BATCH,
});
const emptyVideo = (sides: readonly [width: number, height: number], length: InputRow, step = 16, least = 16) => {
  const { batch_size, ...size } = empty(sides, least, step);
  return { ...size, length, batch_size };
};
const tiles = (tileStep: number) => ({
  tile_size: int(512, 64, 4096, tileStep),
  overlap: int(64, 0, 4096, 32),
  temporal_size: int(64, 8, 4096, 4),
  temporal_overlap: int(8, 4, 4096, 4),
});

export const latents: ObjectInfo = {
  ...v1("nodes", {
    VAEDecode: { title: "VAE Decode", category: "latent", inputs: { samples: LATENT, vae: "VAE" }, outputs: ["IMAGE"] },
    VAEEncode: { title: "VAE Encode", category: "latent", inputs: { pixels: "IMAGE", vae: "VAE" }, outputs: [LATENT] },
    VAEDecodeTiled: {
      title: "VAE Decode (Tiled)",
      category: "_for_testing",
      inputs: { samples: LATENT, vae: "VAE", ...tiles(32) },
      outputs: ["IMAGE"],
    },
    VAEEncodeTiled: {
      title: "VAE Encode (Tiled)",
      category: "_for_testing",
      inputs: { pixels: "IMAGE", vae: "VAE", ...tiles(64) },
      outputs: [LATENT],
    },
    VAEEncodeForInpaint: {
      title: "VAE Encode (for Inpainting)",
      category: "latent/inpaint",
      inputs: { pixels: "IMAGE", vae: "VAE", mask: "MASK", grow_mask_by: int(6, 0, 64, 1) },
      outputs: [LATENT],
    },
    EmptyLatentImage: {
      title: "Empty Latent Image",
      category: "latent",
      inputs: empty([512, 512], 16, 8),
      outputs: [LATENT],
    },
    LatentUpscale: {
      title: "Upscale Latent",
      category: "latent",
      inputs: {
        samples: LATENT,
        upscale_method: LATENT_RESAMPLING,
        width: side(512, 0, 8),
        height: side(512, 0, 8),
        crop: CROP,
      },
      outputs: [LATENT],
    },
    LatentUpscaleBy: {
      title: "Upscale Latent By",
      category: "latent",
      inputs: { samples: LATENT, upscale_method: LATENT_RESAMPLING, scale_by: float(1.5, 0.01, 8, 0.01) },
      outputs: [LATENT],
    },
    LatentFromBatch: {
      title: "Latent From Batch",
      category: "latent/batch",
      inputs: { samples: LATENT, batch_index: int(0, 0, 63), length: int(1, 1, 64) },
      outputs: [LATENT],
    },
    RepeatLatentBatch: {
      title: "Repeat Latent Batch",
      category: "latent/batch",
      inputs: { samples: LATENT, amount: int(1, 1, 64) },
      outputs: [LATENT],
    },
    SetLatentNoiseMask: {
      title: "Set Latent Noise Mask",
      category: "latent/inpaint",
      inputs: { samples: LATENT, mask: "MASK" },
      outputs: [LATENT],
    },
    LatentComposite: {
      title: "Latent Composite",
      category: "latent",
      inputs: { samples_to: LATENT, samples_from: LATENT, x: offset(8), y: offset(8), feather: offset(8) },
      outputs: [LATENT],
    },
    LatentBlend: {
      title: "Latent Blend",
      category: "_for_testing",
      inputs: { samples1: LATENT, samples2: LATENT, blend_factor: share(0.5) },
      outputs: [LATENT],
    },
    LatentRotate: {
      title: "Rotate Latent",
      category: "latent/transform",
      inputs: { samples: LATENT, rotation: ROTATION },
      outputs: [LATENT],
    },
    LatentFlip: {
      title: "Flip Latent",
      category: "latent/transform",
      inputs: { samples: LATENT, flip_method: FLIP },
      outputs: [LATENT],
    },
    LatentCrop: {
      title: "Crop Latent",
      category: "latent/transform",
      inputs: { samples: LATENT, width: side(512, 64, 8), height: side(512, 64, 8), x: offset(8), y: offset(8) },
      outputs: [LATENT],
    },
    LoadLatent: { category: "_for_testing", inputs: { latent: oneOf([]) }, outputs: [LATENT] },
    SaveLatent: {
      category: "_for_testing",
      inputs: { samples: LATENT, filename_prefix: { type: "STRING", options: { default: "latents/ComfyUI" } } },
      hidden: "saves",
      isOutput: true,
    },
  }),
  ...v3("latent", {
    LatentAdd: { category: "latent/advanced", inputs: { samples1: LATENT, samples2: LATENT }, outputs: [LATENT] },
    LatentSubtract: { category: "latent/advanced", inputs: { samples1: LATENT, samples2: LATENT }, outputs: [LATENT] },
    LatentMultiply: {
      category: "latent/advanced",
      inputs: { samples: LATENT, multiplier: float(1, -10, 10, 0.01) },
      outputs: [LATENT],
    },
    LatentInterpolate: {
      category: "latent/advanced",
      inputs: { samples1: LATENT, samples2: LATENT, ratio: share(1) },
      outputs: [LATENT],
    },
    LatentConcat: {
      category: "latent/advanced",
      inputs: { samples1: LATENT, samples2: LATENT, dim: oneOf(["x", "-x", "y", "-y", "t", "-t"]) },
      outputs: [LATENT],
    },
    LatentCut: {
      category: "latent/advanced",
      inputs: {
        samples: LATENT,
        dim: oneOf(["x", "y", "t"]),
        index: int(0, -SIDE_MAX, SIDE_MAX, 1),
        amount: side(1, 1, 1),
      },
      outputs: [LATENT],
    },
    LatentBatch: { category: "latent/batch", inputs: { samples1: LATENT, samples2: LATENT }, outputs: [LATENT] },
    LatentBatchSeedBehavior: {
      category: "latent/advanced",
      inputs: { samples: LATENT, seed_behavior: oneOf(["random", "fixed"], { default: "fixed" }) },
      outputs: [LATENT],
    },
    LatentApplyOperation: {
      category: "latent/advanced/operations",
      inputs: { samples: LATENT, operation: "LATENT_OPERATION" },
      outputs: [LATENT],
      experimental: true,
    },
    LatentApplyOperationCFG: {
      category: "latent/advanced/operations",
      inputs: { model: "MODEL", operation: "LATENT_OPERATION" },
      outputs: ["MODEL"],
      experimental: true,
    },
    LatentOperationTonemapReinhard: {
      category: "latent/advanced/operations",
      inputs: { multiplier: float(1, 0, 100, 0.01) },
      outputs: ["LATENT_OPERATION"],
      experimental: true,
    },
    LatentOperationSharpen: {
      category: "latent/advanced/operations",
      inputs: {
        sharpen_radius: int(9, 1, 31, 1),
        sigma: float(1, 0.1, 10, 0.1),
        alpha: float(0.1, 0, 5, 0.01),
      },
      outputs: ["LATENT_OPERATION"],
      experimental: true,
    },
  }),
  ...v1(extras("mask"), {
    LatentCompositeMasked: {
      category: "latent",
      inputs: { destination: LATENT, source: LATENT, x: offset(8), y: offset(8), resize_source: bool(false) },
      optional: { mask: "MASK" },
      outputs: [LATENT],
    },
  }),
  ...v3("rebatch", {
    RebatchLatents: {
      title: "Rebatch Latents",
      category: "latent/batch",
      inputs: { latents: LATENT, batch_size: BATCH },
      outputs: [LATENT],
      lists: true,
    },
  }),
  ...v3("sd3", {
    EmptySD3LatentImage: { category: "latent/sd3", inputs: empty([1024, 1024], 16, 16), outputs: [LATENT] },
  }),
  ...v3("chroma_radiance", {
    EmptyChromaRadianceLatentImage: {
      category: "latent/chroma_radiance",
      inputs: empty([1024, 1024], 16, 16),
      outputs: [LATENT],
    },
  }),
  ...v3("stable_cascade", {
    StableCascade_EmptyLatentImage: {
      category: "latent/stable_cascade",
      inputs: {
        width: side(1024, 256, 8),
        height: side(1024, 256, 8),
        compression: int(42, 4, 128, 1),
        batch_size: BATCH,
      },
      outputs: { stage_c: LATENT, stage_b: LATENT },
    },
    StableCascade_StageC_VAEEncode: {
      category: "latent/stable_cascade",
      inputs: { image: "IMAGE", vae: "VAE", compression: int(42, 4, 128, 1) },
      outputs: { stage_c: LATENT, stage_b: LATENT },
    },
    StableCascade_SuperResolutionControlnet: {
      category: "_for_testing/stable_cascade",
      inputs: { image: "IMAGE", vae: "VAE" },
      outputs: { controlnet_input: "IMAGE", stage_c: LATENT, stage_b: LATENT },
      experimental: true,
    },
  }),
  ...v1(extras("hunyuan"), {
    EmptyHunyuanLatentVideo: {
      category: "latent/video",
      inputs: emptyVideo([848, 480], side(25, 1, 4)),
      outputs: [LATENT],
    },
    EmptyHunyuanImageLatent: { category: "latent", inputs: empty([2048, 2048], 64, 32), outputs: [LATENT] },
  }),
  ...v3("mochi", {
    EmptyMochiLatentVideo: {
      category: "latent/video",
      inputs: emptyVideo([848, 480], side(25, 7, 6)),
      outputs: [LATENT],
    },
  }),
  ...v3("lt", {
    EmptyLTXVLatentVideo: {
      category: "latent/video/ltxv",
      inputs: emptyVideo([768, 512], side(97, 1, 8), 32, 64),
      outputs: [LATENT],
    },
  }),
  ...v3("cosmos", {
    EmptyCosmosLatentVideo: {
      category: "latent/video",
      inputs: emptyVideo([1280, 704], side(121, 1, 8)),
      outputs: [LATENT],
    },
    CosmosImageToVideoLatent: {
      category: "conditioning/inpaint",
      inputs: { vae: "VAE", ...emptyVideo([1280, 704], side(121, 1, 8)) },
      optional: { start_image: "IMAGE", end_image: "IMAGE" },
      outputs: [LATENT],
    },
    CosmosPredict2ImageToVideoLatent: {
      category: "conditioning/inpaint",
      inputs: { vae: "VAE", ...emptyVideo([848, 480], side(93, 1, 4)) },
      optional: { start_image: "IMAGE", end_image: "IMAGE" },
      outputs: [LATENT],
    },
  }),
  ...v3("wan", {
    Wan22ImageToVideoLatent: {
      category: "conditioning/inpaint",
      inputs: { vae: "VAE", ...emptyVideo([1280, 704], side(49, 1, 4), 32, 32) },
      optional: { start_image: "IMAGE" },
      outputs: [LATENT],
    },
    TrimVideoLatent: {
      category: "latent/video",
      inputs: { samples: LATENT, trim_amount: int(0, 0, 99999) },
      outputs: [LATENT],
    },
  }),
  ...v1(extras("audio"), {
    EmptyLatentAudio: {
      title: "Empty Latent Audio",
      category: "latent/audio",
      inputs: { seconds: float(47.6, 1, 1000, 0.1), batch_size: BATCH },
      outputs: [LATENT],
    },
    VAEEncodeAudio: {
      title: "VAE Encode Audio",
      category: "latent/audio",
      inputs: { audio: "AUDIO", vae: "VAE" },
      outputs: [LATENT],
    },
    VAEDecodeAudio: {
      title: "VAE Decode Audio",
      category: "latent/audio",
      inputs: { samples: LATENT, vae: "VAE" },
      outputs: ["AUDIO"],
    },
  }),
  ...v3("ace", {
    EmptyAceStepLatentAudio: {
      category: "latent/audio",
      inputs: { seconds: float(120, 1, 1000, 0.1), batch_size: BATCH },
      outputs: [LATENT],
    },
  }),
};
