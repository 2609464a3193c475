/** Grey-level morphology with a full square: every channel for itself, as if nothing lay outside the picture. */
import type { ImageBatch } from "../node.ts";

type Pick = (a: number, b: number) => number;
const smaller: Pick = (a, b) => Math.min(b, a);
const larger: Pick = (a, b) => Math.max(b, a);

/** The smallest value of each square of `side` pixels around a pixel. */
export function eroded(image: ImageBatch, side: number): ImageBatch {
  return extremes(image, side, smaller, Math.floor(side / 2));
}

/** The largest value of each square of `side` pixels around a pixel. */
export function dilated(image: ImageBatch, side: number): ImageBatch {
  return extremes(image, side, larger, side - Math.floor(side / 2) - 1);
}

/** a − b in float32. */
export function difference(a: ImageBatch, b: ImageBatch): ImageBatch {
  return { ...a, data: a.data.map((value, i) => value - (b.data[i] ?? 0)) };
}

function extremes(image: ImageBatch, side: number, pick: Pick, before: number): ImageBatch {
  const { batch, height, width, channels } = image;
  const row = width * channels;
  const data = image.data.slice();
  for (let y = 0; y < batch * height; y += 1) {
    for (let c = 0; c < channels; c += 1) slide(data, y * row + c, channels, width, side, pick, before);
  }
  for (let b = 0; b < batch; b += 1) {
    for (let i = 0; i < row; i += 1) slide(data, b * height * row + i, row, height, side, pick, before);
  }
  return { ...image, data };
}

/**
 * Replaces each of `count` values by the extreme of its window, in a time that does not depend on the window: the
 * extremes of blocks of `side`, run forwards and backwards, meet in every window (van Herk and Gil-Werman).
 */
function slide(
  data: Float32Array,
  start: number,
  step: number,
  count: number,
  side: number,
  pick: Pick,
  before: number,
): void {
  const after = side - before - 1;
  const nothing = pick === larger ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  const padded = before + count + after;
  const forwards = new Float32Array(padded);
  const backwards = new Float32Array(padded);
  const at = (i: number): number =>
    i < before || i >= before + count ? nothing : (data[start + (i - before) * step] ?? 0);
  for (let i = 0; i < padded; i += 1) forwards[i] = i % side === 0 ? at(i) : pick(forwards[i - 1] ?? nothing, at(i));
  for (let i = padded - 1; i >= 0; i -= 1) {
    const endsBlock = i % side === side - 1 || i === padded - 1;
    backwards[i] = endsBlock ? at(i) : pick(backwards[i + 1] ?? nothing, at(i));
  }
  for (let i = 0; i < count; i += 1) {
    data[start + i * step] = pick(backwards[i] ?? nothing, forwards[i + side - 1] ?? nothing);
  }
}
