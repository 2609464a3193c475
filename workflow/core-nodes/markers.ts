/**
 * Nodes of other deployers that mark what callers set and get. They are no core nodes; they are here because a workflow
 * that holds them was made to be an endpoint, and the editor's file does not say which of their values is which.
 */
import type { ObjectInfo } from "../object-info.ts";
import { bool, float, type InputRow, int, LINES, oneOf, text, v1 } from "./builder.ts";

const INT_SIDE = 2_147_483_647;
const WORDS: Readonly<Record<string, InputRow>> = { display_name: text(""), description: text("", LINES.options) };
const LIST = text("", LINES.options);
const PICTURE_FILE = oneOf([], { image_upload: true });
/** The name that callers use; some of the nodes also take the value by it. */
const named = (initial: string): Readonly<Record<string, InputRow>> => ({ input_id: text(initial) });

const comfyDeploy = v1("custom_nodes.comfyui-deploy", {
  ComfyUIDeployExternalText: {
    title: "External Text (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_text"),
    optional: { default_value: LIST, ...WORDS },
    outputs: { text: "STRING" },
  },
  ComfyUIDeployExternalNumber: {
    title: "External Number (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_number"),
    optional: { default_value: float(0, -INT_SIDE, INT_SIDE, 0.01), ...WORDS },
    outputs: { value: "FLOAT" },
  },
  ComfyUIDeployExternalNumberInt: {
    title: "External Number Int (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_number"),
    optional: { default_value: int(0, -INT_SIDE, INT_SIDE), ...WORDS },
    outputs: { value: "INT" },
  },
  ComfyUIDeployExternalNumberSlider: {
    title: "External Number Slider (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_number_slider"),
    optional: {
      default_value: float(0.5, undefined, undefined, 0.01),
      min_value: float(0, undefined, undefined, 0.01),
      max_value: float(1, undefined, undefined, 0.01),
      ...WORDS,
    },
    outputs: { value: "FLOAT" },
  },
  ComfyUIDeployExternalNumberSliderInt: {
    title: "External Number Slider Int (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_number_slider_int"),
    optional: {
      default_value: int(1, -INT_SIDE, INT_SIDE, 1),
      min_value: int(0, -INT_SIDE, INT_SIDE, 1),
      max_value: int(10, -INT_SIDE, INT_SIDE, 1),
      ...WORDS,
    },
    outputs: { value: "INT" },
  },
  ComfyUIDeployExternalSeed: {
    title: "External Seed (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: {
      ...named("input_seed"),
      default_value: int(-1),
      min_value: int(1, 1, 999_999_999_999_999),
      max_value: int(4_294_967_295, 1, 999_999_999_999_999),
    },
    optional: WORDS,
    outputs: { seed: "INT" },
  },
  ComfyUIDeployExternalBoolean: {
    title: "External Boolean (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: { ...named("input_bool"), default_value: bool(false) },
    optional: WORDS,
    outputs: { bool_value: "BOOLEAN" },
  },
  ComfyUIDeployExternalEnum: {
    title: "External Enum (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_enum"),
    optional: { default_value: text(""), options: LIST, ...WORDS },
    outputs: { text: "*" },
  },
  ComfyUIDeployExternalImage: {
    title: "External Image (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_image"),
    optional: { default_value: "IMAGE", ...WORDS },
    outputs: { image: "IMAGE" },
  },
  ComfyUIDeployExternalImageAlpha: {
    title: "External Image Alpha (ComfyUI Deploy)",
    category: "ComfyDeploy",
    inputs: named("input_image"),
    optional: { default_value: "IMAGE", ...WORDS },
    outputs: { image: "IMAGE" },
  },
  ComfyDeployOutputImage: {
    title: "Image Output (ComfyDeploy)",
    category: "ComfyDeploy",
    inputs: {
      images: "IMAGE",
      filename_prefix: text("ComfyUI"),
      file_type: oneOf(["png", "jpg", "webp"], { default: "webp" }),
      quality: int(80, 1, 100, 1),
    },
    optional: { output_id: text("output_images") },
    hidden: "saves",
    isOutput: true,
  },
});

const comfyPack = v1("custom_nodes.comfy-pack", {
  CPackInputString: {
    title: "String Input",
    category: "ComfyPack/input",
    inputs: { value: text("") },
    outputs: { string: "*" },
  },
  CPackInputInt: {
    title: "Int Input",
    category: "ComfyPack/input",
    inputs: { value: int(0), min: int(), max: int() },
    outputs: { int: "*" },
  },
  CPackInputImage: {
    title: "Image Input",
    category: "ComfyPack/input",
    inputs: { image: PICTURE_FILE },
    outputs: { image: "IMAGE", mask: "MASK" },
  },
  CPackOutputImage: {
    title: "Image Output",
    category: "ComfyPack/output",
    inputs: { images: "IMAGE", filename_prefix: text("cpack_output_") },
    hidden: "saves",
    isOutput: true,
  },
  CPackOutputAudio: {
    title: "Audio Output",
    category: "ComfyPack/output",
    inputs: { audio: "AUDIO", filename_prefix: text("cpack_output_") },
    hidden: "saves",
    isOutput: true,
  },
});

/** Their classes as a server with them describes them. */
export const markerNodes: ObjectInfo = { ...comfyDeploy, ...comfyPack };
