/**
 * Prompts whose pictures were recorded on a real ComfyUI, and the pictures they load. Both follow from formulas, so
 * that a recording can be repeated anywhere.
 */
import { encodePng } from "#gpu-agent/stand-in/pixels/png";

type Inputs = Readonly<Record<string, unknown>>;
interface Node {
  readonly class_type: string;
  readonly inputs: Inputs;
}
export type Prompt = Readonly<Record<string, Node>>;

interface Plan {
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
  value(x: number, y: number, channel: number): number;
}

const hash = (x: number, y: number, c: number): number => {
  let h = Math.imul(x + 1, 0x27d4eb2d) ^ Math.imul(y + 1, 0x165667b1) ^ Math.imul(c + 1, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 12)) & 0xff;
};

const shapes = (x: number, y: number): readonly number[] => {
  if ((y - 30) ** 2 + (x - 80) ** 2 < 300) return [240, 240, 90];
  if (x >= 60 && x < 100 && y >= 40 && y < 80) return [30, 120, 220];
  return x >= 30 && x < 80 && y >= 20 && y < 60 ? [200, 50, 30] : [0, 0, 0];
};

const PLANS: Readonly<Record<string, Plan>> = {
  "noise.png": { width: 64, height: 48, channels: 3, value: hash },
  "alpha.png": { width: 31, height: 20, channels: 4, value: hash },
  "small.png": { width: 9, height: 7, channels: 3, value: hash },
  "smooth.png": {
    width: 160,
    height: 120,
    channels: 3,
    value: (x, y, c) => [Math.floor((x * 255) / 160), Math.floor((y * 255) / 120), (x * x + y * 3) % 251][c] ?? 0,
  },
  "shapes.png": { width: 110, height: 90, channels: 3, value: (x, y, c) => shapes(x, y)[c] ?? 0 },
  "waves.png": {
    width: 160,
    height: 120,
    channels: 3,
    value: (x, y, c) => ([x * 3 + y * 5, x * 7 + y, x * y][c] ?? 0) % 256,
  },
};

/** The pictures by file name, as PNG. */
export async function inputPictures(): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const [name, plan] of Object.entries(PLANS)) {
    const bytes = new Uint8Array(plan.width * plan.height * plan.channels);
    for (let i = 0; i < bytes.length; i += 1) {
      const pixel = Math.floor(i / plan.channels);
      bytes[i] = plan.value(pixel % plan.width, Math.floor(pixel / plan.width), i % plan.channels);
    }
    files.set(name, await encodePng(bytes, plan, {}, 6));
  }
  return files;
}

const node = (class_type: string, inputs: Inputs): Node => ({ class_type, inputs });
const load = (image: string): Node => node("LoadImage", { image });
const loadMask = (image: string, channel: string): Node => node("LoadImageMask", { image, channel });

const cases: Record<string, Prompt> = {};

/** A case whose picture is output `slot` of node `from`. */
function picture(name: string, nodes: Prompt, from: string, slot = 0): void {
  cases[name] = { ...nodes, save: node("SaveImage", { images: [from, slot], filename_prefix: `pixels/${name}` }) };
}

/** A case whose mask is output `slot` of node `from`. */
function mask(name: string, nodes: Prompt, from: string, slot = 0): void {
  picture(name, { ...nodes, shown: node("MaskToImage", { mask: [from, slot] }) }, "shown");
}

/** A case of one node that takes one picture. */
function single(name: string, class_type: string, image: string, inputs: Inputs): void {
  picture(name, { in: load(image), do: node(class_type, { image: ["in", 0], ...inputs }) }, "do");
}

const METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"];
const SIZES = [
  [100, 77, "disabled"],
  [31, 90, "center"],
  [200, 0, "disabled"],
  [0, 33, "center"],
  [17, 13, "center"],
  [64, 48, "disabled"],
  [128, 96, "disabled"],
] as const;
for (const upscale_method of METHODS) {
  for (const [width, height, crop] of SIZES) {
    const name = `scale-${upscale_method}-${width}x${height}-${crop}`;
    single(name, "ImageScale", "noise.png", { upscale_method, width, height, crop });
  }
  single(`scale-by-${upscale_method}`, "ImageScaleBy", "smooth.png", { upscale_method, scale_by: 1.37 });
  single(`total-${upscale_method}`, "ImageScaleToTotalPixels", "smooth.png", { upscale_method, megapixels: 0.05 });
  single(`longest-${upscale_method}`, "ImageScaleToMaxDimension", "smooth.png", { upscale_method, largest_size: 99 });
  single(`pad-${upscale_method}`, "ResizeAndPadImage", "smooth.png", {
    target_width: 75,
    target_height: 90,
    padding_color: "white",
    interpolation: upscale_method,
  });
  const joined = { in: load("alpha.png"), join: node("JoinImageWithAlpha", { image: ["in", 0], alpha: ["in", 1] }) };
  const scale = node("ImageScale", { image: ["join", 0], upscale_method, width: 50, height: 13, crop: "disabled" });
  picture(`scale-alpha-${upscale_method}`, { ...joined, do: scale }, "do");
}

for (const blend_mode of ["normal", "multiply", "screen", "overlay", "soft_light", "difference"]) {
  for (const blend_factor of [0.37, 1]) {
    const inputs = { image1: ["a", 0], image2: ["b", 0], blend_factor, blend_mode };
    const nodes = { a: load("noise.png"), b: load("smooth.png"), do: node("ImageBlend", inputs) };
    picture(`blend-${blend_mode}-${blend_factor}`, nodes, "do");
  }
}

for (const [radius, sigma] of [
  [1, 1],
  [3, 0.3],
  [10, 2],
] as const) {
  single(`blur-${radius}-${sigma}`, "ImageBlur", "noise.png", { blur_radius: radius, sigma });
  single(`blur-smooth-${radius}-${sigma}`, "ImageBlur", "smooth.png", { blur_radius: radius, sigma });
  single(`sharpen-${radius}-${sigma}`, "ImageSharpen", "noise.png", { sharpen_radius: radius, sigma, alpha: 1.3 });
}

for (const image of ["noise.png", "smooth.png", "shapes.png", "waves.png"]) {
  const label = image.slice(0, -4);
  for (const colors of [1, 2, 7, 16, 256]) {
    for (const dither of ["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]) {
      single(`quantize-${label}-${colors}-${dither}`, "ImageQuantize", image, { colors, dither });
    }
  }
  for (const [low_threshold, high_threshold] of [
    [0.4, 0.8],
    [0.1, 0.2],
    [0.01, 0.99],
  ]) {
    single(`canny-${label}-${low_threshold}`, "Canny", image, { low_threshold, high_threshold });
  }
  for (const operation of ["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"]) {
    for (const kernel_size of [3, 4, 9]) {
      single(`morphology-${label}-${operation}-${kernel_size}`, "Morphology", image, { operation, kernel_size });
    }
  }
}

single("add-noise", "ImageAddNoise", "smooth.png", { seed: 18446744073709551615n, strength: 0.3 });
single("add-noise-odd", "ImageAddNoise", "small.png", { seed: 7, strength: 0.5 });
single("invert", "ImageInvert", "noise.png", {});
single("repeat", "RepeatImageBatch", "small.png", { amount: 3 });
single("crop", "ImageCrop", "noise.png", { width: 30, height: 100, x: 20, y: 11 });
single("kontext", "FluxKontextImageScale", "smooth.png", {});
for (const flip_method of ["x-axis: vertically", "y-axis: horizontally"]) {
  single(`flip-${flip_method[0]}`, "ImageFlip", "noise.png", { flip_method });
}
for (const rotation of ["none", "90 degrees", "180 degrees", "270 degrees"]) {
  single(`rotate-${rotation.split(" ")[0]}`, "ImageRotate", "noise.png", { rotation });
}
for (const [first, second] of [
  ["noise.png", "smooth.png"],
  ["small.png", "noise.png"],
] as const) {
  const nodes = { a: load(first), b: load(second), do: node("ImageBatch", { image1: ["a", 0], image2: ["b", 0] }) };
  picture(`batch-${first.slice(0, -4)}`, nodes, "do");
}

for (const direction of ["right", "down", "left", "up"]) {
  for (const match_image_size of [true, false]) {
    for (const [spacing_color, spacing_width] of [
      ["white", 0],
      ["red", 5],
      ["black", 4],
    ] as const) {
      const inputs = { image1: ["a", 0], image2: ["b", 0], direction, match_image_size, spacing_width, spacing_color };
      const nodes = { a: load("noise.png"), b: load("smooth.png"), do: node("ImageStitch", inputs) };
      picture(`stitch-${direction}-${match_image_size ? "matched" : "centered"}-${spacing_color}`, nodes, "do");
    }
  }
}

for (const [left, top, right, bottom, feathering] of [
  [16, 0, 8, 24, 11],
  [8, 8, 8, 8, 40],
  [0, 8, 0, 0, 20],
] as const) {
  const inputs = { image: ["in", 0], left, top, right, bottom, feathering };
  const nodes = { in: load("noise.png"), do: node("ImagePadForOutpaint", inputs) };
  picture(`outpaint-${left}-${top}`, nodes, "do");
  mask(`outpaint-mask-${left}-${top}`, nodes, "do", 1);
}

for (const [x, y, resize_source, masked] of [
  [0, 0, false, undefined],
  [10, 5, false, "alpha.png"],
  [100, 90, false, undefined],
  [3, 4, true, "alpha.png"],
  [0, 0, true, undefined],
  [20, 9, false, "noise.png"],
] as const) {
  const inputs = { destination: ["b", 0], source: ["a", 0], x, y, resize_source };
  const nodes = { a: load("noise.png"), b: load("smooth.png"), m: loadMask(masked ?? "alpha.png", "red") };
  const withMask = masked === undefined ? inputs : { ...inputs, mask: ["m", 0] };
  picture(`composite-${x}-${y}-${resize_source}`, { ...nodes, do: node("ImageCompositeMasked", withMask) }, "do");
}

for (const channel of ["alpha", "red", "green", "blue"]) {
  mask(`load-mask-${channel}`, { in: loadMask("alpha.png", channel) }, "in");
  mask(`load-mask-opaque-${channel}`, { in: loadMask("noise.png", channel) }, "in");
}
for (const channel of ["red", "green", "blue"]) {
  const nodes = { in: load("noise.png"), do: node("ImageToMask", { image: ["in", 0], channel }) };
  mask(`image-to-mask-${channel}`, nodes, "do");
}

/** A case of one mask node on the red channel of a picture. */
function maskNode(name: string, class_type: string, image: string, inputs: Inputs): void {
  mask(name, { in: loadMask(image, "red"), do: node(class_type, { mask: ["in", 0], ...inputs }) }, "do");
}

const red = (200 << 16) | (50 << 8) | 30;
const colorNodes = { in: load("shapes.png"), do: node("ImageColorToMask", { image: ["in", 0], color: red }) };
mask("color-to-mask", colorNodes, "do");
mask("solid", { do: node("SolidMask", { value: 0.33, width: 9, height: 5 }) }, "do");
maskNode("invert-mask", "InvertMask", "alpha.png", {});
maskNode("crop-mask", "CropMask", "alpha.png", { x: 5, y: 6, width: 100, height: 7 });
maskNode("threshold", "ThresholdMask", "noise.png", { value: 0.6 });
for (const operation of ["multiply", "add", "subtract", "and", "or", "xor"]) {
  for (const [x, y] of [
    [40, 37],
    [0, 0],
  ] as const) {
    const inputs = { destination: ["a", 0], source: ["b", 0], x, y, operation };
    const nodes = { a: loadMask("noise.png", "red"), b: loadMask("alpha.png", "green") };
    mask(`mask-${operation}-${x}`, { ...nodes, do: node("MaskComposite", inputs) }, "do");
  }
}
for (const [left, top, right, bottom] of [
  [5, 0, 0, 0],
  [0, 9, 0, 0],
  [0, 0, 7, 0],
  [0, 0, 0, 8],
  [40, 30, 20, 10],
] as const) {
  maskNode(`feather-${left}-${top}-${right}-${bottom}`, "FeatherMask", "alpha.png", { left, top, right, bottom });
}
for (const expand of [1, 3, -1, -4, 0]) {
  for (const tapered_corners of [true, false]) {
    const corners = tapered_corners ? "tapered" : "square";
    maskNode(`grow-${expand}-${corners}`, "GrowMask", "noise.png", { expand, tapered_corners });
  }
}

const MODES =
  "ADD CLEAR DARKEN DST DST_ATOP DST_IN DST_OUT DST_OVER LIGHTEN MULTIPLY OVERLAY SCREEN SRC SRC_ATOP SRC_IN SRC_OUT SRC_OVER XOR";
for (const mode of MODES.split(" ")) {
  const inputs = { source: ["a", 0], source_alpha: ["a", 1], destination: ["b", 0], destination_alpha: ["m", 0], mode };
  const nodes = { a: load("alpha.png"), b: load("noise.png"), m: loadMask("noise.png", "red") };
  picture(`porter-duff-${mode}`, { ...nodes, do: node("PorterDuffImageComposite", inputs) }, "do");
  mask(`porter-duff-mask-${mode}`, { ...nodes, do: node("PorterDuffImageComposite", inputs) }, "do", 1);
}
const alphaNodes = { a: load("noise.png"), m: loadMask("alpha.png", "alpha") };
picture("join", { ...alphaNodes, do: node("JoinImageWithAlpha", { image: ["a", 0], alpha: ["m", 0] }) }, "do");

const yuv = { in: load("noise.png"), yuv: node("ImageRGBToYUV", { image: ["in", 0] }) };
for (const [slot, name] of ["y", "u", "v"].entries()) picture(`yuv-${name}`, yuv, "yuv", slot);
const back = node("ImageYUVToRGB", { Y: ["yuv", 0], U: ["yuv", 1], V: ["yuv", 2] });
picture("yuv-and-back", { ...yuv, do: back }, "do");

/** Prompts by case name; node `save` saves the picture. */
export const pixelCases: Readonly<Record<string, Prompt>> = cases;
