/** Core classes of newer servers for films and their sound, which public templates use. */
import type { ObjectInfo } from "../object-info.ts";
import { bool, float, int, oneOf, SEED_MAX, text, v3 } from "./builder.ts";

/** As a server of late 2026 describes them; classes that the server itself describes are never looked up here. */
export const filmNodes: ObjectInfo = {
  ...v3("lt", {
    LTXVConcatAVLatent: {
      title: "Concat AV Latent",
      category: "model/latent/ltxv",
      inputs: { video_latent: "LATENT", audio_latent: "LATENT" },
      outputs: { latent: "LATENT" },
    },
    LTXVSeparateAVLatent: {
      title: "Separate AV Latent",
      category: "model/latent/ltxv",
      inputs: { av_latent: "LATENT" },
      outputs: { video_latent: "LATENT", audio_latent: "LATENT" },
    },
    LTXVImgToVideoInplace: {
      category: "model/conditioning/ltxv",
      inputs: { vae: "VAE", image: "IMAGE", latent: "LATENT", strength: float(1.0, 0.0, 1.0), bypass: bool(false) },
      outputs: { latent: "LATENT" },
    },
    LTXVDualCFGGuider: {
      title: "LTXV Dual CFG Guider",
      category: "model/sampling/guiders",
      inputs: {
        model: "MODEL",
        positive: "CONDITIONING",
        negative: "CONDITIONING",
        video_cfg: float(3.0, 0.0, 100.0, 0.1, { round: 0.01 }),
        audio_cfg: float(7.0, 0.0, 100.0, 0.1, { round: 0.01 }),
      },
      outputs: ["GUIDER"],
    },
  }),
  ...v3("lt_audio", {
    LTXVAudioVAEDecode: {
      title: "LTXV Audio VAE Decode",
      category: "model/latent/ltxv",
      inputs: { samples: "LATENT", audio_vae: "VAE" },
      outputs: { Audio: "AUDIO" },
    },
    LTXVEmptyLatentAudio: {
      title: "LTXV Empty Latent Audio",
      category: "model/latent/ltxv",
      inputs: {
        frames_number: int(97, 1, 1000, 1, { display: "number" }),
        frame_rate: { type: "FLOAT,INT", options: { default: 25.0, display: "number", widgetType: "FLOAT" } },
        batch_size: int(1, 1, 4096, undefined, { display: "number" }),
        audio_vae: "VAE",
      },
      outputs: { Latent: "LATENT" },
    },
    LTXAVTextEncoderLoader: {
      title: "Load LTXV Audio Text Encoder",
      category: "model/loaders",
      inputs: { text_encoder: oneOf([]), ckpt_name: oneOf([]), device: oneOf(["default", "cpu"], { advanced: true }) },
      outputs: ["CLIP"],
    },
    LTXVAudioVAELoader: {
      title: "Load LTXV Audio VAE",
      category: "model/loaders",
      inputs: { ckpt_name: oneOf([]) },
      outputs: { "Audio VAE": "VAE" },
    },
  }),
  ...v3("lt_upsampler", {
    LTXVLatentUpsampler: {
      category: "model/latent/ltxv",
      inputs: { samples: "LATENT", upscale_model: "LATENT_UPSCALE_MODEL", vae: "VAE" },
      outputs: ["LATENT"],
      experimental: true,
    },
  }),
  ...v3("hunyuan", {
    LatentUpscaleModelLoader: {
      title: "Load Latent Upscale Model",
      category: "model/loaders",
      inputs: { model_name: oneOf([]) },
      outputs: ["LATENT_UPSCALE_MODEL"],
    },
    HunyuanVideo15ImageToVideo: {
      category: "model/conditioning/hunyuan video",
      inputs: {
        positive: "CONDITIONING",
        negative: "CONDITIONING",
        vae: "VAE",
        width: int(848, 16, 16384, 16),
        height: int(480, 16, 16384, 16),
        length: int(33, 1, 16384, 4),
        batch_size: int(1, 1, 4096),
      },
      optional: { start_image: "IMAGE", clip_vision_output: "CLIP_VISION_OUTPUT" },
      outputs: { positive: "CONDITIONING", negative: "CONDITIONING", latent: "LATENT" },
    },
    EmptyHunyuanVideo15Latent: {
      title: "Empty HunyuanVideo 1.5 Latent",
      category: "model/latent/hunyuan video",
      inputs: {
        width: int(848, 16, 16384, 16),
        height: int(480, 16, 16384, 16),
        length: int(25, 1, 16384, 4),
        batch_size: int(1, 1, 4096),
      },
      outputs: ["LATENT"],
    },
  }),
  ...v3("textgen", {
    TextGenerate: {
      title: "Generate Text",
      category: "text",
      inputs: {
        clip: "CLIP",
        prompt: text("", { multiline: true, dynamicPrompts: true }),
        max_length: int(512, 1, 32768),
        sampling_mode: {
          type: "COMFY_DYNAMICCOMBO_V3",
          options: {
            options: [
              {
                key: "on",
                inputs: {
                  required: {
                    temperature: ["FLOAT", { default: 0.7, min: 0.01, max: 2.0, step: 1e-6 }],
                    top_k: ["INT", { default: 64, min: 0, max: 1000 }],
                    top_p: ["FLOAT", { default: 0.95, min: 0.0, max: 1.0, step: 0.01 }],
                    min_p: ["FLOAT", { default: 0.05, min: 0.0, max: 1.0, step: 0.01 }],
                    repetition_penalty: ["FLOAT", { default: 1.05, min: 0.0, max: 5.0, step: 0.01 }],
                    seed: ["INT", { default: 0, min: 0, max: SEED_MAX }],
                  },
                  optional: { presence_penalty: ["FLOAT", { default: 0.0, min: 0.0, max: 5.0, step: 0.01 }] },
                },
              },
              { key: "off", inputs: { required: {} } },
            ],
          },
        },
      },
      optional: {
        image: "IMAGE",
        video: "IMAGE",
        audio: "AUDIO",
        thinking: bool(false),
        use_default_template: { type: "BOOLEAN", options: { default: true, advanced: true } },
      },
      outputs: { generated_text: "STRING" },
    },
    TextGenerateLTX2Prompt: {
      title: "Generate LTX2 Prompt",
      category: "text",
      inputs: {
        clip: "CLIP",
        prompt: text("", { multiline: true, dynamicPrompts: true }),
        max_length: int(512, 1, 32768),
        sampling_mode: {
          type: "COMFY_DYNAMICCOMBO_V3",
          options: {
            options: [
              {
                key: "on",
                inputs: {
                  required: {
                    temperature: ["FLOAT", { default: 0.7, min: 0.01, max: 2.0, step: 1e-6 }],
                    top_k: ["INT", { default: 64, min: 0, max: 1000 }],
                    top_p: ["FLOAT", { default: 0.95, min: 0.0, max: 1.0, step: 0.01 }],
                    min_p: ["FLOAT", { default: 0.05, min: 0.0, max: 1.0, step: 0.01 }],
                    repetition_penalty: ["FLOAT", { default: 1.05, min: 0.0, max: 5.0, step: 0.01 }],
                    seed: ["INT", { default: 0, min: 0, max: SEED_MAX }],
                  },
                  optional: { presence_penalty: ["FLOAT", { default: 0.0, min: 0.0, max: 5.0, step: 0.01 }] },
                },
              },
              { key: "off", inputs: { required: {} } },
            ],
          },
        },
      },
      optional: {
        image: "IMAGE",
        video: "IMAGE",
        audio: "AUDIO",
        thinking: bool(false),
        use_default_template: { type: "BOOLEAN", options: { default: true, advanced: true } },
      },
      outputs: { generated_text: "STRING" },
    },
  }),
  ...v3("scail", {
    SCAIL2ColoredMask: {
      title: "Create SCAIL-2 Colored Mask",
      category: "model/conditioning/wan/scail",
      inputs: {
        driving_track_data: "SAM3_TRACK_DATA",
        object_indices: text(""),
        sort_by: oneOf(["none", "left_to_right", "area"], { default: "left_to_right" }),
        replacement_mode: bool(false),
      },
      optional: { ref_track_data: "SAM3_TRACK_DATA,MASK" },
      outputs: { pose_video_mask: "IMAGE", reference_image_mask: "IMAGE" },
      experimental: true,
    },
    WanSCAILToVideo: {
      category: "model/conditioning/wan/scail",
      inputs: {
        positive: "CONDITIONING",
        negative: "CONDITIONING",
        vae: "VAE",
        width: int(512, 32, 16384, 32),
        height: int(896, 32, 16384, 32),
        length: int(81, 1, 16384, 4),
        batch_size: int(1, 1, 4096),
        pose_strength: float(1.0, 0.0, 10.0, 0.01),
        pose_start: float(0.0, 0.0, 1.0, 0.01),
        pose_end: float(1.0, 0.0, 1.0, 0.01),
        video_frame_offset: int(0, 0, 16384, 1),
        previous_frame_count: int(5, 1, 16384, 4),
      },
      optional: {
        pose_video: "IMAGE",
        pose_video_mask: "IMAGE",
        replacement_mode: bool(false),
        reference_image: "IMAGE",
        reference_image_mask: "IMAGE",
        clip_vision_output: "CLIP_VISION_OUTPUT",
        previous_frames: "IMAGE",
      },
      outputs: { positive: "CONDITIONING", negative: "CONDITIONING", latent: "LATENT", video_frame_offset: "INT" },
      experimental: true,
    },
  }),
  ...v3("bernini", {
    BerniniConditioning: {
      title: "Bernini Conditioning",
      category: "model/conditioning/bernini",
      inputs: {
        positive: "CONDITIONING",
        negative: "CONDITIONING",
        vae: "VAE",
        width: int(832, 16, 8192, 16),
        height: int(480, 16, 8192, 16),
        length: int(81, 1, 8192, 4),
        batch_size: int(1, 1, 4096),
      },
      optional: {
        source_video: "IMAGE",
        reference_video: "IMAGE",
        reference_images: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: { required: { reference_image: ["IMAGE", {}] } },
              prefix: "reference_image_",
              min: 0,
              max: 8,
            },
          },
        },
        ref_max_size: int(848, 16, 8192, 16),
      },
      outputs: { positive: "CONDITIONING", negative: "CONDITIONING", latent: "LATENT" },
    },
  }),
  ...v3("seedvr", {
    SeedVR2Preprocess: {
      title: "Pre-Process SeedVR2 Input",
      category: "image/pre-processors",
      inputs: { resized_images: "IMAGE" },
      outputs: { images: "IMAGE" },
    },
    SeedVR2PostProcessing: {
      title: "Post-Process SeedVR2 Output",
      category: "image/post-processors",
      inputs: {
        images: "IMAGE",
        original_resized_images: "IMAGE",
        color_correction_method: oneOf(["lab", "wavelet", "adain", "none"], { default: "lab" }),
      },
      outputs: { images: "IMAGE" },
    },
    SeedVR2Conditioning: {
      title: "Apply SeedVR2 Conditioning",
      category: "model/conditioning",
      inputs: { model: "MODEL", vae_conditioning: "LATENT" },
      outputs: { positive: "CONDITIONING", negative: "CONDITIONING" },
    },
  }),
  ...v3("frame_interpolation", {
    FrameInterpolationModelLoader: {
      title: "Load Frame Interpolation Model",
      category: "model/loaders",
      inputs: { model_name: oneOf([]) },
      outputs: ["INTERP_MODEL"],
    },
    FrameInterpolate: {
      title: "Run Frame Interpolation Model",
      category: "video",
      inputs: { interp_model: "INTERP_MODEL", images: "IMAGE", multiplier: int(2, 2, 16) },
      outputs: ["IMAGE"],
    },
  }),
  ...v3("video", {
    "Video Slice": {
      title: "Trim Video",
      category: "video",
      inputs: {
        video: "VIDEO",
        start_time: float(0.0, -100000.0, 100000.0, 0.001),
        duration: float(0.0, 0.0, undefined, 0.001),
        strict_duration: bool(false),
      },
      outputs: ["VIDEO"],
    },
  }),
};
