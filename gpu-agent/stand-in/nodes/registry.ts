/** Every node class this server runs. */
import type { NodeImplementation } from "../node.ts";
import { imageColorNodes } from "./image-colors.ts";
import { imageFileNodes } from "./image-files.ts";
import { imageSizeNodes } from "./image-sizes.ts";
import { maskNodes } from "./masks.ts";

export const nodeImplementations: Readonly<Record<string, NodeImplementation>> = {
  ...imageFileNodes,
  ...imageSizeNodes,
  ...imageColorNodes,
  ...maskNodes,
};
