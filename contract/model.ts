/** A model of the workspace's registry: a file of weights, named by its sha256, with the places where ComfyUI looks for it. */
import * as z from "zod";
import { ModelFilename, ModelType } from "#contract/build";
import { ModelId } from "#contract/ids";
import { Sha256 } from "#contract/job";
import { MODEL_BYTES_MAX } from "#contract/limits";

/**
 * uploading: parts are awaited. importing: they are being fetched. verifying: the whole is read back, hashed, and its
 * header checked. Only what is ready is given to machines.
 */
export const ModelStatus = z.enum(["uploading", "importing", "verifying", "ready", "failed"]);
export type ModelStatus = z.infer<typeof ModelStatus>;

/** What the bytes are. Loading a pickle runs whatever its maker put into it. */
export const ModelFormat = z.enum(["safetensors", "gguf", "pickle", "other"]);
export type ModelFormat = z.infer<typeof ModelFormat>;

/** Where ComfyUI finds it: a folder below `models`, and a name in it. */
export const ModelPlace = z.object({ type: ModelType, filename: ModelFilename });
export type ModelPlace = z.infer<typeof ModelPlace>;

export const Model = z
  .object({
    id: ModelId,
    sha256: Sha256.nullable().meta({ description: "Null while an import's hash is not known yet" }),
    type: ModelType,
    filename: ModelFilename,
    places: z
      .array(ModelPlace)
      .meta({ description: "Every folder and name it is registered under; the first is above" }),
    size: z.int().nonnegative().nullable().meta({ description: "Bytes; null until an import knows" }),
    format: ModelFormat.nullable().meta({ description: "Null until it is verified" }),
    status: ModelStatus,
    reason: z.string().nullable().meta({ description: "Why it failed" }),
    notice: z.string().nullable().meta({ description: "Why an import waits before it tries again" }),
    bytes_done: z.int().nonnegative().meta({ description: "Bytes that are stored" }),
    sources: z.array(z.string()).meta({ description: "Where it came from; the query of an address is left out" }),
    upload: z
      .object({
        part_bytes: z.int().positive().meta({ description: "Bytes of every part but the last" }),
        part_count: z.int().positive(),
        parts: z.array(z.int().positive()).meta({ description: "Numbers of the parts that are stored, from 1" }),
      })
      .nullable()
      .meta({ description: "While it is being uploaded, in answers about one model" }),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "Model" });
export type Model = z.infer<typeof Model>;

const place = {
  type: ModelType.meta({ description: "ComfyUI's folder", examples: ["checkpoints", "loras", "vae"] }),
  filename: ModelFilename.meta({ examples: ["flux1-dev.safetensors"] }),
  allow_unsafe: z.boolean().default(false).meta({
    description: "Take a file that is not safetensors, such as a pickle, which may run code where it is loaded",
  }),
};

export const NewModel = z
  .strictObject({ sha256: Sha256, size: z.int().min(1).max(MODEL_BYTES_MAX), ...place })
  .meta({ id: "NewModel" });
export type NewModel = z.infer<typeof NewModel>;

export const NewModelImport = z
  .strictObject({
    source: z
      .string()
      .min(1)
      .max(4_096)
      .meta({
        description: "`https://…`, `hf:owner/name@revision/path` or `civitai:<version id>`",
        examples: ["hf:owner/name@main/model.safetensors"],
      }),
    sha256: Sha256.optional().meta({
      description: "What the file must hash to; Hugging Face and Civitai say it themselves",
    }),
    ...place,
  })
  .meta({ id: "NewModelImport" });
export type NewModelImport = z.infer<typeof NewModelImport>;

/** Names that say safetensors; any other name needs `allow_unsafe`. */
export function isSafetensorsName(filename: string): boolean {
  return /\.(safetensors|sft)$/i.test(filename);
}
