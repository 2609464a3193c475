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
  return { ok: true, format: "api", nodes: value, pointer };
}

/** One value with a class_type makes the object a graph: the others are then wrong nodes, not an envelope. */
function holdsNode(value: JsonObject): boolean {
  return Object.values(value).some((node) => isJsonObject(node) && typeof node.class_type === "string");
}
