/**
 * Resizing as `torch.nn.functional.interpolate` does it, without antialiasing, and ComfyUI's wrapper around it.
 * A pixel's centre lies at half: output pixel d looks at input position (d + 0.5) · in / out − 0.5.
 */
import type { ImageBatch } from "../node.ts";
import { NodeError } from "../node.ts";
import { cropped, roundHalfEven } from "./float-images.ts";
import { resizeLanczos } from "./lanczos.ts";

const f = Math.fround;

export type Crop = "disabled" | "center";

/**
 * Resizes a batch as ComfyUI's image nodes do.
 * @param crop "center" first trims the picture to the wanted proportions
 * @throws NodeError RuntimeError when the wanted size is empty
 */
export function resize(image: ImageBatch, width: number, height: number, method: string, crop: Crop): ImageBatch {
  const source = crop === "center" ? cropToProportions(image, width / height) : image;
  if (width <= 0 || height <= 0) {
    if (method === "lanczos") throw new NodeError("ValueError", "height and width must be > 0");
    throw new NodeError(
      "RuntimeError",
      `Input and output sizes should be greater than 0, but got input (H: ${source.height}, W: ${source.width}) ` +
        `output (H: ${height}, W: ${width})`,
    );
  }
  switch (method) {
    case "nearest-exact":
      return resizeNearest(source, width, height);
    case "bilinear":
      return resizeBilinear(source, width, height);
    case "bicubic":
      return resizeWithTaps(
        source,
        width,
        height,
        bicubicTaps(source.width, width),
        bicubicTaps(source.height, height),
      );
    case "area":
      return resizeArea(source, width, height);
    case "lanczos":
      return resizeLanczos(source, width, height);
    default:
      throw new NodeError("NotImplementedError", `Input Error: no interpolation called ${method}`);
  }
}

function cropToProportions(image: ImageBatch, wanted: number): ImageBatch {
  const had = image.width / image.height;
  const x = had > wanted ? roundHalfEven((image.width - image.width * (wanted / had)) / 2) : 0;
  const y = had < wanted ? roundHalfEven((image.height - image.height * (had / wanted)) / 2) : 0;
  return cropped(image, x, y, image.width - 2 * x, image.height - 2 * y);
}

function resizeNearest(image: ImageBatch, width: number, height: number): ImageBatch {
  const columns = nearestSources(image.width, width);
  const rows = nearestSources(image.height, height);
  const { batch, channels } = image;
  const data = new Float32Array(batch * height * width * channels);
  let at = 0;
  for (let b = 0; b < batch; b += 1) {
    for (const row of rows) {
      const start = (b * image.height + row) * image.width;
      for (const column of columns) {
        const from = (start + column) * channels;
        for (let c = 0; c < channels; c += 1) data[at++] = image.data[from + c] ?? 0;
      }
    }
  }
  return { batch, height, width, channels, data };
}

function nearestSources(from: number, to: number): number[] {
  const scale = f(from / to);
  return Array.from({ length: to }, (_, d) => Math.min(Math.floor(f(f(d + 0.5) * scale)), from - 1));
}

/** The input pixels an output pixel is made of, and their float32 weights. */
interface Taps {
  readonly count: number;
  readonly sources: Int32Array;
  readonly weights: Float32Array;
}

function bilinearTaps(from: number, to: number): Taps {
  const scale = f(from / to);
  const sources = new Int32Array(to * 2);
  const weights = new Float32Array(to * 2);
  for (let d = 0; d < to; d += 1) {
    const at = from === to ? d : Math.max(0, f(scale * (d + 0.5) - 0.5));
    const first = Math.min(Math.floor(at), from - 1);
    const second = f(Math.min(Math.max(f(at - first), 0), 1));
    sources[d * 2] = first;
    sources[d * 2 + 1] = first < from - 1 ? first + 1 : first;
    weights[d * 2] = f(1 - second);
    weights[d * 2 + 1] = second;
  }
  return { count: 2, sources, weights };
}

const CUBIC = -0.75;
// Where a sum is rounded only once, the processor instruction that PyTorch is compiled to multiplies and adds at once.
const cubicNear = (x: number): number => f(f(f(f((CUBIC + 2) * x - (CUBIC + 3)) * x) * x) + 1);
const cubicFar = (x: number): number => f(f(f(f(CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x) - 4 * CUBIC);

function bicubicTaps(from: number, to: number): Taps {
  const scale = f(from / to);
  const sources = new Int32Array(to * 4);
  const weights = new Float32Array(to * 4);
  for (let d = 0; d < to; d += 1) {
    const at = f(scale * (d + 0.5) - 0.5);
    const first = Math.floor(at);
    const t = f(at - first);
    const back = f(1 - t);
    weights.set([cubicFar(f(t + 1)), cubicNear(t), cubicNear(back), cubicFar(f(back + 1))], d * 4);
    for (let k = 0; k < 4; k += 1) sources[d * 4 + k] = Math.min(Math.max(first - 1 + k, 0), from - 1);
  }
  return { count: 4, sources, weights };
}

/** PyTorch multiplies the second tap first and adds the others to it, each addition rounding once. */
const TAP_ORDER: Readonly<Record<number, readonly number[]>> = { 2: [1, 0], 4: [1, 0, 2, 3] };

function resizeWithTaps(image: ImageBatch, width: number, height: number, columns: Taps, rows: Taps): ImageBatch {
  const { batch, channels } = image;
  const data = new Float32Array(batch * height * width * channels);
  const stride = image.width * channels;
  const order = TAP_ORDER[rows.count] ?? [];
  // One output row at a time: the input rows it needs, each resized across, then summed down.
  const across = new Map<number, Float32Array>();
  for (let b = 0; b < batch; b += 1) {
    across.clear();
    const frame = image.data.subarray(b * image.height * stride, (b + 1) * image.height * stride);
    for (let y = 0; y < height; y += 1) {
      const out = data.subarray((b * height + y) * width * channels, (b * height + y + 1) * width * channels);
      const needed = rows.sources.subarray(y * rows.count, (y + 1) * rows.count);
      for (const row of across.keys()) if (!needed.includes(row)) across.delete(row);
      for (const k of order) {
        const source = needed[k] ?? 0;
        let line = across.get(source);
        if (line === undefined) {
          line = resizeRow(frame.subarray(source * stride, (source + 1) * stride), columns, channels);
          across.set(source, line);
        }
        const weight = rows.weights[y * rows.count + k] ?? 0;
        for (let i = 0; i < out.length; i += 1) out[i] = (out[i] ?? 0) + weight * (line[i] ?? 0);
      }
    }
  }
  return { batch, height, width, channels, data };
}

function resizeRow(row: Float32Array, taps: Taps, channels: number): Float32Array {
  const width = taps.sources.length / taps.count;
  const order = TAP_ORDER[taps.count] ?? [];
  const line = new Float32Array(width * channels);
  for (const k of order) {
    for (let x = 0; x < width; x += 1) {
      const weight = taps.weights[x * taps.count + k] ?? 0;
      const from = (taps.sources[x * taps.count + k] ?? 0) * channels;
      for (let c = 0; c < channels; c += 1) {
        const at = x * channels + c;
        line[at] = (line[at] ?? 0) + weight * (row[from + c] ?? 0);
      }
    }
  }
  return line;
}

/** Up to this sum of sides, and for pictures with alpha, PyTorch takes its other bilinear routine. */
const SMALL_SIDES_MAX = 128;

function resizeBilinear(image: ImageBatch, width: number, height: number): ImageBatch {
  const columns = bilinearTaps(image.width, width);
  const rows = bilinearTaps(image.height, height);
  const isSmall = width + height <= SMALL_SIDES_MAX || image.channels > 3;
  return isSmall
    ? resizeByFourWeights(image, width, height, columns, rows)
    : resizeWithTaps(image, width, height, columns, rows);
}

/** The routine that multiplies the weights of row and column first. */
function resizeByFourWeights(image: ImageBatch, width: number, height: number, columns: Taps, rows: Taps): ImageBatch {
  const { batch, channels, data: from } = image;
  const data = new Float32Array(batch * height * width * channels);
  let at = 0;
  for (let b = 0; b < batch; b += 1) {
    for (let y = 0; y < height; y += 1) {
      const upper = (b * image.height + (rows.sources[y * 2] ?? 0)) * image.width;
      const lower = (b * image.height + (rows.sources[y * 2 + 1] ?? 0)) * image.width;
      const [top = 0, bottom = 0] = rows.weights.subarray(y * 2, y * 2 + 2);
      for (let x = 0; x < width; x += 1) {
        const left = columns.sources[x * 2] ?? 0;
        const right = columns.sources[x * 2 + 1] ?? 0;
        const leftWeight = columns.weights[x * 2] ?? 0;
        const rightWeight = columns.weights[x * 2 + 1] ?? 0;
        for (let c = 0; c < channels; c += 1) {
          let sum = f(f(top * rightWeight) * (from[(upper + right) * channels + c] ?? 0));
          sum = f(sum + f(top * leftWeight) * (from[(upper + left) * channels + c] ?? 0));
          sum = f(sum + f(bottom * leftWeight) * (from[(lower + left) * channels + c] ?? 0));
          data[at++] = sum + f(bottom * rightWeight) * (from[(lower + right) * channels + c] ?? 0);
        }
      }
    }
  }
  return { batch, height, width, channels, data };
}

/** The mean over the input pixels that an output pixel touches at all. */
function resizeArea(image: ImageBatch, width: number, height: number): ImageBatch {
  const { batch, channels } = image;
  const data = new Float32Array(batch * height * width * channels);
  let at = 0;
  for (let b = 0; b < batch; b += 1) {
    for (let y = 0; y < height; y += 1) {
      const top = Math.floor((y * image.height) / height);
      const bottom = Math.ceil(((y + 1) * image.height) / height);
      for (let x = 0; x < width; x += 1) {
        const left = Math.floor((x * image.width) / width);
        const right = Math.ceil(((x + 1) * image.width) / width);
        for (let c = 0; c < channels; c += 1) {
          let sum = 0;
          for (let row = top; row < bottom; row += 1) {
            const start = (b * image.height + row) * image.width;
            for (let column = left; column < right; column += 1) {
              sum = f(sum + (image.data[(start + column) * channels + c] ?? 0));
            }
          }
          data[at++] = f(f(sum / (bottom - top)) / (right - left));
        }
      }
    }
  }
  return { batch, height, width, channels, data };
}
