/** Whether a graph can run at all. Every wrong node is listed, by its place in the document and in words. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { WORKFLOW_NODES_MAX } from "#contract/limits";
import { type FieldError, type Refusal, refusal } from "#contract/problems";
import { checkLiteral } from "./check-literal.ts";
import { fieldDeclaration } from "./dynamic-inputs.ts";
import { type Graph, type GraphNode, linkOf, walk } from "./graph.ts";
import type { ClassLookup } from "./known-classes.ts";

/** Errors listed in one answer; the rest is counted. */
export const WORKFLOW_ERRORS_MAX = 50;
/** Links of one graph: five for each of the most nodes. Real graphs have two or three. */
export const WORKFLOW_LINKS_MAX = 5 * WORKFLOW_NODES_MAX;
const NODE_ID_LENGTH_MAX = 128;
const FIELD_LENGTH_MAX = 256;
const CLASS_LENGTH_MAX = 256;

/** "5", "10:5" inside a subgraph, "2.0.0.1" expanded at run time, or a word in a graph written by hand. */
const NODE_ID = /^[\p{L}\p{N}][\p{L}\p{N} _.:-]*$/u;

export interface CheckedGraph {
  readonly ok: true;
  readonly graph: Graph;
  /** The graph with nothing but inputs, class_type and _meta: leaked `is_changed` values would pin stale results. */
  readonly document: JsonObject;
  /** Classes nobody described, sorted. */
  readonly unknownClasses: readonly string[];
  readonly warnings: readonly string[];
}

/** @param pointer JSON Pointer of the graph in what the caller sent, such as `/workflow/prompt` */
export function checkGraph(nodes: JsonObject, pointer: string, lookup: ClassLookup): CheckedGraph | Refusal {
  const count = Object.keys(nodes).length;
  if (count > WORKFLOW_NODES_MAX) {
    return refusal("invalid_workflow", `The workflow has ${count} nodes; ${WORKFLOW_NODES_MAX} are the most.`);
  }
  const errors = new ErrorList();
  const graph = readNodes(nodes, pointer, errors);
  const links = checkInputs(graph, pointer, lookup, errors);
  if (links > WORKFLOW_LINKS_MAX) {
    return refusal("invalid_workflow", `The workflow has ${links} links; ${WORKFLOW_LINKS_MAX} are the most.`);
  }
  for (const id of walk(graph, graph.values()).inCycle) {
    errors.add(`${pointer}/${escapePointer(id)}`, "The node needs its own result: its links form a cycle.");
  }
  const unknownClasses = [...new Set([...graph.values()].map((node) => node.classType))]
    .filter((name) => lookup(name) === undefined)
    .sort();
  if (errors.count === 0 && unknownClasses.length === 0) {
    const saves = [...graph.values()].some((node) => lookup(node.classType)?.isOutput === true);
    if (!saves) errors.add(pointer, "No node saves anything. Add an output node, such as SaveImage.");
  }
  if (errors.count > 0) return errors.refusal();
  const warnings = [...graph.values()].flatMap((node) => missingInputs(node, lookup));
  return { ok: true, graph, document: stripped(graph, nodes), unknownClasses, warnings };
}

class ErrorList {
  readonly listed: FieldError[] = [];
  count = 0;
  add(path: string, reason: string, allowed?: Record<string, unknown>): void {
    this.count += 1;
    if (this.listed.length < WORKFLOW_ERRORS_MAX) {
      this.listed.push({ path, reason, ...(allowed === undefined ? {} : { allowed }) });
    }
  }
  refusal(): Refusal {
    const first = this.listed[0];
    const more = this.count > 1 ? ` There are ${this.count - 1} more errors.` : "";
    return refusal("invalid_workflow", `${first === undefined ? "" : `${first.path}: ${first.reason}`}${more}`, {
      errors: this.listed,
    });
  }
}

function readNodes(nodes: JsonObject, pointer: string, errors: ErrorList): Map<string, GraphNode> {
  const graph = new Map<string, GraphNode>();
  for (const [id, value] of Object.entries(nodes)) {
    const path = `${pointer}/${escapePointer(id.slice(0, NODE_ID_LENGTH_MAX))}`;
    if (!NODE_ID.test(id) || id.length > NODE_ID_LENGTH_MAX || id === "constructor") {
      errors.add(path, `A node id has letters, digits and any of "_.:- ", at most ${NODE_ID_LENGTH_MAX}.`);
      continue;
    }
    if (!isJsonObject(value)) {
      errors.add(path, "This is not a node: a node is an object with class_type and inputs.");
      continue;
    }
    const { class_type: classType, inputs } = value;
    if (typeof classType !== "string" || classType === "" || classType.length > CLASS_LENGTH_MAX) {
      errors.add(`${path}/class_type`, "The node needs a class_type, the name of its class.");
      continue;
    }
    if (!isWritable(classType)) {
      errors.add(`${path}/class_type`, "The class name holds a control character or half a character.");
      continue;
    }
    if (!isJsonObject(inputs)) {
      errors.add(`${path}/inputs`, "The node needs an object of inputs, which may be empty.");
      continue;
    }
    graph.set(id, { id, classType, title: titleOf(value), inputs });
  }
  return graph;
}

function titleOf(node: JsonObject): string | undefined {
  const title = isJsonObject(node._meta) ? node._meta.title : undefined;
  return typeof title === "string" && title.trim() !== "" ? title.trim().slice(0, 200) : undefined;
}

/** Checks every field of every node and returns the number of links. */
function checkInputs(graph: Graph, pointer: string, lookup: ClassLookup, errors: ErrorList): number {
  let links = 0;
  for (const node of graph.values()) {
    const known = lookup(node.classType);
    for (const [field, value] of Object.entries(node.inputs)) {
      const path = `${pointer}/${escapePointer(node.id)}/inputs/${escapePointer(field.slice(0, FIELD_LENGTH_MAX))}`;
      if (field === "__proto__" || field.length > FIELD_LENGTH_MAX || !isWritable(field)) {
        errors.add(path, `A field's name may not be "__proto__", hold control characters or be longer than 256.`);
        continue;
      }
      if (linkOf(value) !== undefined) {
        links += 1;
        const fault = linkFault(node, value, graph, lookup);
        if (fault !== undefined) errors.add(path, fault);
        continue;
      }
      const declared = known === undefined ? undefined : fieldDeclaration(known, node.inputs, field);
      if (Array.isArray(value) && (declared !== undefined || looksLikeLink(value))) {
        errors.add(path, 'A link is ["<node id>", <output number>]; a list of values is written {"__value__": […]}.');
        continue;
      }
      const fault = checkLiteral(node, field, value, declared, known !== undefined);
      if (fault !== undefined) errors.add(path, fault.reason, fault.allowed);
    }
  }
  return links;
}

function linkFault(node: GraphNode, value: Json | undefined, graph: Graph, lookup: ClassLookup): string | undefined {
  const link = linkOf(value);
  if (link === undefined) return undefined;
  if (link.node === node.id) return "The node is linked to itself.";
  const source = graph.get(link.node);
  if (source === undefined) return `The link leads to node "${link.node.slice(0, 50)}", which does not exist.`;
  if (!Number.isSafeInteger(link.output) || link.output < 0) {
    return "The second part of a link is the number of an output, counted from 0.";
  }
  const known = lookup(source.classType);
  const outputs = known?.outputs;
  // Newer servers hand on what their saving nodes saved, which the bundled tables cannot know of.
  if (known?.certain === false && known.isOutput) return undefined;
  // A last output of type "*" may stand for any number of them: some packs write endless lists that way.
  if (outputs === undefined || link.output < outputs.length || outputs.at(-1) === "*") return undefined;
  const has = outputs.length === 1 ? "1 output" : `${outputs.length} outputs`;
  return `Node "${source.id}" (${source.classType}) has ${has}; there is no number ${link.output}.`;
}

/** A pair of numbers or of two texts, as a link with a wrong part would be written. */
function looksLikeLink(value: readonly Json[]): boolean {
  return value.length > 0 && value.length <= 3 && typeof value[0] === "string" && typeof value.at(-1) !== "object";
}

function missingInputs(node: GraphNode, lookup: ClassLookup): string[] {
  const missing = [...(lookup(node.classType)?.inputs.values() ?? [])].filter(
    (input) => input.required && !(input.name in node.inputs) && !input.type.startsWith("COMFY_"),
  );
  const names = missing.map((input) => input.name).join(", ");
  return missing.length === 0 ? [] : [`Node "${node.id}" (${node.classType}) has no value for ${names}.`];
}

function stripped(graph: Graph, nodes: JsonObject): JsonObject {
  const document = Object.create(null) as JsonObject;
  for (const node of graph.values()) {
    const source = nodes[node.id];
    const meta = isJsonObject(source) && isJsonObject(source._meta) ? source._meta : undefined;
    const kept = Object.create(null) as JsonObject;
    kept.class_type = node.classType;
    kept.inputs = node.inputs;
    if (meta !== undefined) kept._meta = meta;
    document[node.id] = kept;
  }
  return document;
}

/** No control characters and no half of a surrogate pair, which Python cannot write as UTF-8. */
function isWritable(text: string): boolean {
  return !/[\u0000-\u001f\u007f]/.test(text) && text.isWellFormed();
}

function escapePointer(part: string): string {
  return part.replaceAll("~", "~0").replaceAll("/", "~1");
}
