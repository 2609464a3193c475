/** Every node class this server runs. */
import type { NodeImplementation } from "../node.ts";
import { audioNodes } from "./audio.ts";
import { conditioningNodes } from "./conditioning.ts";
import { imageColorNodes } from "./image-colors.ts";
import { imageFileNodes } from "./image-files.ts";
import { imageSizeNodes } from "./image-sizes.ts";
import { latentNodes } from "./latents.ts";
import { maskNodes } from "./masks.ts";
import { samplingNodes } from "./sampling.ts";
import { modelNodes } from "./simulated-models.ts";
import { valueNodes } from "./values.ts";
import { videoNodes } from "./video.ts";

/** By class name; each has its description in `workflow/core-nodes/`. */
export const nodeImplementations: Readonly<Record<string, NodeImplementation>> = {
  ...imageFileNodes,
  ...imageSizeNodes,
  ...imageColorNodes,
  ...maskNodes,
  ...modelNodes,
  ...conditioningNodes,
  ...latentNodes,
  ...samplingNodes,
  ...videoNodes,
  ...audioNodes,
  ...valueNodes,
};
