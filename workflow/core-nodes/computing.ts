/** Core classes of newer servers that compute with numbers, texts, shaders, sigmas and models. */
import type { ObjectInfo } from "../object-info.ts";
import { float, int, oneOf, text, v3 } from "./builder.ts";

/** As a server of late 2026 describes them; classes that the server itself describes are never looked up here. */
export const computingNodes: ObjectInfo = {
  ...v3("math", {
    ComfyMathExpression: {
      title: "Math Expression",
      category: "utilities",
      inputs: {
        expression: text("a + b", { multiline: true }),
        values: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: { required: { value: ["FLOAT,INT,BOOLEAN", {}] } },
              names: [..."abcdefghijklmnopqrstuvwxyz"],
              min: 1,
            },
          },
        },
      },
      outputs: { FLOAT: "FLOAT", INT: "INT", BOOL: "BOOLEAN" },
    },
  }),
  ...v3("custom_sampler", {
    ManualSigmas: {
      category: "model/sampling/sigmas",
      inputs: { sigmas: text("1, 0.5") },
      outputs: ["SIGMAS"],
      experimental: true,
    },
    DualModelGuider: {
      title: "Dual Model CFG Guider",
      category: "model/sampling/guiders",
      inputs: { model: "MODEL", positive: "CONDITIONING", cfg: float(4.0, 0.0, 100.0, 0.1, { round: 0.01 }) },
      optional: { model_negative: "MODEL", negative: "CONDITIONING" },
      outputs: ["GUIDER"],
      experimental: true,
    },
    CFGOverride: {
      title: "CFG Override",
      category: "model/sampling/guiders",
      inputs: {
        model: "MODEL",
        cfg: float(1.0, 0.0, 100.0, 0.1, { round: 0.01 }),
        start_percent: float(0.0, 0.0, 1.0, 0.001),
        end_percent: float(1.0, 0.0, 1.0, 0.001),
      },
      outputs: ["MODEL"],
    },
  }),
  ...v3("glsl", {
    GLSLShader: {
      title: "GLSL Shader",
      category: "image/shader",
      inputs: {
        fragment_shader: text("", { multiline: true }),
        size_mode: {
          type: "COMFY_DYNAMICCOMBO_V3",
          options: {
            options: [
              { key: "from_input", inputs: { required: {} } },
              {
                key: "custom",
                inputs: {
                  required: {
                    width: ["INT", { default: 512, min: 1, max: 16384 }],
                    height: ["INT", { default: 512, min: 1, max: 16384 }],
                  },
                },
              },
            ],
          },
        },
        images: {
          type: "COMFY_AUTOGROW_V3",
          options: { template: { input: { required: { image: ["IMAGE", {}] } }, prefix: "image", min: 1, max: 5 } },
        },
        floats: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: { required: { float: ["FLOAT", { default: 0.0, forceInput: true }] } },
              prefix: "u_float",
              min: 0,
              max: 20,
            },
          },
        },
        ints: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: { required: { int: ["INT", { default: 0, forceInput: true }] } },
              prefix: "u_int",
              min: 0,
              max: 20,
            },
          },
        },
        bools: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: { required: { bool: ["BOOLEAN", { default: false, forceInput: true }] } },
              prefix: "u_bool",
              min: 0,
              max: 10,
            },
          },
        },
        curves: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: {
                required: {
                  curve: [
                    "CURVE",
                    {
                      default: {
                        points: [
                          [0.0, 0.0],
                          [1.0, 1.0],
                        ],
                        interpolation: "monotone_cubic",
                      },
                      forceInput: true,
                      socketless: true,
                    },
                  ],
                },
              },
              prefix: "u_curve",
              min: 0,
              max: 4,
            },
          },
        },
      },
      outputs: { IMAGE0: "IMAGE", IMAGE1: "IMAGE", IMAGE2: "IMAGE", IMAGE3: "IMAGE" },
      experimental: true,
    },
  }),
  ...v3("resolution", {
    ResolutionSelector: {
      title: "Resolution Selector",
      category: "utilities",
      inputs: {
        aspect_ratio: oneOf(
          [
            "1:1 (Square)",
            "2:3 (Portrait Photo)",
            "3:2 (Photo)",
            "3:4 (Portrait Standard)",
            "4:3 (Standard)",
            "9:16 (Portrait Widescreen)",
            "16:9 (Widescreen)",
            "21:9 (Ultrawide)",
          ],
          { default: "1:1 (Square)" },
        ),
        megapixels: float(1.0, 0.1, 16.0, 0.1),
        multiple: int(8, 8, 128, 4, { advanced: true }),
      },
      outputs: { width: "INT", height: "INT" },
    },
  }),
  ...v3("dataset", {
    ResizeImagesByLongerEdge: {
      title: "Resize Images by Longer Edge (DEPRECATED)",
      category: "image/transform",
      inputs: { images: "IMAGE", longer_edge: int(1024, 1, 8192) },
      outputs: { images: "IMAGE" },
      experimental: true,
    },
  }),
  ...v3("string", {
    JsonExtractString: {
      title: "Extract Text from JSON",
      category: "text",
      inputs: { json_string: text(undefined, { multiline: true }), key: text() },
      outputs: ["STRING"],
    },
  }),
  ...v3("latent", {
    LatentCutToBatch: {
      category: "model/latent/advanced",
      inputs: { samples: "LATENT", dim: oneOf(["t", "x", "y"]), slice_size: int(1, 1, 16384, 1) },
      outputs: ["LATENT"],
    },
  }),
  ...v3("number_convert", {
    ComfyNumberConvert: {
      title: "Convert Number",
      category: "utilities",
      inputs: { value: "INT,FLOAT,STRING,BOOLEAN" },
      outputs: ["FLOAT", "INT"],
    },
  }),
  ...v3("mage", {
    TextEncodeMageFlowEdit: {
      category: "model/conditioning/mage",
      inputs: {
        clip: "CLIP",
        prompt: text(undefined, { multiline: true, dynamicPrompts: true }),
        negative_prompt: text(undefined, { multiline: true, dynamicPrompts: true, advanced: true }),
        images: {
          type: "COMFY_AUTOGROW_V3",
          options: {
            template: {
              input: { required: { image: ["IMAGE", {}] } },
              names: (
                "image_1,image_2,image_3,image_4,image_5,image_6,image_7,image_8,image_9,image_10," +
                "image_11,image_12,image_13,image_14,image_15,image_16"
              ).split(","),
              min: 0,
            },
          },
        },
        width: int(0, 0, 8192, 16),
        height: int(0, 0, 8192, 16),
        batch_size: int(1, 1, 4096),
      },
      optional: { vae: "VAE" },
      outputs: { positive: "CONDITIONING", negative: "CONDITIONING", latent: "LATENT" },
    },
  }),
  ...v3("qwen", {
    EmptyQwenImageLayeredLatentImage: {
      title: "Empty Qwen Image Layered Latent",
      category: "model/latent/qwen",
      inputs: {
        width: int(640, 16, 16384, 16),
        height: int(640, 16, 16384, 16),
        layers: int(3, 0, 16384, 1),
        batch_size: int(1, 1, 4096),
      },
      outputs: ["LATENT"],
    },
  }),
  ...v3("ideogram4", {
    Ideogram4Scheduler: {
      title: "Ideogram 4 Scheduler",
      category: "model/sampling/schedulers",
      inputs: {
        steps: int(20, 1, 200),
        width: int(1024, 256, 8192, 16),
        height: int(1024, 256, 8192, 16),
        mu: float(0.0, -10.0, 10.0, 0.05),
        std: float(1.75, 0.1, 5.0, 0.05),
      },
      outputs: ["SIGMAS"],
    },
  }),
  ...v3("model_patch", {
    AnimaLLLiteApply: {
      title: "Apply Anima LLLite",
      category: "model_patches/anima",
      inputs: {
        model: "MODEL",
        model_patch: "MODEL_PATCH",
        image: "IMAGE",
        strength: float(1.0, -10.0, 10.0, 0.01),
        start_percent: float(0.0, 0.0, 1.0, 0.001),
        end_percent: float(1.0, 0.0, 1.0, 0.001),
      },
      optional: { mask: "MASK" },
      outputs: ["MODEL"],
      experimental: true,
    },
  }),
};
