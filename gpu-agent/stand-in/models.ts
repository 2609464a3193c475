/** Which model files this server claims to have: simulated names, and real files under the models folder. */
import { readdirSync } from "node:fs";
import path from "node:path";

/** Folder name to file names, such as `{checkpoints: ["sd_xl_base_1.0.safetensors"]}`. */
export type ModelNames = Readonly<Record<string, readonly string[]>>;

const WEIGHTS = [".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"];

interface ModelFolder {
  /** Folders on disk, under the models folder. */
  readonly paths: readonly string[];
  readonly extensions: readonly string[];
}

const weights = (...paths: string[]): ModelFolder => ({ paths, extensions: WEIGHTS });

/** The folders of ComfyUI, in the order `GET /models` names them. */
const MODEL_FOLDERS: Readonly<Record<string, ModelFolder>> = {
  checkpoints: weights("checkpoints"),
  configs: { paths: ["configs"], extensions: [".yaml"] },
  loras: weights("loras"),
  vae: weights("vae"),
  text_encoders: weights("text_encoders", "clip"),
  diffusion_models: weights("unet", "diffusion_models"),
  clip_vision: weights("clip_vision"),
  style_models: weights("style_models"),
  embeddings: weights("embeddings"),
  diffusers: { paths: [], extensions: [] },
  vae_approx: weights("vae_approx"),
  controlnet: weights("controlnet", "t2i_adapter"),
  gligen: weights("gligen"),
  upscale_models: weights("upscale_models"),
  custom_nodes: { paths: [], extensions: [] },
  hypernetworks: weights("hypernetworks"),
  photomaker: weights("photomaker"),
  classifiers: { paths: ["classifiers"], extensions: [""] },
  model_patches: weights("model_patches"),
  audio_encoders: weights("audio_encoders"),
};

/** Folders that newer servers have besides, and after which of the others they come. */
const NEWER_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  upscale_models: ["latent_upscale_models"],
  custom_nodes: ["datasets"],
  audio_encoders: ["background_removal", "frame_interpolation", "geometry_estimation", "optical_flow", "detection"],
};

/** Older names of folders that ComfyUI still understands. */
const RENAMED: Readonly<Record<string, string>> = { unet: "diffusion_models", clip: "text_encoders" };

export class ModelFolders {
  readonly #root: string;
  readonly #known: readonly string[];
  readonly #simulated: ModelNames;
  readonly #missing: () => readonly string[];

  /**
   * @param root the models folder, absolute; it need not exist
   * @param missing names to leave out of every list, read at each call
   */
  constructor(root: string, simulated: ModelNames, missing: () => readonly string[], hasNewerFolders: boolean) {
    this.#root = root;
    this.#known = Object.keys(MODEL_FOLDERS).flatMap((name) => [
      name,
      ...(hasNewerFolders ? (NEWER_FOLDERS[name] ?? []) : []),
    ]);
    this.#simulated = simulated;
    this.#missing = missing;
  }

  folders(): string[] {
    return [...new Set([...this.#known, ...Object.keys(this.#simulated)])];
  }

  has(folder: string): boolean {
    return this.folders().includes(folder);
  }

  /** Where each folder's files would lie, for `GET /internal/folder_paths`. */
  paths(): Record<string, string[]> {
    return Object.fromEntries(
      this.folders().map((name) => [name, pathsOf(name).map((part) => path.join(this.#root, part))]),
    );
  }

  /** The names in a folder, sorted as Python sorts; empty for an unknown folder. */
  list(folder: string): string[] {
    const name = RENAMED[folder] ?? folder;
    const known = MODEL_FOLDERS[name];
    const onDisk = pathsOf(name).flatMap((part) =>
      filesUnder(path.join(this.#root, part), known?.extensions ?? WEIGHTS),
    );
    const names = new Set([...(this.#simulated[name] ?? []), ...onDisk]);
    for (const missing of this.#missing()) names.delete(missing);
    return [...names].sort((a, b) => (a < b ? -1 : 1));
  }

  /** Where a real file lies; undefined for a simulated one. */
  pathOf(folder: string, name: string): string | undefined {
    const known = MODEL_FOLDERS[RENAMED[folder] ?? folder];
    for (const part of known?.paths ?? []) {
      if (filesUnder(path.join(this.#root, part), known?.extensions ?? WEIGHTS).includes(name)) {
        return path.join(this.#root, part, name);
      }
    }
    return undefined;
  }
}

function pathsOf(folder: string): readonly string[] {
  return MODEL_FOLDERS[folder]?.paths ?? [folder];
}

function filesUnder(folder: string, extensions: readonly string[]): string[] {
  let entries: import("node:fs").Dirent[];
  try {
    entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch {
    return []; // A models folder that is not there has no models.
  }
  return entries
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .filter((name) => extensions.includes(path.extname(name).toLowerCase()));
}
