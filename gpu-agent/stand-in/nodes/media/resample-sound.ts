/** Changing a sound's rate by windowed sinc interpolation, with torchaudio's defaults. */

const ZERO_CROSSINGS = 6;
const ROLLOFF = 0.99;

/** @returns `ceil(length · to / from)` samples */
export function resampled(samples: Float32Array, from: number, to: number): Float32Array {
  const common = greatestCommonDivisor(from, to);
  const slow = from / common;
  const fast = to / common;
  const cutoff = Math.min(slow, fast) * ROLLOFF;
  const width = Math.ceil((ZERO_CROSSINGS * slow) / cutoff);
  const kernels = Array.from({ length: fast }, (_, phase) =>
    Float32Array.from({ length: 2 * width + slow }, (_unused, k) =>
      tap(phase / fast, (k - width) / slow, cutoff, slow),
    ),
  );
  const out = new Float32Array(Math.ceil((samples.length * fast) / slow));
  for (let i = 0; i < out.length; i += 1) {
    const kernel = kernels[i % fast];
    const start = Math.floor(i / fast) * slow - width;
    let sum = 0;
    for (let k = 0; k < 2 * width + slow; k += 1) sum += (kernel?.[k] ?? 0) * (samples[start + k] ?? 0);
    out[i] = sum;
  }
  return out;
}

function tap(phase: number, at: number, cutoff: number, slow: number): number {
  const t = Math.max(-ZERO_CROSSINGS, Math.min(ZERO_CROSSINGS, (at - phase) * cutoff));
  const window = Math.cos((t * Math.PI) / ZERO_CROSSINGS / 2) ** 2;
  const sinc = t === 0 ? 1 : Math.sin(t * Math.PI) / (t * Math.PI);
  return (sinc * window * cutoff) / slow;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
