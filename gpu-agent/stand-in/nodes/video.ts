/** Nodes that make, read and save moving pictures, and those that prepare simulated video models. */
import { readFile, stat } from "node:fs/promises";
import { type ImageBatch, type MaskBatch, NodeError, type NodeImplementation, type NodeInputs } from "../node.ts";
import { filledMask, framesOf, joinBatches, repeatToBatch, toBytes, withChannels } from "../pixels/float-images.ts";
import { resize } from "../pixels/resample.ts";
import { vp8KeyFrame } from "../pixels/webp.ts";
import { type Audio, asSound, toAudio } from "./audio.ts";
import { refined } from "./conditioning-values.ts";
import { existingInputPath, fileMustExist, inputPath } from "./input-files.ts";
import { imageOf, numberOf, optionalImage, textOf } from "./inputs.ts";
import type { Latent } from "./latent-values.ts";
import { toLatent } from "./latent-values.ts";
import { videoLatent } from "./latents.ts";
import { encodeH264 } from "./media/h264.ts";
import { encodeWebm } from "./media/matroska.ts";
import { encodeMp4, mp4Size } from "./media/mp4.ts";
import { planSave, saveFile } from "./saved-files.ts";

/** A VIDEO: pictures not yet encoded, or a file as it is. */
type Video =
  | { readonly video: "pictures"; readonly images: ImageBatch; readonly fps: number; readonly audio?: Audio }
  | { readonly video: "file"; readonly path: string };

function toVideo(value: unknown): Video {
  if (typeof value === "object" && value !== null && "video" in value) return value as Video;
  throw new NodeError("AttributeError", "'NoneType' object has no attribute 'get_dimensions'");
}

const createVideo: NodeImplementation = {
  run(inputs) {
    const images = imageOf(inputs, "images");
    const fps = numberOf(inputs, "fps");
    const audio = inputs.audio === undefined || inputs.audio === null ? {} : { audio: toAudio(inputs.audio) };
    return { outputs: [{ video: "pictures", images, fps, ...audio } satisfies Video] };
  },
};

function framesAsRgb(images: ImageBatch): Uint8Array[] {
  return Array.from({ length: images.batch }, (_, i) => toBytes(withChannels(framesOf(images, i, 1), 3).data));
}

/** As ComfyUI's encoder refuses sides that its colour format does not have. */
const ODD_SIDES = `[Errno 542398533] Generic error in an external library: 'avcodec_open2("libx264", {})'`;

function encodeVideo(video: Extract<Video, { video: "pictures" }>, tags: Readonly<Record<string, string>>): Buffer {
  const { images, fps, audio } = video;
  if (images.width % 2 !== 0 || images.height % 2 !== 0) throw new NodeError("av.error.ExternalError", ODD_SIDES);
  const encoded = encodeH264(framesAsRgb(images), images.width, images.height);
  return encodeMp4(encoded, images, fps, audio === undefined ? undefined : soundOf(audio, images.batch / fps), tags);
}

/** The first sound of the batch, no longer than the pictures. */
function soundOf(audio: Audio, seconds: number) {
  const length = Math.ceil(seconds * audio.sampleRate);
  const waveform = audio.waveform.map((channels) => channels.map((samples) => samples.subarray(0, length)));
  return asSound({ ...audio, waveform });
}

const saveVideo: NodeImplementation = {
  async run(inputs, context) {
    const video = toVideo(inputs.video);
    const bytes = video.video === "file" ? await readFile(video.path) : encodeVideo(video, context.metadata);
    const size = video.video === "file" ? mp4Size(bytes) : video.images;
    if (size === undefined) {
      throw new NodeError("av.error.InvalidDataError", "[Errno 1094995529] The stand-in passes on MP4 files only");
    }
    const plan = await planSave(textOf(inputs, "filename_prefix"), context.folders.output, size);
    const saved = await saveFile(plan, 0, "mp4", "output", bytes);
    return { outputs: [], ui: { images: [saved], animated: [true] } };
  },
};

/** From the codec's scale, where 63 is worst, to the picture library's, where 100 is best. */
function qualityOf(crf: number): number {
  return Math.max(5, Math.min(100, Math.round(100 - crf * 1.4)));
}

const saveWebm: NodeImplementation = {
  async run(inputs, context) {
    const images = imageOf(inputs, "images");
    const plan = await planSave(textOf(inputs, "filename_prefix"), context.folders.output, images);
    const quality = qualityOf(numberOf(inputs, "crf"));
    const frames: Buffer[] = [];
    for (const rgb of framesAsRgb(images)) {
      context.checkInterrupt();
      frames.push(await vp8KeyFrame(rgb, images.width, images.height, quality));
    }
    const bytes = encodeWebm(frames, images, numberOf(inputs, "fps"), context.metadata);
    const saved = await saveFile(plan, 0, "webm", "output", bytes);
    return { outputs: [], ui: { images: [saved], animated: [true] } };
  },
};

const getVideoComponents: NodeImplementation = {
  run(inputs) {
    const video = toVideo(inputs.video);
    if (video.video === "file") {
      throw new NodeError("av.error.DecoderNotFoundError", "The stand-in cannot decode video files");
    }
    return { outputs: [video.images, video.audio ?? null, video.fps] };
  },
};

const loadVideo: NodeImplementation = {
  validate: fileMustExist("file", "video"),
  // ComfyUI goes by the time of the last change here, because hashing a video takes long.
  async fingerprint(inputs, folders) {
    const file = inputPath(textOf(inputs, "file"), folders);
    return file === undefined ? Number.NaN : (await stat(file)).mtimeMs / 1000;
  },
  run: (inputs, { folders }) => ({
    outputs: [{ video: "file", path: existingInputPath(textOf(inputs, "file"), folders) } satisfies Video],
  }),
};

// ---- video models

/** How much of a given frame remains after repainting: start and end frames are kept, control videos shine through. */
const GIVEN_FRAME = 0.85;
const CONTROL_FRAMES = 0.3;

interface VideoInputs {
  readonly start?: string;
  readonly end?: string;
  readonly control?: string;
}

/** The latent of a video whose first or last frames are given: pictures with a mask that spares them. */
function guidedLatent(inputs: NodeInputs, group: number, names: VideoInputs): Latent {
  const latent = videoLatent(inputs, group);
  const start = names.start === undefined ? undefined : optionalImage(inputs, names.start);
  const end = names.end === undefined ? undefined : optionalImage(inputs, names.end);
  const sized = (image: ImageBatch) =>
    withChannels(resize(image, latent.width, latent.height, "bilinear", "center"), 3);
  const given = start ?? end;
  if (given === undefined) return latent;
  const first = sized(framesOf(given, 0, 1));
  const last = sized(framesOf(end ?? given, 0, 1));
  const middle = Math.ceil(latent.frames / 2);
  const image = joinBatches([repeatToBatch(first, middle), repeatToBatch(last, Math.max(1, latent.frames - middle))]);
  return {
    ...latent,
    content: { type: "pixels", image: framesOf(image, 0, latent.frames) },
    noiseMask: framesMask(latent.frames, start !== undefined, end !== undefined),
  };
}

/** One number per frame: how much of it is to be painted. */
function framesMask(frames: number, start: boolean, end: boolean): MaskBatch {
  const mask = filledMask(frames, 1, 1, 0);
  for (let frame = 0; frame < frames; frame += 1) {
    const fromStart = start ? frame / frames : 1;
    const fromEnd = end ? (frames - 1 - frame) / frames : 1;
    mask.data[frame] = 1 - GIVEN_FRAME * (1 - Math.min(1, Math.min(fromStart, fromEnd) * 1.5));
  }
  return mask;
}

/** A node that gives both conditionings and the latent of a video. */
function videoConditioning(group: number, names: VideoInputs, extra: readonly unknown[] = []): NodeImplementation {
  return {
    run(inputs) {
      const control = names.control === undefined ? undefined : optionalImage(inputs, names.control);
      const hints = control === undefined ? [] : [{ image: control, strength: CONTROL_FRAMES }];
      const positive = refined(inputs.positive, "video", hints);
      return { outputs: [positive, refined(inputs.negative, "video"), guidedLatent(inputs, group, names), ...extra] };
    },
  };
}

function videoLatentOnly(group: number, names: VideoInputs): NodeImplementation {
  return { run: (inputs) => ({ outputs: [guidedLatent(inputs, group, names)] }) };
}

const hunyuanImageToVideo: NodeImplementation = {
  run: (inputs) => ({
    outputs: [refined(inputs.positive, "video"), guidedLatent(inputs, 4, { start: "start_image" })],
  }),
};

const wanPhantom: NodeImplementation = {
  run(inputs) {
    const images = optionalImage(inputs, "images");
    const hints = images === undefined ? [] : [{ image: images, strength: CONTROL_FRAMES }];
    const negative = refined(inputs.negative, "video");
    return { outputs: [refined(inputs.positive, "video", hints), negative, negative, videoLatent(inputs, 4)] };
  },
};

const wanCameraEmbedding: NodeImplementation = {
  run: (inputs) => ({
    outputs: [
      { camera: textOf(inputs, "camera_pose") },
      numberOf(inputs, "width"),
      numberOf(inputs, "height"),
      numberOf(inputs, "length"),
    ],
  }),
};

/** Guides of this model change where frames are taken from; here they change nothing but the conditioning. */
const ltxvGuide: NodeImplementation = {
  run: (inputs) => ({
    outputs: [refined(inputs.positive, "guide"), refined(inputs.negative, "guide"), toLatent(inputs.latent)],
  }),
};

export const videoNodes: Readonly<Record<string, NodeImplementation>> = {
  CreateVideo: createVideo,
  SaveVideo: saveVideo,
  SaveWEBM: saveWebm,
  GetVideoComponents: getVideoComponents,
  LoadVideo: loadVideo,
  WanImageToVideo: videoConditioning(4, { start: "start_image" }),
  WanFirstLastFrameToVideo: videoConditioning(4, { start: "start_image", end: "end_image" }),
  WanFunControlToVideo: videoConditioning(4, { start: "start_image", control: "control_video" }),
  Wan22FunControlToVideo: videoConditioning(4, { start: "ref_image", control: "control_video" }),
  WanFunInpaintToVideo: videoConditioning(4, { start: "start_image", end: "end_image" }),
  WanVaceToVideo: videoConditioning(4, { start: "reference_image", control: "control_video" }, [0]),
  WanCameraImageToVideo: videoConditioning(4, { start: "start_image" }),
  WanTrackToVideo: videoConditioning(4, { start: "start_image" }),
  WanSoundImageToVideo: videoConditioning(4, { start: "ref_image", control: "control_video" }),
  WanHuMoImageToVideo: videoConditioning(4, { start: "ref_image" }),
  WanAnimateToVideo: videoConditioning(4, { start: "reference_image", control: "pose_video" }, [0, 0, 0]),
  WanPhantomSubjectToVideo: wanPhantom,
  WanCameraEmbedding: wanCameraEmbedding,
  Wan22ImageToVideoLatent: videoLatentOnly(4, { start: "start_image" }),
  CosmosImageToVideoLatent: videoLatentOnly(8, { start: "start_image", end: "end_image" }),
  CosmosPredict2ImageToVideoLatent: videoLatentOnly(4, { start: "start_image", end: "end_image" }),
  HunyuanImageToVideo: hunyuanImageToVideo,
  LTXVImgToVideo: videoConditioning(8, { start: "image" }),
  LTXVAddGuide: ltxvGuide,
  LTXVCropGuides: ltxvGuide,
};
