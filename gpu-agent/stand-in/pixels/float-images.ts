/**
 * Batches of float pixels as PyTorch holds them: float32, row after row, channels innermost. Every value is rounded to
 * float32 after every operation, because that is what a tensor does and saved bytes show the difference.
 */
import type { ImageBatch, MaskBatch } from "../node.ts";

const f = Math.fround;

/** A batch of one value everywhere. */
export function filledImage(batch: number, height: number, width: number, channels: number, value: number): ImageBatch {
  return { batch, height, width, channels, data: new Float32Array(batch * height * width * channels).fill(value) };
}

/** Masks of one value everywhere. */
export function filledMask(batch: number, height: number, width: number, value: number): MaskBatch {
  return { batch, height, width, data: new Float32Array(batch * height * width).fill(value) };
}

/** A mask as a picture of one channel, sharing its numbers. */
export function asPlane(mask: MaskBatch): ImageBatch {
  return { ...mask, channels: 1 };
}

/** The first channel of a picture that has only one, as a mask, sharing its numbers. */
export function asMask({ batch, height, width, data }: ImageBatch): MaskBatch {
  return { batch, height, width, data };
}

/** v/255 for every byte. */
export function fromBytes(
  bytes: Uint8Array,
  size: { batch: number; height: number; width: number; channels: number },
): ImageBatch {
  const data = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i += 1) data[i] = BYTE_SHARES[bytes[i] ?? 0] ?? 0;
  return { ...size, data };
}

const BYTE_SHARES = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);

/** 255·x cut to 0..255 and truncated, as pictures are saved; NaN becomes 0. */
export function toBytes(values: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const scaled = f(255 * (values[i] ?? 0));
    bytes[i] = scaled >= 255 ? 255 : Math.max(scaled, 0);
  }
  return bytes;
}

/** The pictures `from` … `from + count - 1`, sharing the numbers of the batch. */
export function framesOf(image: ImageBatch, from: number, count: number): ImageBatch {
  const size = image.height * image.width * image.channels;
  return { ...image, batch: count, data: image.data.subarray(from * size, (from + count) * size) };
}

/** Batches of one size after one another. */
export function joinBatches(images: readonly ImageBatch[]): ImageBatch {
  const [first] = images;
  if (first === undefined) throw new RangeError("A batch needs at least one picture");
  const data = new Float32Array(images.reduce((sum, image) => sum + image.data.length, 0));
  let at = 0;
  for (const image of images) {
    data.set(image.data, at);
    at += image.data.length;
  }
  return { ...first, batch: images.reduce((sum, image) => sum + image.batch, 0), data };
}

/** Exactly `batch` pictures: surplus ones are dropped, missing ones start again from the first. */
export function repeatToBatch(image: ImageBatch, batch: number): ImageBatch {
  if (image.batch === batch) return image;
  if (image.batch > batch) return framesOf(image, 0, batch);
  const size = image.height * image.width * image.channels;
  const data = new Float32Array(size * batch);
  for (let at = 0; at < batch; at += image.batch) {
    data.set(image.data.subarray(0, size * Math.min(image.batch, batch - at)), at * size);
  }
  return { ...image, batch, data };
}

/** One channel as masks. */
export function channelOf(image: ImageBatch, channel: number): MaskBatch {
  const pixels = image.batch * image.height * image.width;
  const data = new Float32Array(pixels);
  for (let i = 0; i < pixels; i += 1) data[i] = image.data[i * image.channels + channel] ?? 0;
  return { batch: image.batch, height: image.height, width: image.width, data };
}

/** The same picture with this many channels: surplus ones are dropped, missing ones are 1. */
export function withChannels(image: ImageBatch, channels: number): ImageBatch {
  if (image.channels === channels) return image;
  const pixels = image.batch * image.height * image.width;
  const data = new Float32Array(pixels * channels).fill(1);
  const kept = Math.min(channels, image.channels);
  for (let i = 0; i < pixels; i += 1) {
    for (let c = 0; c < kept; c += 1) data[i * channels + c] = image.data[i * image.channels + c] ?? 0;
  }
  return { ...image, channels, data };
}

/** A grey picture: each mask value in three channels. */
export function greyFromMask(mask: MaskBatch): ImageBatch {
  const data = new Float32Array(mask.data.length * 3);
  for (let i = 0; i < mask.data.length; i += 1) data.fill(mask.data[i] ?? 0, i * 3, i * 3 + 3);
  return { batch: mask.batch, height: mask.height, width: mask.width, channels: 3, data };
}

/** The part of every picture that lies inside the rectangle; the rectangle is cut to the picture. */
export function cropped(image: ImageBatch, x: number, y: number, width: number, height: number): ImageBatch {
  const left = Math.min(x, image.width);
  const top = Math.min(y, image.height);
  const w = Math.max(0, Math.min(width, image.width - left));
  const h = Math.max(0, Math.min(height, image.height - top));
  if (left === 0 && top === 0 && w === image.width && h === image.height) return image;
  const { batch, channels } = image;
  const data = new Float32Array(batch * h * w * channels);
  for (let b = 0; b < batch; b += 1) {
    for (let row = 0; row < h; row += 1) {
      const from = ((b * image.height + top + row) * image.width + left) * channels;
      data.set(image.data.subarray(from, from + w * channels), (b * h + row) * w * channels);
    }
  }
  return { batch, height: h, width: w, channels, data };
}

/** Writes `source` into a copy of `target` with its upper left corner at (x, y); what sticks out is lost. */
export function pasted(target: ImageBatch, source: ImageBatch, x: number, y: number): ImageBatch {
  const data = target.data.slice();
  const w = Math.min(source.width, target.width - x);
  const h = Math.min(source.height, target.height - y);
  for (let b = 0; b < target.batch; b += 1) {
    for (let row = 0; row < h; row += 1) {
      const from = (b * source.height + row) * source.width * source.channels;
      const to = ((b * target.height + y + row) * target.width + x) * target.channels;
      data.set(source.data.subarray(from, from + w * source.channels), to);
    }
  }
  return { ...target, data };
}

/** A quarter turn clockwise, `turns` times; a mirror image left-right or top-bottom. */
export function turned(image: ImageBatch, turns: number): ImageBatch {
  const quarter = ((turns % 4) + 4) % 4;
  if (quarter === 0) return image;
  const { height, width } = image;
  if (quarter === 2) return moved(image, height, width, (x, y) => (height - 1 - y) * width + (width - 1 - x));
  if (quarter === 1) return moved(image, width, height, (x, y) => (height - 1 - x) * width + y);
  return moved(image, width, height, (x, y) => x * width + (width - 1 - y));
}

/** Mirrored top to bottom (`"vertical"`) or left to right (`"horizontal"`). */
export function mirrored(image: ImageBatch, way: "vertical" | "horizontal"): ImageBatch {
  const { height, width } = image;
  return way === "vertical"
    ? moved(image, height, width, (x, y) => (height - 1 - y) * width + x)
    : moved(image, height, width, (x, y) => y * width + (width - 1 - x));
}

function moved(image: ImageBatch, height: number, width: number, from: (x: number, y: number) => number): ImageBatch {
  const { batch, channels } = image;
  const data = new Float32Array(image.data.length);
  const size = height * width;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const source = from(x, y);
      const target = y * width + x;
      for (let b = 0; b < batch; b += 1) {
        for (let c = 0; c < channels; c += 1) {
          data[(b * size + target) * channels + c] = image.data[(b * size + source) * channels + c] ?? 0;
        }
      }
    }
  }
  return { batch, height, width, channels, data };
}

/** Applies `change` to every number and rounds the result to float32. */
export function mapped(values: Float32Array, change: (value: number) => number): Float32Array {
  const data = new Float32Array(values.length);
  for (let i = 0; i < values.length; i += 1) data[i] = change(values[i] ?? 0);
  return data;
}

/** Cuts to 0..1. */
export function clampUnit(value: number): number {
  return value < 0 ? 0 : Math.min(value, 1);
}

/** Python's `round` for non-negative and negative numbers: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
