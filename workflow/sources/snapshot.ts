/** What comfy-pack's `snapshot.json` pins: ComfyUI, Python, custom nodes by commit, models by hash. */
import { isJsonObject, type Json, type JsonObject, JsonSyntaxError, parseExactJson } from "#contract/exact-json";
import type { ModelNote } from "../editor-facts.ts";

export interface Snapshot {
  /** Commit of ComfyUI. */
  readonly comfyui: string | null;
  readonly python: string | null;
  /** Those that were turned on. */
  readonly customNodes: readonly { readonly repository: string; readonly ref: string | null }[];
  /** By name below its folder, as a graph names it. */
  readonly models: ReadonlyMap<string, ModelNote>;
}

/** Things listed of one kind; a machine with more is no pack of one workflow. */
const LISTED_MAX = 2_000;
const TEXT_LENGTH_MAX = 500;

/** Reads one; fields of other shapes are left out. Undefined for text that is no JSON object. */
export function readSnapshot(text: string): Snapshot | undefined {
  let document: Json;
  try {
    document = parseExactJson(text, { pythonNumbers: true });
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return undefined;
  }
  if (!isJsonObject(document)) return undefined;
  return {
    comfyui: short(document.comfyui),
    python: short(document.python),
    customNodes: enabled(document.custom_nodes).flatMap((node) => {
      const repository = short(node.url);
      return repository === null ? [] : [{ repository, ref: short(node.commit_hash) }];
    }),
    models: new Map(enabled(document.models).flatMap(modelOf)),
  };
}

/** `models/loras/sub/x.safetensors` lies in the folder `loras` under the name `sub/x.safetensors`. */
function modelOf(model: JsonObject): [string, ModelNote][] {
  const [top, folder, ...rest] = (short(model.filename) ?? "").replaceAll("\\", "/").split("/");
  if (top !== "models" || folder === undefined || rest.length === 0) return [];
  const source = isJsonObject(model.source) ? model.source : {};
  const sha256 = short(model.sha256);
  return [
    [
      rest.join("/"),
      {
        folder,
        url: short(source.download_url) ?? short(source.url),
        hash: sha256 === null ? null : `sha256:${sha256.toLowerCase()}`,
      },
    ],
  ];
}

function enabled(listed: Json | undefined): JsonObject[] {
  return (Array.isArray(listed) ? listed : [])
    .slice(0, LISTED_MAX)
    .filter(isJsonObject)
    .filter(({ disabled }) => disabled !== true);
}

function short(value: Json | undefined): string | null {
  return typeof value === "string" && value.trim() !== "" ? value.trim().slice(0, TEXT_LENGTH_MAX) : null;
}
