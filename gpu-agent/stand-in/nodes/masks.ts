/** Nodes that make and change masks. */
import { type MaskBatch, NodeError, type NodeImplementation } from "../node.ts";
import { asMask, asPlane, channelOf, cropped, filledMask, greyFromMask, mapped } from "../pixels/float-images.ts";
import { combinedMasks, feathered, grown } from "../pixels/mask-shapes.ts";
import { flagOf, imageOf, maskOf, numberOf, textOf } from "./inputs.ts";

const one = (mask: MaskBatch) => ({ outputs: [mask] });
const CHANNELS = ["red", "green", "blue", "alpha"];

const imageToMask: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const channel = CHANNELS.indexOf(textOf(inputs, "channel"));
    if (channel >= image.channels) {
      throw new NodeError(
        "IndexError",
        `index ${channel} is out of bounds for dimension 3 with size ${image.channels}`,
      );
    }
    return one(channelOf(image, channel));
  },
};

const imageColorToMask: NodeImplementation = {
  run(inputs) {
    const image = imageOf(inputs, "image");
    const wanted = numberOf(inputs, "color");
    const mask = filledMask(image.batch, image.height, image.width, 0);
    const byte = (i: number) => rounded(Math.fround(Math.min(Math.max(image.data[i] ?? 0, 0), 1) * 255));
    for (let i = 0; i < mask.data.length; i += 1) {
      const at = i * image.channels;
      const color = byte(at) * 0x10000 + byte(at + 1) * 0x100 + byte(at + 2);
      mask.data[i] = color === wanted ? 1 : 0;
    }
    return one(mask);
  },
};

/** Halves to the even neighbour; no byte of a picture made from bytes ever lands on one. */
function rounded(value: number): number {
  const below = Math.floor(value);
  const isHalf = value - below === 0.5;
  return isHalf ? below + (below % 2) : Math.round(value);
}

const cropMask: NodeImplementation = {
  run(inputs) {
    const x = numberOf(inputs, "x");
    const y = numberOf(inputs, "y");
    return one(
      asMask(cropped(asPlane(maskOf(inputs, "mask")), x, y, numberOf(inputs, "width"), numberOf(inputs, "height"))),
    );
  },
};

const maskComposite: NodeImplementation = {
  run(inputs) {
    const at = { x: numberOf(inputs, "x"), y: numberOf(inputs, "y") };
    return one(combinedMasks(maskOf(inputs, "destination"), maskOf(inputs, "source"), at, textOf(inputs, "operation")));
  },
};

const featherMask: NodeImplementation = {
  run: (inputs) =>
    one(
      feathered(maskOf(inputs, "mask"), {
        left: numberOf(inputs, "left"),
        top: numberOf(inputs, "top"),
        right: numberOf(inputs, "right"),
        bottom: numberOf(inputs, "bottom"),
      }),
    ),
};

const growMask: NodeImplementation = {
  run: (inputs, context) =>
    one(
      grown(maskOf(inputs, "mask"), numberOf(inputs, "expand"), flagOf(inputs, "tapered_corners", true), () =>
        context.checkInterrupt(),
      ),
    ),
};

const thresholdMask: NodeImplementation = {
  run(inputs) {
    const mask = maskOf(inputs, "mask");
    const threshold = Math.fround(numberOf(inputs, "value"));
    return one({ ...mask, data: mapped(mask.data, (value) => (value > threshold ? 1 : 0)) });
  },
};

const invertMask: NodeImplementation = {
  run(inputs) {
    const mask = maskOf(inputs, "mask");
    return one({ ...mask, data: mapped(mask.data, (value) => 1 - value) });
  },
};

export const maskNodes: Readonly<Record<string, NodeImplementation>> = {
  MaskToImage: { run: (inputs) => ({ outputs: [greyFromMask(maskOf(inputs, "mask"))] }) },
  ImageToMask: imageToMask,
  ImageColorToMask: imageColorToMask,
  SolidMask: {
    run: (inputs) =>
      one(filledMask(1, numberOf(inputs, "height"), numberOf(inputs, "width"), numberOf(inputs, "value"))),
  },
  InvertMask: invertMask,
  CropMask: cropMask,
  MaskComposite: maskComposite,
  FeatherMask: featherMask,
  GrowMask: growMask,
  ThresholdMask: thresholdMask,
};
