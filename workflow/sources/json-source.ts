/** JSON text that is a workflow: a graph, the editor's document, or a ViewComfy file that brings its graph along. */
import { isJsonObject, type Json, JsonSyntaxError, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { type Refusal, refusal } from "#contract/problems";
import type { SourceContents } from "./source-contents.ts";

const NAME_LENGTH_MAX = 200;

/**
 * Tells which kind of document the text is. Whether a graph can be used is the importer's to say.
 * @param text JSON without a byte order mark, as ComfyUI and Python write it (NaN and Infinity are taken)
 */
export function readJsonSource(text: string): SourceContents | Refusal {
  let document: Json;
  try {
    document = parseExactJson(text, { pythonNumbers: true });
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return refusal("invalid_workflow", `The workflow is not JSON: ${error.message}.`);
  }
  const found = { ok: true, container: "json", files: [] } as const;
  if (!isJsonObject(document)) return { ...found, prompt: text };
  if (isEditorDocument(document)) {
    const name = documentName(document);
    return { ...found, workflow: text, ...(name === undefined ? {} : { name }) };
  }
  if (!isViewComfy(document)) {
    const editor = editorBeside(document);
    return { ...found, prompt: text, ...(editor === undefined ? {} : { workflow: stringifyExactJson(editor) }) };
  }
  const graph = graphOfViewComfy(document);
  if (graph === undefined) {
    return refusal(
      "invalid_workflow",
      "The file is a ViewComfy form without its graph. Send the graph, and the form beside it.",
    );
  }
  const name = documentName(document);
  return {
    ...found,
    prompt: stringifyExactJson(graph),
    viewComfy: text,
    ...(name === undefined ? {} : { name }),
  };
}

export type JsonKind = "graph" | "editor" | "view_comfy" | "snapshot" | "other";

/** What a JSON file of an archive holds, and its name; `other` for what is no part of a workflow, and for broken JSON. */
export function describeJson(text: string): { readonly kind: JsonKind; readonly name: string | undefined } {
  try {
    const document = parseExactJson(text, { pythonNumbers: true });
    return { kind: kindOf(document), name: documentName(document) };
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return { kind: "other", name: undefined };
  }
}

function kindOf(document: Json): JsonKind {
  if (isEditorDocument(document)) return "editor";
  if (isViewComfy(document)) return "view_comfy";
  if (holdsGraph(document, 0)) return "graph";
  return isJsonObject(document) && Array.isArray(document.custom_nodes) ? "snapshot" : "other";
}

/** Programs wrap a graph into fields of these names, a few deep. */
const ENVELOPES = ["prompt", "workflow_api", "output", "input", "workflow"];
const ENVELOPE_DEPTH_MAX = 3;

function holdsGraph(value: Json | undefined, depth: number): boolean {
  if (!isJsonObject(value)) return false;
  if (Object.values(value).some((node) => isJsonObject(node) && typeof node.class_type === "string")) return true;
  return depth < ENVELOPE_DEPTH_MAX && ENVELOPES.some((field) => holdsGraph(value[field], depth + 1));
}

/** True for what ComfyUI's editor saves. */
export function isEditorDocument(document: Json): boolean {
  return isJsonObject(document) && Array.isArray(document.nodes);
}

/** True for a `view_comfy.json`. */
export function isViewComfy(document: Json): boolean {
  return (
    isJsonObject(document) &&
    Array.isArray(document.workflows) &&
    document.workflows.some((workflow) => isJsonObject(workflow) && isJsonObject(workflow.viewComfyJSON))
  );
}

/** The first graph a ViewComfy file holds; undefined for every other document. */
export function graphOfViewComfy(document: { readonly [key: string]: Json }): Json | undefined {
  const workflows = Array.isArray(document.workflows) ? document.workflows : [];
  const [first] = workflows.flatMap((workflow) =>
    isJsonObject(workflow) && isJsonObject(workflow.workflowApiJSON) ? [workflow.workflowApiJSON] : [],
  );
  return first;
}

/** ComfyUI's own POST /prompt carries the editor's document in `extra_data`; `graphToPrompt` beside its output. */
function editorBeside(document: { readonly [key: string]: Json }): Json | undefined {
  const extra = isJsonObject(document.extra_data) ? document.extra_data.extra_pnginfo : undefined;
  return [document.workflow, isJsonObject(extra) ? extra.workflow : undefined].find(
    (value) => value !== undefined && isEditorDocument(value),
  );
}

/** What the author of an editor's document or of a form called it. */
export function documentName(document: Json): string | undefined {
  if (!isJsonObject(document)) return undefined;
  const info = isJsonObject(document.extra) ? document.extra.info : undefined;
  const name = (isJsonObject(info) ? info.name : undefined) ?? document.appTitle;
  return typeof name === "string" && name.trim() !== "" ? name.trim().slice(0, NAME_LENGTH_MAX) : undefined;
}
