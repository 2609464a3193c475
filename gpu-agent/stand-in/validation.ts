/**
 * Whether a submitted prompt may run, with ComfyUI's own refusals: the same types, messages, details and Python
 * texts, the same values changed in place, and the same things let through.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { Generation } from "./generations.ts";
import { InputValidator } from "./input-validation.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import { PythonError, pythonBool, pythonStr, pythonTypeName } from "./python-values.ts";

/** One reason, as clients read it. */
export interface ValidationError {
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly extra_info: JsonObject;
}

export interface NodeErrors {
  readonly errors: readonly ValidationError[];
  readonly dependent_outputs: string[];
  readonly class_type: Json;
}

/** Accepted prompts can have node errors too: outputs that cannot run are dropped while another can. */
export type Validation =
  | { readonly ok: true; readonly outputs: readonly string[]; readonly nodeErrors: ReadonlyMap<string, NodeErrors> }
  | { readonly ok: false; readonly error: ValidationError; readonly nodeErrors: ReadonlyMap<string, NodeErrors> };

/**
 * Checks a prompt and converts its literal inputs in place.
 * @param targets the output nodes the client wants, or undefined for all
 * @throws PythonError where ComfyUI answers 500: a prompt that is not an object, a node that cannot be read
 */
export async function validatePrompt(
  prompt: Json,
  targets: Json | undefined,
  catalog: NodeCatalog,
  generation: Generation,
): Promise<Validation> {
  const nodes = nodesOf(prompt);
  const outputs: string[] = [];
  for (const [id, node] of Object.entries(nodes)) {
    const refusal = unknownClass(id, node, catalog, generation);
    if (refusal !== undefined) return { ok: false, error: refusal, nodeErrors: new Map() };
    const className = isJsonObject(node) && typeof node.class_type === "string" ? node.class_type : "";
    if (catalog.isOutputNode(className) && isTarget(id, targets)) outputs.push(id);
  }
  if (outputs.length === 0) {
    return {
      ok: false,
      error: { type: "prompt_no_outputs", message: "Prompt has no outputs", details: "", extra_info: {} },
      nodeErrors: new Map(),
    };
  }
  return await new InputValidator(nodes, catalog, generation).validateOutputs(outputs);
}

function nodesOf(prompt: Json): JsonObject {
  if (isJsonObject(prompt)) return prompt;
  if (Array.isArray(prompt) && prompt.length === 0) return {};
  if (typeof prompt === "string" && prompt === "") return {};
  throw new PythonError("TypeError", `'${pythonTypeName(prompt)}' object is not a prompt`);
}

function isTarget(id: string, targets: Json | undefined): boolean {
  if (targets === undefined || targets === null) return true;
  if (Array.isArray(targets)) return targets.includes(id);
  if (typeof targets === "string") return targets.includes(id);
  if (isJsonObject(targets)) return id in targets;
  throw new PythonError("TypeError", `argument of type '${pythonTypeName(targets)}' is not iterable`);
}

function unknownClass(
  id: string,
  node: Json,
  catalog: NodeCatalog,
  generation: Generation,
): ValidationError | undefined {
  const details = `Node ID '#${id}'`;
  if (node === null || typeof node === "number" || typeof node === "boolean" || typeof node === "bigint") {
    throw new PythonError("TypeError", `argument of type '${pythonTypeName(node)}' is not iterable`);
  }
  const meta = isJsonObject(node) && isJsonObject(node._meta) ? node._meta : {};
  if (!isJsonObject(node) || !("class_type" in node)) {
    if (!generation.namesMissingNode) {
      const message = "Cannot execute because a node is missing the class_type property.";
      return { type: "invalid_prompt", message, details, extra_info: {} };
    }
    if (!isJsonObject(node))
      throw new PythonError("AttributeError", `'${pythonTypeName(node)}' object has no attribute 'get'`);
    const title = meta.title ?? null;
    const shown = pythonBool(title) ? pythonStr(title) : `ID #${id}`;
    return {
      type: "missing_node_type",
      message: `Node '${shown}' has no class_type. The workflow may be corrupted or a custom node is missing.`,
      details,
      extra_info: { node_id: id, class_type: null, node_title: title },
    };
  }
  const className = node.class_type ?? null;
  if (typeof className === "object" && className !== null) {
    throw new PythonError("TypeError", `unhashable type: '${pythonTypeName(className)}'`);
  }
  if (typeof className === "string" && catalog.implementation(className) !== undefined) return undefined;
  if (!generation.namesMissingNode) {
    const message = `Cannot execute because node ${pythonStr(className)} does not exist.`;
    return { type: "invalid_prompt", message, details, extra_info: {} };
  }
  const title = "title" in meta ? (meta.title ?? null) : className;
  return {
    type: "missing_node_type",
    message: `Node '${pythonStr(title)}' not found. The custom node may not be installed.`,
    details,
    extra_info: { node_id: id, class_type: className, node_title: title },
  };
}
