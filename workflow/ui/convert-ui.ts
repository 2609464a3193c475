/**
 * From the editor's graph to the one that servers run, as the editor itself does it when somebody presses Run: nodes
 * that run, their widgets by name, their links from the nodes that really feed them.
 */
import type { Json, JsonObject } from "#contract/exact-json";
import { type FieldError, type Refusal, refusal } from "#contract/problems";
import type { ClassLookup, KnownClass } from "../known-classes.ts";
import { isBroadcaster, withBroadcasts } from "./broadcasts.ts";
import { linkResolver } from "./links.ts";
import { type ExpandedUi, MODE, type UiGraph, type UiNode } from "./ui-graph.ts";
import { isVirtual } from "./virtual-nodes.ts";
import { takesValue, widgetValues } from "./widgets.ts";

export interface ConvertedUi {
  readonly ok: true;
  /** API format: nodes by id, each with `inputs`, `class_type` and `_meta` alone. */
  readonly graph: JsonObject;
  /** What a person should know about the conversion, in sentences. */
  readonly notes: string[];
}

const ERRORS_MAX = 20;
const NOTES_MAX = 50;
export const HOW_TO_SEND_OBJECT_INFO =
  "Send the answer of your server's GET /object_info with the workflow, or export it in API format " +
  "(Workflow > Export (API)).";

/**
 * Converts. Refuses by `workflow_format_ui` when classes are unknown and the file does not name their values, by
 * `invalid_workflow` when values fit no input of a class that is known; each error names its node.
 */
export function convertUi(expanded: ExpandedUi, lookup: ClassLookup): ConvertedUi | Refusal {
  const { graph, unexplained } = withBroadcasts(expanded);
  const [broadcaster] = unexplained;
  if (broadcaster !== undefined) {
    const reason =
      `${nameOf(broadcaster)} hands its input to nodes that the file does not name. In ComfyUI convert its links to ` +
      "real ones (right-click the canvas), or export the workflow in API format.";
    return refusal("invalid_workflow", reason, { errors: [{ path: `/workflow/nodes/${broadcaster.id}`, reason }] });
  }
  const resolve = linkResolver(graph, (classType) => lookup(classType) !== undefined);
  const used = usedNodes(graph);
  const notes: string[] = [];
  const errors: FieldError[] = [];
  const unknown = new Set<string>();
  const result = emptyObject();

  for (const node of inOrder(graph)) {
    if (node.mode === MODE.muted || node.mode === MODE.bypassed || isBroadcaster(node.type)) continue;
    const known = lookup(node.type);
    if (known === undefined && (isVirtual(node.type) || isOrnament(node, used))) continue;
    const converted = convertNode(node, known, graph, resolve);
    if (converted.fault !== undefined) {
      if (known === undefined) unknown.add(node.type);
      errors.push({
        path: `/workflow/nodes/${node.id}`,
        reason: `${nameOf(node)}: ${converted.fault}. ${HOW_TO_SEND_OBJECT_INFO}`,
      });
      continue;
    }
    for (const note of converted.notes) notes.push(`${nameOf(node)}: ${note}`);
    result[node.id] = {
      inputs: converted.inputs,
      class_type: node.type,
      _meta: { title: node.title ?? known?.displayName ?? node.type },
    };
  }

  const [first] = errors;
  if (first !== undefined) {
    const detail =
      unknown.size > 0
        ? `The workflow is in the editor's format, and of these classes it does not say which value is which: ${[
            ...unknown,
          ]
            .slice(0, ERRORS_MAX)
            .join(", ")}. ${HOW_TO_SEND_OBJECT_INFO}`
        : first.reason;
    return refusal(unknown.size > 0 ? "workflow_format_ui" : "invalid_workflow", detail, {
      errors: errors.slice(0, ERRORS_MAX),
    });
  }
  if (Object.keys(result).length === 0) {
    return refusal("invalid_workflow", "The workflow has no node that runs: all are notes, muted or bypassed.");
  }
  return { ok: true, graph: result, notes: notes.slice(0, NOTES_MAX) };
}

interface ConvertedNode {
  readonly inputs: JsonObject;
  readonly notes: readonly string[];
  readonly fault: string | undefined;
}

function convertNode(
  node: UiNode,
  known: KnownClass | undefined,
  graph: UiGraph,
  resolve: ReturnType<typeof linkResolver>,
): ConvertedNode {
  const sources = node.inputs.flatMap((slot) => {
    const link = slot.link === null ? undefined : graph.links.get(slot.link);
    if (link === undefined) return [];
    return [{ name: slot.name === "" ? (slot.widget ?? "") : slot.name, source: resolve(link, slot.type) }];
  });
  const linked = new Set(sources.flatMap(({ name, source }) => (source.type === "none" ? [] : [name])));
  const { values, notes, fault } = widgetValues(node, known, linked);
  const inputs = emptyObject();
  const said = [...notes];
  for (const [name, value] of values) inputs[name] = wrapped(value);
  for (const { name, source } of sources) {
    if (source.type === "output") inputs[name] = [source.node, source.slot];
    else if (source.type === "muted") delete inputs[name];
    else if (source.type === "value") {
      if (takesValue(known, name, source.value)) inputs[name] = wrapped(source.value);
      else said.push(`the primitive at "${name}" holds a value that does not fit; the node's own counts.`);
    }
  }
  for (const [name, value] of Object.entries(inputs)) {
    const note = typeof value === "string" ? browserText(name, value, known) : undefined;
    if (note !== undefined) said.push(note);
  }
  return { inputs, notes: said, fault };
}

/** A list that is a value, told apart from the pair that is a link. */
function wrapped(value: Json): Json {
  return Array.isArray(value) ? { __value__: value } : value;
}

const ALTERNATIVES = /\{[^{}|]*\|[^{}]*\}/;
const COMMENT = /(?:^|\s)\/\/|\/\*/;
const EDITOR_TOKEN = /%(?:date:[^%]*|[^%.\s]+\.[^%]+)%/;

/** Text that the editor would rewrite before it sends it; here it stays as it is. */
function browserText(name: string, text: string, known: KnownClass | undefined): string | undefined {
  const isPrompt = known === undefined || known.inputs.get(name)?.options.dynamicPrompts === true;
  if (isPrompt && ALTERNATIVES.test(text)) {
    return `"${name}" holds alternatives, as in {a|b}: the editor picks one each time, here the text stays as it is.`;
  }
  if (isPrompt && COMMENT.test(text) && !text.includes("://")) {
    return `"${name}" holds a comment, which the editor would leave out; here the text stays as it is.`;
  }
  return EDITOR_TOKEN.test(text)
    ? `"${name}" holds a token of the editor, such as %date:…% or %node.widget%; here the text stays as it is.`
    : undefined;
}

/** Nodes as the editor runs them; the document's order among equals. */
function inOrder(graph: UiGraph): UiNode[] {
  return [...graph.nodes.values()].sort((a, b) => a.order - b.order);
}

/** Ids of nodes that a link leaves. */
function usedNodes(graph: UiGraph): ReadonlySet<string> {
  return new Set([...graph.links.values()].map((link) => link.from));
}

/** A class nobody knows that reads nothing and gives nothing: a note or a button of some extension. */
function isOrnament(node: UiNode, used: ReadonlySet<string>): boolean {
  return !used.has(node.id) && node.inputs.every((slot) => slot.link === null);
}

function nameOf(node: UiNode): string {
  return node.title === null || node.title === node.type
    ? `Node ${node.id} (${node.type})`
    : `Node ${node.id} (${node.type}, "${node.title}")`;
}

function emptyObject(): JsonObject {
  return Object.create(null) as JsonObject;
}
