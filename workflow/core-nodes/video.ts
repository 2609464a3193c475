/** Classes that make, read and save moving pictures. */
import type { ObjectInfo } from "../object-info.ts";
import { BATCH, extras, float, type InputRow, int, oneOf, share, side, text, v1, v3 } from "./builder.ts";

const PAIR = { positive: "CONDITIONING", negative: "CONDITIONING" } as const;
const PAIR_AND_LATENT = { ...PAIR, latent: "LATENT" } as const;
const ON_VIDEO_MODELS = "conditioning/video_models";
const strength = float(1, 0, 10, 0.01);

const frames = (sides: readonly [width: number, height: number], length: InputRow, step = 16, least = 16) => ({
  width: side(sides[0], least, step),
  height: side(sides[1], least, step),
  length,
  batch_size: BATCH,
});
const wan = (length = 81) => ({ ...PAIR, vae: "VAE", ...frames([832, 480], side(length, 1, 4)) });
const areaPart = { width: share(1), height: share(1), temporal: share(1), x: share(0), y: share(0), z: share(0) };
const lensPart = float(0.5, 0, 1, 0.000000001);

export const video: ObjectInfo = {
  ...v3("video", {
    CreateVideo: {
      title: "Create Video",
      category: "image/video",
      inputs: { images: "IMAGE", fps: float(30, 1, 120, 1) },
      optional: { audio: "AUDIO" },
      outputs: ["VIDEO"],
    },
    SaveVideo: {
      title: "Save Video",
      category: "image/video",
      inputs: {
        video: "VIDEO",
        filename_prefix: text("video/ComfyUI", { multiline: false }),
        format: oneOf(["auto", "mp4"], { default: "auto" }),
        codec: oneOf(["auto", "h264"], { default: "auto" }),
      },
      hidden: "saves",
      isOutput: true,
    },
    SaveWEBM: {
      category: "image/video",
      inputs: {
        images: "IMAGE",
        filename_prefix: text("ComfyUI", { multiline: false }),
        codec: oneOf(["vp9", "av1"]),
        fps: float(24, 0.01, 1000, 0.01),
        crf: float(32, 0, 63, 1),
      },
      hidden: "saves",
      isOutput: true,
      experimental: true,
    },
    GetVideoComponents: {
      title: "Get Video Components",
      category: "image/video",
      inputs: { video: "VIDEO" },
      outputs: { images: "IMAGE", audio: "AUDIO", fps: "FLOAT" },
    },
    LoadVideo: {
      title: "Load Video",
      category: "image/video",
      inputs: { file: oneOf([], { video_upload: true }) },
      outputs: ["VIDEO"],
    },
  }),
  ...v1(extras("video_model"), {
    SVD_img2vid_Conditioning: {
      category: ON_VIDEO_MODELS,
      inputs: {
        clip_vision: "CLIP_VISION",
        init_image: "IMAGE",
        vae: "VAE",
        width: side(1024, 16, 8),
        height: side(576, 16, 8),
        video_frames: int(14, 1, 4096),
        motion_bucket_id: int(127, 1, 1023),
        fps: int(6, 1, 1024),
        augmentation_level: float(0, 0, 10, 0.01),
      },
      outputs: PAIR_AND_LATENT,
    },
    ConditioningSetAreaPercentageVideo: {
      category: "conditioning",
      inputs: { conditioning: "CONDITIONING", ...areaPart, strength },
      outputs: ["CONDITIONING"],
    },
    ImageOnlyCheckpointSave: {
      category: "advanced/model_merging",
      inputs: { model: "MODEL", clip_vision: "CLIP_VISION", vae: "VAE", filename_prefix: text("checkpoints/ComfyUI") },
      hidden: "saves",
      isOutput: true,
    },
  }),
  ...v1(extras("hunyuan"), {
    HunyuanImageToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: {
        positive: "CONDITIONING",
        vae: "VAE",
        ...frames([848, 480], side(53, 1, 4)),
        guidance_type: oneOf(["v1 (concat)", "v2 (replace)", "custom"]),
      },
      optional: { start_image: "IMAGE" },
      outputs: { positive: "CONDITIONING", latent: "LATENT" },
    },
  }),
  ...v3("lt", {
    LTXVImgToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: {
        ...PAIR,
        vae: "VAE",
        image: "IMAGE",
        ...frames([768, 512], side(97, 9, 8), 32, 64),
        strength: float(1, 0, 1),
      },
      outputs: PAIR_AND_LATENT,
    },
    LTXVConditioning: {
      category: ON_VIDEO_MODELS,
      inputs: { ...PAIR, frame_rate: float(25, 0, 1000, 0.01) },
      outputs: PAIR,
    },
    LTXVAddGuide: {
      category: ON_VIDEO_MODELS,
      inputs: {
        ...PAIR,
        vae: "VAE",
        latent: "LATENT",
        image: "IMAGE",
        frame_idx: int(0, -9999, 9999),
        strength: share(1),
      },
      outputs: PAIR_AND_LATENT,
    },
    LTXVCropGuides: {
      category: ON_VIDEO_MODELS,
      inputs: { ...PAIR, latent: "LATENT" },
      outputs: PAIR_AND_LATENT,
    },
  }),
  ...v3("wan", {
    WanImageToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: { clip_vision_output: "CLIP_VISION_OUTPUT", start_image: "IMAGE" },
      outputs: PAIR_AND_LATENT,
    },
    WanFunControlToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: { clip_vision_output: "CLIP_VISION_OUTPUT", start_image: "IMAGE", control_video: "IMAGE" },
      outputs: PAIR_AND_LATENT,
    },
    Wan22FunControlToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: { ref_image: "IMAGE", control_video: "IMAGE" },
      outputs: PAIR_AND_LATENT,
    },
    WanFunInpaintToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: { clip_vision_output: "CLIP_VISION_OUTPUT", start_image: "IMAGE", end_image: "IMAGE" },
      outputs: PAIR_AND_LATENT,
    },
    WanFirstLastFrameToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: {
        clip_vision_start_image: "CLIP_VISION_OUTPUT",
        clip_vision_end_image: "CLIP_VISION_OUTPUT",
        start_image: "IMAGE",
        end_image: "IMAGE",
      },
      outputs: PAIR_AND_LATENT,
    },
    WanVaceToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: { ...wan(), strength: float(1, 0, 1000, 0.01) },
      optional: { control_video: "IMAGE", control_masks: "MASK", reference_image: "IMAGE" },
      outputs: { ...PAIR_AND_LATENT, trim_latent: "INT" },
    },
    WanCameraImageToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: {
        clip_vision_output: "CLIP_VISION_OUTPUT",
        start_image: "IMAGE",
        camera_conditions: "WAN_CAMERA_EMBEDDING",
      },
      outputs: PAIR_AND_LATENT,
    },
    WanPhantomSubjectToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(),
      optional: { images: "IMAGE" },
      outputs: {
        positive: "CONDITIONING",
        negative_text: "CONDITIONING",
        negative_img_text: "CONDITIONING",
        latent: "LATENT",
      },
    },
    WanTrackToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: {
        ...PAIR,
        vae: "VAE",
        tracks: text("[]", { multiline: true }),
        ...frames([832, 480], side(81, 1, 4)),
        temperature: float(220, 1, 1000, 0.1),
        topk: int(2, 1, 10),
        start_image: "IMAGE",
      },
      optional: { clip_vision_output: "CLIP_VISION_OUTPUT" },
      outputs: PAIR_AND_LATENT,
    },
    WanSoundImageToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(77),
      optional: {
        audio_encoder_output: "AUDIO_ENCODER_OUTPUT",
        ref_image: "IMAGE",
        control_video: "IMAGE",
        ref_motion: "IMAGE",
      },
      outputs: PAIR_AND_LATENT,
    },
    WanSoundImageToVideoExtend: {
      category: ON_VIDEO_MODELS,
      inputs: { ...PAIR, vae: "VAE", length: side(77, 1, 4), video_latent: "LATENT" },
      optional: { audio_encoder_output: "AUDIO_ENCODER_OUTPUT", ref_image: "IMAGE", control_video: "IMAGE" },
      outputs: PAIR_AND_LATENT,
    },
    WanHuMoImageToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: wan(97),
      optional: { audio_encoder_output: "AUDIO_ENCODER_OUTPUT", ref_image: "IMAGE" },
      outputs: PAIR_AND_LATENT,
      experimental: true,
    },
    WanAnimateToVideo: {
      category: ON_VIDEO_MODELS,
      inputs: { ...wan(77), continue_motion_max_frames: side(5, 1, 4), video_frame_offset: side(0, 0, 1) },
      optional: {
        clip_vision_output: "CLIP_VISION_OUTPUT",
        reference_image: "IMAGE",
        face_video: "IMAGE",
        pose_video: "IMAGE",
        background_video: "IMAGE",
        character_mask: "MASK",
        continue_motion: "IMAGE",
      },
      outputs: { ...PAIR_AND_LATENT, trim_latent: "INT", trim_image: "INT", video_frame_offset: "INT" },
      experimental: true,
    },
  }),
  ...v3("camera_trajectory", {
    WanCameraEmbedding: {
      category: "camera",
      inputs: {
        camera_pose: oneOf(
          [
            "Static",
            "Pan Up",
            "Pan Down",
            "Pan Left",
            "Pan Right",
            "Zoom In",
            "Zoom Out",
            "Anti Clockwise (ACW)",
            "ClockWise (CW)",
          ],
          { default: "Static" },
        ),
        width: side(832, 16, 16),
        height: side(480, 16, 16),
        length: side(81, 1, 4),
      },
      optional: { speed: float(1, 0, 10, 0.1), fx: lensPart, fy: lensPart, cx: share(0.5), cy: share(0.5) },
      outputs: { camera_embedding: "WAN_CAMERA_EMBEDDING", width: "INT", height: "INT", length: "INT" },
    },
  }),
};
