/** The graph of one job: the release's graph with the caller's values in it. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { InputSpec } from "#contract/workflow";
import type { ObjectInfo } from "./object-info.ts";
import { isWrittenChoice, setChoiceIndex } from "./written-choices.ts";

export interface FillRequest {
  /** API format, as ImportedWorkflow.graph parses. It is not changed. */
  readonly graph: JsonObject;
  readonly inputs: readonly InputSpec[];
  /** As validateInputs gave them. An input without a value leaves the graph's own. */
  readonly values: JsonObject;
  /** Names of the files on the ComfyUI server, by input name. */
  readonly files: Readonly<Record<string, string>>;
  /**
   * Where a node saves. One per job: ComfyUI answers a repeated job with the old file's name, which is gone by then,
   * and counts up names that other jobs share.
   */
  readonly filenamePrefix: (nodeId: string, originalPrefix: string) => string;
  /** The server's classes, to find nodes that save under a default prefix which the graph does not mention. */
  readonly declared?: ObjectInfo;
}

const DEFAULT_PREFIX = "ComfyUI";

/**
 * Sets every target of every input and every node's `filename_prefix`, also one that came through a link: a caller's
 * text must not choose where files go. A choice whose options stand in the node itself gets its number too.
 * @throws Error when an input is bound to a node that the graph lacks: graph and inputs are of different releases; when a
 *   value has no input, because a job that runs again came with the inputs of another release: leaving it out would make
 *   something else than was asked for and call it a success
 */
export function fillGraph(request: FillRequest): JsonObject {
  const graph = copy(request.graph) as JsonObject;
  const names = new Set(request.inputs.map(({ name }) => name));
  const strange = Object.keys(request.values).filter((name) => !names.has(name));
  if (strange.length > 0) throw new Error(`this release has no input ${strange.slice(0, 5).join(", ")}`);
  for (const input of request.inputs) {
    const value = input.type === "file" ? own(request.files, input.name) : own<Json>(request.values, input.name);
    if (value === undefined) continue;
    for (const target of input.targets) {
      const fields = fieldsOf(own(graph, target.node));
      if (fields === undefined) {
        throw new Error(`input ${input.name} is bound to node ${target.node}, which the graph does not have`);
      }
      fields[target.field] = value;
      if (isWrittenChoice(own(graph, target.node), target.field)) setChoiceIndex(fields);
    }
  }
  for (const [id, node] of Object.entries(graph)) {
    const fields = fieldsOf(node);
    if (fields === undefined) continue;
    const prefix = own(fields, "filename_prefix");
    if (prefix === undefined && !declaresPrefix(node, request.declared)) continue;
    fields.filename_prefix = request.filenamePrefix(id, typeof prefix === "string" ? prefix : DEFAULT_PREFIX);
  }
  return graph;
}

function fieldsOf(node: Json | undefined): JsonObject | undefined {
  return isJsonObject(node) && isJsonObject(node.inputs) ? node.inputs : undefined;
}

function declaresPrefix(node: Json, declared: ObjectInfo | undefined): boolean {
  if (!isJsonObject(node) || typeof node.class_type !== "string" || declared === undefined) return false;
  const { input } = own(declared, node.class_type) ?? {};
  return [input?.required, input?.optional].some((section) => {
    const spec = section === undefined ? undefined : own(section, "filename_prefix");
    return Array.isArray(spec) && spec[0] === "STRING";
  });
}

function own<Value>(object: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** A deep copy without prototypes, so that a field called "__proto__" stays a field. */
function copy(value: Json): Json {
  if (Array.isArray(value)) return value.map(copy);
  if (!isJsonObject(value)) return value;
  const object = Object.create(null) as JsonObject;
  for (const [key, item] of Object.entries(value)) object[key] = copy(item);
  return object;
}
