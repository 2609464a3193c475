/** Classes that combine, limit and steer conditioning. */
import type { ObjectInfo } from "../object-info.ts";
import {
  BATCH,
  bool,
  exactFloat,
  extras,
  float,
  int,
  offset,
  oneOf,
  PROMPT,
  percent,
  share,
  side,
  v1,
  v3,
} from "./builder.ts";

const CONDITIONING = "CONDITIONING";
const PAIR = { positive: CONDITIONING, negative: CONDITIONING } as const;
const PAIR_AND_LATENT = { ...PAIR, latent: "LATENT" } as const;
const strength = float(1, 0, 10, 0.01);
const span = { start_percent: percent(0), end_percent: percent(1) } as const;
const angle = exactFloat(0, -180, 180, 0.1);
const zero123 = {
  clip_vision: "CLIP_VISION",
  init_image: "IMAGE",
  vae: "VAE",
  width: side(256, 16, 8),
  height: side(256, 16, 8),
  batch_size: BATCH,
  elevation: angle,
  azimuth: angle,
} as const;

export const conditioning: ObjectInfo = {
  ...v1("nodes", {
    ConditioningAverage: {
      category: "conditioning",
      inputs: { conditioning_to: CONDITIONING, conditioning_from: CONDITIONING, conditioning_to_strength: share(1) },
      outputs: [CONDITIONING],
    },
    ConditioningCombine: {
      title: "Conditioning (Combine)",
      category: "conditioning",
      inputs: { conditioning_1: CONDITIONING, conditioning_2: CONDITIONING },
      outputs: [CONDITIONING],
    },
    ConditioningConcat: {
      title: "Conditioning (Concat)",
      category: "conditioning",
      inputs: { conditioning_to: CONDITIONING, conditioning_from: CONDITIONING },
      outputs: [CONDITIONING],
    },
    ConditioningSetArea: {
      title: "Conditioning (Set Area)",
      category: "conditioning",
      inputs: {
        conditioning: CONDITIONING,
        width: side(64, 64, 8),
        height: side(64, 64, 8),
        x: offset(8),
        y: offset(8),
        strength,
      },
      outputs: [CONDITIONING],
    },
    ConditioningSetAreaPercentage: {
      title: "Conditioning (Set Area with Percentage)",
      category: "conditioning",
      inputs: { conditioning: CONDITIONING, width: share(1), height: share(1), x: share(0), y: share(0), strength },
      outputs: [CONDITIONING],
    },
    ConditioningSetAreaStrength: {
      category: "conditioning",
      inputs: { conditioning: CONDITIONING, strength },
      outputs: [CONDITIONING],
    },
    ConditioningSetMask: {
      title: "Conditioning (Set Mask)",
      category: "conditioning",
      inputs: {
        conditioning: CONDITIONING,
        mask: "MASK",
        strength,
        set_cond_area: oneOf(["default", "mask bounds"]),
      },
      outputs: [CONDITIONING],
    },
    ConditioningZeroOut: {
      category: "advanced/conditioning",
      inputs: { conditioning: CONDITIONING },
      outputs: [CONDITIONING],
    },
    ConditioningSetTimestepRange: {
      category: "advanced/conditioning",
      inputs: { conditioning: CONDITIONING, start: percent(0), end: percent(1) },
      outputs: [CONDITIONING],
    },
    ControlNetApply: {
      title: "Apply ControlNet (OLD)",
      category: "conditioning/controlnet",
      inputs: { conditioning: CONDITIONING, control_net: "CONTROL_NET", image: "IMAGE", strength },
      outputs: [CONDITIONING],
      deprecated: true,
    },
    ControlNetApplyAdvanced: {
      title: "Apply ControlNet",
      category: "conditioning/controlnet",
      inputs: { ...PAIR, control_net: "CONTROL_NET", image: "IMAGE", strength, ...span },
      optional: { vae: "VAE" },
      outputs: PAIR,
    },
    CLIPVisionEncode: {
      title: "CLIP Vision Encode",
      category: "conditioning",
      inputs: { clip_vision: "CLIP_VISION", image: "IMAGE", crop: oneOf(["center", "none"]) },
      outputs: ["CLIP_VISION_OUTPUT"],
    },
    StyleModelApply: {
      title: "Apply Style Model",
      category: "conditioning/style_model",
      inputs: {
        conditioning: CONDITIONING,
        style_model: "STYLE_MODEL",
        clip_vision_output: "CLIP_VISION_OUTPUT",
        strength: float(1, 0, 10, 0.001),
        strength_type: oneOf(["multiply", "attn_bias"]),
      },
      outputs: [CONDITIONING],
    },
    unCLIPConditioning: {
      category: "conditioning",
      inputs: {
        conditioning: CONDITIONING,
        clip_vision_output: "CLIP_VISION_OUTPUT",
        strength: float(1, -10, 10, 0.01),
        noise_augmentation: share(0),
      },
      outputs: [CONDITIONING],
    },
    GLIGENTextBoxApply: {
      category: "conditioning/gligen",
      inputs: {
        conditioning_to: CONDITIONING,
        clip: "CLIP",
        gligen_textbox_model: "GLIGEN",
        text: PROMPT,
        width: side(64, 8, 8),
        height: side(64, 8, 8),
        x: offset(8),
        y: offset(8),
      },
      outputs: [CONDITIONING],
    },
    InpaintModelConditioning: {
      category: "conditioning/inpaint",
      inputs: { ...PAIR, vae: "VAE", pixels: "IMAGE", mask: "MASK", noise_mask: bool(true) },
      outputs: PAIR_AND_LATENT,
    },
  }),
  ...v3("sd3", {
    ControlNetApplySD3: {
      title: "Apply Controlnet with VAE",
      category: "conditioning/controlnet",
      inputs: { ...PAIR, control_net: "CONTROL_NET", vae: "VAE", image: "IMAGE", strength, ...span },
      outputs: PAIR,
      deprecated: true,
    },
  }),
  ...v1(extras("controlnet"), {
    SetUnionControlNetType: {
      category: "conditioning/controlnet",
      inputs: {
        control_net: "CONTROL_NET",
        type: oneOf([
          "auto",
          "openpose",
          "depth",
          "hed/pidi/scribble/ted",
          "canny/lineart/anime_lineart/mlsd",
          "normal",
          "segment",
          "tile",
          "repaint",
        ]),
      },
      outputs: ["CONTROL_NET"],
    },
    ControlNetInpaintingAliMamaApply: {
      category: "conditioning/controlnet",
      inputs: { ...PAIR, control_net: "CONTROL_NET", vae: "VAE", image: "IMAGE", mask: "MASK", strength, ...span },
      outputs: PAIR,
    },
  }),
  ...v3("ip2p", {
    InstructPixToPixConditioning: {
      category: "conditioning/instructpix2pix",
      inputs: { ...PAIR, vae: "VAE", pixels: "IMAGE" },
      outputs: PAIR_AND_LATENT,
    },
  }),
  ...v3("edit_model", {
    ReferenceLatent: {
      category: "advanced/conditioning/edit_models",
      inputs: { conditioning: CONDITIONING },
      optional: { latent: "LATENT" },
      outputs: [CONDITIONING],
    },
  }),
  ...v3("sdupscale", {
    SD_4XUpscale_Conditioning: {
      category: "conditioning/upscale_diffusion",
      inputs: { images: "IMAGE", ...PAIR, scale_ratio: float(4, 0, 10, 0.01), noise_augmentation: percent(0) },
      outputs: PAIR_AND_LATENT,
    },
  }),
  ...v3("stable3d", {
    StableZero123_Conditioning: { category: "conditioning/3d_models", inputs: zero123, outputs: PAIR_AND_LATENT },
    StableZero123_Conditioning_Batched: {
      category: "conditioning/3d_models",
      inputs: { ...zero123, elevation_batch_increment: angle, azimuth_batch_increment: angle },
      outputs: PAIR_AND_LATENT,
    },
    SV3D_Conditioning: {
      category: "conditioning/3d_models",
      inputs: {
        clip_vision: "CLIP_VISION",
        init_image: "IMAGE",
        vae: "VAE",
        width: side(576, 16, 8),
        height: side(576, 16, 8),
        video_frames: int(21, 1, 4096),
        elevation: exactFloat(0, -90, 90, 0.1),
      },
      outputs: PAIR_AND_LATENT,
    },
  }),
  ...v3("stable_cascade", {
    StableCascade_StageB_Conditioning: {
      category: "conditioning/stable_cascade",
      inputs: { conditioning: CONDITIONING, stage_c: "LATENT" },
      outputs: [CONDITIONING],
    },
  }),
  ...v1(extras("audio"), {
    ConditioningStableAudio: {
      category: "conditioning",
      inputs: { ...PAIR, seconds_start: float(0, 0, 1000, 0.1), seconds_total: float(47, 0, 1000, 0.1) },
      outputs: PAIR,
    },
  }),
  ...v3("audio_encoder", {
    AudioEncoderEncode: {
      category: "conditioning",
      inputs: { audio_encoder: "AUDIO_ENCODER", audio: "AUDIO" },
      outputs: ["AUDIO_ENCODER_OUTPUT"],
    },
  }),
  ...v1(extras("hunyuan"), {
    HunyuanRefinerLatent: {
      category: "sd",
      inputs: { ...PAIR, latent: "LATENT", noise_augmentation: share(0.1) },
      outputs: PAIR_AND_LATENT,
    },
  }),
  ...v3("lotus", {
    LotusConditioning: { category: "conditioning/lotus", outputs: { conditioning: CONDITIONING } },
  }),
};
