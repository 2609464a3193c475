/** The node classes this server has: how they are described right now, and how they run. */
import { readdirSync } from "node:fs";
import path from "node:path";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { NodeClass, ObjectInfo } from "#workflow/object-info";
import { isOfKind } from "./content-types.ts";
import type { Generation } from "./generations.ts";
import type { ModelFolders } from "./models.ts";
import type { Folders, NodeImplementation } from "./node.ts";

export type NodeImplementations = Readonly<Record<string, NodeImplementation>>;

/** Model folders by input name; an entry "Class.input" goes before one for the input alone. */
const MODEL_INPUTS: Readonly<Record<string, string>> = {
  ckpt_name: "checkpoints",
  config_name: "configs",
  lora_name: "loras",
  vae_name: "vae",
  clip_name: "text_encoders",
  clip_name1: "text_encoders",
  clip_name2: "text_encoders",
  clip_name3: "text_encoders",
  clip_name4: "text_encoders",
  unet_name: "diffusion_models",
  control_net_name: "controlnet",
  style_model_name: "style_models",
  gligen_name: "gligen",
  hypernetwork_name: "hypernetworks",
  photomaker_model_name: "photomaker",
  audio_encoder_name: "audio_encoders",
  "CLIPVisionLoader.clip_name": "clip_vision",
  "UpscaleModelLoader.model_name": "upscale_models",
  "ModelPatchLoader.name": "model_patches",
};

/** What newer servers say about every class. */
const NEWER_FIELDS = { is_input_list: false, has_intermediate_output: false, search_aliases: [] };

/** The classes a catalog is made of. */
export interface NodeClasses {
  readonly specs: ObjectInfo;
  readonly implementations: NodeImplementations;
}

export class NodeCatalog {
  readonly folders: Folders;
  readonly #specs: ObjectInfo;
  readonly #implementations: NodeImplementations;
  readonly #models: ModelFolders;
  readonly #extraFields: Readonly<Record<string, Json>>;

  /** @throws Error when a class has an implementation but no description */
  constructor({ specs, implementations }: NodeClasses, models: ModelFolders, folders: Folders, generation: Generation) {
    for (const name of Object.keys(implementations)) {
      if (!Object.hasOwn(specs, name)) throw new Error(`Node class ${name} has no description`);
    }
    this.#specs = specs;
    this.#implementations = implementations;
    this.#models = models;
    this.folders = folders;
    this.#extraFields = generation.describesMore ? NEWER_FIELDS : {};
  }

  names(): string[] {
    return Object.keys(this.#implementations);
  }

  implementation(name: string): NodeImplementation | undefined {
    return Object.hasOwn(this.#implementations, name) ? this.#implementations[name] : undefined;
  }

  /** The description with today's file and model lists; undefined for a class this server does not have. */
  describe(name: string): NodeClass | undefined {
    if (this.implementation(name) === undefined) return undefined;
    const spec = this.#specs[name];
    if (spec === undefined) return undefined;
    const live = (section: Readonly<Record<string, Json>> | undefined) =>
      section === undefined
        ? undefined
        : Object.fromEntries(
            Object.entries(section).map(([input, value]) => [input, this.#withLiveList(name, input, value)]),
          );
    const { required, optional, hidden } = spec.input;
    return {
      ...this.#extraFields,
      ...spec,
      input: {
        ...(required === undefined ? {} : { required: live(required) ?? {} }),
        ...(optional === undefined ? {} : { optional: live(optional) ?? {} }),
        ...(hidden === undefined ? {} : { hidden }),
      },
    };
  }

  /** The answer of `GET /object_info`. */
  describeAll(): ObjectInfo {
    return Object.fromEntries(
      this.names().flatMap((name) => {
        const described = this.describe(name);
        return described === undefined ? [] : [[name, described]];
      }),
    );
  }

  /** What the class returns does not change while the server runs, so no list is built for it. */
  outputTypes(name: string): readonly Json[] {
    return this.#specs[name]?.output ?? [];
  }

  outputIsList(name: string): readonly boolean[] {
    return this.#specs[name]?.output_is_list ?? [];
  }

  isOutputNode(name: string): boolean {
    return this.#specs[name]?.output_node === true;
  }

  /** The declared options of an input, whichever section it stands in; undefined when it is not declared. */
  inputOptions(name: string, input: string): JsonObject | undefined {
    const sections = this.#specs[name]?.input;
    for (const section of [sections?.required, sections?.optional, sections?.hidden]) {
      if (section !== undefined && Object.hasOwn(section, input)) {
        const spec = section[input];
        const options = Array.isArray(spec) ? spec[1] : undefined;
        return isJsonObject(options) ? options : {};
      }
    }
    return undefined;
  }

  isLazy(name: string, input: string): boolean {
    const named = this.implementation(name)?.lazy?.includes(input) === true;
    return named || this.inputOptions(name, input)?.lazy === true;
  }

  /** Classes that are told their node id give each node a cache key of its own. */
  knowsItsId(name: string): boolean {
    return Object.values(this.#specs[name]?.input.hidden ?? {}).includes("UNIQUE_ID");
  }

  #withLiveList(className: string, input: string, spec: Json): Json {
    if (!Array.isArray(spec)) return spec;
    const [type, second] = spec;
    const options = isJsonObject(second) ? second : {};
    const isObjectForm = type === "COMBO";
    const fixed = isObjectForm ? options.options : type;
    if (!Array.isArray(fixed)) return spec;
    const files = this.#liveChoices(className, input, options);
    if (files === undefined) return spec;
    const choices = [...files, ...fixed.filter((choice) => typeof choice !== "string" || !files.includes(choice))];
    return isObjectForm ? [type, { ...options, options: choices }] : [choices, ...spec.slice(1)];
  }

  #liveChoices(className: string, input: string, options: JsonObject): string[] | undefined {
    const folder = MODEL_INPUTS[`${className}.${input}`] ?? MODEL_INPUTS[input];
    if (folder !== undefined) return this.#models.list(folder);
    if (options.remote !== undefined || options.image_folder === "output") return undefined;
    if (className === "LoadImageMask") return this.#inputFiles(() => true);
    if (options.image_upload === true) return this.#inputFiles((name) => isOfKind(name, ["image"]));
    if (options.audio_upload === true) return this.#inputFiles((name) => isOfKind(name, ["audio", "video"]));
    if (options.video_upload === true) return this.#inputFiles((name) => isOfKind(name, ["video"]));
    if (className === "LoadLatent") return this.#inputFiles((name) => name.endsWith(".latent"));
    return undefined;
  }

  #inputFiles(wanted: (name: string) => boolean): string[] {
    try {
      return readdirSync(this.folders.input, { withFileTypes: true })
        .filter((entry) => entry.isFile() && wanted(entry.name))
        .map((entry) => entry.name)
        .sort((a, b) => (a < b ? -1 : 1));
    } catch {
      return []; // The input folder was removed under the running server: then it lists no files.
    }
  }
}

/** Where a class keeps its files on disk, resolved once at start. */
export function foldersUnder(base: string, given: Partial<Folders>): Folders {
  return {
    input: path.resolve(given.input ?? path.join(base, "input")),
    output: path.resolve(given.output ?? path.join(base, "output")),
    temp: path.resolve(given.temp ?? path.join(base, "temp")),
    models: path.resolve(given.models ?? path.join(base, "models")),
  };
}
