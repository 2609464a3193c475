/** Classes that work on pictures without any model. */
import type { ObjectInfo } from "../object-info.ts";
import { BATCH, bool, COLOR, extras, float, int, offset, oneOf, SEED, share, side, text, v1, v3 } from "./builder.ts";
import { CROP, FLIP, RESAMPLING, ROTATION } from "./choices.ts";

const IMAGE = "IMAGE";
const UPLOAD = oneOf([], { image_upload: true });
const PREFIX = text("ComfyUI");
const blurRadius = int(1, 1, 31, 1);
const threshold = (initial: number) => float(initial, 0.01, 0.99, 0.01);
const animationFps = float(6, 0.01, 1000, 0.01);

export const images: ObjectInfo = {
  ...v1("nodes", {
    SaveImage: {
      title: "Save Image",
      category: "image",
      inputs: { images: IMAGE, filename_prefix: PREFIX },
      hidden: "saves",
      isOutput: true,
    },
    PreviewImage: {
      title: "Preview Image",
      category: "image",
      inputs: { images: IMAGE },
      hidden: "saves",
      isOutput: true,
    },
    LoadImage: { title: "Load Image", category: "image", inputs: { image: UPLOAD }, outputs: [IMAGE, "MASK"] },
    LoadImageMask: {
      title: "Load Image (as Mask)",
      category: "mask",
      inputs: { image: UPLOAD, channel: oneOf(["alpha", "red", "green", "blue"]) },
      outputs: ["MASK"],
    },
    // Its list is not in the answer: the editor fetches it from the route below.
    LoadImageOutput: {
      title: "Load Image (from Outputs)",
      category: "image",
      inputs: {
        image: {
          type: "COMBO",
          options: {
            image_upload: true,
            image_folder: "output",
            remote: { route: "/internal/files/output", refresh_button: true, control_after_refresh: "first" },
          },
        },
      },
      outputs: [IMAGE, "MASK"],
      experimental: true,
    },
    ImageScale: {
      title: "Upscale Image",
      category: "image/upscaling",
      inputs: {
        image: IMAGE,
        upscale_method: RESAMPLING,
        width: side(512, 0, 1),
        height: side(512, 0, 1),
        crop: CROP,
      },
      outputs: [IMAGE],
    },
    ImageScaleBy: {
      title: "Upscale Image By",
      category: "image/upscaling",
      inputs: { image: IMAGE, upscale_method: RESAMPLING, scale_by: float(1, 0.01, 8, 0.01) },
      outputs: [IMAGE],
    },
    ImageInvert: { title: "Invert Image", category: "image", inputs: { image: IMAGE }, outputs: [IMAGE] },
    ImageBatch: {
      title: "Batch Images",
      category: "image",
      inputs: { image1: IMAGE, image2: IMAGE },
      outputs: [IMAGE],
    },
    ImagePadForOutpaint: {
      title: "Pad Image for Outpainting",
      category: "image",
      inputs: {
        image: IMAGE,
        left: offset(8),
        top: offset(8),
        right: offset(8),
        bottom: offset(8),
        feathering: side(40, 0, 1),
      },
      outputs: [IMAGE, "MASK"],
    },
    EmptyImage: {
      category: "image",
      inputs: { width: side(512, 1, 1), height: side(512, 1, 1), batch_size: BATCH, color: COLOR },
      outputs: [IMAGE],
    },
  }),
  ...v1(extras("images"), {
    ImageCrop: {
      title: "Image Crop",
      category: "image/transform",
      inputs: { image: IMAGE, width: side(512, 1, 1), height: side(512, 1, 1), x: offset(1), y: offset(1) },
      outputs: [IMAGE],
    },
    RepeatImageBatch: { category: "image/batch", inputs: { image: IMAGE, amount: BATCH }, outputs: [IMAGE] },
    ImageFromBatch: {
      category: "image/batch",
      inputs: { image: IMAGE, batch_index: int(0, 0, 4095), length: BATCH },
      outputs: [IMAGE],
    },
    ImageAddNoise: { category: "image", inputs: { image: IMAGE, seed: SEED, strength: share(0.5) }, outputs: [IMAGE] },
    SaveAnimatedWEBP: {
      category: "image/animation",
      inputs: {
        images: IMAGE,
        filename_prefix: PREFIX,
        fps: animationFps,
        lossless: bool(true),
        quality: int(80, 0, 100),
        method: oneOf(["default", "fastest", "slowest"]),
      },
      hidden: "saves",
      isOutput: true,
    },
    SaveAnimatedPNG: {
      category: "image/animation",
      inputs: { images: IMAGE, filename_prefix: PREFIX, fps: animationFps, compress_level: int(4, 0, 9) },
      hidden: "saves",
      isOutput: true,
    },
    SaveSVGNode: {
      category: "image/save",
      inputs: { svg: "SVG", filename_prefix: text("svg/ComfyUI") },
      hidden: "saves",
      isOutput: true,
    },
    ImageStitch: {
      title: "Image Stitch",
      category: "image/transform",
      inputs: {
        image1: IMAGE,
        direction: oneOf(["right", "down", "left", "up"], { default: "right" }),
        match_image_size: bool(true),
        spacing_width: int(0, 0, 1024, 2),
        spacing_color: oneOf(["white", "black", "red", "green", "blue"], { default: "white" }),
      },
      optional: { image2: IMAGE },
      outputs: [IMAGE],
    },
    ResizeAndPadImage: {
      category: "image/transform",
      inputs: {
        image: IMAGE,
        target_width: side(512, 1, 1),
        target_height: side(512, 1, 1),
        padding_color: oneOf(["white", "black"]),
        interpolation: oneOf(["area", "bicubic", "nearest-exact", "bilinear", "lanczos"]),
      },
      outputs: [IMAGE],
    },
    GetImageSize: {
      title: "Get Image Size",
      category: "image",
      inputs: { image: IMAGE },
      hidden: "unique_id",
      outputs: { width: "INT", height: "INT", batch_size: "INT" },
    },
    ImageRotate: { category: "image/transform", inputs: { image: IMAGE, rotation: ROTATION }, outputs: [IMAGE] },
    ImageFlip: { category: "image/transform", inputs: { image: IMAGE, flip_method: FLIP }, outputs: [IMAGE] },
    ImageScaleToMaxDimension: {
      category: "image/upscaling",
      inputs: {
        image: IMAGE,
        // The second "bilinear" is in the server's own list.
        upscale_method: oneOf(["area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"]),
        largest_size: side(512, 0, 1),
      },
      outputs: [IMAGE],
    },
  }),
  ...v3("post_processing", {
    ImageBlend: {
      category: "image/postprocessing",
      inputs: {
        image1: IMAGE,
        image2: IMAGE,
        blend_factor: share(0.5),
        blend_mode: oneOf(["normal", "multiply", "screen", "overlay", "soft_light", "difference"]),
      },
      outputs: [IMAGE],
    },
    ImageBlur: {
      category: "image/postprocessing",
      inputs: { image: IMAGE, blur_radius: blurRadius, sigma: float(1, 0.1, 10, 0.1) },
      outputs: [IMAGE],
    },
    ImageQuantize: {
      category: "image/postprocessing",
      inputs: {
        image: IMAGE,
        colors: int(256, 1, 256, 1),
        dither: oneOf(["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]),
      },
      outputs: [IMAGE],
    },
    ImageSharpen: {
      category: "image/postprocessing",
      inputs: {
        image: IMAGE,
        sharpen_radius: blurRadius,
        sigma: float(1, 0.1, 10, 0.01),
        alpha: float(1, 0, 5, 0.01),
      },
      outputs: [IMAGE],
    },
    ImageScaleToTotalPixels: {
      category: "image/upscaling",
      inputs: { image: IMAGE, upscale_method: RESAMPLING, megapixels: float(1, 0.01, 16, 0.01) },
      outputs: [IMAGE],
    },
  }),
  ...v1(extras("mask"), {
    ImageCompositeMasked: {
      category: "image",
      inputs: { destination: IMAGE, source: IMAGE, x: offset(1), y: offset(1), resize_source: bool(false) },
      optional: { mask: "MASK" },
      outputs: [IMAGE],
    },
  }),
  ...v3("compositing", {
    PorterDuffImageComposite: {
      title: "Porter-Duff Image Composite",
      category: "mask/compositing",
      inputs: {
        source: IMAGE,
        source_alpha: "MASK",
        destination: IMAGE,
        destination_alpha: "MASK",
        mode: oneOf(
          [
            "ADD",
            "CLEAR",
            "DARKEN",
            "DST",
            "DST_ATOP",
            "DST_IN",
            "DST_OUT",
            "DST_OVER",
            "LIGHTEN",
            "MULTIPLY",
            "OVERLAY",
            "SCREEN",
            "SRC",
            "SRC_ATOP",
            "SRC_IN",
            "SRC_OUT",
            "SRC_OVER",
            "XOR",
          ],
          { default: "DST" },
        ),
      },
      outputs: [IMAGE, "MASK"],
    },
    SplitImageWithAlpha: {
      title: "Split Image with Alpha",
      category: "mask/compositing",
      inputs: { image: IMAGE },
      outputs: [IMAGE, "MASK"],
    },
    JoinImageWithAlpha: {
      title: "Join Image with Alpha",
      category: "mask/compositing",
      inputs: { image: IMAGE, alpha: "MASK" },
      outputs: [IMAGE],
    },
  }),
  ...v3("rebatch", {
    RebatchImages: {
      title: "Rebatch Images",
      category: "image/batch",
      inputs: { images: IMAGE, batch_size: BATCH },
      outputs: [IMAGE],
      lists: true,
    },
  }),
  ...v3("canny", {
    Canny: {
      category: "image/preprocessors",
      inputs: { image: IMAGE, low_threshold: threshold(0.4), high_threshold: threshold(0.8) },
      outputs: [IMAGE],
    },
  }),
  ...v3("morphology", {
    Morphology: {
      title: "ImageMorphology",
      category: "image/postprocessing",
      inputs: {
        image: IMAGE,
        operation: oneOf(["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"]),
        kernel_size: int(3, 3, 999, 1),
      },
      outputs: [IMAGE],
    },
    ImageRGBToYUV: { category: "image/batch", inputs: { image: IMAGE }, outputs: { Y: IMAGE, U: IMAGE, V: IMAGE } },
    ImageYUVToRGB: { category: "image/batch", inputs: { Y: IMAGE, U: IMAGE, V: IMAGE }, outputs: [IMAGE] },
  }),
  ...v3("upscale_model", {
    ImageUpscaleWithModel: {
      title: "Upscale Image (using Model)",
      category: "image/upscaling",
      inputs: { upscale_model: "UPSCALE_MODEL", image: IMAGE },
      outputs: [IMAGE],
    },
  }),
  ...v3("flux", {
    FluxKontextImageScale: {
      category: "advanced/conditioning/flux",
      inputs: { image: IMAGE },
      outputs: [IMAGE],
    },
  }),
  ...v3("lt", {
    LTXVPreprocess: {
      category: "image",
      inputs: { image: IMAGE, img_compression: int(35, 0, 100) },
      outputs: { output_image: IMAGE },
    },
  }),
  ...v1(extras("webcam"), {
    WebcamCapture: {
      title: "Webcam Capture",
      category: "image",
      inputs: { image: "WEBCAM", width: side(0, 0, 1), height: side(0, 0, 1), capture_on_queue: bool(true) },
      outputs: [IMAGE],
    },
  }),
};
