/** Nodes that make pictures or change their size, extent or number. */
import { type ImageBatch, type MaskBatch, type NodeContext, NodeError, type NodeImplementation } from "../node.ts";
import {
  cropped,
  filledImage,
  filledMask,
  framesOf,
  joinBatches,
  mirrored,
  pasted,
  repeatToBatch,
  roundHalfEven,
  turned,
  withChannels,
} from "../pixels/float-images.ts";
import { resize } from "../pixels/resample.ts";
import { flagOf, imageOf, numberOf, optionalImage, textOf } from "./inputs.ts";

const one = (image: ImageBatch) => ({ outputs: [image] });

const emptyImage: NodeImplementation = {
  run(inputs) {
    const color = numberOf(inputs, "color");
    const image = filledImage(
      numberOf(inputs, "batch_size"),
      numberOf(inputs, "height"),
      numberOf(inputs, "width"),
      3,
      0,
    );
    const shares = [color >> 16, color >> 8, color].map((part) => (part & 0xff) / 0xff);
    for (const [channel, share] of shares.entries()) {
      for (let i = channel; i < image.data.length; i += 3) image.data[i] = share;
    }
    return one(image);
  },
};

const imageScale: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const width = numberOf(inputs, "width");
    const height = numberOf(inputs, "height");
    if (width === 0 && height === 0) return one(image);
    const w = width === 0 ? Math.max(1, roundHalfEven((image.width * height) / image.height)) : width;
    const h = height === 0 ? Math.max(1, roundHalfEven((image.height * width) / image.width)) : height;
    const crop = textOf(inputs, "crop") === "center" ? "center" : "disabled";
    return one(resize(image, w, h, textOf(inputs, "upscale_method"), crop));
  },
};

function scaled(image: ImageBatch, factor: number, method: string): ImageBatch {
  return resize(image, roundHalfEven(image.width * factor), roundHalfEven(image.height * factor), method, "disabled");
}

const imageScaleBy: NodeImplementation = {
  run: (inputs) =>
    one(scaled(imageOf(inputs, "image"), numberOf(inputs, "scale_by"), textOf(inputs, "upscale_method"))),
};

const imageScaleToTotalPixels: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const wanted = Math.trunc(numberOf(inputs, "megapixels") * 1024 * 1024);
    const factor = Math.sqrt(wanted / (image.width * image.height));
    return one(scaled(image, factor, textOf(inputs, "upscale_method")));
  },
};

const imageScaleToMaxDimension: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const largest = numberOf(inputs, "largest_size");
    const { width, height } = image;
    const w = height > width ? roundHalfEven((width / height) * largest) : largest;
    const h = width > height ? roundHalfEven((height / width) * largest) : largest;
    return one(resize(image, w, h, textOf(inputs, "upscale_method"), "disabled"));
  },
};

const imageBatch: NodeImplementation = {
  run(inputs) {
    const first = imageOf(inputs, "image1");
    const second = imageOf(inputs, "image2");
    const sameSize = first.width === second.width && first.height === second.height;
    if (sameSize && first.channels === second.channels) return one(joinBatches([first, second]));
    const fitted = resize(second, first.width, first.height, "bilinear", "center");
    if (first.channels !== fitted.channels) {
      throw new NodeError(
        "RuntimeError",
        `Sizes of tensors must match except in dimension 0. Expected size ${first.channels} but got size ` +
          `${fitted.channels} for tensor number 1 in the list.`,
      );
    }
    return one(joinBatches([first, fitted]));
  },
};

const repeatImageBatch: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    return one(repeatToBatch(image, image.batch * numberOf(inputs, "amount")));
  },
};

const imageFromBatch: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const from = Math.min(image.batch - 1, numberOf(inputs, "batch_index"));
    return one(framesOf(image, from, Math.min(image.batch - from, numberOf(inputs, "length"))));
  },
};

const imageCrop: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const x = Math.min(numberOf(inputs, "x"), image.width - 1);
    const y = Math.min(numberOf(inputs, "y"), image.height - 1);
    return one(cropped(image, x, y, numberOf(inputs, "width"), numberOf(inputs, "height")));
  },
};

const imageFlip: NodeImplementation = {
  run: (inputs) =>
    one(mirrored(imageOf(inputs, "image"), textOf(inputs, "flip_method").startsWith("x") ? "vertical" : "horizontal")),
};

const TURNS: Readonly<Record<string, number>> = { "90 degrees": 1, "180 degrees": 2, "270 degrees": 3 };

const imageRotate: NodeImplementation = {
  run: (inputs) => one(turned(imageOf(inputs, "image"), TURNS[textOf(inputs, "rotation")] ?? 0)),
};

const resizeAndPad: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const width = numberOf(inputs, "target_width");
    const height = numberOf(inputs, "target_height");
    const factor = Math.min(width / image.width, height / image.height);
    const w = Math.trunc(image.width * factor);
    const h = Math.trunc(image.height * factor);
    const inner = resize(image, w, h, textOf(inputs, "interpolation"), "disabled");
    const border = textOf(inputs, "padding_color") === "black" ? 0 : 1;
    const canvas = filledImage(image.batch, height, width, image.channels, border);
    return one(pasted(canvas, inner, Math.floor((width - w) / 2), Math.floor((height - h) / 2)));
  },
};

const imagePadForOutpaint: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const left = numberOf(inputs, "left");
    const top = numberOf(inputs, "top");
    const right = numberOf(inputs, "right");
    const bottom = numberOf(inputs, "bottom");
    const width = image.width + left + right;
    const height = image.height + top + bottom;
    const grey = filledImage(image.batch, height, width, image.channels, 0.5);
    const mask = filledMask(1, height, width, 1);
    const feather = featherMask(image, { left, top, right, bottom }, numberOf(inputs, "feathering"));
    for (let y = 0; y < image.height; y += 1) {
      const row = feather.data.subarray(y * image.width, (y + 1) * image.width);
      mask.data.set(row, (top + y) * width + left);
    }
    return { outputs: [pasted(grey, image, left, top), mask] };
  },
};

type Edges = Readonly<Record<"left" | "top" | "right" | "bottom", number>>;

/** How much of the old picture is to be painted over, near the sides that grow. */
function featherMask({ width, height }: ImageBatch, edges: Edges, feather: number): MaskBatch {
  const mask = filledMask(1, height, width, 0);
  if (feather <= 0 || feather * 2 >= height || feather * 2 >= width) return mask;
  for (let y = 0; y < height; y += 1) {
    const vertical = Math.min(edges.top !== 0 ? y : height, edges.bottom !== 0 ? height - y : height);
    for (let x = 0; x < width; x += 1) {
      const horizontal = Math.min(edges.left !== 0 ? x : width, edges.right !== 0 ? width - x : width);
      const distance = Math.min(vertical, horizontal);
      if (distance < feather) mask.data[y * width + x] = ((feather - distance) / feather) ** 2;
    }
  }
  return mask;
}

const COLORS: Readonly<Record<string, readonly [number, number, number]>> = {
  white: [1, 1, 1],
  black: [0, 0, 0],
  red: [1, 0, 0],
  green: [0, 1, 0],
  blue: [0, 0, 1],
};

const imageStitch: NodeImplementation = {
  run(inputs) {
    const image1 = imageOf(inputs, "image1");
    const image2 = optionalImage(inputs, "image2");
    if (image2 === undefined) return one(image1);
    const direction = textOf(inputs, "direction");
    const sideways = direction === "left" || direction === "right";
    const color = textOf(inputs, "spacing_color");
    const batch = Math.max(image1.batch, image2.batch);
    let first = extendBatch(image1, batch);
    let second = extendBatch(image2, batch);
    if (flagOf(inputs, "match_image_size", true)) {
      const aspect = second.width / second.height;
      const w = sideways ? Math.trunc(first.height * aspect) : first.width;
      const h = sideways ? first.height : Math.trunc(first.width / aspect);
      second = resize(second, w, h, "lanczos", "disabled");
    } else {
      const pad = color === "white" ? 1 : 0;
      const w = sideways ? undefined : Math.max(first.width, second.width);
      const h = sideways ? Math.max(first.height, second.height) : undefined;
      first = centered(first, w ?? first.width, h ?? first.height, pad);
      second = centered(second, w ?? second.width, h ?? second.height, pad);
    }
    const channels = Math.max(first.channels, second.channels);
    first = withChannels(first, channels);
    second = withChannels(second, channels);
    const pieces = direction === "left" || direction === "up" ? [second, first] : [first, second];
    const spacing = numberOf(inputs, "spacing_width");
    if (spacing > 0) pieces.splice(1, 0, spacer(first, second, spacing + (spacing % 2), sideways, color));
    return one(joined(pieces, sideways));
  },
};

/** The last picture again and again until there are `batch`. */
function extendBatch(image: ImageBatch, batch: number): ImageBatch {
  if (image.batch >= batch) return image;
  const last = repeatToBatch(framesOf(image, image.batch - 1, 1), batch - image.batch);
  return joinBatches([image, last]);
}

function centered(image: ImageBatch, width: number, height: number, value: number): ImageBatch {
  if (image.width === width && image.height === height) return image;
  const canvas = filledImage(image.batch, height, width, image.channels, value);
  return pasted(canvas, image, Math.floor((width - image.width) / 2), Math.floor((height - image.height) / 2));
}

function spacer(first: ImageBatch, second: ImageBatch, size: number, sideways: boolean, color: string): ImageBatch {
  const width = sideways ? size : Math.max(first.width, second.width);
  const height = sideways ? Math.max(first.height, second.height) : size;
  const strip = filledImage(first.batch, height, width, first.channels, 1);
  const parts = COLORS[color] ?? [0, 0, 0];
  for (let i = 0; i < strip.data.length; i += 1) strip.data[i] = parts[i % first.channels] ?? 1;
  return strip;
}

function joined(pieces: readonly ImageBatch[], sideways: boolean): ImageBatch {
  const [first] = pieces;
  if (first === undefined) throw new RangeError("Nothing to stitch");
  for (const [index, piece] of pieces.entries()) {
    const [expected, got] = sideways ? [first.height, piece.height] : [first.width, piece.width];
    if (expected !== got) {
      throw new NodeError(
        "RuntimeError",
        `Sizes of tensors must match except in dimension ${sideways ? 2 : 1}. Expected size ${expected} but got size ` +
          `${got} for tensor number ${index} in the list.`,
      );
    }
  }
  const width = sideways ? pieces.reduce((sum, piece) => sum + piece.width, 0) : first.width;
  const height = sideways ? first.height : pieces.reduce((sum, piece) => sum + piece.height, 0);
  let canvas = filledImage(first.batch, height, width, first.channels, 0);
  let at = 0;
  for (const piece of pieces) {
    canvas = pasted(canvas, piece, sideways ? at : 0, sideways ? 0 : at);
    at += sideways ? piece.width : piece.height;
  }
  return canvas;
}

const getImageSize: NodeImplementation = {
  run(inputs, context: NodeContext) {
    const { width, height, batch } = imageOf(inputs, "image");
    context.sendText(`width: ${width}, height: ${height}\n batch size: ${batch}`);
    return { outputs: [width, height, batch] };
  },
};

/** The sizes Flux Kontext was trained on; the one of the nearest proportions is taken. */
const KONTEXT_SIZES = [
  [672, 1568],
  [688, 1504],
  [720, 1456],
  [752, 1392],
  [800, 1328],
  [832, 1248],
  [880, 1184],
  [944, 1104],
  [1024, 1024],
  [1104, 944],
  [1184, 880],
  [1248, 832],
  [1328, 800],
  [1392, 752],
  [1456, 720],
  [1504, 688],
  [1568, 672],
] as const;

const fluxKontextImageScale: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const had = image.width / image.height;
    const distance = ([w, h]: readonly [number, number]) => Math.abs(had - w / h);
    const [width, height] = KONTEXT_SIZES.reduce((best, size) => (distance(size) < distance(best) ? size : best));
    return one(resize(image, width, height, "lanczos", "center"));
  },
};

const UPSCALE_FACTOR = 4;

/** No upscale model runs here: Lanczos enlarges four times, as most such models do. */
const imageUpscaleWithModel: NodeImplementation = {
  async run(inputs, context) {
    const image = imageOf(inputs, "image");
    const frames: ImageBatch[] = [];
    for (let index = 0; index < image.batch; index += 1) {
      const frame = framesOf(image, index, 1);
      frames.push(resize(frame, image.width * UPSCALE_FACTOR, image.height * UPSCALE_FACTOR, "lanczos", "disabled"));
      await context.progress(index + 1, image.batch);
    }
    return one(joinBatches(frames));
  },
};

export const imageSizeNodes: Readonly<Record<string, NodeImplementation>> = {
  EmptyImage: emptyImage,
  ImageScale: imageScale,
  ImageScaleBy: imageScaleBy,
  ImageScaleToTotalPixels: imageScaleToTotalPixels,
  ImageScaleToMaxDimension: imageScaleToMaxDimension,
  ImageBatch: imageBatch,
  RepeatImageBatch: repeatImageBatch,
  ImageFromBatch: imageFromBatch,
  ImageCrop: imageCrop,
  ImageFlip: imageFlip,
  ImageRotate: imageRotate,
  ResizeAndPadImage: resizeAndPad,
  ImagePadForOutpaint: imagePadForOutpaint,
  ImageStitch: imageStitch,
  GetImageSize: getImageSize,
  FluxKontextImageScale: fluxKontextImageScale,
  ImageUpscaleWithModel: imageUpscaleWithModel,
};
