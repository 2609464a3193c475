/** Classes that turn text into conditioning. */
import type { ObjectInfo } from "../object-info.ts";
import { extras, float, int, oneOf, PROMPT, side, text, v1, v3 } from "./builder.ts";

const GUIDANCE = float(3.5, 0, 100, 0.1);
const width = side(1024, 0);
const height = side(1024, 0);
const corner = side(0, 0);

export const prompts: ObjectInfo = {
  ...v1("nodes", {
    CLIPTextEncode: {
      title: "CLIP Text Encode (Prompt)",
      category: "conditioning",
      inputs: { text: PROMPT, clip: "CLIP" },
      outputs: ["CONDITIONING"],
    },
    CLIPSetLastLayer: {
      title: "CLIP Set Last Layer",
      category: "conditioning",
      inputs: { clip: "CLIP", stop_at_clip_layer: int(-1, -24, -1, 1) },
      outputs: ["CLIP"],
    },
  }),
  ...v3("clip_sdxl", {
    CLIPTextEncodeSDXL: {
      category: "advanced/conditioning",
      inputs: {
        clip: "CLIP",
        width,
        height,
        crop_w: corner,
        crop_h: corner,
        target_width: width,
        target_height: height,
        text_g: PROMPT,
        text_l: PROMPT,
      },
      outputs: ["CONDITIONING"],
    },
    CLIPTextEncodeSDXLRefiner: {
      category: "advanced/conditioning",
      inputs: { ascore: float(6, 0, 1000, 0.01), width, height, text: PROMPT, clip: "CLIP" },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("flux", {
    CLIPTextEncodeFlux: {
      category: "advanced/conditioning/flux",
      inputs: { clip: "CLIP", clip_l: PROMPT, t5xxl: PROMPT, guidance: GUIDANCE },
      outputs: ["CONDITIONING"],
    },
    FluxGuidance: {
      category: "advanced/conditioning/flux",
      inputs: { conditioning: "CONDITIONING", guidance: GUIDANCE },
      outputs: ["CONDITIONING"],
    },
    FluxDisableGuidance: {
      category: "advanced/conditioning/flux",
      inputs: { conditioning: "CONDITIONING" },
      outputs: ["CONDITIONING"],
    },
    FluxKontextMultiReferenceLatentMethod: {
      category: "advanced/conditioning/flux",
      inputs: { conditioning: "CONDITIONING", reference_latents_method: oneOf(["offset", "index", "uxo/uno"]) },
      outputs: ["CONDITIONING"],
      experimental: true,
    },
  }),
  ...v3("sd3", {
    CLIPTextEncodeSD3: {
      category: "advanced/conditioning",
      inputs: {
        clip: "CLIP",
        clip_l: PROMPT,
        clip_g: PROMPT,
        t5xxl: PROMPT,
        empty_padding: oneOf(["none", "empty_prompt"]),
      },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("hidream", {
    CLIPTextEncodeHiDream: {
      category: "advanced/conditioning",
      inputs: { clip: "CLIP", clip_l: PROMPT, clip_g: PROMPT, t5xxl: PROMPT, llama: PROMPT },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("lumina2", {
    CLIPTextEncodeLumina2: {
      title: "CLIP Text Encode for Lumina2",
      category: "conditioning",
      inputs: { system_prompt: oneOf(["superior", "alignment"]), user_prompt: PROMPT, clip: "CLIP" },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("pixart", {
    CLIPTextEncodePixArtAlpha: {
      category: "advanced/conditioning",
      inputs: { width, height, text: PROMPT, clip: "CLIP" },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("cond", {
    CLIPTextEncodeControlnet: {
      category: "_for_testing/conditioning",
      inputs: { clip: "CLIP", conditioning: "CONDITIONING", text: PROMPT },
      outputs: ["CONDITIONING"],
      experimental: true,
    },
    T5TokenizerOptions: {
      category: "_for_testing/conditioning",
      inputs: { clip: "CLIP", min_padding: int(0, 0, 10000, 1), min_length: int(0, 0, 10000, 1) },
      outputs: ["CLIP"],
      experimental: true,
    },
  }),
  ...v1(extras("hunyuan"), {
    CLIPTextEncodeHunyuanDiT: {
      category: "advanced/conditioning",
      inputs: { clip: "CLIP", bert: PROMPT, mt5xl: PROMPT },
      outputs: ["CONDITIONING"],
    },
    TextEncodeHunyuanVideo_ImageToVideo: {
      category: "advanced/conditioning",
      inputs: {
        clip: "CLIP",
        clip_vision_output: "CLIP_VISION_OUTPUT",
        prompt: PROMPT,
        image_interleave: int(2, 1, 512),
      },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("qwen", {
    TextEncodeQwenImageEdit: {
      category: "advanced/conditioning",
      inputs: { clip: "CLIP", prompt: PROMPT },
      optional: { vae: "VAE", image: "IMAGE" },
      outputs: ["CONDITIONING"],
    },
    TextEncodeQwenImageEditPlus: {
      category: "advanced/conditioning",
      inputs: { clip: "CLIP", prompt: PROMPT },
      optional: { vae: "VAE", image1: "IMAGE", image2: "IMAGE", image3: "IMAGE" },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("ace", {
    TextEncodeAceStepAudio: {
      category: "conditioning",
      inputs: { clip: "CLIP", tags: PROMPT, lyrics: PROMPT, lyrics_strength: float(1, 0, 10, 0.01) },
      outputs: ["CONDITIONING"],
    },
  }),
  ...v3("photomaker", {
    PhotoMakerEncode: {
      category: "_for_testing/photomaker",
      inputs: {
        photomaker: "PHOTOMAKER",
        image: "IMAGE",
        clip: "CLIP",
        text: text("photograph of photomaker", { multiline: true, dynamicPrompts: true }),
      },
      outputs: ["CONDITIONING"],
      experimental: true,
    },
  }),
};
