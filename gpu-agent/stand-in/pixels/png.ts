/** Writing PNG and animated PNG, with the text chunks in which ComfyUI keeps the workflow. */
import { promisify } from "node:util";
import { crc32, deflate } from "node:zlib";

const deflateAsync = promisify(deflate);
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Colour types of the format, by number of channels. */
const COLOR_TYPES: Readonly<Record<number, number>> = { 1: 0, 3: 2, 4: 6 };

export interface PngSize {
  readonly width: number;
  readonly height: number;
  /** 1 (grey), 3 (RGB) or 4 (RGBA). */
  readonly channels: number;
}

/**
 * One 8-bit picture.
 * @param texts keyword to text, written before the pixels
 * @param level zlib's effort, 0..9
 */
export async function encodePng(
  bytes: Uint8Array,
  size: PngSize,
  texts: Readonly<Record<string, string>>,
  level: number,
): Promise<Buffer> {
  const written = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  const pixels = chunk("IDAT", await packed(bytes, size, level));
  return Buffer.concat([SIGNATURE, header(size), ...written, pixels, chunk("IEND", Buffer.alloc(0))]);
}

/**
 * An animation that repeats for ever.
 * @param frames 8-bit pictures of one size
 * @param delayMs time each picture stays
 * @param notes name to text, written after the pixels in the `comf` chunks ComfyUI uses for animations
 */
export async function encodeAnimatedPng(
  frames: readonly Uint8Array[],
  size: PngSize,
  delayMs: number,
  notes: Readonly<Record<string, string>>,
  level: number,
): Promise<Buffer> {
  const written = Object.entries(notes).map(([name, text]) => chunk("comf", Buffer.from(`${name}\0${text}`, "latin1")));
  const body: Buffer[] = [];
  let sequence = 0;
  for (const [index, frame] of frames.entries()) {
    const pixels = await packed(frame, size, level);
    if (frames.length > 1) {
      body.push(frameControl(sequence, size, delayMs));
      sequence += 1;
    }
    if (index === 0) body.push(chunk("IDAT", pixels), ...written);
    else {
      body.push(chunk("fdAT", Buffer.concat([uint32(sequence), pixels])));
      sequence += 1;
    }
  }
  const animation = frames.length > 1 ? [chunk("acTL", Buffer.concat([uint32(frames.length), uint32(0)]))] : [];
  return Buffer.concat([SIGNATURE, header(size), ...animation, ...body, chunk("IEND", Buffer.alloc(0))]);
}

/** The chunks of a PNG in order; a file that ends early gives those that are whole. */
export function pngChunks(png: Uint8Array): { readonly type: string; readonly data: Buffer }[] {
  const file = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const chunks: { type: string; data: Buffer }[] = [];
  if (!file.subarray(0, SIGNATURE.length).equals(SIGNATURE)) return chunks;
  for (let at = SIGNATURE.length; at + 12 <= file.length; ) {
    const length = file.readUInt32BE(at);
    if (at + 12 + length > file.length) break;
    chunks.push({ type: file.toString("latin1", at + 4, at + 8), data: file.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
  }
  return chunks;
}

/** The bytes of a PNG made of these chunks. */
export function pngOf(chunks: readonly { readonly type: string; readonly data: Uint8Array }[]): Buffer {
  return Buffer.concat([SIGNATURE, ...chunks.map(({ type, data }) => chunk(type, data))]);
}

function chunk(type: string, data: Uint8Array): Buffer {
  const tagged = Buffer.concat([Buffer.from(type, "latin1"), data]);
  return Buffer.concat([uint32(data.length), tagged, uint32(crc32(tagged))]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function header({ width, height, channels }: PngSize): Buffer {
  return chunk(
    "IHDR",
    Buffer.concat([uint32(width), uint32(height), Buffer.from([8, COLOR_TYPES[channels] ?? 2, 0, 0, 0])]),
  );
}

function frameControl(sequence: number, { width, height }: PngSize, delayMs: number): Buffer {
  const data = Buffer.alloc(26);
  data.writeUInt32BE(sequence, 0);
  data.writeUInt32BE(width, 4);
  data.writeUInt32BE(height, 8);
  data.writeUInt16BE(Math.min(delayMs, 0xffff), 20);
  data.writeUInt16BE(1000, 22);
  return chunk("fcTL", data);
}

/** A `tEXt` chunk, or an `iTXt` one for text beyond Latin-1. */
function textChunk(keyword: string, text: string): Buffer {
  const isLatin = /^[\u0000-\u00ff]*$/.test(text);
  if (isLatin) return chunk("tEXt", Buffer.from(`${keyword}\0${text}`, "latin1"));
  return chunk("iTXt", Buffer.concat([Buffer.from(`${keyword}\0\0\0\0\0`, "latin1"), Buffer.from(text, "utf8")]));
}

/** Rows filtered by whichever of "left" and "above" leaves the smaller differences, then deflated. */
async function packed(bytes: Uint8Array, { width, height, channels }: PngSize, level: number): Promise<Buffer> {
  const stride = width * channels;
  const rows = Buffer.alloc(height * (stride + 1));
  const left = new Uint8Array(stride);
  const above = new Uint8Array(stride);
  for (let y = 0; y < height; y += 1) {
    let leftCost = 0;
    let aboveCost = 0;
    const start = y * stride;
    for (let i = 0; i < stride; i += 1) {
      const value = bytes[start + i] ?? 0;
      const byLeft = (value - (i >= channels ? (bytes[start + i - channels] ?? 0) : 0)) & 0xff;
      const byAbove = (value - (y > 0 ? (bytes[start - stride + i] ?? 0) : 0)) & 0xff;
      left[i] = byLeft;
      above[i] = byAbove;
      leftCost += byLeft < 128 ? byLeft : 256 - byLeft;
      aboveCost += byAbove < 128 ? byAbove : 256 - byAbove;
    }
    const useLeft = leftCost < aboveCost;
    rows[y * (stride + 1)] = useLeft ? 1 : 2;
    rows.set(useLeft ? left : above, y * (stride + 1) + 1);
  }
  return deflateAsync(rows, { level });
}
