/** JSON text that is a workflow: a graph, the editor's document, or a ViewComfy file that brings its graph along. */
import { isJsonObject, type Json, JsonSyntaxError, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { type Refusal, refusal } from "#contract/problems";
import type { SourceContents } from "./source-contents.ts";

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
    const name = nameOf(document);
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
  const name = typeof document.appTitle === "string" ? document.appTitle : "";
  return {
    ...found,
    prompt: stringifyExactJson(graph),
    viewComfy: text,
    ...(name.trim() === "" ? {} : { name: name.trim().slice(0, 200) }),
  };
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

/** The first graph a ViewComfy file holds. */
function graphOfViewComfy(document: { readonly [key: string]: Json }): Json | undefined {
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

function nameOf(document: { readonly [key: string]: Json }): string | undefined {
  const info = isJsonObject(document.extra) ? document.extra.info : undefined;
  const name = isJsonObject(info) ? info.name : undefined;
  return typeof name === "string" && name.trim() !== "" ? name.trim().slice(0, 200) : undefined;
}
