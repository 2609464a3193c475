/** Reading FLAC. */
import { BitReader } from "./bits.ts";

/** Decoded sound: −1..1, one array per channel. */
export interface DecodedSound {
  readonly sampleRate: number;
  readonly samples: readonly Float32Array[];
}

interface StreamInfo {
  readonly sampleRate: number;
  readonly channels: number;
  readonly bits: number;
}

/** True for what starts as a FLAC file. */
export function isFlac(file: Buffer): boolean {
  return file.toString("latin1", 0, 4) === "fLaC";
}

/**
 * Decodes a whole file.
 * @throws RangeError when it is damaged or uses what the format reserves
 */
export function decodeFlac(file: Buffer): DecodedSound {
  let at = 4;
  let info: StreamInfo | undefined;
  for (let isLast = false; !isLast; ) {
    const head = file.readUInt32BE(at);
    isLast = head >= 0x80000000;
    const length = head & 0xffffff;
    if (((head >>> 24) & 0x7f) === 0) info = readInfo(file.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  if (info === undefined) throw new RangeError("A FLAC file without a description");
  const blocks = info.channels;
  const pieces: Int32Array[][] = Array.from({ length: blocks }, () => []);
  const reader = new BitReader(file.subarray(at));
  const end = (file.length - at) * 8;
  while (end - reader.position >= 80) {
    const block = readFrame(reader, info);
    for (const [channel, samples] of block.entries()) pieces[channel]?.push(samples);
  }
  const scale = 2 ** (info.bits - 1);
  return { sampleRate: info.sampleRate, samples: pieces.map((parts) => scaled(parts, scale)) };
}

function scaled(parts: readonly Int32Array[], scale: number): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) for (const value of part) out[at++] = value / scale;
  return out;
}

function readInfo(data: Buffer): StreamInfo {
  const bits = new BitReader(data);
  bits.read(32);
  bits.read(24);
  bits.read(24);
  return { sampleRate: bits.read(20), channels: bits.read(3) + 1, bits: bits.read(5) + 1 };
}

const BLOCK_SIZES = [0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];
const SAMPLE_BITS = [0, 8, 12, 0, 16, 20, 24, 32];
const SYNC = 0x3ffe;

function readFrame(bits: BitReader, info: StreamInfo): Int32Array[] {
  if (bits.read(14) !== SYNC) throw new RangeError("No FLAC frame where one should start");
  bits.read(2);
  const sizeCode = bits.read(4);
  const rateCode = bits.read(4);
  const layout = bits.read(4);
  const sampleBits = SAMPLE_BITS[bits.read(3)] || info.bits;
  bits.read(1);
  const first = bits.read(8);
  // The frame's number has as many bytes as its first byte has leading ones, or one.
  for (let mark = 0x40; (first & 0x80) !== 0 && (first & mark) !== 0; mark >>= 1) bits.read(8);
  const size = sizeCode === 6 ? bits.read(8) + 1 : sizeCode === 7 ? bits.read(16) + 1 : (BLOCK_SIZES[sizeCode] ?? 0);
  if (rateCode === 12) bits.read(8);
  else if (rateCode === 13 || rateCode === 14) bits.read(16);
  bits.read(8);
  const count = layout < 8 ? layout + 1 : 2;
  const channels = Array.from({ length: count }, (_, channel) => {
    const isDifference =
      (layout === 8 && channel === 1) || (layout === 9 && channel === 0) || (layout === 10 && channel === 1);
    return readSubframe(bits, size, sampleBits + (isDifference ? 1 : 0));
  });
  bits.align();
  bits.read(16);
  return undone(channels, layout);
}

/** Left and right from however two channels were combined. */
function undone(channels: Int32Array[], layout: number): Int32Array[] {
  const [a, b] = channels;
  if (a === undefined || b === undefined || layout < 8) return channels;
  const out = [new Int32Array(a.length), new Int32Array(a.length)] as const;
  for (let i = 0; i < a.length; i += 1) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    if (layout === 8) out[0][i] = x;
    if (layout === 8) out[1][i] = x - y;
    if (layout === 9) out[0][i] = x + y;
    if (layout === 9) out[1][i] = y;
    if (layout === 10) out[0][i] = (x * 2 + (y & 1) + y) >> 1;
    if (layout === 10) out[1][i] = (x * 2 + (y & 1) - y) >> 1;
  }
  return [...out];
}

function readSubframe(bits: BitReader, size: number, sampleBits: number): Int32Array {
  bits.read(1);
  const type = bits.read(6);
  const wasted = bits.read(1) === 1 ? bits.readUnary() + 1 : 0;
  const width = sampleBits - wasted;
  const out = new Int32Array(size);
  if (type === 0) out.fill(bits.readSigned(width));
  else if (type === 1) for (let i = 0; i < size; i += 1) out[i] = bits.readSigned(width);
  else if (type >= 8 && type <= 12) readPredicted(bits, out, width, type - 8, FIXED[type - 8] ?? [], 0);
  else if (type >= 32) {
    const order = type - 31;
    for (let i = 0; i < order; i += 1) out[i] = bits.readSigned(width);
    const precision = bits.read(4) + 1;
    const shift = bits.readSigned(5);
    const factors = Array.from({ length: order }, () => bits.readSigned(precision));
    readResidual(bits, out, order);
    predict(out, order, factors, shift);
  } else throw new RangeError(`A FLAC block of unknown kind ${type}`);
  if (wasted > 0) for (let i = 0; i < size; i += 1) out[i] = (out[i] ?? 0) << wasted;
  return out;
}

/** Factors of the predictors that need no description, the latest sample's first. */
const FIXED = [[], [1], [2, -1], [3, -3, 1], [4, -6, 4, -1]];

function readPredicted(
  bits: BitReader,
  out: Int32Array,
  width: number,
  order: number,
  factors: readonly number[],
  shift: number,
): void {
  for (let i = 0; i < order; i += 1) out[i] = bits.readSigned(width);
  readResidual(bits, out, order);
  predict(out, order, factors, shift);
}

function predict(out: Int32Array, order: number, factors: readonly number[], shift: number): void {
  for (let i = order; i < out.length; i += 1) {
    let sum = 0;
    for (let k = 0; k < order; k += 1) sum += (factors[k] ?? 0) * (out[i - 1 - k] ?? 0);
    out[i] = (out[i] ?? 0) + Math.floor(sum / 2 ** shift);
  }
}

function readResidual(bits: BitReader, out: Int32Array, order: number): void {
  const parameterBits = bits.read(2) === 0 ? 4 : 5;
  const plainMark = 2 ** parameterBits - 1;
  const partitions = 2 ** bits.read(4);
  let at = order;
  for (let partition = 0; partition < partitions; partition += 1) {
    const end = ((partition + 1) * out.length) / partitions;
    const parameter = bits.read(parameterBits);
    const plainBits = parameter === plainMark ? bits.read(5) : undefined;
    for (; at < end; at += 1) {
      if (plainBits !== undefined) out[at] = bits.readSigned(plainBits);
      else {
        const folded = bits.readUnary() * 2 ** parameter + bits.read(parameter);
        out[at] = folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
      }
    }
  }
}
