/** Reading animated PNG, which the picture library shows only the first frame of. */
import sharp from "sharp";
import type { ImageBatch } from "../node.ts";
import { fromBytes } from "./float-images.ts";
import { pngChunks, pngOf } from "./png.ts";

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly x: number;
  readonly y: number;
  /** What becomes of the frame's area afterwards: 0 stays, 1 cleared, 2 as before. */
  readonly dispose: number;
  /** 0 replaces what is there, 1 is laid over it. */
  readonly blend: number;
  readonly data: Buffer[];
}

/** All frames of an animated PNG, each as the whole picture it shows; undefined when the file is not animated. */
export function apngFrames(file: Uint8Array): Promise<ImageBatch> | undefined {
  const chunks = pngChunks(file);
  if (!chunks.some(({ type }) => type === "acTL")) return undefined;
  return render(chunks);
}

async function render(chunks: ReturnType<typeof pngChunks>): Promise<ImageBatch> {
  const header = chunks.find(({ type }) => type === "IHDR")?.data ?? Buffer.alloc(13);
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  // Palettes and the like stand before the first pixels and belong to every frame.
  const firstPixels = chunks.findIndex(({ type }) => type === "IDAT");
  const shared = chunks.slice(0, firstPixels).filter(({ type }) => ["PLTE", "tRNS", "gAMA", "sRGB"].includes(type));
  const canvas = new Uint8Array(width * height * 4);
  const frames = framesIn(chunks);
  const shown = new Uint8Array(frames.length * canvas.length);
  let hasAlpha = false;
  for (const [index, frame] of frames.entries()) {
    const frameHeader = Buffer.from(header);
    frameHeader.writeUInt32BE(frame.width, 0);
    frameHeader.writeUInt32BE(frame.height, 4);
    const alone = pngOf([
      { type: "IHDR", data: frameHeader },
      ...shared,
      { type: "IDAT", data: Buffer.concat(frame.data) },
      { type: "IEND", data: Buffer.alloc(0) },
    ]);
    const source = sharp(alone, { failOn: "none", ignoreIcc: true });
    hasAlpha ||= (await source.metadata()).hasAlpha === true;
    const pixels = await source.toColourspace("srgb").ensureAlpha().raw().toBuffer();
    const before = frame.dispose === 2 ? canvas.slice() : undefined;
    draw(canvas, width, frame, pixels);
    shown.set(canvas, index * canvas.length);
    if (before !== undefined) canvas.set(before);
    else if (frame.dispose === 1) draw(canvas, width, { ...frame, blend: 0 }, new Uint8Array(pixels.length));
  }
  const bytes = hasAlpha ? shown : withoutAlpha(shown);
  return fromBytes(bytes, { batch: frames.length, height, width, channels: hasAlpha ? 4 : 3 });
}

function framesIn(chunks: ReturnType<typeof pngChunks>): Frame[] {
  const frames: Frame[] = [];
  for (const { type, data } of chunks) {
    if (type === "fcTL" && data.length >= 26) {
      frames.push({
        width: data.readUInt32BE(4),
        height: data.readUInt32BE(8),
        x: data.readUInt32BE(12),
        y: data.readUInt32BE(16),
        dispose: data[24] ?? 0,
        blend: data[25] ?? 0,
        data: [],
      });
    }
    // Pixels before the first frame control are a still picture for readers that know no animations.
    if (type === "IDAT") frames.at(-1)?.data.push(data);
    if (type === "fdAT") frames.at(-1)?.data.push(data.subarray(4));
  }
  return frames.filter((frame) => frame.data.length > 0);
}

function draw(canvas: Uint8Array, stride: number, frame: Frame, pixels: Uint8Array): void {
  for (let y = 0; y < frame.height; y += 1) {
    for (let x = 0; x < frame.width; x += 1) {
      const from = (y * frame.width + x) * 4;
      const to = ((frame.y + y) * stride + frame.x + x) * 4;
      const alpha = frame.blend === 0 ? 255 : (pixels[from + 3] ?? 0);
      if (alpha === 255) canvas.set(pixels.subarray(from, from + 4), to);
      else if (alpha > 0) layOver(canvas, to, pixels, from, alpha);
    }
  }
}

function layOver(canvas: Uint8Array, to: number, pixels: Uint8Array, from: number, alpha: number): void {
  const under = ((canvas[to + 3] ?? 0) * (255 - alpha)) / 255;
  const total = alpha + under;
  for (let c = 0; c < 3; c += 1) {
    canvas[to + c] = Math.round(((pixels[from + c] ?? 0) * alpha + (canvas[to + c] ?? 0) * under) / total);
  }
  canvas[to + 3] = Math.round(total);
}

function withoutAlpha(rgba: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0; i < rgba.length / 4; i += 1) rgb.set(rgba.subarray(i * 4, i * 4 + 3), i * 3);
  return rgb;
}
