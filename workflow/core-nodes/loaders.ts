/** Classes that read model files. */
import type { ObjectInfo } from "../object-info.ts";
import { extras, float, MODEL_FILE, oneOf, v1, v3 } from "./builder.ts";

const STRENGTH = float(1, -100, 100, 0.01);
const DEVICE = { device: oneOf(["default", "cpu"], { advanced: true }) };

export const loaders: ObjectInfo = {
  ...v1("nodes", {
    CheckpointLoaderSimple: {
      title: "Load Checkpoint",
      category: "loaders",
      inputs: { ckpt_name: MODEL_FILE },
      outputs: ["MODEL", "CLIP", "VAE"],
    },
    CheckpointLoader: {
      title: "Load Checkpoint With Config (DEPRECATED)",
      category: "advanced/loaders",
      inputs: { config_name: MODEL_FILE, ckpt_name: MODEL_FILE },
      outputs: ["MODEL", "CLIP", "VAE"],
      deprecated: true,
    },
    unCLIPCheckpointLoader: {
      category: "loaders",
      inputs: { ckpt_name: MODEL_FILE },
      outputs: ["MODEL", "CLIP", "VAE", "CLIP_VISION"],
    },
    DiffusersLoader: {
      category: "advanced/loaders/deprecated",
      inputs: { model_path: MODEL_FILE },
      outputs: ["MODEL", "CLIP", "VAE"],
    },
    UNETLoader: {
      title: "Load Diffusion Model",
      category: "advanced/loaders",
      inputs: {
        unet_name: MODEL_FILE,
        weight_dtype: oneOf(["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]),
      },
      outputs: ["MODEL"],
    },
    CLIPLoader: {
      title: "Load CLIP",
      category: "advanced/loaders",
      inputs: {
        clip_name: MODEL_FILE,
        type: oneOf([
          "stable_diffusion",
          "stable_cascade",
          "sd3",
          "stable_audio",
          "mochi",
          "ltxv",
          "pixart",
          "cosmos",
          "lumina2",
          "wan",
          "hidream",
          "chroma",
          "ace",
          "omnigen2",
          "qwen_image",
          "hunyuan_image",
        ]),
      },
      optional: DEVICE,
      outputs: ["CLIP"],
    },
    DualCLIPLoader: {
      category: "advanced/loaders",
      inputs: {
        clip_name1: MODEL_FILE,
        clip_name2: MODEL_FILE,
        type: oneOf(["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]),
      },
      optional: DEVICE,
      outputs: ["CLIP"],
    },
    // "pixel_space" is not a file: it stands for working on pixels without any VAE, and every server has it.
    VAELoader: {
      title: "Load VAE",
      category: "loaders",
      inputs: { vae_name: oneOf(["pixel_space"]) },
      outputs: ["VAE"],
    },
    LoraLoader: {
      title: "Load LoRA",
      category: "loaders",
      inputs: {
        model: "MODEL",
        clip: "CLIP",
        lora_name: MODEL_FILE,
        strength_model: STRENGTH,
        strength_clip: STRENGTH,
      },
      outputs: ["MODEL", "CLIP"],
    },
    LoraLoaderModelOnly: {
      category: "loaders",
      inputs: { model: "MODEL", lora_name: MODEL_FILE, strength_model: STRENGTH },
      outputs: ["MODEL"],
    },
    ControlNetLoader: {
      title: "Load ControlNet Model",
      category: "loaders",
      inputs: { control_net_name: MODEL_FILE },
      outputs: ["CONTROL_NET"],
    },
    DiffControlNetLoader: {
      title: "Load ControlNet Model (diff)",
      category: "loaders",
      inputs: { model: "MODEL", control_net_name: MODEL_FILE },
      outputs: ["CONTROL_NET"],
    },
    StyleModelLoader: {
      title: "Load Style Model",
      category: "loaders",
      inputs: { style_model_name: MODEL_FILE },
      outputs: ["STYLE_MODEL"],
    },
    CLIPVisionLoader: {
      title: "Load CLIP Vision",
      category: "loaders",
      inputs: { clip_name: MODEL_FILE },
      outputs: ["CLIP_VISION"],
    },
    GLIGENLoader: { category: "loaders", inputs: { gligen_name: MODEL_FILE }, outputs: ["GLIGEN"] },
  }),
  ...v1(extras("hypernetwork"), {
    HypernetworkLoader: {
      category: "loaders",
      inputs: { model: "MODEL", hypernetwork_name: MODEL_FILE, strength: float(1, -10, 10, 0.01) },
      outputs: ["MODEL"],
    },
  }),
  ...v1(extras("video_model"), {
    ImageOnlyCheckpointLoader: {
      title: "Image Only Checkpoint Loader (img2vid model)",
      category: "loaders/video_models",
      inputs: { ckpt_name: MODEL_FILE },
      outputs: ["MODEL", "CLIP_VISION", "VAE"],
    },
  }),
  ...v1(extras("model_patch"), {
    ModelPatchLoader: {
      category: "advanced/loaders",
      inputs: { name: MODEL_FILE },
      outputs: ["MODEL_PATCH"],
      experimental: true,
    },
  }),
  ...v3("upscale_model", {
    UpscaleModelLoader: {
      title: "Load Upscale Model",
      category: "loaders",
      inputs: { model_name: MODEL_FILE },
      outputs: ["UPSCALE_MODEL"],
    },
  }),
  ...v3("sd3", {
    TripleCLIPLoader: {
      category: "advanced/loaders",
      inputs: { clip_name1: MODEL_FILE, clip_name2: MODEL_FILE, clip_name3: MODEL_FILE },
      outputs: ["CLIP"],
    },
  }),
  ...v3("hidream", {
    QuadrupleCLIPLoader: {
      category: "advanced/loaders",
      inputs: { clip_name1: MODEL_FILE, clip_name2: MODEL_FILE, clip_name3: MODEL_FILE, clip_name4: MODEL_FILE },
      outputs: ["CLIP"],
    },
  }),
  ...v3("photomaker", {
    PhotoMakerLoader: {
      category: "_for_testing/photomaker",
      inputs: { photomaker_model_name: MODEL_FILE },
      outputs: ["PHOTOMAKER"],
      experimental: true,
    },
  }),
  ...v3("audio_encoder", {
    AudioEncoderLoader: {
      category: "loaders",
      inputs: { audio_encoder_name: MODEL_FILE },
      outputs: ["AUDIO_ENCODER"],
    },
  }),
};
