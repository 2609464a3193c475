/** Reads a PNG (ISO/IEC 15948, and APNG) as far as a decoder would: all of it, but for the pixels themselves. */
import { ascii, type ByteFeed, type Reading, uint32 } from "#worker/inputs/byte-feed";
import { CountingInflate } from "#worker/inputs/counting-inflate";
import { crc32 } from "#worker/inputs/crc32";
import { checkFrames, checkPixels, refuseBroken, refuseCut, refuseFile } from "#worker/inputs/picture-size";

/** Pictures have a chunk for every 8 KiB or so; more than this many are made to cost time. */
const CHUNKS_MAX = 100_000;
/** What Pillow unpacks of one text or colour profile, and of all texts of a picture; beyond them it refuses the picture. */
const UNPACKED_BYTES_MAX = 1_048_576;
const TEXTS_BYTES_MAX = 67_108_864;
/** A keyword has 79 bytes at most; a NUL and, before packed data, the method follow it. */
const KEYWORD_BYTES = 81;
/** An iTXt names a language and repeats its keyword translated; longer ones are not written. */
const ITXT_HEAD_BYTES = 2_048;
const READ_BYTES = 65_536;

/** Samples of one pixel by colour type, and the bit depths that go with it. */
const COLOURS: Readonly<Record<number, { samples: number; depths: readonly number[] }>> = {
  0: { samples: 1, depths: [1, 2, 4, 8, 16] },
  2: { samples: 3, depths: [8, 16] },
  3: { samples: 1, depths: [1, 2, 4, 8] },
  4: { samples: 2, depths: [8, 16] },
  6: { samples: 4, depths: [8, 16] },
};
/** Adam7: where each pass starts and how far apart its pixels lie. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly bitsPerPixel: number;
  readonly isPalette: boolean;
  readonly isInterlaced: boolean;
}

/** The pixels of one picture or frame, packed. */
interface PackedPixels {
  readonly inflate: CountingInflate;
  readonly bytes: number;
}

class PngReader {
  readonly #feed: ByteFeed;
  #header: Header | undefined;
  #pixels: PackedPixels | undefined;
  #hasPalette = false;
  #hasPixels = false;
  #pixelsEnded = false;
  /** Frames that it says it has, or that came, whichever are more. */
  #frames = 0;
  #framesCome = 0;
  #textBytes = 0;

  constructor(feed: ByteFeed) {
    this.#feed = feed;
  }

  *read(): Reading<string> {
    yield* this.#feed.skip(8);
    for (let chunks = 0; chunks < CHUNKS_MAX; chunks += 1) {
      const head = yield* this.#feed.take(8);
      if (head.byteLength < 8) refuseCut("PNG");
      const length = uint32(head, 0);
      const type = ascii(head, 4, 4);
      if (length > 0x7fffffff || !/^[A-Za-z]{4}$/.test(type)) refuseBroken("PNG", "what should be a chunk is none");
      if ((this.#header === undefined) !== (type === "IHDR")) refuseBroken("PNG", "its header is not where it must be");
      if (type !== "IDAT" && this.#hasPixels && !this.#pixelsEnded) {
        this.#endPixels();
        this.#pixelsEnded = true;
      }
      const body = new ChunkBody(this.#feed, length, crc32(head.subarray(4)));
      yield* this.#chunk(type, body);
      yield* body.end();
      if (type === "IEND") break;
      if (chunks === CHUNKS_MAX - 1) refuseFile(`The PNG has more than ${CHUNKS_MAX} chunks.`);
    }
    if (!this.#hasPixels) refuseBroken("PNG", "it has no pixels");
    this.#endPixels();
    const { width, height } = this.#known();
    checkFrames(width, height, this.#frames);
    return "image/png";
  }

  *#chunk(type: string, body: ChunkBody): Reading<void> {
    switch (type) {
      case "IHDR":
        this.#header = readHeader(yield* body.take(13), body.length);
        return;
      case "PLTE":
        if (body.length === 0 || body.length % 3 !== 0 || body.length > 768) refuseBroken("PNG", "its palette is none");
        this.#hasPalette = true;
        return;
      case "IDAT": {
        if (this.#pixelsEnded) refuseBroken("PNG", "its pixels are not in one piece");
        const header = this.#known();
        if (header.isPalette && !this.#hasPalette) refuseBroken("PNG", "it has no palette");
        if (!this.#hasPixels) this.#pixels = packedPixels(header, header.width, header.height);
        this.#hasPixels = true;
        return yield* this.#pass(body);
      }
      case "acTL":
        this.#frames = Math.max(this.#frames, uint32(yield* whole(body, 8), 0));
        return;
      case "fcTL":
        return yield* this.#frame(body);
      case "fdAT":
        yield* whole(body, 4);
        if (this.#pixels === undefined) refuseBroken("PNG", "a frame has no header");
        return yield* this.#pass(body);
      case "tEXt":
        return this.#addText(body.length);
      case "zTXt":
      case "iCCP":
        return yield* this.#packedText(type, body);
      case "iTXt":
        return yield* this.#internationalText(body);
    }
  }

  /** The frame before the default picture's data may be that picture; each one after it brings data of its own. */
  *#frame(body: ChunkBody): Reading<void> {
    const bytes = yield* whole(body, 26);
    const [width, height, left, top] = [uint32(bytes, 4), uint32(bytes, 8), uint32(bytes, 12), uint32(bytes, 16)];
    const header = this.#known();
    if (width < 1 || height < 1 || left + width > header.width || top + height > header.height) {
      refuseBroken("PNG", "a frame lies outside the picture");
    }
    this.#framesCome += 1;
    this.#frames = Math.max(this.#frames, this.#framesCome);
    checkFrames(header.width, header.height, this.#frames);
    if (!this.#hasPixels) return;
    this.#endPixels();
    this.#pixels = packedPixels(header, width, height);
  }
  *#pass(body: ChunkBody): Reading<void> {
    const { inflate, bytes } = this.#pixels ?? { inflate: new CountingInflate(0), bytes: 0 };
    for (;;) {
      const some = yield* body.some();
      if (some.byteLength === 0) return;
      const state = inflate.push(some);
      if (state === "over") refuseUnpacked(bytes);
      if (state === "broken" && inflate.count < bytes) refuseBroken("PNG", "its pixels cannot be unpacked");
    }
  }

  #endPixels(): void {
    if (this.#pixels === undefined) return;
    const { inflate, bytes } = this.#pixels;
    this.#pixels = undefined;
    const state = inflate.finish();
    if (state === "over") refuseUnpacked(bytes);
    if (inflate.count < bytes) {
      refuseFile(`The PNG's data holds ${inflate.count} of the ${bytes} bytes of its pixels. Send the whole file.`);
    }
  }

  *#packedText(type: "zTXt" | "iCCP", body: ChunkBody): Reading<void> {
    const head = yield* body.peek(KEYWORD_BYTES);
    const end = head.indexOf(0);
    if (end === -1) refuseBroken("PNG", `a ${type} chunk has no name`);
    yield* body.take(end + 2);
    yield* this.#unpackText(type, body);
  }

  *#internationalText(body: ChunkBody): Reading<void> {
    const head = yield* body.peek(ITXT_HEAD_BYTES);
    const keyword = head.indexOf(0);
    if (keyword === -1 || head[keyword + 1] !== 1) return this.#addText(body.length);
    const language = head.indexOf(0, keyword + 3);
    const translated = language === -1 ? -1 : head.indexOf(0, language + 1);
    if (translated === -1) refuseBroken("PNG", "an iTXt chunk has no text");
    yield* body.take(translated + 1);
    yield* this.#unpackText("iTXt", body);
  }

  /** Text that is no zlib data is passed over, as decoders do. */
  *#unpackText(type: string, body: ChunkBody): Reading<void> {
    const inflate = new CountingInflate(UNPACKED_BYTES_MAX);
    for (;;) {
      const some = yield* body.some();
      const state = some.byteLength === 0 ? inflate.finish() : inflate.push(some);
      if (state === "over") {
        refuseFile(
          `A ${type} chunk of the PNG unpacks to more than ${UNPACKED_BYTES_MAX} bytes. Save it without metadata.`,
        );
      }
      if (some.byteLength === 0) break;
    }
    this.#addText(inflate.count);
  }

  #addText(bytes: number): void {
    this.#textBytes += bytes;
    if (this.#textBytes > TEXTS_BYTES_MAX) {
      refuseFile(`The PNG holds more than ${TEXTS_BYTES_MAX} bytes of text. Save it without metadata.`);
    }
  }

  #known(): Header {
    return this.#header ?? refuseBroken("PNG", "it has no header");
  }
}

/** The data of one chunk, checked against its checksum. */
class ChunkBody {
  readonly length: number;
  readonly #feed: ByteFeed;
  #left: number;
  #checksum: number;

  constructor(feed: ByteFeed, length: number, checksum: number) {
    this.#feed = feed;
    this.length = length;
    this.#left = length;
    this.#checksum = checksum;
  }

  *take(count: number): Reading<Uint8Array> {
    return this.#passed(yield* this.#feed.take(Math.min(count, this.#left)), Math.min(count, this.#left));
  }

  *peek(count: number): Reading<Uint8Array> {
    return yield* this.#feed.peek(Math.min(count, this.#left));
  }

  *some(): Reading<Uint8Array> {
    if (this.#left === 0) return yield* this.#feed.take(0);
    return this.#passed(yield* this.#feed.some(Math.min(READ_BYTES, this.#left)), 1);
  }

  /** Passes over the rest, and reads the checksum. */
  *end(): Reading<void> {
    while (this.#left > 0) yield* this.some();
    const stated = yield* this.#feed.take(4);
    if (stated.byteLength < 4) refuseCut("PNG");
    if (uint32(stated, 0) !== this.#checksum) refuseBroken("PNG", "a chunk does not have its checksum");
  }

  #passed(bytes: Uint8Array, expected: number): Uint8Array {
    if (bytes.byteLength < expected) refuseCut("PNG");
    this.#left -= bytes.byteLength;
    this.#checksum = crc32(bytes, this.#checksum);
    return bytes;
  }
}

function refuseUnpacked(bytes: number): never {
  return refuseFile(
    `The PNG's data unpacks to more than the ${bytes} bytes that its pixels take. Save it again in a program that can open it.`,
  );
}

function* whole(body: ChunkBody, count: number): Reading<Uint8Array> {
  const bytes = yield* body.take(count);
  return bytes.byteLength < count ? refuseBroken("PNG", "a chunk of its animation is too short") : bytes;
}

function readHeader(bytes: Uint8Array, length: number): Header {
  if (length !== 13) refuseBroken("PNG", "its header is none");
  const [width, height] = [uint32(bytes, 0), uint32(bytes, 4)];
  const [depth = 0, colour = 0, packing = 0, filter = 0, interlacing = 0] = bytes.subarray(8);
  checkPixels("PNG", width, height);
  const known = COLOURS[colour];
  if (known === undefined || !known.depths.includes(depth) || packing !== 0 || filter !== 0 || interlacing > 1) {
    refuseBroken("PNG", "its header names no kind of pixels that there is");
  }
  return {
    width,
    height,
    bitsPerPixel: known.samples * depth,
    isPalette: colour === 3,
    isInterlaced: interlacing === 1,
  };
}

/** Each row is one byte longer than its pixels: the filter it was written with. */
function packedPixels({ bitsPerPixel, isInterlaced }: Header, width: number, height: number): PackedPixels {
  const rows = (across: number, down: number): number =>
    across < 1 ? 0 : down * (1 + Math.ceil((across * bitsPerPixel) / 8));
  const bytes = isInterlaced
    ? PASSES.reduce(
        (sum, [left, top, right, below]) =>
          sum + rows(Math.ceil((width - left) / right), Math.max(0, Math.ceil((height - top) / below))),
        0,
      )
    : rows(width, height);
  return { inflate: new CountingInflate(bytes), bytes };
}

/** Reads a PNG to its end. @throws Problem invalid_file when ComfyUI could not open it, or only at a price */
export function readPng(feed: ByteFeed): Reading<string> {
  return new PngReader(feed).read();
}
