/** Classes that work on masks. */
import type { ObjectInfo } from "../object-info.ts";
import { bool, COLOR, extras, int, offset, oneOf, SIDE_MAX, share, side, v1 } from "./builder.ts";

const MASK = "MASK";
const edge = offset(1);

export const masks: ObjectInfo = v1(extras("mask"), {
  MaskToImage: { title: "Convert Mask to Image", category: "mask", inputs: { mask: MASK }, outputs: ["IMAGE"] },
  ImageToMask: {
    title: "Convert Image to Mask",
    category: "mask",
    inputs: { image: "IMAGE", channel: oneOf(["red", "green", "blue", "alpha"]) },
    outputs: [MASK],
  },
  ImageColorToMask: { category: "mask", inputs: { image: "IMAGE", color: COLOR }, outputs: [MASK] },
  SolidMask: {
    category: "mask",
    inputs: { value: share(1), width: side(512, 1, 1), height: side(512, 1, 1) },
    outputs: [MASK],
  },
  InvertMask: { category: "mask", inputs: { mask: MASK }, outputs: [MASK] },
  CropMask: {
    category: "mask",
    inputs: { mask: MASK, x: edge, y: edge, width: side(512, 1, 1), height: side(512, 1, 1) },
    outputs: [MASK],
  },
  MaskComposite: {
    category: "mask",
    inputs: {
      destination: MASK,
      source: MASK,
      x: edge,
      y: edge,
      operation: oneOf(["multiply", "add", "subtract", "and", "or", "xor"]),
    },
    outputs: [MASK],
  },
  FeatherMask: {
    category: "mask",
    inputs: { mask: MASK, left: edge, top: edge, right: edge, bottom: edge },
    outputs: [MASK],
  },
  GrowMask: {
    category: "mask",
    inputs: { mask: MASK, expand: int(0, -SIDE_MAX, SIDE_MAX, 1), tapered_corners: bool(true) },
    outputs: [MASK],
  },
  ThresholdMask: { category: "mask", inputs: { mask: MASK, value: share(0.5) }, outputs: [MASK] },
  MaskPreview: { category: "mask", inputs: { mask: MASK }, hidden: "saves", isOutput: true },
});
