/**
 * From the editor's graph to the one that servers run, as the editor itself does it when somebody presses Run: nodes
 * that run, their widgets by name, their links from the nodes that really feed them.
 */
import type { Json, JsonObject } from "#contract/exact-json";
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { type FieldError, type Refusal, refusal } from "#contract/problems";
import type { GraphTarget } from "#contract/workflow";
import type { ClassLookup, KnownClass } from "../known-classes.ts";
import { setChoiceIndex, WRITTEN_CHOICE_CLASS } from "../written-choices.ts";
import { isBroadcaster, withBroadcasts } from "./broadcasts.ts";
import { hasTokens, NodeNames, possiblePrompt, type SentText, sentPrefix, sentPrompt } from "./editor-text.ts";
import { linkResolver, type Source } from "./links.ts";
import { lengthOf } from "./scope.ts";
import { type ExpandedUi, MODE, type UiGraph, type UiInput, type UiNode } from "./ui-graph.ts";
import { isVirtual } from "./virtual-nodes.ts";
import { takesValue, widgetValues } from "./widgets.ts";

export interface ConvertedUi {
  readonly ok: true;
  /** API format: nodes by id, each with `inputs`, `class_type` and `_meta` alone. */
  readonly graph: JsonObject;
  /** What a person should know about the conversion, in sentences. */
  readonly notes: string[];
  /** The widgets that each primitive of the editor fills, by the primitive's id: it is no node of the graph itself. */
  readonly primitives: ReadonlyMap<string, readonly GraphTarget[]>;
}

/** Characters of all values of the result, about: as many as a graph in API format may have, which is what it becomes. */
export const CONVERTED_LENGTH_MAX = WORKFLOW_BODY_BYTES_MAX;
const ERRORS_MAX = 20;
const NOTES_MAX = 50;
/** Characters of a class or title in a sentence. */
const NAME_LENGTH_MAX = 100;
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
  const workshop: Workshop = {
    graph,
    lookup,
    resolve: linkResolver(graph, (classType) => lookup(classType) !== undefined),
    names: new NodeNames(graph, (node, field) => shownValue(node.id, field, workshop)),
    shown: new Map(),
    primitives: new Map(),
  };
  const used = usedNodes(graph);
  const notes: string[] = [];
  const errors: FieldError[] = [];
  const unknown = new Set<string>();
  const result = emptyObject();
  let length = 0;

  for (const node of inOrder(graph)) {
    if (node.mode === MODE.muted || node.mode === MODE.bypassed || isBroadcaster(node.type)) continue;
    const known = lookup(node.type);
    if (known === undefined && (isVirtual(node.type) || isOrnament(node, used))) continue;
    const drawn = drawnInBrowser(node, known);
    if (drawn !== undefined) {
      errors.push(drawn);
      continue;
    }
    const converted = convertNode(node, known, workshop);
    if (converted.lost !== undefined) {
      errors.push(lostPair(node, converted.lost));
      continue;
    }
    if (converted.fault !== undefined) {
      if (known === undefined) unknown.add(node.type);
      errors.push({
        path: `/workflow/nodes/${node.id}`,
        reason: `${nameOf(node)}: ${converted.fault}. ${HOW_TO_SEND_OBJECT_INFO}`,
      });
      continue;
    }
    for (const note of converted.notes.slice(0, NOTES_MAX - notes.length)) notes.push(`${nameOf(node)}: ${note}`);
    length += node.id.length + (node.title ?? "").length + lengthOf(converted.inputs);
    if (length > CONVERTED_LENGTH_MAX) return tooLong(node);
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
            .map((name) => name.slice(0, NAME_LENGTH_MAX))
            .join(", ")}. ${HOW_TO_SEND_OBJECT_INFO}`
        : first.reason;
    return refusal(unknown.size > 0 ? "workflow_format_ui" : "invalid_workflow", detail, {
      errors: errors.slice(0, ERRORS_MAX),
    });
  }
  if (Object.keys(result).length === 0) {
    return refusal("invalid_workflow", "The workflow has no node that runs: all are notes, muted or bypassed.");
  }
  return { ok: true, graph: result, notes: notes.slice(0, NOTES_MAX), primitives: workshop.primitives };
}

function tooLong(node: UiNode): Refusal {
  const path = `/workflow/nodes/${node.id}`;
  const reason =
    `With ${nameOf(node)}, the values of the converted workflow have more than ${CONVERTED_LENGTH_MAX} characters. ` +
    "Long texts that go to many nodes count once for each: use fewer, or shorter ones.";
  return refusal("invalid_workflow", `${path}: ${reason}`, { errors: [{ path, reason }] });
}

/** What the conversion of all nodes shares. */
interface Workshop {
  readonly graph: UiGraph;
  readonly lookup: ClassLookup;
  readonly resolve: ReturnType<typeof linkResolver>;
  readonly names: NodeNames;
  /** Values that nodes' own widgets show, by node, once somebody asked. */
  readonly shown: Map<string, ReadonlyMap<string, Json>>;
  readonly primitives: Map<string, GraphTarget[]>;
}

interface ConvertedNode {
  readonly inputs: JsonObject;
  readonly notes: readonly string[];
  readonly fault: string | undefined;
  /** A get node that an input comes from and that has no set node. */
  readonly lost: (Source & { type: "lost" }) | undefined;
}

function convertNode(node: UiNode, known: KnownClass | undefined, workshop: Workshop): ConvertedNode {
  const sources = node.inputs.flatMap((slot) => {
    const source = sourceOf(node, slot, workshop);
    return source === undefined ? [] : [{ name: nameOfSlot(slot), source }];
  });
  const linked = new Set(sources.flatMap(({ name, source }) => (source.type === "none" ? [] : [name])));
  const { values, notes, fault } = widgetValues(node, known, linked);
  const inputs = emptyObject();
  const said = [...notes];
  let lost: ConvertedNode["lost"];
  for (const [name, value] of values) inputs[name] = wrapped(value);
  for (const { name, source } of sources) {
    if (source.type === "output") inputs[name] = [source.node, source.slot];
    else if (source.type === "muted") delete inputs[name];
    else if (source.type === "lost") lost ??= source;
    else if (source.type !== "none") {
      const value = source.type === "value" ? source.value : shownValue(source.node, source.field, workshop);
      if (value === undefined) continue;
      if (takesValue(known, name, value)) {
        inputs[name] = wrapped(value);
        if (source.type === "value" && source.primitive !== undefined) {
          fills(workshop.primitives, source.primitive, { node: node.id, field: name });
        }
      } else said.push(`the primitive at "${name}" holds a value that does not fit; the node's own counts.`);
    }
  }
  // What comes from outside of a subgraph is sent as it stands.
  const fromOutside = new Set(node.inputs.flatMap((slot) => (slot.outside === undefined ? [] : [nameOfSlot(slot)])));
  for (const [name, value] of Object.entries(inputs)) {
    if (typeof value !== "string" || fromOutside.has(name)) continue;
    const { text, note } = sentText(node, known, name, value, workshop.names);
    inputs[name] = text;
    if (note !== undefined) said.push(note);
  }
  if (node.type === WRITTEN_CHOICE_CLASS) setChoiceIndex(inputs);
  return { inputs, notes: said, fault, lost };
}

/** What feeds a slot; undefined where its own widget counts. */
function sourceOf(node: UiNode, slot: UiInput, { graph, resolve }: Workshop): Source | undefined {
  const link = slot.link === null ? undefined : graph.links.get(slot.link);
  if (link !== undefined) return resolve(link, slot.type);
  // A value that was typed outside stands above the widget's own already.
  const { outside } = slot;
  if (outside?.type !== "widget" || (outside.node === node.id && outside.field === slot.widget)) return undefined;
  return outside;
}

function nameOfSlot(slot: UiInput): string {
  return slot.name === "" ? (slot.widget ?? "") : slot.name;
}

/** The value in a node's widget, whether the node runs or not. */
function shownValue(id: string, field: string, { graph, lookup, shown }: Workshop): Json | undefined {
  let values = shown.get(id);
  if (values === undefined) {
    const node = graph.nodes.get(id);
    values = node === undefined ? new Map() : widgetValues(node, lookup(node.type), new Set()).values;
    shown.set(id, values);
  }
  return values.get(field);
}

function fills(primitives: Workshop["primitives"], primitive: string, target: GraphTarget): void {
  const targets = primitives.get(primitive);
  if (targets === undefined) primitives.set(primitive, [target]);
  else targets.push(target);
}

/** Types whose values the editor makes of what its window shows when somebody presses Run; the file has none. */
const DRAWN_TYPES: ReadonlySet<string> = new Set(["LOAD_3D", "LOAD_3D_ANIMATION", "WEBCAM"]);

function drawnInBrowser(node: UiNode, known: KnownClass | undefined): FieldError | undefined {
  const linked = new Set(node.inputs.flatMap((slot) => (slot.link === null ? [] : [nameOfSlot(slot)])));
  for (const { name, type } of known?.inputs.values() ?? []) {
    if (!DRAWN_TYPES.has(type) || linked.has(name)) continue;
    const reason =
      `${nameOf(node)}: its "${name}" is a picture that the editor takes in the browser at each run, and the file does ` +
      "not hold it. Save that picture and load it with LoadImage instead, or mute the node.";
    return { path: `/workflow/nodes/${node.id}`, reason };
  }
  return undefined;
}

function lostPair(node: UiNode, { getter, name }: { readonly getter: string; readonly name: string }): FieldError {
  return {
    path: `/workflow/nodes/${getter}`,
    reason:
      `${nameOf(node)} reads "${name.slice(0, 100)}" from the get node ${getter}, and no set node has that name. ` +
      "In ComfyUI give the get node the name of a set node, or link the two nodes directly.",
  };
}

/** A text as the editor sends it. */
function sentText(
  node: UiNode,
  known: KnownClass | undefined,
  field: string,
  text: string,
  names: NodeNames,
): SentText {
  if (hasTokens(node.type, field)) return sentPrefix(text, names);
  if (known === undefined) return possiblePrompt(field, text);
  return known.inputs.get(field)?.options.dynamicPrompts === true ? sentPrompt(field, text) : { text, note: undefined };
}

/** A list that is a value, told apart from the pair that is a link. */
function wrapped(value: Json): Json {
  return Array.isArray(value) ? { __value__: value } : value;
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
  return !used.has(node.id) && node.inputs.every((slot) => slot.link === null && slot.outside === undefined);
}

function nameOf(node: UiNode): string {
  const [type, title] = [node.type, node.title].map((text) => text?.slice(0, NAME_LENGTH_MAX));
  return title === undefined || title === type ? `Node ${node.id} (${type})` : `Node ${node.id} (${type}, "${title}")`;
}

function emptyObject(): JsonObject {
  return Object.create(null) as JsonObject;
}
