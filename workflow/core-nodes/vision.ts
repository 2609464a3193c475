/** Core classes of newer servers that look at pictures and change what they show, which public templates use. */
import type { ObjectInfo } from "../object-info.ts";
import { bool, float, int, oneOf, text, v3 } from "./builder.ts";

/** As a server of late 2026 describes them; classes that the server itself describes are never looked up here. */
export const visionNodes: ObjectInfo = {
  ...v3("sam3", {
    SAM3_Detect: {
      title: "SAM3 Detect",
      category: "image/detection",
      inputs: {
        model: "MODEL",
        image: "IMAGE",
        threshold: float(0.5, 0.0, 1.0, 0.01),
        refine_iterations: int(2, 0, 5),
        individual_masks: bool(false),
      },
      optional: {
        conditioning: "CONDITIONING",
        bboxes: {
          type: "BOUNDING_BOX",
          options: { default: { x: 0, y: 0, width: 512, height: 512 }, forceInput: true, socketless: true },
        },
        positive_coords: text(undefined, { forceInput: true }),
        negative_coords: text(undefined, { forceInput: true }),
      },
      outputs: { masks: "MASK", bboxes: "BOUNDING_BOX" },
    },
    SAM3_VideoTrack: {
      title: "Run SAM3 Video Track",
      category: "image/detection",
      inputs: {
        images: "IMAGE",
        model: "MODEL",
        detection_threshold: float(0.5, 0.0, 1.0, 0.01),
        max_objects: int(4, 0, 64),
        detect_interval: int(1, 1),
      },
      optional: { initial_mask: "MASK", conditioning: "CONDITIONING" },
      outputs: { track_data: "SAM3_TRACK_DATA" },
    },
  }),
  ...v3("moge", {
    LoadMoGeModel: {
      title: "Load MoGe Model",
      category: "model/loaders",
      inputs: { model_name: oneOf([]) },
      outputs: ["MOGE_MODEL"],
    },
    MoGeInference: {
      title: "Run MoGe Inference",
      category: "image/geometry estimation",
      inputs: {
        moge_model: "MOGE_MODEL",
        image: "IMAGE",
        resolution_level: int(9, 0, 9),
        fov_x_degrees: float(0.0, 0.0, 170.0, 0.1, { advanced: true }),
        batch_size: int(4, 1, 64),
        force_projection: { type: "BOOLEAN", options: { default: true, advanced: true } },
        apply_mask: { type: "BOOLEAN", options: { default: true, advanced: true } },
      },
      outputs: { moge_geometry: "MOGE_GEOMETRY" },
    },
    MoGeRender: {
      title: "Render MoGe Geometry",
      category: "image/geometry estimation",
      inputs: {
        moge_geometry: "MOGE_GEOMETRY",
        output: oneOf(["depth", "depth_colored", "normal_opengl", "normal_directx", "mask"], { default: "depth" }),
      },
      outputs: ["IMAGE"],
    },
    MoGePointMapToMesh: {
      title: "Convert MoGe Point Map to Mesh",
      category: "image/geometry estimation",
      inputs: {
        moge_geometry: "MOGE_GEOMETRY",
        batch_index: int(0, 0, 4096),
        decimation: int(1, 1, 8),
        discontinuity_threshold: float(0.04, 0.0, 1.0, 0.01),
        texture: bool(true),
      },
      outputs: ["MESH"],
    },
  }),
  ...v3("sdpose", {
    SDPoseKeypointExtractor: {
      title: "SDPose Keypoint Extractor",
      category: "image/detection",
      inputs: { model: "MODEL", vae: "VAE", image: "IMAGE", batch_size: int(16, 1, 10000, 1) },
      optional: {
        bboxes: {
          type: "BOUNDING_BOX",
          options: { default: { x: 0, y: 0, width: 512, height: 512 }, forceInput: true, socketless: true },
        },
      },
      outputs: { keypoints: "POSE_KEYPOINT" },
    },
    SDPoseDrawKeypoints: {
      title: "SDPose Draw Keypoints",
      category: "image/detection",
      inputs: {
        keypoints: "POSE_KEYPOINT",
        draw_body: bool(true),
        draw_hands: bool(true),
        draw_face: bool(true),
        draw_feet: bool(false),
        stick_width: int(4, 1, 10, 1),
        face_point_size: int(3, 1, 10, 1),
        score_threshold: float(0.3, 0.0, 1.0, 0.01),
        draw_head: bool(true),
      },
      outputs: ["IMAGE"],
    },
  }),
  ...v3("depth_anything_3", {
    DA3Render: {
      title: "Render Depth Anything 3",
      category: "image/geometry estimation",
      inputs: {
        da3_geometry: "DA3_GEOMETRY",
        output: {
          type: "COMFY_DYNAMICCOMBO_V3",
          options: {
            options: [
              {
                key: "depth",
                inputs: {
                  required: {
                    normalization: ["COMBO", { default: "v2_style", options: ["v2_style", "min_max", "raw"] }],
                    apply_sky_clip: ["BOOLEAN", { default: false }],
                  },
                },
              },
              {
                key: "depth_colored",
                inputs: {
                  required: {
                    normalization: ["COMBO", { default: "v2_style", options: ["v2_style", "min_max", "raw"] }],
                    apply_sky_clip: ["BOOLEAN", { default: false }],
                  },
                },
              },
              { key: "sky_mask", inputs: { required: { colored: ["BOOLEAN", { default: false }] } } },
              { key: "confidence", inputs: { required: { colored: ["BOOLEAN", { default: false }] } } },
            ],
          },
        },
      },
      outputs: ["IMAGE"],
    },
    DA3Inference: {
      title: "Run Depth Anything 3",
      category: "image/geometry estimation",
      inputs: {
        da3_model: "DA3_MODEL",
        image: "IMAGE",
        resolution: int(504, 140, 2520, 14),
        resize_method: oneOf(["upper_bound_resize", "lower_bound_resize"], { default: "upper_bound_resize" }),
        mode: {
          type: "COMFY_DYNAMICCOMBO_V3",
          options: {
            options: [
              { key: "mono", inputs: { required: {} } },
              {
                key: "multiview",
                inputs: {
                  required: {
                    ref_view_strategy: [
                      "COMBO",
                      {
                        default: "saddle_balanced",
                        options: ["saddle_balanced", "saddle_sim_range", "first", "middle"],
                      },
                    ],
                    pose_method: ["COMBO", { default: "cam_dec", options: ["cam_dec", "ray_pose"] }],
                  },
                },
              },
            ],
          },
        },
      },
      outputs: { da3_geometry: "DA3_GEOMETRY" },
    },
    LoadDA3Model: {
      title: "Load Depth Anything 3",
      category: "model/loaders",
      inputs: {
        model_name: oneOf([]),
        weight_dtype: oneOf(["default", "fp16", "bf16", "fp32"], { default: "default" }),
      },
      outputs: ["DA3_MODEL"],
    },
  }),
  ...v3("images", {
    ImageCropV2: {
      title: "Crop Image",
      category: "image/transform",
      inputs: {
        image: "IMAGE",
        crop_region: {
          type: "BOUNDING_BOX",
          options: { default: { x: 0, y: 0, width: 512, height: 512 }, socketless: true },
        },
      },
      outputs: ["IMAGE"],
    },
  }),
  ...v3("bg_removal", {
    RemoveBackground: {
      title: "Remove Background",
      category: "image/background removal",
      inputs: { bg_removal_model: "BACKGROUND_REMOVAL", image: "IMAGE" },
      outputs: { mask: "MASK" },
    },
    LoadBackgroundRemovalModel: {
      title: "Load Background Removal Model",
      category: "model/loaders",
      inputs: { bg_removal_name: oneOf([]) },
      outputs: { bg_model: "BACKGROUND_REMOVAL" },
    },
  }),
  ...v3("rtdetr", {
    RTDETR_detect: {
      title: "Run Real-Time Detection (RT-DETR)",
      category: "image/detection",
      inputs: {
        model: "MODEL",
        image: "IMAGE",
        threshold: float(0.5),
        class_name: oneOf(
          (
            "all,person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light," +
            "fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear," +
            "zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard," +
            "sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket," +
            "bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli," +
            "carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv," +
            "laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book," +
            "clock,vase,scissors,teddy bear,hair drier,toothbrush"
          ).split(","),
          { default: "all" },
        ),
        max_detections: int(100),
      },
      outputs: { bboxes: "BOUNDING_BOX" },
    },
  }),
  ...v3("post_processing", {
    ColorTransfer: {
      title: "Transfer Color",
      category: "image/filters",
      inputs: {
        image_target: "IMAGE",
        image_ref: "IMAGE",
        method: oneOf(["reinhard_lab", "mkl_lab", "histogram"]),
        source_stats: {
          type: "COMFY_DYNAMICCOMBO_V3",
          options: {
            options: [
              { key: "per_frame", inputs: { required: {} } },
              { key: "uniform", inputs: { required: {} } },
              {
                key: "target_frame",
                inputs: { required: { target_index: ["INT", { default: 0, min: 0, max: 10000 }] } },
              },
            ],
          },
        },
        strength: float(1.0, 0.0, 10.0, 0.01),
      },
      outputs: { image: "IMAGE" },
    },
  }),
  ...v3("color", {
    ColorToRGBInt: {
      title: "Color Picker",
      category: "utilities",
      inputs: { color: { type: "COLOR", options: { default: "#ffffff", socketless: true } } },
      outputs: { rgb_int: "INT", hex: "COLOR", alpha: "FLOAT" },
    },
  }),
};
