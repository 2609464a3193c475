/** Writing FLAC: lossless sound of 16 bits, each block as a constant, as differences, or as it is. */
import { createHash } from "node:crypto";
import { BitWriter } from "./bits.ts";

const BLOCK = 4096;
/** Residuals are split into a unary and a binary part; this many bits at most in the binary one. */
const RICE_BITS_MAX = 14;

export interface Sound {
  readonly channels: number;
  readonly sampleRate: number;
  /** Whole samples −32768..32767, one array per channel. */
  readonly samples: readonly Int16Array[];
}

/**
 * A whole FLAC file.
 * @param tags Vorbis comments, such as the workflow the sound was made with
 */
export function encodeFlac(sound: Sound, tags: Readonly<Record<string, string>>): Buffer {
  const frames = flacFrames(sound);
  const sizes = frames.map((frame) => frame.length);
  const info = streamInfo(sound, Math.min(...sizes, 0xffffff), Math.max(...sizes, 0));
  const comments = vorbisComments(tags);
  return Buffer.concat([
    Buffer.from("fLaC", "latin1"),
    metadataBlock(0, info, false),
    metadataBlock(4, comments, true),
    ...frames,
  ]);
}

/** The frames of a sound, 4096 samples each, for a FLAC file or another container. */
export function flacFrames(sound: Sound): Buffer[] {
  const length = sound.samples[0]?.length ?? 0;
  const frames: Buffer[] = [];
  for (let at = 0, number = 0; at < length; at += BLOCK, number += 1) {
    const count = Math.min(BLOCK, length - at);
    frames.push(encodeFrame(sound, at, count, number));
  }
  return frames;
}

/** Samples in each frame but the last. */
export const FLAC_BLOCK_SAMPLES = BLOCK;

/** The 34 bytes that describe a FLAC stream. */
export function streamInfo(sound: Sound, smallest: number, largest: number): Buffer {
  const bits = new BitWriter();
  bits.write(BLOCK, 16);
  bits.write(BLOCK, 16);
  bits.write(smallest, 24);
  bits.write(largest, 24);
  bits.write(sound.sampleRate, 20);
  bits.write(sound.channels - 1, 3);
  bits.write(15, 5);
  const length = sound.samples[0]?.length ?? 0;
  bits.write(Math.floor(length / 0x1_0000_0000), 4);
  bits.write(length >>> 0, 32);
  return Buffer.concat([bits.finish(), md5Of(sound)]);
}

/** The checksum of the bare samples, with which decoders check themselves. */
function md5Of({ samples, channels }: Sound): Buffer {
  const length = samples[0]?.length ?? 0;
  const bytes = Buffer.alloc(length * channels * 2);
  for (let i = 0; i < length; i += 1) {
    for (let c = 0; c < channels; c += 1) bytes.writeInt16LE(samples[c]?.[i] ?? 0, (i * channels + c) * 2);
  }
  return createHash("md5").update(bytes).digest();
}

function metadataBlock(type: number, data: Buffer, isLast: boolean): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(((isLast ? 0x80 : 0) | type) * 0x1000000 + data.length);
  return Buffer.concat([head, data]);
}

function vorbisComments(tags: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const entries = Object.entries(tags).map(([name, value]) => text(`${name}=${value}`));
  const count = Buffer.alloc(4);
  count.writeUInt32LE(entries.length);
  return Buffer.concat([text("Pilotlight stand-in"), count, ...entries]);
}

function encodeFrame(sound: Sound, at: number, count: number, number: number): Buffer {
  const bits = new BitWriter();
  bits.write(0x3ffe, 14);
  bits.write(0, 2); // blocks of fixed size
  bits.write(count === BLOCK ? 12 : 7, 4);
  bits.write(0, 4); // the rate is in the stream's description
  bits.write(sound.channels - 1, 4);
  bits.write(4, 3); // 16 bits
  bits.write(0, 1);
  for (const byte of codedNumber(number)) bits.write(byte, 8);
  if (count !== BLOCK) bits.write(count - 1, 16);
  bits.write(crc8(bits.bytes()), 8);
  for (const channel of sound.samples) encodeSubframe(bits, channel.subarray(at, at + count));
  const body = bits.finish();
  const tail = Buffer.alloc(2);
  tail.writeUInt16BE(crc16(body));
  return Buffer.concat([body, tail]);
}

function encodeSubframe(bits: BitWriter, samples: Int16Array): void {
  const first = samples[0] ?? 0;
  if (samples.every((value) => value === first)) {
    bits.write(0b00000000, 8);
    bits.write(first & 0xffff, 16);
    return;
  }
  const order = Math.min(2, samples.length - 1);
  const residual = secondDifferences(samples, order);
  const parameter = bestParameter(residual);
  const riceBits = residual.reduce((sum, value) => sum + (zigzag(value) >> parameter) + 1 + parameter, 0);
  if (riceBits >= samples.length * 16) {
    bits.write(0b00000010, 8);
    for (const value of samples) bits.write(value & 0xffff, 16);
    return;
  }
  bits.write((0b001000 | order) << 1, 8);
  for (let i = 0; i < order; i += 1) bits.write((samples[i] ?? 0) & 0xffff, 16);
  bits.write(0, 2);
  bits.write(0, 4); // one partition
  bits.write(parameter, 4);
  for (const value of residual) {
    const folded = zigzag(value);
    for (let ones = folded >> parameter; ones > 0; ones -= Math.min(ones, 24)) bits.write(0, Math.min(ones, 24));
    bits.write(1, 1);
    if (parameter > 0) bits.write(folded & ((1 << parameter) - 1), parameter);
  }
}

/** What is left when a straight line through the last two samples is taken away. */
function secondDifferences(samples: Int16Array, order: number): Int32Array {
  const out = new Int32Array(samples.length - order);
  for (let i = order; i < samples.length; i += 1) {
    const one = samples[i - 1] ?? 0;
    const expected = order === 2 ? 2 * one - (samples[i - 2] ?? 0) : one;
    out[i - order] = (samples[i] ?? 0) - (order === 0 ? 0 : expected);
  }
  return out;
}

const zigzag = (value: number): number => (value >= 0 ? value * 2 : -value * 2 - 1);

function bestParameter(residual: Int32Array): number {
  const mean = residual.reduce((sum, value) => sum + zigzag(value), 0) / Math.max(1, residual.length);
  return Math.min(RICE_BITS_MAX, Math.max(0, Math.floor(Math.log2(Math.max(1, mean)))));
}

/** Frame numbers are written as UTF-8 writes code points, only further. */
function codedNumber(value: number): number[] {
  if (value < 0x80) return [value];
  const tail: number[] = [];
  let rest = value;
  let room = 0x3f;
  while (rest > room) {
    tail.unshift(0x80 | (rest & 0x3f));
    rest = Math.floor(rest / 64);
    room >>= 1;
  }
  const marks = (0xff << (7 - tail.length)) & 0xff;
  return [marks | rest, ...tail];
}

/** CRC of 8 bits, x^8 + x^2 + x + 1. */
export function crc8(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : (crc << 1) & 0xff;
  }
  return crc;
}

const CRC16_TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? ((crc << 1) ^ 0x8005) & 0xffff : (crc << 1) & 0xffff;
  return crc;
});

/** CRC of 16 bits, x^16 + x^15 + x^2 + 1. */
export function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ (CRC16_TABLE[(crc >> 8) ^ byte] ?? 0);
  return crc;
}
