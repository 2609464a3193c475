/** Reading picture files as ComfyUI's loaders do. */
import sharp from "sharp";
import { type ImageBatch, type MaskBatch, NodeError } from "../node.ts";
import { apngFrames } from "./animated-png.ts";
import { decodeBmp, isBmp } from "./bmp.ts";
import { channelOf, fromBytes, mapped, withChannels } from "./float-images.ts";

/** Pixels of one file, all frames together; a bigger one is refused before it is unpacked. */
export const DECODED_PIXELS_MAX = 512 * 1024 * 1024;

/** What picture files start with: such a file that cannot be read is a damaged one. */
const SIGNATURES = ["\x89PNG", "\xff\xd8\xff", "GIF8", "WEBP", "BM"];

/** A decoded file: RGB, and alpha where the file has any. */
export interface DecodedImage {
  readonly image: ImageBatch;
  /** The alpha channel itself (1 = opaque). */
  readonly alpha?: MaskBatch;
}

/**
 * Decodes PNG, JPEG, WebP, GIF, TIFF, AVIF and BMP: turned upright by EXIF, colours as stored (profiles are ignored, as
 * Pillow ignores them), every frame of an animation.
 * @param name the path to speak of in errors
 * @throws NodeError PIL.UnidentifiedImageError for anything that is not a picture, OSError for a damaged one
 */
export async function decodeImage(file: Uint8Array, name: string): Promise<DecodedImage> {
  try {
    if (isBmp(file)) {
      const { width, height, rgb } = decodeBmp(file);
      return { image: fromBytes(rgb, { batch: 1, height, width, channels: 3 }) };
    }
    const frames = apngFrames(file);
    if (frames !== undefined) return split(await frames);
    const options = { failOn: "none", ignoreIcc: true, limitInputPixels: DECODED_PIXELS_MAX } as const;
    const { pages = 1, format, depth } = await sharp(file, options).metadata();
    const animated = pages > 1 && (format === "gif" || format === "webp");
    const source = animated ? sharp(file, { ...options, animated }) : sharp(file, options).autoOrient();
    const grey16 = depth === "ushort" ? await sixteenBitGrey(file, options) : undefined;
    if (grey16 !== undefined) return { image: grey16 };
    const { data, info } = await source.toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
    const batch = animated ? Math.round(info.height / (info.pageHeight ?? info.height)) : 1;
    const height = info.height / batch;
    return split(fromBytes(data, { batch, height, width: info.width, channels: info.channels }));
  } catch (cause) {
    if (cause instanceof NodeError) throw cause;
    if (SIGNATURES.some((signature) => Buffer.from(file.subarray(0, 16)).toString("latin1").includes(signature))) {
      throw new NodeError("OSError", "Truncated File Read");
    }
    throw new NodeError("PIL.UnidentifiedImageError", `cannot identify image file '${name}'`);
  }
}

/** Grey pictures of 16 bits: Pillow keeps what fits into a byte and makes everything above it white. */
async function sixteenBitGrey(
  file: Uint8Array,
  options: { failOn: "none"; ignoreIcc: true; limitInputPixels: number },
): Promise<ImageBatch | undefined> {
  const { channels } = await sharp(file, options).metadata();
  if (channels !== 1) return undefined;
  const pipeline = sharp(file, options).autoOrient().toColourspace("grey16").raw({ depth: "ushort" });
  const { data, info } = await pipeline.toBuffer({ resolveWithObject: true });
  const words = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
  const bytes = new Uint8Array(info.width * info.height * 3);
  for (let i = 0; i < info.width * info.height; i += 1) {
    bytes.fill(Math.min(words[i * info.channels] ?? 0, 255), i * 3, i * 3 + 3);
  }
  return fromBytes(bytes, { batch: 1, height: info.height, width: info.width, channels: 3 });
}

function split(image: ImageBatch): DecodedImage {
  if (image.channels <= 2) {
    const grey = channelOf(image, 0);
    const rgb = new Float32Array(grey.data.length * 3);
    for (let i = 0; i < grey.data.length; i += 1) rgb.fill(grey.data[i] ?? 0, i * 3, i * 3 + 3);
    const color = { ...image, channels: 3, data: rgb };
    return image.channels === 2 ? { image: color, alpha: channelOf(image, 1) } : { image: color };
  }
  if (image.channels === 3) return { image };
  return { image: withChannels(image, 3), alpha: channelOf(image, 3) };
}

/** ComfyUI's mask of a picture: 1 − alpha. */
export function maskOfAlpha(alpha: MaskBatch): MaskBatch {
  return { ...alpha, data: mapped(alpha.data, (value) => 1 - value) };
}
