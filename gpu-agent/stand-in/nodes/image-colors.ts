/** Nodes that change what pictures show but not their size. */
import { type ImageBatch, NodeError, type NodeImplementation } from "../node.ts";
import { blended, composited, porterDuff, withAlpha } from "../pixels/blend.ts";
import { blurred, sharpened } from "../pixels/blur.ts";
import { cannyEdges } from "../pixels/canny.ts";
import { channelOf, clampUnit, filledMask, mapped, withChannels } from "../pixels/float-images.ts";
import { normalNumbers } from "../pixels/mersenne-twister.ts";
import { difference, dilated, eroded } from "../pixels/morphology.ts";
import { quantized } from "../pixels/quantize.ts";
import { rgbToYuv, yuvToRgb } from "../pixels/yuv.ts";
import { flagOf, imageOf, maskOf, numberOf, optionalMask, textOf, wholeOf } from "./inputs.ts";

const f = Math.fround;
const one = (image: ImageBatch) => ({ outputs: [image] });

const imageInvert: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    return one({ ...image, data: mapped(image.data, (value) => 1 - value) });
  },
};

const imageBlend: NodeImplementation = {
  run: (inputs) =>
    one(
      blended(
        imageOf(inputs, "image1"),
        imageOf(inputs, "image2"),
        numberOf(inputs, "blend_factor"),
        textOf(inputs, "blend_mode"),
      ),
    ),
};

const imageBlur: NodeImplementation = {
  run: (inputs) => one(blurred(imageOf(inputs, "image"), numberOf(inputs, "blur_radius"), numberOf(inputs, "sigma"))),
};

const imageSharpen: NodeImplementation = {
  run: (inputs) =>
    one(
      sharpened(
        imageOf(inputs, "image"),
        numberOf(inputs, "sharpen_radius"),
        numberOf(inputs, "sigma"),
        numberOf(inputs, "alpha"),
      ),
    ),
};

const imageQuantize: NodeImplementation = {
  run: (inputs) => one(quantized(imageOf(inputs, "image"), numberOf(inputs, "colors"), textOf(inputs, "dither"))),
};

const imageAddNoise: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const noise = normalNumbers(wholeOf(inputs, "seed"), image.data.length);
    const strength = f(numberOf(inputs, "strength"));
    const data = image.data.map((value, i) => clampUnit(f(value + f(strength * (noise[i] ?? 0)))));
    return one({ ...image, data });
  },
};

const canny: NodeImplementation = {
  run(inputs) {
    const low = numberOf(inputs, "low_threshold");
    const high = numberOf(inputs, "high_threshold");
    if (low > high) {
      throw new NodeError(
        "Exception",
        `Invalid input thresholds. low_threshold should be smaller than the high_threshold. Got: ${low}>${high}`,
      );
    }
    return one(cannyEdges(imageOf(inputs, "image"), low, high));
  },
};

const MORPHOLOGY: Readonly<Record<string, (image: ImageBatch, side: number) => ImageBatch>> = {
  erode: eroded,
  dilate: dilated,
  open: (image, side) => dilated(eroded(image, side), side),
  close: (image, side) => eroded(dilated(image, side), side),
  gradient: (image, side) => difference(dilated(image, side), eroded(image, side)),
  top_hat: (image, side) => difference(image, dilated(eroded(image, side), side)),
  bottom_hat: (image, side) => difference(eroded(dilated(image, side), side), image),
};

const morphology: NodeImplementation = {
  run(inputs) {
    const operation = textOf(inputs, "operation");
    const change = MORPHOLOGY[operation];
    if (change === undefined) {
      throw new NodeError(
        "ValueError",
        `Invalid operation ${operation} for morphology. Must be one of 'erode', 'dilate', 'open', 'close', 'gradient', ` +
          "'tophat', 'bottomhat'",
      );
    }
    return one(change(imageOf(inputs, "image"), numberOf(inputs, "kernel_size")));
  },
};

const imageRgbToYuv: NodeImplementation = {
  run: (inputs) => ({ outputs: rgbToYuv(imageOf(inputs, "image")) }),
};

const imageYuvToRgb: NodeImplementation = {
  run: (inputs) => one(yuvToRgb(imageOf(inputs, "Y"), imageOf(inputs, "U"), imageOf(inputs, "V"))),
};

const imageCompositeMasked: NodeImplementation = {
  run(inputs) {
    const mask = optionalMask(inputs, "mask");
    const at = { x: numberOf(inputs, "x"), y: numberOf(inputs, "y") };
    const options = { resizeSource: flagOf(inputs, "resize_source"), ...(mask === undefined ? {} : { mask }) };
    return one(composited(imageOf(inputs, "destination"), imageOf(inputs, "source"), at, options));
  },
};

const porterDuffImageComposite: NodeImplementation = {
  run(inputs) {
    const { image, mask } = porterDuff(
      imageOf(inputs, "source"),
      maskOf(inputs, "source_alpha"),
      imageOf(inputs, "destination"),
      maskOf(inputs, "destination_alpha"),
      textOf(inputs, "mode"),
    );
    return { outputs: [image, mask] };
  },
};

const splitImageWithAlpha: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const alpha = image.channels > 3 ? channelOf(image, 3) : filledMask(image.batch, image.height, image.width, 1);
    return { outputs: [withChannels(image, 3), { ...alpha, data: mapped(alpha.data, (value) => 1 - value) }] };
  },
};

const joinImageWithAlpha: NodeImplementation = {
  run: (inputs) => one(withAlpha(imageOf(inputs, "image"), maskOf(inputs, "alpha"))),
};

/** The real node recompresses as video; the picture is what matters to what follows. */
const ltxvPreprocess: NodeImplementation = { run: (inputs) => one(imageOf(inputs, "image")) };

export const imageColorNodes: Readonly<Record<string, NodeImplementation>> = {
  ImageInvert: imageInvert,
  ImageBlend: imageBlend,
  ImageBlur: imageBlur,
  ImageSharpen: imageSharpen,
  ImageQuantize: imageQuantize,
  ImageAddNoise: imageAddNoise,
  Canny: canny,
  Morphology: morphology,
  ImageRGBToYUV: imageRgbToYuv,
  ImageYUVToRGB: imageYuvToRgb,
  ImageCompositeMasked: imageCompositeMasked,
  PorterDuffImageComposite: porterDuffImageComposite,
  SplitImageWithAlpha: splitImageWithAlpha,
  JoinImageWithAlpha: joinImageWithAlpha,
  LTXVPreprocess: ltxvPreprocess,
};
