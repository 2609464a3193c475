/** Small files made of bytes, whole as far as a reader of their format looks. Of what is too large only the start is there. */
import { crc32 } from "#worker/inputs/crc32";

const text = (value: string): Uint8Array => Uint8Array.from(value, (character) => character.charCodeAt(0));

export function joinedBytes(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Four bytes, the highest first. */
export function big32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** `count` bytes, the lowest first. */
export function little(value: number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, index) => Math.floor(value / 256 ** index) & 0xff);
}

export function pngChunk(type: string, data: Uint8Array): Uint8Array {
  const typed = joinedBytes(text(type), data);
  return joinedBytes(big32(data.byteLength), typed, big32(crc32(typed)));
}

/** Bytes as zlib data that packs nothing. */
export function stored(bytes: Uint8Array): Uint8Array {
  const parts: (Uint8Array | number[])[] = [[0x78, 0x01]];
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65_521;
    high = (high + low) % 65_521;
  }
  for (let at = 0; at === 0 || at < bytes.byteLength; at += 65_535) {
    const some = bytes.subarray(at, at + 65_535);
    const isLast = at + 65_535 >= bytes.byteLength;
    parts.push([isLast ? 1 : 0], little(some.byteLength, 2), little(0xffff - some.byteLength, 2), some);
  }
  return joinedBytes(...parts, big32(high * 65_536 + low));
}

export const PNG_SIGNATURE = Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** The header of a PNG in grey of one bit, unless it says otherwise. */
export function pngHeader(width: number, height: number, depth = 1, colour = 0, interlaced = 0): Uint8Array {
  return pngChunk("IHDR", joinedBytes(big32(width), big32(height), [depth, colour, 0, 0, interlaced]));
}

export const PNG_END = pngChunk("IEND", new Uint8Array(0));
/** Above this many pixels a picture is there to be refused for its size. */
const FILLED_PIXELS_MAX = 4_000_000;

/** A black PNG of that size, with a text that makes each one different. */
export function png(width: number, height: number, tail = 0): Uint8Array {
  const bytes = width * height > FILLED_PIXELS_MAX ? 1 : height * (1 + Math.ceil(width / 8));
  return joinedBytes(
    PNG_SIGNATURE,
    pngHeader(width, height),
    pngChunk("tEXt", text(`tail\0${tail}`)),
    pngChunk("IDAT", stored(new Uint8Array(bytes))),
    PNG_END,
  );
}

/** A JPEG with metadata of `padding` bytes before its size. */
export function jpeg(width: number, height: number, padding = 0): Uint8Array {
  const parts: number[][] = [[0xff, 0xd8]];
  for (let left = padding; left > 0; left -= 65_000) {
    const length = Math.min(left, 65_000) + 2;
    parts.push([0xff, 0xe1, length >> 8, length & 0xff, ...new Array<number>(length - 2).fill(0x20)]);
  }
  const size = [height >> 8, height & 0xff, width >> 8, width & 0xff];
  parts.push([0xff, 0xc0, 0, 17, 8, ...size, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1]);
  parts.push([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0], [0x12, 0xff, 0, 0x34, 0xff, 0xd0, 0x56]);
  return joinedBytes(...parts, [0xff, 0xd9]);
}

/** A GIF of `frames` frames of the whole size. */
export function gif(width: number, height: number, frames = 1): Uint8Array {
  const size = joinedBytes(little(width, 2), little(height, 2));
  const frame = joinedBytes([0x2c, 0, 0, 0, 0], size, [0, 2, 2, 0x4c, 0x01, 0]);
  return joinedBytes(text("GIF89a"), size, [0, 0, 0], ...new Array<Uint8Array>(frames).fill(frame), [0x3b]);
}

export function riff(type: string, ...chunks: readonly (readonly [type: string, data: Uint8Array])[]): Uint8Array {
  const body = joinedBytes(
    text(type),
    ...chunks.map(([name, data]) =>
      joinedBytes(text(name), little(data.byteLength, 4), data, new Uint8Array(data.byteLength & 1)),
    ),
  );
  return joinedBytes(text("RIFF"), little(body.byteLength, 4), body);
}

/** A WebP of the extended form. */
export function webp(width: number, height: number): Uint8Array {
  const picture = joinedBytes([0, 0, 0, 0x9d, 0x01, 0x2a], little(width, 2), little(height, 2), [0, 0, 0]);
  const header = joinedBytes([0, 0, 0, 0], little(width - 1, 3), little(height - 1, 3));
  return riff("WEBP", ["VP8X", header], ["VP8 ", picture]);
}

/** An animated WebP of `frames` frames of the whole size. */
export function animatedWebp(width: number, height: number, frames: number): Uint8Array {
  const size = joinedBytes(little(width - 1, 3), little(height - 1, 3));
  const picture = joinedBytes([0x2f], little((width - 1) | ((height - 1) << 14), 4), [0]);
  const frame = joinedBytes([0, 0, 0, 0, 0, 0], size, [100, 0, 0, 0], text("VP8L"), little(6, 4), picture);
  const chunks = new Array<[string, Uint8Array]>(frames).fill(["ANMF", frame]);
  const animation: [string, Uint8Array] = ["ANIM", new Uint8Array(6)];
  return riff("WEBP", ["VP8X", joinedBytes([2, 0, 0, 0], size)], animation, ...chunks);
}

/** A BMP of 24 bits. */
export function bmp(width: number, height: number): Uint8Array {
  const pixels = width * height > FILLED_PIXELS_MAX ? 0 : 4 * Math.ceil((width * 3) / 4) * height;
  const header = [little(40, 4), little(width, 4), little(height, 4), little(1, 2), little(24, 2), new Uint8Array(24)];
  return joinedBytes(text("BM"), little(54 + pixels, 4), [0, 0, 0, 0, 54, 0, 0, 0], ...header, new Uint8Array(pixels));
}

/** Ten milliseconds of silence. */
export function wav(samples = 441): Uint8Array {
  const format = [little(1, 2), little(1, 2), little(44_100, 4), little(88_200, 4), little(2, 2), little(16, 2)];
  return riff("WAVE", ["fmt ", joinedBytes(...format)], ["data", new Uint8Array(samples * 2)]);
}

/** The start of a FLAC that says how many samples it has; its one frame is a start as well. */
export function flac(samples = 441, channels = 1): Uint8Array {
  const rate = [44_100 >> 12, (44_100 >> 4) & 0xff, ((44_100 & 15) << 4) | ((channels - 1) << 1), 0xf0];
  const high = (rate[3] ?? 0) | Math.floor(samples / 2 ** 32);
  const counted = joinedBytes(rate.slice(0, 3), [high], big32(samples % 2 ** 32));
  const info = joinedBytes([16, 0, 16, 0, 0, 0, 0, 0, 0, 0], counted, new Uint8Array(16));
  return joinedBytes(text("fLaC"), [0x80, 0, 0, 34], info, [0xff, 0xf8, 0x69, 0x08, 0, 0]);
}

/** Frames of MP3 of 128 kilobits. */
export function mp3(frames = 3): Uint8Array {
  const frame = joinedBytes([0xff, 0xfb, 0x90, 0x00], new Uint8Array(413));
  return joinedBytes(...new Array<Uint8Array>(frames).fill(frame));
}

/** The first page of an Ogg that holds such a packet. */
export function ogg(packet = "\u0001vorbis"): Uint8Array {
  const bytes = text(packet.padEnd(30, "\0"));
  return joinedBytes(text("OggS"), [0, 2], new Uint8Array(20), [1, bytes.byteLength], bytes);
}

export function box(type: string, ...content: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const data = joinedBytes(...content);
  return joinedBytes(big32(8 + data.byteLength), text(type), data);
}

/** A film of one track. */
export function mp4(handler = "vide", width = 64, height = 48, brand = "isom"): Uint8Array {
  const entry = joinedBytes(big32(86), text("avc1"), new Uint8Array(24), [0, width], [height >> 8, height & 0xff]);
  const wide = joinedBytes(entry.subarray(0, 32), [width >> 8, width & 0xff, height >> 8, height & 0xff]);
  const table = box("stbl", box("stsd", [0, 0, 0, 0, 0, 0, 0, 1], wide, new Uint8Array(50)));
  const media = box("mdia", box("hdlr", new Uint8Array(8), text(handler), new Uint8Array(13)), box("minf", table));
  const track = box("moov", box("trak", media));
  return joinedBytes(box("ftyp", text(brand), [0, 0, 2, 0]), box("mdat", new Uint8Array(100)), track);
}

type Parts = readonly (Uint8Array | readonly number[])[];

/** A film of one track; type 1 is a picture, 2 sound. `lengthBytes` is how long the lengths of its elements are. */
export function webm(type = 1, documentType = "webm", width = 64, lengthBytes: 2 | 8 = 2): Uint8Array {
  const element = (id: readonly number[], ...content: Parts): Uint8Array => {
    const data = joinedBytes(...content);
    const length = lengthBytes === 2 ? [0x40] : [0x01, 0, 0, 0, 0, 0, 0];
    return joinedBytes(id, length, [data.byteLength], data);
  };
  const video = element([0xe0], element([0xb0], [width >> 8, width & 0xff]), element([0xba], [0xff, 0xff]));
  const tracks = element([0x16, 0x54, 0xae, 0x6b], element([0xae], element([0x83], [type]), type === 1 ? video : []));
  const header = element([0x1a, 0x45, 0xdf, 0xa3], element([0x42, 0x82], text(documentType)));
  const endless = [0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
  return joinedBytes(
    header,
    lengthBytes === 2 ? endless : [],
    lengthBytes === 2 ? tracks : element(endless.slice(0, 4), tracks),
  );
}
