/** Nodes that read pictures from files and write them. */
import { readFile } from "node:fs/promises";
import { type ImageBatch, type NodeContext, NodeError, type NodeImplementation, type NodeRun } from "../node.ts";
import { decodeImage, maskOfAlpha } from "../pixels/decode.ts";
import { channelOf, filledMask, framesOf, greyFromMask, toBytes } from "../pixels/float-images.ts";
import { encodeAnimatedPng, encodePng } from "../pixels/png.ts";
import { encodeAnimatedWebp } from "../pixels/webp.ts";
import { contentFingerprint, existingInputPath, fileMustExist } from "./input-files.ts";
import { flagOf, imageOf, maskOf, numberOf, optionalText, textOf } from "./inputs.ts";
import { planSave, type SavedFile, saveFile, tempSuffix } from "./saved-files.ts";

/** The mask of a picture without alpha: black, and of this size whatever the picture's. */
const NO_ALPHA_SIDE = 64;
/** zlib's effort, as ComfyUI sets it for kept pictures and for previews. */
const KEPT_LEVEL = 4;
const PREVIEW_LEVEL = 1;

const loader = {
  validate: fileMustExist("image", "image"),
  fingerprint: contentFingerprint("image"),
} as const;

const loadImage: NodeImplementation = {
  ...loader,
  async run(inputs, { folders }) {
    const file = existingInputPath(textOf(inputs, "image"), folders);
    const { image, alpha } = await decodeImage(await readFile(file), file);
    const mask = alpha === undefined ? filledMask(image.batch, NO_ALPHA_SIDE, NO_ALPHA_SIDE, 0) : maskOfAlpha(alpha);
    return { outputs: [image, mask] };
  },
};

const loadImageMask: NodeImplementation = {
  ...loader,
  async run(inputs, { folders }) {
    const file = existingInputPath(textOf(inputs, "image"), folders);
    const { image, alpha } = await decodeImage(await readFile(file), file);
    const channel = ["red", "green", "blue"].indexOf(textOf(inputs, "channel"));
    const first = framesOf(image, 0, 1);
    if (channel >= 0) return { outputs: [channelOf(first, channel)] };
    if (alpha === undefined) return { outputs: [filledMask(1, image.height, image.width, 0)] };
    const size = image.height * image.width;
    return { outputs: [maskOfAlpha({ ...alpha, batch: 1, data: alpha.data.subarray(0, size) })] };
  },
};

/** Saves every picture of a batch as PNG. */
async function savePictures(
  images: ImageBatch,
  prefix: string,
  type: "output" | "temp",
  level: number,
  context: NodeContext,
): Promise<NodeRun> {
  if (images.batch === 0) throw new NodeError("IndexError", "index 0 is out of bounds for dimension 0 with size 0");
  const plan = await planSave(prefix, context.folders[type], images);
  const saved: SavedFile[] = [];
  for (let index = 0; index < images.batch; index += 1) {
    context.checkInterrupt();
    const bytes = toBytes(framesOf(images, index, 1).data);
    saved.push(await saveFile(plan, index, "png", type, await encodePng(bytes, images, context.metadata, level)));
  }
  return { outputs: [], ui: { images: saved } };
}

const saveImage: NodeImplementation = {
  run: (inputs, context) =>
    savePictures(
      imageOf(inputs, "images"),
      optionalText(inputs, "filename_prefix") ?? "ComfyUI",
      "output",
      KEPT_LEVEL,
      context,
    ),
};

const previewImage: NodeImplementation = {
  run: (inputs, context) =>
    savePictures(imageOf(inputs, "images"), `ComfyUI${tempSuffix(context.nodeId)}`, "temp", PREVIEW_LEVEL, context),
};

const maskPreview: NodeImplementation = {
  run: (inputs, context) => {
    const picture = greyFromMask(maskOf(inputs, "mask"));
    return savePictures(picture, `ComfyUI${tempSuffix(context.nodeId)}`, "temp", KEPT_LEVEL, context);
  },
};

/** The pictures of a batch as bytes, one array each. */
function framesAsBytes(images: ImageBatch): Uint8Array[] {
  return Array.from({ length: images.batch }, (_, index) => toBytes(framesOf(images, index, 1).data));
}

/** EXIF tags in which ComfyUI keeps the prompt (the camera's model) and the rest (its make, and downwards). */
const EXIF_MODEL = 0x0110;
const EXIF_MAKE = 0x010f;

function exifTexts(metadata: Readonly<Record<string, string>>): Map<number, string> {
  const texts = new Map<number, string>();
  if (metadata.prompt !== undefined) texts.set(EXIF_MODEL, `prompt:${metadata.prompt}`);
  const others = Object.entries(metadata).filter(([name]) => name !== "prompt");
  for (const [index, [name, text]] of others.entries()) texts.set(EXIF_MAKE - index, `${name}:${text}`);
  return texts;
}

const EFFORTS: Readonly<Record<string, number>> = { default: 4, fastest: 0, slowest: 6 };

const saveAnimatedWebp: NodeImplementation = {
  async run(inputs, context) {
    const images = imageOf(inputs, "images");
    const plan = await planSave(textOf(inputs, "filename_prefix"), context.folders.output, images);
    const bytes = await encodeAnimatedWebp(
      framesAsBytes(images),
      {
        width: images.width,
        height: images.height,
        channels: images.channels === 4 ? 4 : 3,
        delayMs: Math.trunc(1000 / numberOf(inputs, "fps")),
        lossless: flagOf(inputs, "lossless"),
        quality: numberOf(inputs, "quality"),
        effort: EFFORTS[textOf(inputs, "method")] ?? 4,
      },
      exifTexts(context.metadata),
    );
    const saved = await saveFile(plan, 0, "webp", "output", bytes);
    return { outputs: [], ui: { images: [saved], animated: [images.batch !== 1] } };
  },
};

const saveAnimatedPng: NodeImplementation = {
  async run(inputs, context) {
    const images = imageOf(inputs, "images");
    const plan = await planSave(textOf(inputs, "filename_prefix"), context.folders.output, images);
    const bytes = await encodeAnimatedPng(
      framesAsBytes(images),
      images,
      Math.trunc(1000 / numberOf(inputs, "fps")),
      context.metadata,
      numberOf(inputs, "compress_level"),
    );
    const saved = await saveFile(plan, 0, "png", "output", bytes);
    return { outputs: [], ui: { images: [saved], animated: [true] } };
  },
};

export const imageFileNodes: Readonly<Record<string, NodeImplementation>> = {
  LoadImage: loadImage,
  LoadImageMask: loadImageMask,
  LoadImageOutput: loadImage,
  SaveImage: saveImage,
  PreviewImage: previewImage,
  MaskPreview: maskPreview,
  SaveAnimatedWEBP: saveAnimatedWebp,
  SaveAnimatedPNG: saveAnimatedPng,
};
