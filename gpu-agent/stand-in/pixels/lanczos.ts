/**
 * Lanczos resizing as Pillow does it: on 8-bit pixels, antialiased, across first and then down, with coefficients of
 * 22 bits and an 8-bit picture in between. ComfyUI turns its floats into bytes for it, so the result is byte-exact.
 */
import type { ImageBatch } from "../node.ts";
import { fromBytes, toBytes } from "./float-images.ts";

const PRECISION_BITS = 32 - 8 - 2;
const LOBES = 3;

/** Resizes every picture; the result holds whole 255ths. */
export function resizeLanczos(image: ImageBatch, width: number, height: number): ImageBatch {
  const { batch, channels } = image;
  const frame = image.height * image.width * channels;
  const bytes = new Uint8Array(batch * height * width * channels);
  for (let b = 0; b < batch; b += 1) {
    const source = toBytes(image.data.subarray(b * frame, (b + 1) * frame));
    bytes.set(resizeBytes(source, image, width, height), b * height * width * channels);
  }
  return fromBytes(bytes, { batch, height, width, channels });
}

function resizeBytes(source: Uint8Array, size: ImageBatch, width: number, height: number): Uint8Array {
  const { channels } = size;
  const opaque = channels === 4 ? premultiplied(source) : source;
  const across = size.width === width ? opaque : resizeAcross(opaque, size.height, size.width, width, channels);
  const both = size.height === height ? across : resizeDown(across, size.height, height, width * channels);
  return channels === 4 ? unpremultiplied(both) : both;
}

interface Kernel {
  readonly starts: Int32Array;
  readonly counts: Int32Array;
  /** `taps` whole numbers per output pixel, in units of 2^-22. */
  readonly weights: Int32Array;
  readonly taps: number;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

function kernelFor(from: number, to: number): Kernel {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = LOBES * stretch;
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(to);
  const counts = new Int32Array(to);
  const weights = new Int32Array(to * taps);
  for (let d = 0; d < to; d += 1) {
    const center = (d + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const shares: number[] = [];
    let sum = 0;
    for (let x = start; x < end; x += 1) {
      const at = (x - center + 0.5) * (1 / stretch);
      const share = Math.abs(at) < LOBES ? sinc(at) * sinc(at / LOBES) : 0;
      shares.push(share);
      sum += share;
    }
    for (const [k, share] of shares.entries()) {
      const scaled = (share / sum) * (1 << PRECISION_BITS);
      weights[d * taps + k] = scaled < 0 ? Math.trunc(scaled - 0.5) : Math.trunc(scaled + 0.5);
    }
    starts[d] = start;
    counts[d] = end - start;
  }
  return { starts, counts, weights, taps };
}

function toByte(sum: number): number {
  const value = sum >> PRECISION_BITS;
  return value < 0 ? 0 : Math.min(value, 255);
}

function resizeAcross(bytes: Uint8Array, rows: number, from: number, to: number, channels: number): Uint8Array {
  const kernel = kernelFor(from, to);
  const out = new Uint8Array(rows * to * channels);
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < to; x += 1) {
      const start = kernel.starts[x] ?? 0;
      const count = kernel.counts[x] ?? 0;
      for (let c = 0; c < channels; c += 1) {
        let sum = 1 << (PRECISION_BITS - 1);
        let at = (y * from + start) * channels + c;
        for (let k = 0; k < count; k += 1) {
          sum += (bytes[at] ?? 0) * (kernel.weights[x * kernel.taps + k] ?? 0);
          at += channels;
        }
        out[(y * to + x) * channels + c] = toByte(sum);
      }
    }
  }
  return out;
}

function resizeDown(bytes: Uint8Array, from: number, to: number, stride: number): Uint8Array {
  const kernel = kernelFor(from, to);
  const out = new Uint8Array(to * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < to; y += 1) {
    const start = kernel.starts[y] ?? 0;
    sums.fill(1 << (PRECISION_BITS - 1));
    for (let k = 0; k < (kernel.counts[y] ?? 0); k += 1) {
      const weight = kernel.weights[y * kernel.taps + k] ?? 0;
      const row = (start + k) * stride;
      for (let i = 0; i < stride; i += 1) sums[i] = (sums[i] ?? 0) + (bytes[row + i] ?? 0) * weight;
    }
    for (let i = 0; i < stride; i += 1) out[y * stride + i] = toByte(sums[i] ?? 0);
  }
  return out;
}

/** Pillow resizes colours with alpha only after multiplying them by it, and divides afterwards. */
function premultiplied(bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  for (let i = 0; i < out.length; i += 4) {
    const alpha = out[i + 3] ?? 0;
    for (let c = 0; c < 3; c += 1) {
      const product = (out[i + c] ?? 0) * alpha + 128;
      out[i + c] = ((product >> 8) + product) >> 8;
    }
  }
  return out;
}

function unpremultiplied(bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  for (let i = 0; i < out.length; i += 4) {
    const alpha = out[i + 3] ?? 0;
    if (alpha === 255 || alpha === 0) continue;
    for (let c = 0; c < 3; c += 1) out[i + c] = Math.min(255, Math.trunc((255 * (out[i + c] ?? 0)) / alpha));
  }
  return out;
}
