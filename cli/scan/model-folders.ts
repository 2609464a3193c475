/** Where an installation of ComfyUI keeps its models: its own folders, and those of extra_model_paths.yaml. */
import { existsSync } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { CliError } from "#cli/errors";
import { ModelFilename } from "#contract/build";
import { isJsonObject } from "#contract/exact-json";
import { DRAFT_MODELS_MAX } from "#workflow/build/draft-limits";
import { readBuildDocument } from "#workflow/build/read-document";
import { hasModelExtension } from "#workflow/file-names";

export interface ModelFile {
  /** The folder below models. */
  readonly type: string;
  readonly filename: string;
  readonly path: string;
}

/** Kinds that have two folders: ComfyUI looks into both. */
const SAME_KIND = [
  ["text_encoders", "clip"],
  ["diffusion_models", "unet"],
];
/** Settings of a section that are no kind of model. */
const NO_KINDS = new Set(["base_path", "is_default", "custom_nodes", "download_model_base", "configs"]);
const DEPTH_MAX = 8;

export class ModelFolders {
  /** Paths by kind. */
  readonly #folders = new Map<string, string[]>();
  readonly warnings: string[] = [];

  /**
   * @param base the folder that holds `models`
   * @param configs files in the format of extra_model_paths.yaml; those that do not exist are passed over
   */
  static async of(base: string, configs: readonly string[]): Promise<ModelFolders> {
    const folders = new ModelFolders();
    const own = join(base, "models");
    for (const kind of existsSync(own) ? (await readdir(own)).toSorted() : []) {
      const isFolder = (await stat(join(own, kind)).catch(() => undefined))?.isDirectory() === true;
      if (isFolder && !NO_KINDS.has(kind)) folders.add(kind, join(own, kind));
    }
    for (const config of configs) await folders.addExtra(config);
    return folders;
  }

  /** Where a file lies that a graph names; undefined where it does not. @param type null: the kind is not known */
  async find(type: string | null, filename: string): Promise<ModelFile | undefined> {
    // The name comes from a workflow and is joined to a path here.
    if (!ModelFilename.safeParse(filename).success) return undefined;
    const kinds = type === null ? [...this.#folders.keys()] : (SAME_KIND.find((same) => same.includes(type)) ?? [type]);
    const found: ModelFile[] = [];
    for (const kind of kinds) {
      for (const folder of this.#folders.get(kind) ?? []) {
        const path = join(folder, ...filename.split("/"));
        if ((await stat(path).catch(() => undefined))?.isFile() === true) {
          found.push({ type: type ?? kind, filename, path });
        }
      }
    }
    // Without a kind, a name in several folders says nothing.
    return type === null && new Set(found.map((file) => file.type)).size > 1 ? undefined : found[0];
  }

  /**
   * Every model file there is.
   * @throws CliError `scan_failed` for more than a build may have
   */
  async all(): Promise<ModelFile[]> {
    const files = new Map<string, ModelFile>();
    for (const [type, folders] of this.#folders) {
      // A folder that is listed is walked under its own name, not under that of a link to it.
      const listed = await Promise.all(folders.map((folder) => realpath(folder).catch(() => folder)));
      const seen = new Set(listed);
      for (const folder of folders) await this.walk(folder, type, [], files, seen);
    }
    return [...files.values()];
  }

  private async walk(
    folder: string,
    type: string,
    below: readonly string[],
    files: Map<string, ModelFile>,
    seen: Set<string>,
  ): Promise<void> {
    const real = await realpath(folder).catch(() => undefined);
    if (real === undefined || below.length > DEPTH_MAX) return;
    // Links may lead in circles.
    if (below.length > 0 && seen.has(real)) return;
    seen.add(real);
    for (const name of (await readdir(folder)).toSorted()) {
      const path = join(folder, name);
      const kind = name.startsWith(".") ? undefined : await stat(path).catch(() => undefined);
      if (kind?.isDirectory() === true) await this.walk(path, type, [...below, name], files, seen);
      else if (kind?.isFile() === true && hasModelExtension(name)) {
        const filename = [...below, name].join("/");
        const place = `${type}/${filename}`;
        if (!files.has(place)) files.set(place, { type, filename, path });
        if (files.size > DRAFT_MODELS_MAX) {
          throw new CliError(
            "scan_failed",
            `The installation has more than ${DRAFT_MODELS_MAX} model files, which is the most of a build`,
            "--workflow names those that one workflow needs.",
          );
        }
      }
    }
  }

  private add(kind: string, folder: string): void {
    const known = this.#folders.get(kind);
    if (known === undefined) this.#folders.set(kind, [folder]);
    else if (!known.includes(folder)) known.push(folder);
  }

  /** `<label>: base_path, <kind>: one path or several lines of them`. */
  private async addExtra(config: string): Promise<void> {
    const text = await readFile(config, "utf8").catch(() => undefined);
    if (text === undefined) return;
    const read = readBuildDocument(text);
    if (!read.ok || !isJsonObject(read.value)) {
      const why = read.ok ? "it holds no sections" : read.detail;
      this.warnings.push(`${basename(config)} is passed over: ${why}`);
      return;
    }
    for (const section of Object.values(read.value)) {
      if (!isJsonObject(section)) continue;
      if (typeof section.custom_nodes === "string") {
        this.warnings.push(
          `${basename(config)} names further custom nodes, which are not looked into: add them by hand.`,
        );
      }
      const base = typeof section.base_path === "string" ? section.base_path.replace(/^~(?=\/|$)/, homedir()) : "";
      for (const [kind, paths] of Object.entries(section)) {
        if (NO_KINDS.has(kind) || typeof paths !== "string") continue;
        for (const path of paths.split("\n")) {
          if (path.trim() !== "") this.add(kind, resolve(dirname(config), base, path.trim()));
        }
      }
    }
  }
}
