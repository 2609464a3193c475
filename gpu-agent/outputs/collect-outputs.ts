/**
 * Which files and texts of a finished prompt are its outputs. Pure.
 *
 * Nodes show files as `{filename, subfolder, type}` in lists under any key (images, gifs, audio, 3d, latents, …), texts
 * under `text`, and some name a file in a plain string. A file of type `output` is delivered; one of type `temp` only
 * when the release asks for it or there is nothing else; one of type `input` never.
 */
import { isJsonObject, type Json, type JsonObject, stringifyExactJson } from "#contract/exact-json";
import type { OutputSpec } from "#contract/workflow";
import type { FileReference } from "../comfy/comfy-http.ts";
import { extensionOf } from "./content-types.ts";

export type Found =
  | { readonly type: "file"; readonly output: string; readonly node: string; readonly file: FileReference }
  | { readonly type: "text"; readonly output: string; readonly node: string; readonly text: string };

/** Keys whose strings are text for people. */
const TEXT_KEYS = new Set(["text", "texts", "string", "strings"]);
/** Keys whose strings may name a file in the output folder. */
const PATH_KEYS = new Set(["result", "results", "files", "model_file", "video_path", "audio_path"]);
/** Stands for the output of a node that no output of the release names; "" is no output's name. */
const UNCLAIMED = "";
/** What such outputs are called in the end. */
const UNCLAIMED_NAME = "output";

/**
 * @param shown node id → what it showed, as the history has it
 * @param meta the history's `meta`: which node of the graph a node that was made while running belongs to
 * @returns in the order of the release's outputs, then of the history
 */
export function collectOutputs(shown: JsonObject, meta: JsonObject, specs: readonly OutputSpec[]): Found[] {
  const all: Found[] = [];
  for (const [node, ui] of Object.entries(shown)) {
    const spec = specs.find((candidate) => belongsTo(node, candidate.node, meta));
    if (isJsonObject(ui)) all.push(...foundIn(node, spec?.name ?? null, ui));
  }
  const unique = withoutRepeats(all);
  const wanted = (candidates: readonly Found[]): Found[] =>
    candidates.filter((found) => {
      if (found.type === "text") return true;
      const spec = specs.find((each) => each.name === found.output);
      return found.file.type === "output" || (found.file.type === "temp" && spec?.temporary === true);
    });
  // What the release claims; without any, what was saved elsewhere; without that, previews.
  const claimed = unique.filter((found) => found.output !== UNCLAIMED);
  const chosen = [wanted(claimed), wanted(unique), unique.filter((found) => isTemporary(found))].find(
    (list) => list.length > 0,
  );
  const order = new Map(specs.map((spec, index) => [spec.name, index]));
  const rank = (found: Found) => order.get(found.output) ?? specs.length;
  return (chosen ?? [])
    .sort((a, b) => rank(a) - rank(b))
    .map((found) => (found.output === UNCLAIMED ? { ...found, output: UNCLAIMED_NAME } : found));
}

function isTemporary(found: Found): boolean {
  return found.type === "file" && found.file.type === "temp";
}

function foundIn(node: string, output: string | null, ui: JsonObject): Found[] {
  const name = output ?? UNCLAIMED;
  const found: Found[] = [];
  for (const [key, value] of Object.entries(ui)) {
    const items = Array.isArray(value) ? value : [value];
    for (const item of items) {
      const file = asFile(key, item);
      if (file !== null) found.push({ type: "file", output: name, node, file });
      else if (TEXT_KEYS.has(key) && item !== null) {
        found.push({
          type: "text",
          output: name,
          node,
          text: typeof item === "string" ? item : stringifyExactJson(item),
        });
      }
    }
  }
  return found;
}

function asFile(key: string, item: Json): FileReference | null {
  if (isJsonObject(item)) {
    const { filename, subfolder, type } = item;
    if (typeof filename !== "string" || filename === "") return null;
    return {
      filename,
      subfolder: typeof subfolder === "string" ? subfolder : "",
      type: typeof type === "string" ? type : "output",
    };
  }
  if (typeof item !== "string" || !PATH_KEYS.has(key)) return null;
  // Such a path lies below the output folder, and may say so in brackets.
  const [, path = item, type = "output"] = /^(.*) \[(output|temp|input)\]$/.exec(item) ?? [];
  const parts = path.replaceAll("\\", "/").split("/");
  const filename = parts.pop() ?? "";
  if (extensionOf(filename) === "") return null;
  if (parts[0] === "" || parts.includes("..") || /^[A-Za-z]:$/.test(parts[0] ?? "")) return null;
  return { filename, subfolder: parts.join("/"), type };
}

/** A node may expand into others while it runs ("2.0.0.1"), and a subgraph's node shows itself as its shell. */
function belongsTo(node: string, specNode: string, meta: JsonObject): boolean {
  if (node === specNode || node.startsWith(`${specNode}.`)) return true;
  const about = meta[node];
  if (!isJsonObject(about)) return false;
  return [about.real_node_id, about.display_node, about.parent_node].includes(specNode);
}

/** One file may be shown twice, under two keys or by two nodes. */
function withoutRepeats(all: readonly Found[]): Found[] {
  const seen = new Set<string>();
  return all.filter((found) => {
    if (found.type === "text") return true;
    const { filename, subfolder, type } = found.file;
    const key = JSON.stringify([type, subfolder.replaceAll("\\", "/"), filename]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/**
 * Names safe in a URL and unique within the job: `image.png`, `image_2.png`.
 * @param outputs the outputs' names with their files' names, in order
 */
export function outputNames(outputs: readonly { readonly output: string; readonly filename: string }[]): string[] {
  const taken = new Set<string>();
  return outputs.map(({ output, filename }) => {
    const base =
      output
        .replace(/[^A-Za-z0-9_-]+/g, "_")
        .replace(/^[^A-Za-z0-9]+/, "")
        .slice(0, 64) || "output";
    const extension = extensionOf(filename);
    const ending = extension === "" ? "" : `.${extension}`;
    for (let number = 1; ; number += 1) {
      const name = `${base}${number === 1 ? "" : `_${number}`}${ending}`;
      if (taken.has(name)) continue;
      taken.add(name);
      return name;
    }
  });
}

/** A name of at most 255 characters that keeps its extension. */
export function shortFilename(filename: string): string {
  if (filename.length <= 255) return filename;
  const extension = extensionOf(filename);
  const ending = extension === "" ? "" : `.${extension}`;
  return `${filename.slice(0, 255 - ending.length)}${ending}`;
}
