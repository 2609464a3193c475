/** Nodes that make, move and combine latents, and that turn them into pictures and back. */
import { setImmediate } from "node:timers/promises";
import type { ImageBatch, NodeImplementation, NodeInputs } from "../node.ts";
import { composited } from "../pixels/blend.ts";
import {
  asMask,
  asPlane,
  cropped,
  framesOf,
  joinBatches,
  mapped,
  mirrored,
  repeatToBatch,
  roundHalfEven,
  turned,
} from "../pixels/float-images.ts";
import { grown } from "../pixels/mask-shapes.ts";
import { resize } from "../pixels/resample.ts";
import { flagOf, imageOf, maskOf, numberOf, optionalMask, textOf } from "./inputs.ts";
import { emptyLatent, LATENT_CELL, type Latent, pixelLatent, render, toLatent } from "./latent-values.ts";

const one = (latent: Latent) => ({ outputs: [latent] });
const cells = (pixels: number): number => Math.max(1, Math.floor(pixels / LATENT_CELL)) * LATENT_CELL;

const emptyImage: NodeImplementation = {
  run: (inputs) =>
    one(
      emptyLatent({
        width: cells(numberOf(inputs, "width")),
        height: cells(numberOf(inputs, "height")),
        batch: numberOf(inputs, "batch_size"),
      }),
    ),
};

/** An empty video; models count frames in groups of `group` after the first. */
function emptyVideo(group: number): NodeImplementation {
  return { run: (inputs) => one(videoLatent(inputs, group)) };
}

/** The video latent whose size a node's inputs tell. */
export function videoLatent(inputs: NodeInputs, group: number): Latent {
  const length = numberOf(inputs, "length");
  return emptyLatent({
    width: cells(numberOf(inputs, "width")),
    height: cells(numberOf(inputs, "height")),
    batch: numberOf(inputs, "batch_size"),
    frames: Math.floor((length - 1) / group) * group + 1,
  });
}

const vaeDecode: NodeImplementation = {
  async run(inputs, context) {
    const latent = toLatent(inputs.samples);
    const frames: ImageBatch[] = [];
    for (let frame = 0; frame < latent.batch * latent.frames; frame += 1) {
      context.checkInterrupt();
      frames.push(render(latent, latent.width, latent.height, frame, 1));
      // A long video must not keep the server from answering.
      await setImmediate();
    }
    return { outputs: [joinBatches(frames)] };
  },
};

const vaeEncode: NodeImplementation = { run: (inputs) => one(pixelLatent(imageOf(inputs, "pixels"))) };

const vaeEncodeForInpaint: NodeImplementation = {
  run(inputs, context) {
    const latent = pixelLatent(imageOf(inputs, "pixels"));
    const mask = maskOf(inputs, "mask");
    const fitted = asMask(resize(asPlane(mask), latent.width, latent.height, "bilinear", "disabled"));
    const reach = Math.ceil((numberOf(inputs, "grow_mask_by") - 1) / 2);
    const wider = reach > 0 ? grown(fitted, reach, false, () => context.checkInterrupt()) : fitted;
    const noiseMask = { ...wider, data: mapped(wider.data, (value) => Math.round(value)) };
    return one({ ...latent, noiseMask });
  },
};

const setLatentNoiseMask: NodeImplementation = {
  run: (inputs) => one({ ...toLatent(inputs.samples), noiseMask: maskOf(inputs, "mask") }),
};

function resized(latent: Latent, width: number, height: number): Latent {
  return { ...latent, width: cells(width), height: cells(height) };
}

const LATENT_SIDE_MIN = 64;

const latentUpscale: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const width = numberOf(inputs, "width");
    const height = numberOf(inputs, "height");
    if (width === 0 && height === 0) return one(latent);
    const least = (side: number) => Math.max(LATENT_SIDE_MIN, side);
    if (width === 0)
      return one(resized(latent, least(roundHalfEven((latent.width * least(height)) / latent.height)), least(height)));
    if (height === 0)
      return one(resized(latent, least(width), least(roundHalfEven((latent.height * least(width)) / latent.width))));
    return one(resized(latent, least(width), least(height)));
  },
};

const latentUpscaleBy: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const factor = numberOf(inputs, "scale_by");
    const side = (pixels: number) => roundHalfEven((pixels / LATENT_CELL) * factor) * LATENT_CELL;
    return one(resized(latent, side(latent.width), side(latent.height)));
  },
};

/** Draws the latent and goes on with the pictures: for whatever moves pixels about. */
function withPixels(latent: Latent, change: (image: ImageBatch) => ImageBatch): Latent {
  const image = change(render(latent));
  return { ...latent, width: image.width, height: image.height, content: { type: "pixels", image } };
}

const TURNS: Readonly<Record<string, number>> = { "90 degrees": 1, "180 degrees": 2, "270 degrees": 3 };

const latentRotate: NodeImplementation = {
  run: (inputs) =>
    one(withPixels(toLatent(inputs.samples), (image) => turned(image, TURNS[textOf(inputs, "rotation")] ?? 0))),
};

const latentFlip: NodeImplementation = {
  run(inputs) {
    const way = textOf(inputs, "flip_method").startsWith("x") ? "vertical" : "horizontal";
    return one(withPixels(toLatent(inputs.samples), (image) => mirrored(image, way)));
  },
};

const latentCrop: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const x = Math.min(cells(numberOf(inputs, "x") + LATENT_CELL) - LATENT_CELL, latent.width - LATENT_CELL);
    const y = Math.min(cells(numberOf(inputs, "y") + LATENT_CELL) - LATENT_CELL, latent.height - LATENT_CELL);
    const width = cells(numberOf(inputs, "width"));
    const height = cells(numberOf(inputs, "height"));
    return one(withPixels(latent, (image) => cropped(image, x, y, width, height)));
  },
};

/** Lays one latent's picture onto another's. */
function latentComposite(names: { to: string; from: string }): NodeImplementation {
  return {
    run(inputs) {
      const target = toLatent(inputs[names.to]);
      const source = toLatent(inputs[names.from]);
      const mask = optionalMask(inputs, "mask");
      const at = {
        x: Math.floor(numberOf(inputs, "x") / LATENT_CELL) * LATENT_CELL,
        y: Math.floor(numberOf(inputs, "y") / LATENT_CELL) * LATENT_CELL,
      };
      const options = { resizeSource: flagOf(inputs, "resize_source"), ...(mask === undefined ? {} : { mask }) };
      return one(withPixels(target, (image) => composited(image, render(source), at, options)));
    },
  };
}

/** Mixes two latents number by number. */
function mix(
  names: readonly [string, string],
  combine: (a: number, b: number, share: number) => number,
  share?: string,
): NodeImplementation {
  return {
    run(inputs) {
      const first = toLatent(inputs[names[0]]);
      const second = toLatent(inputs[names[1]]);
      const part = share === undefined ? 0 : numberOf(inputs, share);
      return one(
        withPixels(first, (image) => {
          const other = repeatToBatch(
            resize(render(second), image.width, image.height, "bilinear", "center"),
            image.batch,
          );
          return { ...image, data: image.data.map((value, i) => combine(value, other.data[i] ?? 0, part)) };
        }),
      );
    },
  };
}

const PAIR = ["samples1", "samples2"] as const;

const latentMultiply: NodeImplementation = {
  run(inputs) {
    const factor = numberOf(inputs, "multiplier");
    // Latent numbers lie around zero, which is the grey in the middle.
    return one(
      withPixels(toLatent(inputs.samples), (image) => ({
        ...image,
        data: mapped(image.data, (value) => 0.5 + (value - 0.5) * factor),
      })),
    );
  },
};

const latentFromBatch: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const from = Math.min(latent.batch - 1, numberOf(inputs, "batch_index"));
    const count = Math.min(latent.batch - from, numberOf(inputs, "length"));
    return one(entriesOf(latent, from, count));
  },
};

/** Some batch entries of a latent, each with the noise it had. */
function entriesOf(latent: Latent, from: number, count: number): Latent {
  const indexes = Array.from({ length: count }, (_, i) => latent.noiseIndex?.[from + i] ?? from + i);
  const { content } = latent;
  const kept =
    content.type === "pixels"
      ? {
          ...content,
          image: framesOf(
            content.image,
            Math.min(from * latent.frames, content.image.batch - 1),
            Math.min(count * latent.frames, content.image.batch),
          ),
        }
      : content;
  return { ...latent, batch: count, noiseIndex: indexes, content: kept };
}

const repeatLatentBatch: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const amount = numberOf(inputs, "amount");
    const { content } = latent;
    const repeated =
      content.type === "pixels"
        ? { ...content, image: repeatToBatch(content.image, content.image.batch * amount) }
        : content;
    const { noiseIndex: _dropped, ...rest } = latent;
    return one({ ...rest, batch: latent.batch * amount, content: repeated });
  },
};

const latentBatch: NodeImplementation = {
  run(inputs) {
    const first = toLatent(inputs.samples1);
    const second = toLatent(inputs.samples2);
    const image = joinBatches([render(first), render(second, first.width, first.height)]);
    return one({ ...first, batch: first.batch + second.batch, content: { type: "pixels", image } });
  },
};

const latentBatchSeedBehavior: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    const { noiseIndex, ...rest } = latent;
    if (textOf(inputs, "seed_behavior") === "random") return one(rest);
    return one({ ...rest, noiseIndex: Array.from({ length: latent.batch }, () => noiseIndex?.[0] ?? 0) });
  },
};

const trimVideoLatent: NodeImplementation = {
  run(inputs) {
    const latent = toLatent(inputs.samples);
    // Four frames of a video are one of its latent.
    const trimmed = numberOf(inputs, "trim_amount") * 4;
    return one({ ...latent, frames: Math.max(1, latent.frames - trimmed) });
  },
};

const cascadeLatent: NodeImplementation = {
  run(inputs) {
    const size = { width: cells(numberOf(inputs, "width")), height: cells(numberOf(inputs, "height")) };
    const latent = emptyLatent({ ...size, batch: numberOf(inputs, "batch_size") });
    return { outputs: [latent, latent] };
  },
};

const cascadeEncode: NodeImplementation = {
  run(inputs) {
    const latent = pixelLatent(imageOf(inputs, "image"));
    return { outputs: [latent, latent] };
  },
};

export const latentNodes: Readonly<Record<string, NodeImplementation>> = {
  EmptyLatentImage: emptyImage,
  EmptySD3LatentImage: emptyImage,
  EmptyHunyuanImageLatent: emptyImage,
  EmptyChromaRadianceLatentImage: emptyImage,
  EmptyHunyuanLatentVideo: emptyVideo(4),
  EmptyMochiLatentVideo: emptyVideo(6),
  EmptyLTXVLatentVideo: emptyVideo(8),
  EmptyCosmosLatentVideo: emptyVideo(8),
  StableCascade_EmptyLatentImage: cascadeLatent,
  StableCascade_StageC_VAEEncode: cascadeEncode,
  VAEDecode: vaeDecode,
  VAEDecodeTiled: vaeDecode,
  VAEEncode: vaeEncode,
  VAEEncodeTiled: vaeEncode,
  VAEEncodeForInpaint: vaeEncodeForInpaint,
  SetLatentNoiseMask: setLatentNoiseMask,
  LatentUpscale: latentUpscale,
  LatentUpscaleBy: latentUpscaleBy,
  LatentRotate: latentRotate,
  LatentFlip: latentFlip,
  LatentCrop: latentCrop,
  LatentComposite: latentComposite({ to: "samples_to", from: "samples_from" }),
  LatentCompositeMasked: latentComposite({ to: "destination", from: "source" }),
  LatentBlend: mix(PAIR, (a, b, share) => a * share + b * (1 - share), "blend_factor"),
  LatentInterpolate: mix(PAIR, (a, b, share) => a * share + b * (1 - share), "ratio"),
  LatentAdd: mix(PAIR, (a, b) => a + b - 0.5),
  LatentSubtract: mix(PAIR, (a, b) => a - b + 0.5),
  LatentMultiply: latentMultiply,
  LatentFromBatch: latentFromBatch,
  RepeatLatentBatch: repeatLatentBatch,
  LatentBatch: latentBatch,
  LatentBatchSeedBehavior: latentBatchSeedBehavior,
  TrimVideoLatent: trimVideoLatent,
};
