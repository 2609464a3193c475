/** Edge detection after Canny, with the steps and constants of the kornia library that ComfyUI uses. */
import type { ImageBatch } from "../node.ts";

const f = Math.fround;
const BLUR = gaussianFive();
const EPSILON = f(1e-6);
const SOBEL_X = [-1, 0, 1, -2, 0, 2, -1, 0, 1];
const SOBEL_Y = [-1, -2, -1, 0, 0, 0, 1, 2, 1];
/** The gradient length of a pixel whose neighbours are all alike. */
const FLAT = f(Math.sqrt(EPSILON));

function gaussianFive(): Float32Array {
  const weights = Float32Array.from([-2, -1, 0, 1, 2], (x) => Math.exp(-(x * x) / 2));
  const sum = weights.reduce((total, weight) => f(total + weight), 0);
  return weights.map((weight) => f(weight / sum));
}

/** White edges on black, in three channels. `low` and `high` are gradient lengths: between them an edge must touch a stronger one. */
export function cannyEdges(image: ImageBatch, low: number, high: number): ImageBatch {
  const { batch, height, width } = image;
  const data = new Float32Array(batch * height * width * 3);
  for (let b = 0; b < batch; b += 1) {
    const edges = edgesOf(blurred(grey(image, b), height, width), height, width, low, high);
    const at = b * edges.length;
    for (let i = 0; i < edges.length; i += 1) data.fill(edges[i] ?? 0, (at + i) * 3, (at + i) * 3 + 3);
  }
  return { batch, height, width, channels: 3, data };
}

function grey(image: ImageBatch, frame: number): Float32Array {
  const size = image.height * image.width;
  const { data, channels } = image;
  const out = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    const at = (frame * size + i) * channels;
    const red = f(f(0.299) * (data[at] ?? 0));
    const yellow = f(red + f(0.587) * (data[at + 1] ?? 0));
    out[i] = yellow + f(0.114) * (data[at + 2] ?? 0);
  }
  return out;
}

const reflected = (i: number, size: number): number => (i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i);
const clamped = (i: number, size: number): number => Math.min(Math.max(i, 0), size - 1);

function blurred(plane: Float32Array, height: number, width: number): Float32Array {
  const pass = (from: Float32Array, at: (x: number, y: number, k: number) => number) => {
    const out = new Float32Array(from.length);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let k = -2; k <= 2; k += 1) sum = f(sum + f((BLUR[k + 2] ?? 0) * (from[at(x, y, k)] ?? 0)));
        out[y * width + x] = sum;
      }
    }
    return out;
  };
  const across = pass(plane, (x, y, k) => y * width + reflected(x + k, width));
  return pass(across, (x, y, k) => reflected(y + k, height) * width + x);
}

/** The eight neighbours from the right towards below, as gradient directions are numbered. */
const NEIGHBOURS = [
  [1, 0],
  [1, 1],
  [0, 1],
  [-1, 1],
  [-1, 0],
  [-1, -1],
  [0, -1],
  [1, -1],
] as const;

function edgesOf(plane: Float32Array, height: number, width: number, low: number, high: number): Uint8Array {
  const at = (x: number, y: number): number => plane[clamped(y, height) * width + clamped(x, width)] ?? 0;
  const slope = (kernel: readonly number[], x: number, y: number): number => {
    let sum = 0;
    for (let k = 0; k < 9; k += 1) sum = f(sum + (kernel[k] ?? 0) * at(x - 1 + (k % 3), y - 1 + Math.floor(k / 3)));
    return sum;
  };
  const lengths = new Float32Array(plane.length);
  const directions = new Uint8Array(plane.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const gx = slope(SOBEL_X, x, y);
      const gy = slope(SOBEL_Y, x, y);
      lengths[y * width + x] = Math.sqrt(f(f(f(gx * gx) + f(gy * gy)) + EPSILON));
      directions[y * width + x] = (Math.round(Math.atan2(gy, gx) / (Math.PI / 4)) + 8) % 8;
    }
  }
  const edges = new Uint8Array(plane.length);
  const strong: number[] = [];
  const lengthAt = (x: number, y: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? FLAT : (lengths[y * width + x] ?? FLAT);
  // Of two equal neighbours across a step the left or upper one is kept; diagonally both must be smaller.
  const beats = (length: number, x: number, y: number, direction: number): boolean => {
    const [dx, dy] = NEIGHBOURS[direction] ?? [0, 0];
    const other = lengthAt(x + dx, y + dy);
    return length > other || (length === other && (direction === 0 || direction === 2));
  };
  const candidates = new Uint8Array(plane.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const i = y * width + x;
      const length = lengths[i] ?? 0;
      const direction = directions[i] ?? 0;
      const isRidge = beats(length, x, y, direction) && beats(length, x, y, (direction + 4) % 8);
      if (!isRidge || length <= FLAT || length <= low) continue;
      if (length > high) {
        edges[i] = 1;
        strong.push(i);
      } else candidates[i] = 1;
    }
  }
  followEdges(edges, candidates, strong, width, height);
  return edges;
}

/** Weak edges become strong when a strong one touches them, and so on until nothing changes. */
function followEdges(edges: Uint8Array, weak: Uint8Array, queue: number[], width: number, height: number): void {
  for (let i = queue.pop(); i !== undefined; i = queue.pop()) {
    const x = i % width;
    const y = Math.floor(i / width);
    for (const [dx, dy] of NEIGHBOURS) {
      const nx = x + dx;
      const ny = y + dy;
      if (nx < 0 || ny < 0 || nx >= width || ny >= height) continue;
      const neighbour = ny * width + nx;
      if (weak[neighbour] !== 1 || edges[neighbour] === 1) continue;
      edges[neighbour] = 1;
      queue.push(neighbour);
    }
  }
}
