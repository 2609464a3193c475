/**
 * Reads the editor's format: schema 0.4, whose links are arrays, and 1.0 (and the inside of subgraphs), whose links are
 * objects. Files are of many years and programs, so that a missing field is one with nothing in it; what cannot be
 * read in one way only is refused.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { type Refusal, refusal } from "#contract/problems";
import type { UiGraph, UiInput, UiLink, UiNode, UiOutput } from "./ui-graph.ts";

/** A place on the rim of a subgraph. */
export interface UiSlot {
  readonly name: string;
  readonly type: string;
  /** What the author calls it where that differs from its name. */
  readonly label: string | null;
  /** The links inside that start or end here, in the order they were made. */
  readonly links: readonly string[];
}

/** A subgraph: what every node whose type is its id stands for. */
export interface UiSubgraph {
  readonly id: string;
  readonly name: string;
  readonly inputs: readonly UiSlot[];
  readonly outputs: readonly UiSlot[];
  /** The ids that links inside give to the rim: -10 and -20. */
  readonly inputNode: string;
  readonly outputNode: string;
  readonly graph: UiGraph;
}

/** A document as it was written, shells and all. */
export interface UiDocument {
  readonly graph: UiGraph;
  readonly subgraphs: ReadonlyMap<string, UiSubgraph>;
  readonly extra: JsonObject;
}

/** Nodes in a document, those inside its definitions too: ten times a large workflow. */
export const UI_NODES_MAX = 20_000;
/** Links and slots of a document: they cost memory as nodes do, and a real node has few. */
export const UI_PARTS_MAX = 200_000;
/** Characters of one id: inside subgraphs ids are strung together. */
const ID_LENGTH_MAX = 100;
const WRONG_NODES_SHOWN_MAX = 20;

/** What one reading has seen so far, for the bounds above. */
interface Tally {
  nodes: number;
  parts: number;
}

/** A document too large or ambiguous to go on with. */
class Unreadable extends Error {
  readonly path: string;
  constructor(path: string, reason: string) {
    super(reason);
    this.path = path;
  }
}

/** True for the editor's format: it lists nodes, where the API format maps ids to them. */
export function isUiDocument(value: Json | undefined): value is JsonObject {
  return isJsonObject(value) && Array.isArray(value.nodes);
}

/**
 * Reads a document. Entries that are not nodes or links at all are passed over, as the editor does; two nodes of one id
 * are refused (`invalid_workflow`, paths start with `/workflow`), because links would then mean either.
 */
export function readUi(document: JsonObject): { readonly ok: true; readonly ui: UiDocument } | Refusal {
  if (!isUiDocument(document)) {
    return refusal("invalid_workflow", "The workflow has no list of nodes, so that it is not the editor's format.");
  }
  const tally: Tally = { nodes: 0, parts: 0 };
  try {
    const graph = readGraph(document, "/workflow", tally);
    const subgraphs = readSubgraphs(document.definitions, tally);
    return { ok: true, ui: { graph, subgraphs, extra: isJsonObject(document.extra) ? document.extra : {} } };
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return refusal("invalid_workflow", `${error.path}: ${error.message}`, {
      errors: [{ path: error.path, reason: error.message }],
    });
  }
}

function readSubgraphs(definitions: Json | undefined, tally: Tally): Map<string, UiSubgraph> {
  const found = new Map<string, UiSubgraph>();
  const list = isJsonObject(definitions) ? definitions.subgraphs : undefined;
  // Newer editors nest the definitions of inner subgraphs; every id is known everywhere all the same.
  const waiting = Array.isArray(list) ? [...list] : [];
  for (let at = 0; at < waiting.length; at += 1) {
    const definition = waiting[at];
    if (!isJsonObject(definition)) continue;
    const inner = isJsonObject(definition.definitions) ? definition.definitions.subgraphs : undefined;
    if (Array.isArray(inner)) waiting.push(...inner);
    const id = idOf(definition.id);
    if (id === undefined) continue;
    const path = `/workflow/definitions/subgraphs/${pointerPart(id)}`;
    if (found.has(id)) throw new Unreadable(path, "Two subgraphs have this id; save the workflow anew in ComfyUI.");
    found.set(id, {
      id,
      name: textOf(definition.name) ?? id,
      inputs: readSlots(definition.inputs, tally, path),
      outputs: readSlots(definition.outputs, tally, path),
      inputNode: rimId(definition.inputNode, "-10"),
      outputNode: rimId(definition.outputNode, "-20"),
      graph: readGraph(definition, path, tally),
    });
  }
  return found;
}

function readSlots(slots: Json | undefined, tally: Tally, path: string): UiSlot[] {
  return listOf(slots).map((slot) => {
    const fields = isJsonObject(slot) ? slot : {};
    const links = listOf(fields.linkIds).flatMap((id) => idOf(id) ?? []);
    count(tally, "parts", 1 + links.length, path);
    return { name: textOf(fields.name) ?? "", type: typeOf(fields.type), label: textOf(fields.label) ?? null, links };
  });
}

/** The nodes and links of one level, of the document itself or of a subgraph. */
function readGraph(level: JsonObject, path: string, tally: Tally): UiGraph {
  const nodes = new Map<string, UiNode>();
  const twice = new Set<string>();
  for (const entry of listOf(level.nodes)) {
    if (!isJsonObject(entry)) continue;
    count(tally, "nodes", 1, path);
    const node = readNode(entry, entry.id);
    if (node === undefined) continue;
    count(tally, "parts", node.inputs.length + node.outputs.length, path);
    if (node.id.length > ID_LENGTH_MAX) {
      throw new Unreadable(path, `A node's id is longer than ${ID_LENGTH_MAX} characters.`);
    }
    if (nodes.has(node.id)) twice.add(node.id);
    nodes.set(node.id, node);
  }
  const [first] = twice;
  if (first !== undefined) {
    const ids = [...twice].slice(0, WRONG_NODES_SHOWN_MAX).join(", ");
    throw new Unreadable(
      `${path}/nodes/${pointerPart(first)}`,
      `Several nodes have the same id (${ids}), so that their links cannot be told apart. ` +
        "Open the workflow in ComfyUI, which renumbers them, and save it again.",
    );
  }
  const links = new Map<string, UiLink>();
  for (const entry of listOf(level.links)) {
    const link = readLink(entry);
    if (link === undefined) continue;
    count(tally, "parts", 1, path);
    if (link.id.length > ID_LENGTH_MAX) {
      throw new Unreadable(path, `A link's id is longer than ${ID_LENGTH_MAX} characters.`);
    }
    links.set(link.id, link);
  }
  return { nodes, links };
}

/**
 * Reads one node; `id` is given apart, because the nodes of a group node have their place in its list instead.
 * Undefined without an id or a type, which is nothing that could run.
 */
export function readNode(entry: JsonObject, id: Json | undefined): UiNode | undefined {
  const known = idOf(id);
  const type = textOf(entry.type);
  if (known === undefined || type === undefined) return undefined;
  const widgets = entry.widgets_values;
  return {
    id: known,
    type,
    mode: numberOf(entry.mode) ?? 0,
    order: numberOf(entry.order) ?? 0,
    title: textOf(entry.title) ?? null,
    inputs: listOf(entry.inputs).map(readInput),
    outputs: listOf(entry.outputs).map(readOutput),
    widgets: Array.isArray(widgets) || isJsonObject(widgets) ? widgets : null,
    namedWidgets: isJsonObject(entry.widgets_values_named) ? entry.widgets_values_named : null,
    overrides: null,
    properties: isJsonObject(entry.properties) ? entry.properties : {},
  };
}

function readInput(entry: Json): UiInput {
  const fields = isJsonObject(entry) ? entry : {};
  const widget = isJsonObject(fields.widget) ? textOf(fields.widget.name) : textOf(fields.widget);
  return {
    name: textOf(fields.name) ?? "",
    type: typeOf(fields.type),
    link: idOf(fields.link) ?? null,
    widget: widget ?? null,
    label: textOf(fields.label) ?? null,
  };
}

function readOutput(entry: Json): UiOutput {
  const fields = isJsonObject(entry) ? entry : {};
  return { name: textOf(fields.name) ?? "", type: typeOf(fields.type) };
}

/** `[id, from, fromSlot, to, toSlot, type]`, or the same as an object; undefined for what is neither. */
export function readLink(entry: Json): UiLink | undefined {
  let fields: readonly (Json | undefined)[];
  if (Array.isArray(entry)) fields = entry;
  else if (isJsonObject(entry)) {
    fields = [entry.id, entry.origin_id, entry.origin_slot, entry.target_id, entry.target_slot, entry.type];
  } else return undefined;
  const [id, from, fromSlot, to, toSlot, type] = fields;
  const ids = { id: idOf(id), from: idOf(from), to: idOf(to) };
  if (ids.id === undefined || ids.from === undefined || ids.to === undefined) return undefined;
  return {
    id: ids.id,
    from: ids.from,
    fromSlot: numberOf(fromSlot) ?? 0,
    to: ids.to,
    toSlot: numberOf(toSlot) ?? 0,
    type: typeOf(type),
  };
}

/** An id as text; old files count, some programs write strings. */
export function idOf(value: Json | undefined): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : value;
  return typeof value === "number" || typeof value === "bigint" ? String(value) : undefined;
}

/** A slot's type; a list of choices, which the first editors wrote there, is a COMBO, an event (-1) nobody's. */
function typeOf(value: Json | undefined): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? "COMBO" : "*";
}

export function textOf(value: Json | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** A whole number of a file; strings of digits come from hand-made ones. */
export function numberOf(value: Json | undefined): number | undefined {
  if (typeof value === "string" && /^-?\d{1,9}$/.test(value)) return Number(value);
  return typeof value === "number" && Number.isInteger(value) ? value : undefined;
}

/** A list; schema 0.4 of some versions wrote one as an object by position. */
export function listOf(value: Json | undefined): readonly Json[] {
  if (Array.isArray(value)) return value;
  return isJsonObject(value) ? Object.values(value) : [];
}

function rimId(node: Json | undefined, usual: string): string {
  return (isJsonObject(node) ? idOf(node.id) : undefined) ?? usual;
}

function count(tally: Tally, what: keyof Tally, more: number, path: string): void {
  tally[what] += more;
  if (tally.nodes > UI_NODES_MAX) throw new Unreadable(path, `The workflow has more than ${UI_NODES_MAX} nodes.`);
  if (tally.parts > UI_PARTS_MAX) {
    throw new Unreadable(path, `The workflow has more than ${UI_PARTS_MAX} links and slots.`);
  }
}

/** One part of a JSON Pointer. */
export function pointerPart(text: string): string {
  return text.slice(0, 200).replaceAll("~", "~0").replaceAll("/", "~1");
}
