/** What a file that people send as a workflow turned out to hold. */

import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";

export interface SourceContents {
  readonly ok: true;
  readonly container: "json" | "png" | "webp" | "zip";
  /** The graph in API format, or an envelope around it, as text. */
  readonly prompt?: string;
  /** The same workflow as the editor keeps it, as text: says which packages its nodes come from. */
  readonly workflow?: string;
  /** A ViewComfy form beside the graph, as text. */
  readonly viewComfy?: string;
  /** comfy-pack's lock of ComfyUI, custom nodes and models, as text. */
  readonly snapshot?: string;
  /** What the author called the workflow. */
  readonly name?: string;
  /** Further files of an archive, such as the pictures its inputs name. Their names are text, never paths. */
  readonly files: readonly SourceFile[];
}

export interface SourceFile {
  readonly name: string;
  /** Length when unpacked. */
  readonly bytes: number;
}

/** The text the importer reads: what ComfyUI would run where that is known, else the editor's format. */
export function graphText(source: SourceContents): string | undefined {
  return source.prompt ?? source.workflow;
}

/** The ViewComfy form beside the graph; its text has been parsed once already when the source was read. */
export function formOf({ viewComfy }: SourceContents): JsonObject | undefined {
  if (viewComfy === undefined) return undefined;
  const form = parseExactJson(viewComfy, { pythonNumbers: true });
  return isJsonObject(form) ? form : undefined;
}
