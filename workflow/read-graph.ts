/** From the text people send to the object that maps node ids to nodes. */
import { isJsonObject, type Json, type JsonObject, JsonSyntaxError, parseExactJson } from "#contract/exact-json";
import { type Refusal, refusal } from "#contract/problems";
import { isUiDocument } from "./ui/read-ui.ts";

/** The object of nodes, and its place in the document as a JSON Pointer, such as `/prompt`. */
export interface FoundGraph {
  readonly ok: true;
  readonly format: "api";
  readonly nodes: JsonObject;
  readonly pointer: string;
}

/** A document of the editor, which must be converted first. */
export interface FoundEditor {
  readonly ok: true;
  readonly format: "editor";
  readonly document: JsonObject;
}

/**
 * Fields under which programs wrap a graph: `prompt` (ComfyUI's own POST /prompt), `workflow_api`, `output` (what the
 * editor's graphToPrompt returns), `input` (serverless wrappers, around `workflow`), and `workflow`, which is the
 * editor's format in some of them and therefore comes last.
 */
const ENVELOPES = ["prompt", "workflow_api", "output", "input", "workflow"] as const;
const ENVELOPE_DEPTH_MAX = 3;

/**
 * Parses a document and finds the graph in it. Where both formats are there, the API format counts: it is what
 * ComfyUI ran.
 */
export function readGraph(text: string): FoundGraph | FoundEditor | Refusal {
  let document: Json;
  try {
    // Editors on Windows start a file with a byte order mark.
    document = parseExactJson(text.replace(/^\uFEFF/, ""), { pythonNumbers: true });
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return refusal("invalid_workflow", `The workflow is not JSON: ${error.message}.`);
  }
  return findGraph(document, "", 0);
}

function findGraph(value: Json, pointer: string, depth: number): FoundGraph | FoundEditor | Refusal {
  if (!isJsonObject(value)) {
    return refusal(
      "invalid_workflow",
      "The workflow must be an object that maps node ids to nodes (ComfyUI's API format).",
    );
  }
  if (holdsNode(value)) return { ok: true, format: "api", nodes: value, pointer };
  if (isUiDocument(value)) return { ok: true, format: "editor", document: value };
  if (depth < ENVELOPE_DEPTH_MAX) {
    let second: FoundEditor | Refusal | undefined;
    for (const field of ENVELOPES) {
      const inner = Object.hasOwn(value, field) ? value[field] : undefined;
      if (!isJsonObject(inner)) continue;
      const found = findGraph(inner, `${pointer}/${field}`, depth + 1);
      if (found.ok && found.format === "api") return found;
      if (second === undefined || (found.ok && !second.ok)) second = found;
    }
    if (second !== undefined) return second;
  }
  if (Object.keys(value).length === 0) return refusal("invalid_workflow", "The workflow has no nodes.");
  const other = otherDocument(value);
  if (other !== undefined) return refusal("invalid_workflow", other);
  return { ok: true, format: "api", nodes: value, pointer };
}

/** What a document is that people take for a workflow, and what to send instead; undefined for all others. */
function otherDocument(value: JsonObject): string | undefined {
  const has = (...fields: readonly string[]): boolean => fields.every((field) => Object.hasOwn(value, field));
  if (has("git_custom_nodes") || has("cnr_custom_nodes") || has("custom_nodes", "models")) {
    return (
      "This is a snapshot: it says what is installed, and not what to run. Send the workflow beside it " +
      "(in a comfy-pack workflow_api.json, or the whole .cpack.zip)."
    );
  }
  if (has("viewComfyJSON") || has("workflows", "file_type")) {
    return "This is a ViewComfy form without its graph. Send the graph, and the form beside it as view_comfy.";
  }
  const values = Object.values(value).filter(isJsonObject);
  if (values.length > 0 && values.every((entry) => isJsonObject(entry.input) && Array.isArray(entry.output))) {
    return "This is the answer of GET /object_info: send the workflow, and this beside it as object_info.";
  }
  return undefined;
}

/** One value with a class_type makes the object a graph: the others are then wrong nodes, not an envelope. */
function holdsNode(value: JsonObject): boolean {
  return Object.values(value).some((node) => isJsonObject(node) && typeof node.class_type === "string");
}
