/** ComfyUI's blur and sharpen: a square gaussian kernel over a picture whose edges are mirrored. */
import { type ImageBatch, NodeError } from "../node.ts";
import { clampUnit } from "./float-images.ts";

const f = Math.fround;

/**
 * Softens the picture. The kernel's coordinates run from −1 to 1 whatever its size, so `sigma` is relative to it.
 * @throws NodeError RuntimeError when the picture is not larger than the radius
 */
export function blurred(image: ImageBatch, radius: number, sigma: number): ImageBatch {
  return convolved(image, gaussianKernel(radius * 2 + 1, sigma), radius);
}

/** Adds what a blur of the same size would take away, `alpha` times ten, and cuts to 0..1. */
export function sharpened(image: ImageBatch, radius: number, sigma: number, alpha: number): ImageBatch {
  const side = radius * 2 + 1;
  const kernel = gaussianKernel(side, sigma).map((value) => f(value * f(-(alpha * 10))));
  const center = radius * side + radius;
  kernel[center] = f(f((kernel[center] ?? 0) - sumOf(kernel)) + 1);
  const sharp = convolved(image, kernel, radius);
  return { ...sharp, data: sharp.data.map(clampUnit) };
}

function gaussianKernel(side: number, sigma: number): Float32Array {
  // Like linspace, the second half counts down from the end, so that the kernel is symmetric to the last bit.
  const step = f(2 / (side - 1));
  const at = (i: number) => (i < side / 2 ? f(-1 + step * i) : f(1 - step * (side - 1 - i)));
  const kernel = new Float32Array(side * side);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const distance = f(Math.sqrt(f(f(at(x) * at(x)) + f(at(y) * at(y)))));
      kernel[y * side + x] = Math.exp(f(f(-f(distance * distance)) / f(2 * sigma * sigma)));
    }
  }
  const sum = sumOf(kernel);
  return kernel.map((value) => f(value / sum));
}

const LANES = 8;
const ROWS = 4;

/** A float32 sum in PyTorch's order: eight lanes side by side, four rows of them at a time, the rest first. */
function sumOf(values: Float32Array): number {
  const vectors = Math.floor(values.length / LANES);
  let sum = 0;
  for (let i = vectors * LANES; i < values.length; i += 1) sum = f(sum + (values[i] ?? 0));
  for (let lane = 0; lane < LANES; lane += 1) sum = f(sum + laneSum(values, lane, vectors));
  return sum;
}

function laneSum(values: Float32Array, lane: number, vectors: number): number {
  const whole = Math.floor(vectors / ROWS);
  const rows = Array.from({ length: ROWS }, (_, row) => {
    let sum = 0;
    let block = 0;
    for (let i = 0; i < whole; i += 1) {
      block = f(block + (values[(i * ROWS + row) * LANES + lane] ?? 0));
      if (i % SUM_BLOCK === SUM_BLOCK - 1) {
        sum = f(sum + block);
        block = 0;
      }
    }
    return f(block + sum);
  });
  for (let i = whole * ROWS; i < vectors; i += 1) rows[0] = f((rows[0] ?? 0) + (values[i * LANES + lane] ?? 0));
  return rows.reduce((total, row) => f(total + row));
}

/** After this many additions a partial sum is put aside, so that rounding errors do not pile up. */
const SUM_BLOCK = 16;

function convolved(image: ImageBatch, kernel: Float32Array, radius: number): ImageBatch {
  const { batch, height, width, channels } = image;
  if (radius >= height || radius >= width) {
    throw new NodeError(
      "RuntimeError",
      "Padding size should be less than the corresponding input dimension, but got: padding " +
        `(${radius}, ${radius}) at dimension ${radius >= width ? 3 : 2} of input ` +
        `[${batch}, ${channels}, ${height}, ${width}]`,
    );
  }
  const side = radius * 2 + 1;
  const columns = mirroredIndexes(width, radius);
  const rows = mirroredIndexes(height, radius);
  const data = new Float32Array(image.data.length);
  const sums = new Float32Array(width * channels);
  const padded = new Float32Array((width + 2 * radius) * channels);
  for (let b = 0; b < batch; b += 1) {
    for (let y = 0; y < height; y += 1) {
      sums.fill(0);
      for (let ky = 0; ky < side; ky += 1) {
        const start = (b * height + (rows[y + ky] ?? 0)) * width;
        for (const [x, column] of columns.entries()) {
          for (let c = 0; c < channels; c += 1) {
            padded[x * channels + c] = image.data[(start + column) * channels + c] ?? 0;
          }
        }
        for (let kx = 0; kx < side; kx += 1) {
          const weight = kernel[ky * side + kx] ?? 0;
          const shift = kx * channels;
          for (let i = 0; i < sums.length; i += 1) sums[i] = (sums[i] ?? 0) + weight * (padded[shift + i] ?? 0);
        }
      }
      data.set(sums, (b * height + y) * width * channels);
    }
  }
  return { ...image, data };
}

/** Indexes −radius … size−1+radius, reflected at the edges without repeating the edge itself. */
function mirroredIndexes(size: number, radius: number): number[] {
  return Array.from({ length: size + 2 * radius }, (_, i) => {
    const at = Math.abs(i - radius);
    return at < size ? at : 2 * (size - 1) - at;
  });
}
