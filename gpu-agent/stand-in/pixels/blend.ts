/** Laying one picture over another: blend modes, masks, and the Porter-Duff operators. */
import { type ImageBatch, type MaskBatch, NodeError } from "../node.ts";
import { asMask, asPlane, clampUnit, framesOf, joinBatches, repeatToBatch, withChannels } from "./float-images.ts";
import { resize } from "./resample.ts";

const f = Math.fround;

type BlendMode = (a: number, b: number) => number;

const softer = (x: number): number => (x <= 0.25 ? f(f(f(f(f(16 * x) - 12) * x) + 4) * x) : f(Math.sqrt(x)));

const BLEND_MODES: Readonly<Record<string, BlendMode>> = {
  normal: (_a, b) => b,
  multiply: (a, b) => f(a * b),
  screen: (a, b) => f(1 - f(f(1 - a) * f(1 - b))),
  overlay: (a, b) => (a <= 0.5 ? f(f(2 * a) * b) : f(1 - f(f(2 * f(1 - a)) * f(1 - b)))),
  soft_light: (a, b) =>
    b <= 0.5 ? f(a - f(f(f(1 - f(2 * b)) * a) * f(1 - a))) : f(a + f(f(f(2 * b) - 1) * f(softer(a) - a))),
  difference: (a, b) => f(a - b),
};

/** The two pictures with the channels of the first; an image without alpha gets an opaque one where needed. */
export function withEqualChannels(
  destination: ImageBatch,
  source: ImageBatch,
): { destination: ImageBatch; source: ImageBatch } {
  if (destination.channels < source.channels) {
    return { destination, source: withChannels(source, destination.channels) };
  }
  return { destination: withChannels(destination, source.channels), source };
}

/**
 * Mixes `top`, blended with `bottom`, into `bottom` by `factor`. A top of another size is resized first.
 * @throws NodeError ValueError for an unknown mode
 */
export function blended(bottom: ImageBatch, top: ImageBatch, factor: number, mode: string): ImageBatch {
  const blend = BLEND_MODES[mode];
  if (blend === undefined) throw new NodeError("ValueError", `Unsupported blend mode: ${mode}`);
  const equal = withEqualChannels(bottom, top);
  const a = equal.destination;
  const sameShape =
    a.batch === equal.source.batch && a.height === equal.source.height && a.width === equal.source.width;
  const b = sameShape ? equal.source : resize(equal.source, a.width, a.height, "bicubic", "center");
  const [left, right] = broadcast(a, b);
  const data = new Float32Array(left.data.length);
  const keep = f(1 - factor);
  const take = f(factor);
  for (let i = 0; i < data.length; i += 1) {
    const x = left.data[i] ?? 0;
    data[i] = clampUnit(f(f(x * keep) + f(blend(x, right.data[i] ?? 0) * take)));
  }
  return { ...left, data };
}

/** Two batches of which one may be a single picture for all of the other; any other difference is an error. */
function broadcast(a: ImageBatch, b: ImageBatch): readonly [ImageBatch, ImageBatch] {
  if (a.batch === b.batch) return [a, b];
  if (a.batch !== 1 && b.batch !== 1) {
    throw new NodeError(
      "RuntimeError",
      `The size of tensor a (${a.batch}) must match the size of tensor b (${b.batch}) at non-singleton dimension 0`,
    );
  }
  const batch = Math.max(a.batch, b.batch);
  return [repeatToBatch(a, batch), repeatToBatch(b, batch)];
}

/**
 * Puts `source` onto `destination` with its upper left corner at (x, y): mask · source + (1 − mask) · destination.
 * @param options.mask stretched over the source; without one the source is opaque
 */
export function composited(
  target: ImageBatch,
  placed: ImageBatch,
  at: { x: number; y: number },
  options: { resizeSource: boolean; mask?: MaskBatch },
): ImageBatch {
  const equal = withEqualChannels(target, placed);
  const { destination } = equal;
  const sized = options.resizeSource
    ? resize(equal.source, destination.width, destination.height, "bilinear", "disabled")
    : equal.source;
  const source = repeatToBatch(sized, destination.batch);
  const x = Math.min(at.x, destination.width);
  const y = Math.min(at.y, destination.height);
  const w = Math.min(source.width, destination.width - x);
  const h = Math.min(source.height, destination.height - y);
  const mask =
    options.mask === undefined
      ? undefined
      : repeatToBatch(resize(asPlane(options.mask), source.width, source.height, "bilinear", "disabled"), source.batch);
  const data = destination.data.slice();
  const { channels } = destination;
  for (let b = 0; b < destination.batch; b += 1) {
    for (let row = 0; row < h; row += 1) {
      for (let column = 0; column < w; column += 1) {
        const from = (b * source.height + row) * source.width + column;
        const to = (b * destination.height + y + row) * destination.width + x + column;
        const share = mask === undefined ? 1 : (mask.data[from] ?? 0);
        const rest = f(1 - share);
        for (let c = 0; c < channels; c += 1) {
          const kept = f(rest * (data[to * channels + c] ?? 0));
          data[to * channels + c] = f(share * (source.data[from * channels + c] ?? 0)) + kept;
        }
      }
    }
  }
  return { ...destination, data };
}

/** One Porter-Duff operator on premultiplied colours: colour and alpha of the result. */
interface Operator {
  readonly color: (s: number, d: number, sa: number, da: number) => number;
  readonly alpha: (sa: number, da: number) => number;
}

const union = (sa: number, da: number): number => f(f(sa + da) - f(sa * da));
const both = (sa: number, da: number): number => f(sa * da);
const outside = (s: number, d: number, sa: number, da: number): number => f(f(f(1 - da) * s) + f(f(1 - sa) * d));

const OPERATORS: Readonly<Record<string, Operator>> = {
  ADD: { alpha: (sa, da) => clampUnit(f(sa + da)), color: (s, d) => clampUnit(f(s + d)) },
  CLEAR: { alpha: () => 0, color: () => 0 },
  DARKEN: { alpha: union, color: (s, d, sa, da) => f(outside(s, d, sa, da) + Math.min(s, d)) },
  DST: { alpha: (_sa, da) => da, color: (_s, d) => d },
  DST_ATOP: { alpha: (sa) => sa, color: (s, d, sa, da) => f(f(sa * d) + f(f(1 - da) * s)) },
  DST_IN: { alpha: both, color: (_s, d, sa) => f(d * sa) },
  DST_OUT: { alpha: (sa, da) => f(f(1 - sa) * da), color: (_s, d, sa) => f(f(1 - sa) * d) },
  DST_OVER: { alpha: (sa, da) => f(da + f(f(1 - da) * sa)), color: (s, d, _sa, da) => f(d + f(f(1 - da) * s)) },
  LIGHTEN: { alpha: union, color: (s, d, sa, da) => f(outside(s, d, sa, da) + Math.max(s, d)) },
  MULTIPLY: { alpha: both, color: (s, d) => f(s * d) },
  OVERLAY: {
    alpha: union,
    color: (s, d, sa, da) => (f(2 * d) < da ? f(f(2 * s) * d) : f(f(sa * da) - f(f(2 * f(da - s)) * f(sa - d)))),
  },
  SCREEN: { alpha: union, color: (s, d) => f(f(s + d) - f(s * d)) },
  SRC: { alpha: (sa) => sa, color: (s) => s },
  SRC_ATOP: { alpha: (_sa, da) => da, color: (s, d, sa, da) => f(f(da * s) + f(f(1 - sa) * d)) },
  SRC_IN: { alpha: both, color: (s, _d, _sa, da) => f(s * da) },
  SRC_OUT: { alpha: (sa, da) => f(f(1 - da) * sa), color: (s, _d, _sa, da) => f(f(1 - da) * s) },
  SRC_OVER: { alpha: (sa, da) => f(sa + f(f(1 - sa) * da)), color: (s, d, sa) => f(s + f(f(1 - sa) * d)) },
  XOR: { alpha: (sa, da) => f(f(f(1 - da) * sa) + f(f(1 - sa) * da)), color: outside },
};

const ALPHA_MIN = f(1e-5);

/**
 * Combines two pictures with their masks (0 = opaque, as ComfyUI's masks are) by a Porter-Duff operator.
 * @returns as many pictures as the shortest of the four batches has
 * @throws NodeError KeyError for an unknown operator
 */
export function porterDuff(
  source: ImageBatch,
  sourceMask: MaskBatch,
  destination: ImageBatch,
  destinationMask: MaskBatch,
  mode: string,
): { image: ImageBatch; mask: MaskBatch } {
  const operator = OPERATORS[mode];
  if (operator === undefined) throw new NodeError("KeyError", `'${mode}'`);
  if (source.channels !== destination.channels) throw new NodeError("AssertionError", "");
  const batch = Math.min(source.batch, sourceMask.batch, destination.batch, destinationMask.batch);
  const { width, height, channels } = destination;
  const fitted = (image: ImageBatch) =>
    image.width === width && image.height === height ? image : resize(image, width, height, "bicubic", "center");
  const src = fitted(framesOf(source, 0, batch)).data;
  const dst = framesOf(destination, 0, batch).data;
  const srcMask = fitted(framesOf(asPlane(sourceMask), 0, batch)).data;
  const dstMask = fitted(framesOf(asPlane(destinationMask), 0, batch)).data;
  const image = new Float32Array(dst.length);
  const mask = new Float32Array(dstMask.length);
  for (let i = 0; i < mask.length; i += 1) {
    const sa = f(1 - (srcMask[i] ?? 0));
    const da = f(1 - (dstMask[i] ?? 0));
    const alpha = operator.alpha(sa, da);
    for (let c = 0; c < channels; c += 1) {
      const at = i * channels + c;
      const color = operator.color(f((src[at] ?? 0) * sa), f((dst[at] ?? 0) * da), sa, da);
      image[at] = alpha > ALPHA_MIN ? clampUnit(f(color / alpha)) : 0;
    }
    mask[i] = 1 - alpha;
  }
  return { image: { batch, height, width, channels, data: image }, mask: { batch, height, width, data: mask } };
}

/** The picture with the mask as its alpha: 1 − mask, stretched over the picture. */
export function withAlpha(image: ImageBatch, mask: MaskBatch): ImageBatch {
  const batch = Math.min(image.batch, mask.batch);
  const alpha = asMask(resize(asPlane(mask), image.width, image.height, "bilinear", "disabled"));
  const frames = Array.from({ length: batch }, (_, b) => {
    const opaque = withChannels(withChannels(framesOf(image, b, 1), 3), 4);
    const from = b * image.height * image.width;
    const data = opaque.data.slice();
    for (let i = 0; i < image.height * image.width; i += 1) data[i * 4 + 3] = 1 - (alpha.data[from + i] ?? 0);
    return { ...opaque, data };
  });
  return joinBatches(frames);
}
