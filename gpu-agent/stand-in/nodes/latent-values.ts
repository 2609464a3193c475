/**
 * Latents without a model: what has been sampled so far, as a recipe that can be drawn at any size. Only decoding draws
 * it, so a sampler costs nothing but its previews.
 */
import type { ImageBatch, MaskBatch } from "../node.ts";
import { NodeError } from "../node.ts";
import { asPlane, filledImage, framesOf, joinBatches } from "../pixels/float-images.ts";
import { resize } from "../pixels/resample.ts";
import { paintScene } from "../pixels/stand-in-picture.ts";
import type { Hint } from "./conditioning-values.ts";

/** What a sampler was told; with the index of the picture it decides every pixel. */
export interface Recipe {
  readonly prompt: string;
  readonly seed: bigint;
  readonly steps: number;
  readonly cfg: number;
  readonly variant: string;
  readonly hints: readonly Hint[];
}

export type Content =
  /** Nothing yet: what an empty latent decodes to. */
  | { readonly type: "empty" }
  /** Pictures, one per frame. */
  | { readonly type: "pixels"; readonly image: ImageBatch }
  | {
      readonly type: "painted";
      readonly recipe: Recipe;
      /** What was there before; shows through where less than everything was repainted. */
      readonly under: Content;
      /** How much was repainted, 0..1. */
      readonly denoise: number;
      /** Where it was repainted; everywhere without one. */
      readonly mask?: MaskBatch;
      /** Noise left in, 0..1: 0 when sampled to the end. */
      readonly noise: number;
    };

/** A LATENT. */
export interface Latent {
  readonly latent: true;
  readonly batch: number;
  /** Pictures per batch entry: 1, or the length of a video. */
  readonly frames: number;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  readonly content: Content;
  readonly noiseMask?: MaskBatch;
  /** Which number of noise each batch entry gets; 0, 1, 2 … without it. */
  readonly noiseIndex?: readonly number[];
  /** Set for sound, which has a length instead of a size. */
  readonly seconds?: number;
}

export function isLatent(value: unknown): value is Latent {
  return typeof value === "object" && value !== null && "latent" in value && value.latent === true;
}

/** @throws NodeError when the value is none, as when a node of another kind was linked */
export function toLatent(value: unknown): Latent {
  if (isLatent(value)) return value;
  throw new NodeError("TypeError", "'NoneType' object is not subscriptable");
}

export function emptyLatent(size: { width: number; height: number; batch: number; frames?: number }): Latent {
  return { latent: true, frames: 1, ...size, content: { type: "empty" } };
}

/** Sides of latents are whole eighths of pixels. */
export const LATENT_CELL = 8;

/** The latent of a picture; as a VAE does, it cuts sides to whole eighths, evenly on both sides. */
export function pixelLatent(image: ImageBatch): Latent {
  const width = Math.max(LATENT_CELL, Math.floor(image.width / LATENT_CELL) * LATENT_CELL);
  const height = Math.max(LATENT_CELL, Math.floor(image.height / LATENT_CELL) * LATENT_CELL);
  const whole = width === image.width && height === image.height;
  const fitted = whole ? image : resize(image, width, height, "bilinear", "center");
  return { latent: true, batch: image.batch, frames: 1, width, height, content: { type: "pixels", image: fitted } };
}

/** The grey that an empty latent decodes to. */
const EMPTY_GREY = 0.5;

/** Draws the frames `from` … `from + count - 1` of all batch entries' frames at a size. */
export function render(
  latent: Latent,
  width: number = latent.width,
  height: number = latent.height,
  from = 0,
  count: number = latent.batch * latent.frames,
): ImageBatch {
  const frames = Array.from({ length: count }, (_, i) => drawFrame(latent.content, latent, from + i, width, height));
  return joinBatches(frames);
}

function drawFrame(content: Content, latent: Latent, frame: number, width: number, height: number): ImageBatch {
  switch (content.type) {
    case "empty":
      return filledImage(1, height, width, 3, EMPTY_GREY);
    case "pixels": {
      const { image } = content;
      const one = framesOf(image, Math.min(frame, image.batch - 1), 1);
      return one.width === width && one.height === height ? one : resize(one, width, height, "bilinear", "disabled");
    }
    case "painted":
      return drawPainted(content, latent, frame, width, height);
    default:
      throw new Error(`unhandled: ${JSON.stringify(content satisfies never)}`);
  }
}

function drawPainted(
  content: Extract<Content, { type: "painted" }>,
  latent: Latent,
  frame: number,
  width: number,
  height: number,
): ImageBatch {
  const { recipe, denoise, under, noise } = content;
  const entry = Math.floor(frame / latent.frames);
  const index = latent.noiseIndex?.[entry] ?? entry;
  const time = latent.frames > 1 ? (frame % latent.frames) / latent.frames : 0;
  let picture = paintScene({ ...recipe, index, time }, width, height);
  for (const hint of recipe.hints) picture = withHint(picture, hint, frame);
  const shares = content.mask === undefined ? undefined : maskFrame(content.mask, frame, width, height);
  const before = denoise < 1 || shares !== undefined ? drawFrame(under, latent, frame, width, height) : undefined;
  const { data } = picture;
  for (let i = 0; i < width * height; i += 1) {
    const share = denoise * (shares?.data[i] ?? 1);
    for (let c = 0; c < 3; c += 1) {
      const at = i * 3 + c;
      const old = before?.data[i * before.channels + c] ?? 0;
      const mixed = old + ((data[at] ?? 0) - old) * share;
      data[at] = noise === 0 ? mixed : mixed * (1 - noise) + noiseAt(at, frame) * noise;
    }
  }
  return picture;
}

function withHint(picture: ImageBatch, hint: Hint, frame: number): ImageBatch {
  const source = framesOf(hint.image, Math.min(frame, hint.image.batch - 1), 1);
  const fitted = resize(source, picture.width, picture.height, "bilinear", "center");
  const { data } = picture;
  for (let i = 0; i < picture.width * picture.height; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      const shown = fitted.data[i * fitted.channels + Math.min(c, fitted.channels - 1)] ?? 0;
      data[i * 3 + c] = (data[i * 3 + c] ?? 0) * (1 - hint.strength) + shown * hint.strength;
    }
  }
  return picture;
}

function maskFrame(mask: MaskBatch, frame: number, width: number, height: number): ImageBatch {
  return resize(framesOf(asPlane(mask), frame % mask.batch, 1), width, height, "bilinear", "disabled");
}

/** A number in [0, 1) for a value of a frame: what unsampled noise looks like. */
function noiseAt(at: number, frame: number): number {
  let hash = Math.imul(at + 1, 0x27d4eb2d) ^ Math.imul(frame + 1, 0x165667b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 12)) >>> 0) / 0x1_0000_0000;
}
