/** What servers with the custom nodes of the shared workflows say of their classes, for the tests that convert them. */
import type { Json } from "#contract/exact-json";
import type { NodeClass, ObjectInfo } from "#workflow/object-info";

const INT: Json = ["INT", { default: 0, min: -0x8000_0000, max: 0x7fff_ffff }];
const FLOAT: Json = ["FLOAT", { default: 0, min: -1e20, max: 1e20 }];
const BOOLEAN: Json = ["BOOLEAN", { default: false }];
const STRING: Json = ["STRING", { default: "" }];

export function nodeClass(
  name: string,
  required: Readonly<Record<string, Json>>,
  output: readonly string[] = [],
  optional: Readonly<Record<string, Json>> = {},
): NodeClass {
  return {
    input: { required, optional },
    output,
    output_is_list: output.map(() => false),
    output_name: output,
    name,
    display_name: null,
    description: "",
    python_module: "custom_nodes.test",
    category: "test",
    output_node: output.length === 0,
  };
}

const classes = [
  nodeClass("CPackInputString", { value: STRING }, ["STRING"]),
  nodeClass("CPackInputInt", { value: INT, min: FLOAT, max: FLOAT }, ["INT"]),
  nodeClass("CPackOutputImage", { images: ["IMAGE"], filename_prefix: STRING }),
  nodeClass(
    "ImageResize+",
    {
      image: ["IMAGE"],
      width: INT,
      height: INT,
      interpolation: [["nearest", "bilinear", "bicubic", "area", "nearest-exact", "lanczos"]],
      method: [["stretch", "keep proportion", "fill / crop", "pad"]],
      condition: [["always", "downscale if bigger", "upscale if smaller"]],
      multiple_of: INT,
    },
    ["IMAGE", "INT", "INT"],
  ),
  nodeClass(
    "CreateShapeMask",
    {
      shape: [["circle", "square", "triangle"]],
      frames: INT,
      location_x: INT,
      location_y: INT,
      grow: INT,
      frame_width: INT,
      frame_height: INT,
      shape_width: INT,
      shape_height: INT,
    },
    ["MASK", "MASK"],
  ),
  nodeClass(
    "GrowMaskWithBlur",
    {
      mask: ["MASK"],
      expand: INT,
      incremental_expandrate: FLOAT,
      tapered_corners: BOOLEAN,
      flip_input: BOOLEAN,
      blur_radius: FLOAT,
      lerp_alpha: FLOAT,
      decay_factor: FLOAT,
    },
    ["MASK", "MASK"],
    { fill_holes: BOOLEAN },
  ),
  nodeClass("RemapMaskRange", { mask: ["MASK"], min: FLOAT, max: FLOAT }, ["MASK"]),
  nodeClass("LoadAndApplyICLightUnet", { model: ["MODEL"], model_path: [[], {}] }, ["MODEL"]),
  nodeClass(
    "ICLightConditioning",
    { positive: ["CONDITIONING"], negative: ["CONDITIONING"], vae: ["VAE"], foreground: ["LATENT"], multiplier: FLOAT },
    ["CONDITIONING", "CONDITIONING", "LATENT"],
    { opt_background: ["LATENT"] },
  ),
];

/** The custom classes by name. */
export const customNodes: ObjectInfo = Object.fromEntries(classes.map((entry) => [entry.name, entry]));
