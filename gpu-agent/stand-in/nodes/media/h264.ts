/**
 * Writing H.264 without compressing: every 16×16 block holds its pixels as they are, or says that nothing changed since
 * the frame before. Large, exact but for the colour conversion, and playable everywhere.
 */
import { BitWriter } from "./bits.ts";

const BLOCK = 16;
/** After this many frames one starts anew, so that players can seek. */
const KEY_EVERY = 48;
/** A block whose values all stay this close to what is shown is left as it is. */
const UNCHANGED_MAX = 2;

export interface H264Video {
  readonly sequence: Buffer;
  readonly picture: Buffer;
  /** One access unit per frame, as MP4 stores them. */
  readonly frames: readonly { readonly data: Buffer; readonly isKey: boolean }[];
}

/** A picture of 4:2:0 colour, padded to whole blocks. */
interface Planes {
  readonly width: number;
  readonly height: number;
  readonly y: Uint8Array;
  readonly u: Uint8Array;
  readonly v: Uint8Array;
}

/**
 * @param frames RGB of 8 bits, all of one size with even sides
 * @throws RangeError for odd sides, which this colour format does not have
 */
export function encodeH264(frames: readonly Uint8Array[], width: number, height: number): H264Video {
  if (width % 2 !== 0 || height % 2 !== 0) throw new RangeError("Sides must be even");
  let shown: Planes | undefined;
  const encoded = frames.map((rgb, index) => {
    const planes = toPlanes(rgb, width, height);
    const isKey = index % KEY_EVERY === 0;
    const before = isKey ? undefined : shown;
    const { data, now } = encodeFrame(planes, before, index % KEY_EVERY, Math.floor(index / KEY_EVERY));
    shown = now;
    return { data, isKey };
  });
  return { sequence: sequenceParameters(width, height), picture: pictureParameters(), frames: encoded };
}

function toPlanes(rgb: Uint8Array, width: number, height: number): Planes {
  const w = Math.ceil(width / BLOCK) * BLOCK;
  const h = Math.ceil(height / BLOCK) * BLOCK;
  const planes = {
    width: w,
    height: h,
    y: new Uint8Array(w * h),
    u: new Uint8Array((w * h) / 4),
    v: new Uint8Array((w * h) / 4),
  };
  const at = (x: number, y: number): number => (Math.min(y, height - 1) * width + Math.min(x, width - 1)) * 3;
  for (let y = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1) {
      const i = at(x, y);
      planes.y[y * w + x] = (66 * (rgb[i] ?? 0) + 129 * (rgb[i + 1] ?? 0) + 25 * (rgb[i + 2] ?? 0) + 128 + 4096) >> 8;
    }
  }
  for (let y = 0; y < h; y += 2) {
    for (let x = 0; x < w; x += 2) {
      let [r, g, b] = [0, 0, 0];
      for (const i of [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)]) {
        r += rgb[i] ?? 0;
        g += rgb[i + 1] ?? 0;
        b += rgb[i + 2] ?? 0;
      }
      const to = (y / 2) * (w / 2) + x / 2;
      planes.u[to] = (-38 * r - 74 * g + 112 * b + 512 + 131072) >> 10;
      planes.v[to] = (112 * r - 94 * g - 18 * b + 512 + 131072) >> 10;
    }
  }
  return planes;
}

/** Types of a block that holds plain pixels, in key frames and in others. */
const PLAIN_IN_KEY = 25;
const PLAIN_IN_OTHER = 30;

function encodeFrame(
  planes: Planes,
  before: Planes | undefined,
  number: number,
  key: number,
): { data: Buffer; now: Planes } {
  const bits = new BitWriter();
  bits.writeGolomb(0); // the first block
  bits.writeGolomb(before === undefined ? 7 : 5); // all slices of one kind: key or predicted
  bits.writeGolomb(0);
  bits.write(number % 16, 4);
  if (before === undefined) {
    bits.writeGolomb(key % 2); // two key frames in a row differ in this
    bits.write(0, 2);
  } else bits.write(0, 3); // one reference, in its usual order, kept in the usual way
  bits.writeGolomb(0); // quantiser: unused
  bits.writeGolomb(1); // no smoothing across blocks
  const columns = planes.width / BLOCK;
  const rows = planes.height / BLOCK;
  let skipped = 0;
  const now =
    before === undefined ? planes : { ...planes, y: planes.y.slice(), u: planes.u.slice(), v: planes.v.slice() };
  for (let block = 0; block < columns * rows; block += 1) {
    const x = (block % columns) * BLOCK;
    const y = Math.floor(block / columns) * BLOCK;
    if (before !== undefined && isUnchanged(planes, before, x, y)) {
      skipped += 1;
      copyBlock(before, now, x, y);
      continue;
    }
    if (before !== undefined) bits.writeGolomb(skipped);
    skipped = 0;
    bits.writeGolomb(before === undefined ? PLAIN_IN_KEY : PLAIN_IN_OTHER);
    bits.align();
    eachRow(planes, x, y, (plane, from, count) => bits.writeBytes(plane.subarray(from, from + count)));
  }
  if (skipped > 0) bits.writeGolomb(skipped);
  bits.write(1, 1);
  const unit = networkUnit(before === undefined ? 5 : 1, bits.finish());
  const length = Buffer.alloc(4);
  length.writeUInt32BE(unit.length);
  return { data: Buffer.concat([length, unit]), now };
}

/** The rows of a block: sixteen of brightness, then eight of each colour difference. */
function eachRow(
  planes: Planes,
  x: number,
  y: number,
  use: (plane: Uint8Array, from: number, count: number) => void,
): void {
  for (let row = 0; row < BLOCK; row += 1) use(planes.y, (y + row) * planes.width + x, BLOCK);
  for (const plane of [planes.u, planes.v]) {
    for (let row = 0; row < BLOCK / 2; row += 1) use(plane, (y / 2 + row) * (planes.width / 2) + x / 2, BLOCK / 2);
  }
}

function planeOf(planes: Planes, like: Planes, plane: Uint8Array): Uint8Array {
  if (plane === like.y) return planes.y;
  return plane === like.u ? planes.u : planes.v;
}

function isUnchanged(planes: Planes, before: Planes, x: number, y: number): boolean {
  let unchanged = true;
  eachRow(planes, x, y, (plane, from, count) => {
    const old = planeOf(before, planes, plane);
    for (let i = from; unchanged && i < from + count; i += 1) {
      unchanged = Math.abs((plane[i] ?? 0) - (old[i] ?? 0)) <= UNCHANGED_MAX;
    }
  });
  return unchanged;
}

function copyBlock(from: Planes, to: Planes, x: number, y: number): void {
  eachRow(from, x, y, (plane, at, count) => planeOf(to, from, plane).set(plane.subarray(at, at + count), at));
}

/** Levels by the blocks a frame may have. */
const LEVELS = [
  [396, 21],
  [1620, 30],
  [3600, 31],
  [8192, 40],
  [22080, 50],
  [36864, 51],
  [139264, 60],
] as const;

function sequenceParameters(width: number, height: number): Buffer {
  const columns = Math.ceil(width / BLOCK);
  const rows = Math.ceil(height / BLOCK);
  const level = LEVELS.find(([blocks]) => columns * rows <= blocks)?.[1] ?? 62;
  const bits = new BitWriter();
  bits.write(66, 8); // baseline, in its constrained form
  bits.write(0b11000000, 8);
  bits.write(level, 8);
  bits.writeGolomb(0);
  bits.writeGolomb(0); // frame numbers of four bits
  bits.writeGolomb(2); // frames are shown in the order they are stored
  bits.writeGolomb(1); // one frame is remembered
  bits.write(0, 1);
  bits.writeGolomb(columns - 1);
  bits.writeGolomb(rows - 1);
  bits.write(0b11, 2);
  const right = (columns * BLOCK - width) / 2;
  const bottom = (rows * BLOCK - height) / 2;
  bits.write(right + bottom > 0 ? 1 : 0, 1);
  if (right + bottom > 0) for (const cut of [0, right, 0, bottom]) bits.writeGolomb(cut);
  bits.write(0, 1);
  bits.write(1, 1);
  return networkUnit(7, bits.finish());
}

function pictureParameters(): Buffer {
  const bits = new BitWriter();
  bits.writeGolomb(0);
  bits.writeGolomb(0);
  bits.write(0, 2);
  bits.writeGolomb(0);
  bits.writeGolomb(0);
  bits.writeGolomb(0);
  bits.write(0, 3);
  for (let i = 0; i < 3; i += 1) bits.writeGolomb(0);
  bits.write(0b100, 3); // slices say themselves how they are smoothed
  bits.write(1, 1);
  return networkUnit(8, bits.finish());
}

/** A unit of the stream: its kind, and a 3 wherever two zeros would otherwise be taken for a start mark. */
function networkUnit(kind: number, payload: Uint8Array): Buffer {
  const out = Buffer.alloc(1 + Math.ceil(payload.length * 1.5) + 1);
  out[0] = 0x60 | kind;
  let at = 1;
  let zeros = 0;
  for (const byte of payload) {
    if (zeros === 2 && byte <= 3) {
      out[at++] = 3;
      zeros = 0;
    }
    out[at++] = byte;
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return out.subarray(0, at);
}
