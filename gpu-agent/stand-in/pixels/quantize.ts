/** ComfyUI's ImageQuantize: a palette of the picture's own colours, and one of three ways to reach it. */
import type { ImageBatch } from "../node.ts";
import { framesOf, fromBytes, toBytes, withChannels } from "./float-images.ts";
import { medianCut } from "./median-cut.ts";

type Palette = readonly (readonly [number, number, number])[];

/**
 * Every picture with at most `size` colours of its own.
 * @param dither "none", "floyd-steinberg", or "bayer-N" with N the side of the pattern
 */
export function quantized(image: ImageBatch, size: number, dither: string): ImageBatch {
  const { batch, height, width } = image;
  const bytes = new Uint8Array(batch * height * width * 3);
  for (let b = 0; b < batch; b += 1) {
    const rgb = toBytes(withChannels(framesOf(image, b, 1), 3).data);
    const palette = medianCut(rgb, size);
    const indexes =
      dither === "floyd-steinberg" ? diffused(rgb, width, height, palette) : nearest(rgb, palette, dither, width);
    for (const [i, index] of indexes.entries()) bytes.set(palette[index] ?? [0, 0, 0], (b * height * width + i) * 3);
  }
  const colors = fromBytes(bytes, { batch, height, width, channels: 3 });
  if (image.channels === 3) return colors;
  return withChannels(colors, image.channels);
}

/** Pillow looks colours up with their two lowest bits cut off, and remembers what it found. */
class PaletteLookup {
  readonly #palette: Palette;
  readonly #found = new Int16Array(64 * 64 * 64).fill(-1);

  constructor(palette: Palette) {
    this.#palette = palette;
  }

  find(r: number, g: number, b: number): number {
    const slot = ((r >> 2) << 12) | ((g >> 2) << 6) | (b >> 2);
    const known = this.#found[slot] ?? -1;
    if (known >= 0) return known;
    let best = 0;
    let bestDistance = Number.POSITIVE_INFINITY;
    for (const [index, [pr, pg, pb]] of this.#palette.entries()) {
      const distance = ((r & 0xfc) - pr) ** 2 + ((g & 0xfc) - pg) ** 2 + ((b & 0xfc) - pb) ** 2;
      if (distance < bestDistance) {
        bestDistance = distance;
        best = index;
      }
    }
    this.#found[slot] = best;
    return best;
  }
}

function nearest(rgb: Uint8Array, palette: Palette, dither: string, width: number): Uint8Array {
  const lookup = new PaletteLookup(palette);
  const side = dither.startsWith("bayer-") ? Number(dither.slice("bayer-".length)) : 0;
  const pattern = side > 0 ? bayerPattern(side, (2 * 256) / palette.length) : undefined;
  const indexes = new Uint8Array(rgb.length / 3);
  for (let i = 0; i < indexes.length; i += 1) {
    const x = i % width;
    const y = (i - x) / width;
    const shift = pattern === undefined ? 0 : (pattern[(y % side) * side + (x % side)] ?? 0);
    const part = (c: number): number => {
      const value = rgb[i * 3 + c] ?? 0;
      return pattern === undefined ? value : Math.trunc(Math.min(Math.max(Math.fround(value + shift), 0), 255));
    };
    indexes[i] = lookup.find(part(0), part(1), part(2));
  }
  return indexes;
}

/** The ordered pattern of a side that is a power of two, spread over the distance between palette colours. */
function bayerPattern(side: number, spread: number): Float32Array {
  return normalizedBayer(side).map((value) => Math.fround(Math.fround(Math.fround(spread) * value) + 0.5));
}

function normalizedBayer(side: number): Float32Array {
  if (side === 1) return new Float32Array(1);
  const half = side / 2;
  const inner = normalizedBayer(half);
  const scale = side * side;
  const matrix = new Float32Array(scale);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const [above, below] = x < half ? [-1.5, 1.5] : [0.5, -0.5];
      const value = Math.fround(scale * (inner[(y % half) * half + (x % half)] ?? 0));
      matrix[y * side + x] = Math.fround(value + (y < half ? above : below)) / scale;
    }
  }
  return matrix;
}

const clip = (value: number): number => Math.min(Math.max(value, 0), 255);

/** Floyd and Steinberg's error diffusion in whole sixteenths, left to right in every row. */
function diffused(rgb: Uint8Array, width: number, height: number, palette: Palette): Uint8Array {
  const lookup = new PaletteLookup(palette);
  const indexes = new Uint8Array(width * height);
  const errors = new Int32Array((width + 1) * 3);
  const carried = new Int32Array(3);
  const below = new Int32Array(3);
  const beyond = new Int32Array(3);
  const value = new Int32Array(3);
  for (let y = 0; y < height; y += 1) {
    carried.fill(0);
    below.fill(0);
    beyond.fill(0);
    for (let x = 0; x < width; x += 1) {
      const at = y * width + x;
      for (let c = 0; c < 3; c += 1) {
        const error = (carried[c] ?? 0) + (errors[(x + 1) * 3 + c] ?? 0);
        value[c] = clip((rgb[at * 3 + c] ?? 0) + Math.trunc(error / 16));
      }
      const index = lookup.find(value[0] ?? 0, value[1] ?? 0, value[2] ?? 0);
      indexes[at] = index;
      for (let c = 0; c < 3; c += 1) {
        const error = (value[c] ?? 0) - (palette[index]?.[c] ?? 0);
        errors[x * 3 + c] = 3 * error + (below[c] ?? 0);
        below[c] = 5 * error + (beyond[c] ?? 0);
        beyond[c] = error;
        carried[c] = 7 * error;
      }
    }
    // Pillow stores blue's three numbers here instead of one number of each colour; the picture shows it.
    errors.set([below[2] ?? 0, beyond[2] ?? 0, beyond[2] ?? 0], width * 3);
  }
  return indexes;
}
