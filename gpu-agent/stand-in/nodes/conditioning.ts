/** Nodes that encode prompts and combine or steer conditioning. */
import type { ImageBatch, NodeImplementation, NodeInputs } from "../node.ts";
import { framesOf } from "../pixels/float-images.ts";
import { type Conditioning, conditioningOf, type Hint, joined, refined } from "./conditioning-values.ts";
import { flagOf, imageOf, maskOf, numberOf, optionalImage, textOf } from "./inputs.ts";
import { emptyLatent, pixelLatent } from "./latent-values.ts";
import { changeOf, describeModel } from "./simulated-models.ts";

/** How much of a picture to edit remains in the result of an editing model. */
const REFERENCE_STRENGTH = 0.55;
/** How much of a ControlNet's picture shows through, at strength 1. */
const CONTROL_SHARE = 0.3;

/** An encoder that reads its prompt from the first of these inputs that says anything. */
function textEncoder(...names: string[]): NodeImplementation {
  return {
    run(inputs) {
      const texts = names.map((name) => textOf(inputs, name));
      const text = texts.find((candidate) => candidate.trim() !== "") ?? "";
      return { outputs: [conditioningOf(text, [describeModel(inputs.clip), changeOf(inputs, ["clip"])])] };
    },
  };
}

/** An encoder that also looks at pictures. */
function editEncoder(...pictures: string[]): NodeImplementation {
  return {
    run(inputs) {
      const hints = pictures
        .map((name) => optionalImage(inputs, name))
        .filter((image): image is ImageBatch => image !== undefined)
        .map((image, index) => ({ image, strength: REFERENCE_STRENGTH / (index + 1) }));
      const details = [describeModel(inputs.clip), changeOf(inputs, ["clip", "prompt"])];
      return { outputs: [conditioningOf(textOf(inputs, "prompt"), details, hints)] };
    },
  };
}

/** Nodes that say something more about the conditioning at `name`. */
function refine(name = "conditioning"): NodeImplementation {
  return { run: (inputs) => ({ outputs: [refined(inputs[name], changeOf(inputs, [name]))] }) };
}

function refinePair(inputs: NodeInputs, detail: string, hints: readonly Hint[] = []): [Conditioning, Conditioning] {
  return [refined(inputs.positive, detail, hints), refined(inputs.negative, detail)];
}

const pairOnly: NodeImplementation = {
  run: (inputs) => ({ outputs: refinePair(inputs, changeOf(inputs, ["positive", "negative"])) }),
};

function controlHint(inputs: NodeInputs): Hint {
  const strength = Math.min(1, Math.max(0, numberOf(inputs, "strength")));
  return { image: imageOf(inputs, "image"), strength: strength * CONTROL_SHARE };
}

const controlNetApply: NodeImplementation = {
  run(inputs) {
    if (numberOf(inputs, "strength") === 0) return { outputs: [inputs.conditioning] };
    return { outputs: [refined(inputs.conditioning, changeOf(inputs, ["conditioning"]), [controlHint(inputs)])] };
  },
};

const controlNetApplyPair: NodeImplementation = {
  run(inputs) {
    if (numberOf(inputs, "strength") === 0) return { outputs: [inputs.positive, inputs.negative] };
    return { outputs: refinePair(inputs, changeOf(inputs, ["positive", "negative"]), [controlHint(inputs)]) };
  },
};

const average: NodeImplementation = {
  run(inputs) {
    const share = numberOf(inputs, "conditioning_to_strength");
    if (share >= 1) return { outputs: [inputs.conditioning_to] };
    if (share <= 0) return { outputs: [inputs.conditioning_from] };
    return { outputs: [joined(inputs.conditioning_to, inputs.conditioning_from, `average ${share}`)] };
  },
};

const inpaintModelConditioning: NodeImplementation = {
  run(inputs) {
    const pixels = imageOf(inputs, "pixels");
    const mask = maskOf(inputs, "mask");
    const latent = pixelLatent(pixels);
    const [positive, negative] = refinePair(inputs, "inpaint");
    return {
      outputs: [positive, negative, flagOf(inputs, "noise_mask", true) ? { ...latent, noiseMask: mask } : latent],
    };
  },
};

const instructPixToPix: NodeImplementation = {
  run(inputs) {
    const pixels = imageOf(inputs, "pixels");
    const hints = [{ image: pixels, strength: REFERENCE_STRENGTH }];
    const { width, height } = pixelLatent(pixels);
    return { outputs: [...refinePair(inputs, "pix2pix", hints), emptyLatent({ width, height, batch: pixels.batch })] };
  },
};

/** A latent as a picture to be edited: it is shown through the hint when it has pixels of its own. */
const referenceLatent: NodeImplementation = {
  run(inputs) {
    const latent = inputs.latent;
    const content = typeof latent === "object" && latent !== null && "content" in latent ? latent.content : undefined;
    const image =
      typeof content === "object" && content !== null && "image" in content ? (content.image as ImageBatch) : undefined;
    const hints = image === undefined ? [] : [{ image: framesOf(image, 0, 1), strength: REFERENCE_STRENGTH }];
    return { outputs: [refined(inputs.conditioning, "reference", hints)] };
  },
};

const upscaleConditioning: NodeImplementation = {
  run(inputs) {
    const images = imageOf(inputs, "images");
    const ratio = numberOf(inputs, "scale_ratio");
    const hints = [{ image: images, strength: REFERENCE_STRENGTH }];
    const width = Math.max(1, Math.round(images.width * ratio));
    const height = Math.max(1, Math.round(images.height * ratio));
    return { outputs: [...refinePair(inputs, "upscale", hints), emptyLatent({ width, height, batch: images.batch })] };
  },
};

/** Views of an object: the picture itself is the prompt. */
function viewConditioning(frames?: string): NodeImplementation {
  return {
    run(inputs) {
      const image = imageOf(inputs, "init_image");
      const hint = [{ image: framesOf(image, 0, 1), strength: REFERENCE_STRENGTH }];
      const detail = changeOf(inputs, ["init_image", "clip_vision", "vae"]);
      const size = { width: numberOf(inputs, "width"), height: numberOf(inputs, "height") };
      const latent =
        frames === undefined
          ? emptyLatent({ ...size, batch: numberOf(inputs, "batch_size") })
          : emptyLatent({ ...size, batch: 1, frames: numberOf(inputs, frames) });
      return { outputs: [conditioningOf("", [detail], hint), conditioningOf("", [detail]), latent] };
    },
  };
}

const clipVisionEncode: NodeImplementation = {
  run: (inputs) => ({ outputs: [{ clipVisionOutput: true, image: imageOf(inputs, "image") }] }),
};

/** The picture inside what CLIPVisionEncode gave. */
function visionHint(value: unknown, strength: number): Hint[] {
  if (typeof value !== "object" || value === null || !("clipVisionOutput" in value) || !("image" in value)) return [];
  return [{ image: value.image as ImageBatch, strength: Math.min(1, Math.abs(strength)) * CONTROL_SHARE }];
}

const withVision: NodeImplementation = {
  run(inputs) {
    const strength = numberOf(inputs, "strength");
    if (strength === 0) return { outputs: [inputs.conditioning] };
    const detail = changeOf(inputs, ["conditioning"]);
    return { outputs: [refined(inputs.conditioning, detail, visionHint(inputs.clip_vision_output, strength))] };
  },
};

export const conditioningNodes: Readonly<Record<string, NodeImplementation>> = {
  CLIPTextEncode: textEncoder("text"),
  CLIPTextEncodeSDXL: textEncoder("text_g", "text_l"),
  CLIPTextEncodeSDXLRefiner: textEncoder("text"),
  CLIPTextEncodeFlux: textEncoder("t5xxl", "clip_l"),
  CLIPTextEncodeSD3: textEncoder("t5xxl", "clip_g", "clip_l"),
  CLIPTextEncodeHiDream: textEncoder("llama", "t5xxl", "clip_g", "clip_l"),
  CLIPTextEncodeLumina2: textEncoder("user_prompt"),
  CLIPTextEncodePixArtAlpha: textEncoder("text"),
  CLIPTextEncodeHunyuanDiT: textEncoder("mt5xl", "bert"),
  TextEncodeHunyuanVideo_ImageToVideo: textEncoder("prompt"),
  TextEncodeAceStepAudio: textEncoder("tags", "lyrics"),
  PhotoMakerEncode: textEncoder("text"),
  CLIPTextEncodeControlnet: {
    run: (inputs) => ({ outputs: [refined(inputs.conditioning, `controlnet text ${textOf(inputs, "text")}`)] }),
  },
  TextEncodeQwenImageEdit: editEncoder("image"),
  TextEncodeQwenImageEditPlus: editEncoder("image1", "image2", "image3"),
  ConditioningCombine: {
    run: (inputs) => ({ outputs: [joined(inputs.conditioning_1, inputs.conditioning_2, "combined")] }),
  },
  ConditioningConcat: {
    run: (inputs) => ({ outputs: [joined(inputs.conditioning_to, inputs.conditioning_from, "concatenated")] }),
  },
  ConditioningAverage: average,
  ConditioningZeroOut: { run: () => ({ outputs: [conditioningOf("", ["zeroed"])] }) },
  ConditioningSetArea: refine(),
  ConditioningSetAreaPercentage: refine(),
  ConditioningSetAreaPercentageVideo: refine(),
  ConditioningSetAreaStrength: refine(),
  ConditioningSetMask: refine(),
  ConditioningSetTimestepRange: refine(),
  ConditioningStableAudio: pairOnly,
  FluxGuidance: refine(),
  FluxDisableGuidance: refine(),
  FluxKontextMultiReferenceLatentMethod: refine(),
  StableCascade_StageB_Conditioning: refine(),
  GLIGENTextBoxApply: refine("conditioning_to"),
  LTXVConditioning: pairOnly,
  ControlNetApply: controlNetApply,
  ControlNetApplyAdvanced: controlNetApplyPair,
  ControlNetApplySD3: controlNetApplyPair,
  ControlNetInpaintingAliMamaApply: controlNetApplyPair,
  CLIPVisionEncode: clipVisionEncode,
  StyleModelApply: withVision,
  unCLIPConditioning: withVision,
  InpaintModelConditioning: inpaintModelConditioning,
  InstructPixToPixConditioning: instructPixToPix,
  ReferenceLatent: referenceLatent,
  SD_4XUpscale_Conditioning: upscaleConditioning,
  StableZero123_Conditioning: viewConditioning(),
  StableZero123_Conditioning_Batched: viewConditioning(),
  SV3D_Conditioning: viewConditioning("video_frames"),
  SVD_img2vid_Conditioning: viewConditioning("video_frames"),
};
