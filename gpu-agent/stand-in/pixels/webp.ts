/** Animated WebP with the EXIF fields in which ComfyUI keeps the workflow, and the VP8 frames inside lossy WebP. */
import sharp from "sharp";

export interface WebpOptions {
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
  /** Time each picture stays. */
  readonly delayMs: number;
  readonly lossless: boolean;
  /** 0..100; for lossless files the effort of packing. */
  readonly quality: number;
  /** 0 fast … 6 small. */
  readonly effort: number;
}

/**
 * An animation that repeats for ever; one frame gives a still picture.
 * @param frames 8-bit pictures of one size
 * @param texts EXIF fields by tag number
 */
export async function encodeAnimatedWebp(
  frames: readonly Uint8Array[],
  options: WebpOptions,
  texts: ReadonlyMap<number, string>,
): Promise<Buffer> {
  const { width, height, channels, lossless, quality, effort } = options;
  const raw = { width, height: height * frames.length, channels, pageHeight: height };
  const webp = await sharp(Buffer.concat(frames), { raw, limitInputPixels: false })
    .webp({ lossless, quality: Math.max(1, quality), effort, loop: 0, delay: frames.map(() => options.delayMs) })
    .toBuffer();
  return texts.size === 0 ? webp : withExif(webp, width, height, exifOf(texts));
}

/** A key frame of the VP8 video codec: what lossy WebP is made of. Sides up to 16383. */
export async function vp8KeyFrame(rgb: Uint8Array, width: number, height: number, quality: number): Promise<Buffer> {
  const webp = await sharp(rgb, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .webp({ quality, effort: 0, smartSubsample: false })
    .toBuffer();
  const frame = webpChunks(webp).find(({ type }) => type === "VP8 ");
  if (frame === undefined) throw new Error("The WebP encoder gave no VP8 frame");
  return frame.data;
}

/** The chunks of a WebP file in order. */
export function webpChunks(webp: Buffer): { readonly type: string; readonly data: Buffer }[] {
  const chunks: { type: string; data: Buffer }[] = [];
  for (let at = 12; at + 8 <= webp.length; ) {
    const length = webp.readUInt32LE(at + 4);
    chunks.push({ type: webp.toString("latin1", at, at + 4), data: webp.subarray(at + 8, at + 8 + length) });
    at += 8 + length + (length % 2);
  }
  return chunks;
}

const EXIF_FLAG = 0x08;
const ALPHA_FLAG = 0x10;

function withExif(webp: Buffer, width: number, height: number, exif: Buffer): Buffer {
  const chunks = webpChunks(webp).filter(({ type }) => type !== "EXIF");
  const rest = chunks.filter(({ type }) => type !== "VP8X");
  const extended = Buffer.from(chunks.find(({ type }) => type === "VP8X")?.data ?? Buffer.alloc(10));
  const isNew = extended.every((byte) => byte === 0);
  const hasAlpha = rest.some(({ type, data }) => type === "ALPH" || (type === "VP8L" && ((data[4] ?? 0) & 0x10) !== 0));
  extended[0] = (extended[0] ?? 0) | EXIF_FLAG | (isNew && hasAlpha ? ALPHA_FLAG : 0);
  extended.writeUIntLE(width - 1, 4, 3);
  extended.writeUIntLE(height - 1, 7, 3);
  const body = Buffer.concat([
    Buffer.from("WEBP", "latin1"),
    riffChunk("VP8X", extended),
    ...rest.map(({ type, data }) => riffChunk(type, data)),
    riffChunk("EXIF", exif),
  ]);
  return Buffer.concat([Buffer.from("RIFF", "latin1"), uint32(body.length), body]);
}

function riffChunk(type: string, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type, "latin1"), uint32(data.length), data, Buffer.alloc(data.length % 2)]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A TIFF directory of text fields, as EXIF wants it: entries sorted by tag, long texts behind the directory. */
function exifOf(texts: ReadonlyMap<number, string>): Buffer {
  const fields = [...texts]
    .sort(([a], [b]) => a - b)
    .map(([tag, text]) => ({ tag, text: Buffer.from(`${text}\0`, "utf8") }));
  const directory = Buffer.alloc(2 + fields.length * 12 + 4);
  const behind: Buffer[] = [];
  let offset = 8 + directory.length;
  directory.writeUInt16LE(fields.length, 0);
  for (const [index, { tag, text }] of fields.entries()) {
    const at = 2 + index * 12;
    directory.writeUInt16LE(tag, at);
    directory.writeUInt16LE(2, at + 2);
    directory.writeUInt32LE(text.length, at + 4);
    if (text.length <= 4) text.copy(directory, at + 8);
    else {
      directory.writeUInt32LE(offset, at + 8);
      behind.push(text, Buffer.alloc(text.length % 2));
      offset += text.length + (text.length % 2);
    }
  }
  return Buffer.concat([Buffer.from("II*\0\x08\0\0\0", "latin1"), directory, ...behind]);
}
