/** Every core node class known here, by name. */
import type { ObjectInfo } from "../object-info.ts";
import { audio } from "./audio.ts";
import { conditioning } from "./conditioning.ts";
import { images } from "./images.ts";
import { latents } from "./latents.ts";
import { loaders } from "./loaders.ts";
import { masks } from "./masks.ts";
import { modelMerges } from "./model-merges.ts";
import { modelPatches } from "./model-patches.ts";
import { prompts } from "./prompts.ts";
import { sampling } from "./sampling.ts";
import { values } from "./values.ts";
import { video } from "./video.ts";

/**
 * What a ComfyUI 0.3.64 without custom nodes, models or input files answers to `GET /object_info`, for the classes
 * that usual workflows use. Lists of model and input files are empty: only a server knows them.
 */
export const coreNodes: ObjectInfo = {
  ...sampling,
  ...loaders,
  ...prompts,
  ...conditioning,
  ...latents,
  ...modelPatches,
  ...modelMerges,
  ...images,
  ...masks,
  ...video,
  ...audio,
  ...values,
};
