/** Which model files a graph needs, and in which of ComfyUI's model folders each is looked for. */
import { isJsonObject, type Json } from "#contract/exact-json";
import { type EditorFacts, NO_FACTS } from "./editor-facts.ts";
import { hasModelExtension } from "./file-names.ts";
import { type Graph, type GraphNode, linkOf } from "./graph.ts";
import { Candidates } from "./input-candidates.ts";
import type { ClassLookup } from "./known-classes.ts";

/** One place in a graph that names a model file. */
export interface ModelUse {
  /** A folder below ComfyUI's `models`; null where neither the class nor the field tells it. */
  readonly folder: string | null;
  /** As the graph has it; it may begin with folders of its own, and Windows divides them by a backslash. */
  readonly filename: string;
  readonly node: string;
  readonly field: string;
  readonly class: string;
  /** Where the workflow's author says it can be had. */
  readonly url: string | null;
  /** `sha256:…`, as the author says. */
  readonly hash: string | null;
}

/** Fields whose meaning depends on the class. */
const BY_CLASS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  AudioEncoderLoader: { audio_encoder_name: "audio_encoders" },
  CLIPVisionLoader: { clip_name: "clip_vision" },
  DiffusersLoader: { model_path: "diffusers" },
  LatentUpscaleModelLoader: { model_name: "latent_upscale_models" },
  ModelPatchLoader: { name: "model_patches" },
  PhotoMakerLoader: { photomaker_model_name: "photomaker" },
  UpscaleModelLoader: { model_name: "upscale_models" },
};

/** Fields that mean the same in every loader, core or not. */
const BY_FIELD: readonly (readonly [field: RegExp, folder: string])[] = [
  [/^ckpt_name[0-9]*$|^checkpoint(_name)?$/, "checkpoints"],
  [/^(unet|diffusion_model)(_name)?[0-9]*$/, "diffusion_models"],
  [/^vae(_name)?[0-9]*$/, "vae"],
  [/^(lora|lora_name)(_?[0-9]+)?$/, "loras"],
  [/^(clip_name|text_encoder(_name)?)[0-9]*$/, "text_encoders"],
  [/^(control_net|controlnet)(_name)?[0-9]*$/, "controlnet"],
  [/^clip_vision(_name)?$/, "clip_vision"],
  [/^style_model(_name)?$/, "style_models"],
  [/^upscale_model(_name)?$/, "upscale_models"],
  [/^gligen_name$/, "gligen"],
  [/^hypernetwork_name$/, "hypernetworks"],
  [/^config_name$/, "configs"],
  [/^ipadapter_file$/, "ipadapter"],
  [/^motion_model(_name)?$/, "animatediff_models"],
];

/** More than any real workflow names; beyond, a fuzzed graph only costs memory. */
export const MODELS_MAX = 2_000;

/**
 * Every literal of a loader that names a model file, in the graph's order, also where the name comes through a link
 * from a value node. One file named twice is listed twice: the places differ.
 */
export function findModels(graph: Graph, lookup: ClassLookup, facts: EditorFacts = NO_FACTS): ModelUse[] {
  const candidates = new Candidates({ graph, live: [], uses: new Map(), lookup });
  const found: ModelUse[] = [];
  /** Places of value nodes whose text some loader reads: the loader is what needs the file. */
  const read = new Set<string>();
  for (const node of graph.values()) {
    for (const [field, value] of Object.entries(node.inputs)) {
      for (const { name, text, from } of namesAt(candidates, node, field, value)) {
        if (found.length >= MODELS_MAX) break;
        const folder = folderOf(node.classType, name);
        if (!isModelName(text, folder)) continue;
        if (from !== undefined) read.add(from);
        const note =
          facts.models.get(text.replaceAll("\\", "/")) ?? facts.models.get(text.slice(text.search(/[^/\\]*$/)));
        found.push({
          folder: note?.folder ?? folder,
          filename: text,
          node: node.id,
          field,
          class: node.classType,
          url: note?.url ?? null,
          hash: note?.hash ?? null,
        });
      }
    }
  }
  return found.filter(({ node, field }) => !read.has(placeKey(node, field)));
}

interface NameAt {
  /** The field, or the name inside an object, that tells what the text means. */
  readonly name: string;
  readonly text: string;
  /** The place the text was read from where that is another one. */
  readonly from?: string;
}

/** The texts a field holds: its own, those of an object, or the one at a link's end. */
function namesAt(candidates: Candidates, node: GraphNode, field: string, value: Json): NameAt[] {
  if (typeof value === "string") return [{ name: field, text: value }];
  if (isJsonObject(value)) {
    return Object.entries(value).flatMap(([name, text]) =>
      typeof text === "string" && value.on !== false ? [{ name, text }] : [],
    );
  }
  if (linkOf(value) === undefined || folderOf(node.classType, field) === null) return [];
  const resolved = candidates.resolve(node, field);
  if (typeof resolved?.value !== "string") return [];
  // A VAE that is linked to its loader is a loaded model, not the name of one.
  const source = candidates.view.graph.get(resolved.target.node);
  if (source === undefined || folderOf(source.classType, resolved.target.field) !== null) return [];
  return [{ name: field, text: resolved.value, from: placeKey(resolved.target.node, resolved.target.field) }];
}

function placeKey(node: string, field: string): string {
  return `${node}\n${field}`;
}

function folderOf(classType: string, field: string): string | null {
  const row = Object.hasOwn(BY_CLASS, classType) ? BY_CLASS[classType] : undefined;
  if (row !== undefined && Object.hasOwn(row, field)) return row[field] ?? null;
  return BY_FIELD.find(([pattern]) => pattern.test(field))?.[1] ?? null;
}

/** Lists of loaders also hold words that are no files ("None", "Baked VAE", "taesd"); folders of weights have no ending. */
function isModelName(text: string, folder: string | null): boolean {
  if (folder === "diffusers") return text !== "";
  return hasModelExtension(text) || (folder === "configs" && /\.ya?ml$/i.test(text));
}
