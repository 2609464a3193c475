/**
 * Takes the shells off a document: every subgraph and group node gives way to the nodes it stands for, under the ids
 * the editor gives them when it queues a prompt ("12:7", nested "3:12:7"). Links are followed through the rims, and
 * what was typed into a shell is handed to the widgets inside. A muted or bypassed shell stays one node, as in the
 * editor: it is dropped, or hands its inputs on, like any other.
 */
import type { Json, JsonObject } from "#contract/exact-json";
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { ClassLookup } from "../known-classes.ts";
import { type GroupDefinition, groupName, readGroups, shellWidgets } from "./expand-group-nodes.ts";
import { inheritedValue } from "./inherited-values.ts";
import { promotedOf, setInstanceValues } from "./instance-widgets.ts";
import { pointerPart, type UiDocument, type UiSubgraph } from "./read-ui.ts";
import { alignedInputs, outputLinks, type Scope, type Source, sizeOf } from "./scope.ts";
import { type ExpandedUi, MODE, type PromotedWidget, type UiInput, type UiLink, type UiNode } from "./ui-graph.ts";

/** Nodes after expansion, shells too; a definition used ten times in one used ten times is a hundred of them. */
export const EXPANDED_NODES_MAX = 20_000;
/** Slots and links after expansion. */
export const EXPANDED_SLOTS_MAX = 200_000;
/** Characters of all values after expansion: four times a document that has nothing twice. */
export const EXPANDED_LENGTH_MAX = 4 * WORKFLOW_BODY_BYTES_MAX;
/** Subgraphs in subgraphs; ids get longer with each. */
const DEPTH_MAX = 32;
/** Promoted widgets that are told apart; an endpoint shows fewer. */
const PROMOTED_MAX = 1_000;

/** A subgraph's id, as the editor makes them. */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** A document that cannot be expanded faithfully, with the shell that is the reason. */
class Unexpandable extends Error {
  readonly node: string;
  constructor(node: string, reason: string) {
    super(reason);
    this.node = node;
  }
}

/**
 * Expands a document. `lookup` helps with group nodes some of whose widgets were made inputs: it says in which order
 * a class has its widgets. Refusals are `invalid_workflow`, with the shell as `/workflow/nodes/<id>` and the way out.
 */
export function expandUi(
  ui: UiDocument,
  lookup?: ClassLookup,
): { readonly ok: true; readonly expanded: ExpandedUi } | Refusal {
  try {
    const scopes = openScopes(ui, lookup);
    // Inner shells first, so that what an outer one sets stands above.
    for (const scope of scopes.toReversed()) setInstanceValues(scope);
    const promoted: PromotedWidget[] = [];
    for (const scope of scopes) if (scope.shell?.parent.shell === null) promoted.push(...promotedOf(scope));
    const graph = emit(scopes, ui);
    return { ok: true, expanded: { graph, promoted: promoted.slice(0, PROMOTED_MAX), extra: ui.extra } };
  } catch (error) {
    if (!(error instanceof Unexpandable)) throw error;
    const path = `/workflow/nodes/${pointerPart(error.node)}`;
    return refusal("invalid_workflow", `${path}: ${error.message}`, { errors: [{ path, reason: error.message }] });
  }
}

/** The document and every shell in it that is to be opened, each after the one it lies in. */
function openScopes(ui: UiDocument, lookup: ClassLookup | undefined): Scope[] {
  const groups = readGroups(ui.extra);
  const scopes = [newScope("", ui.graph.nodes, ui.graph.links, null)];
  const size = { ...sizeOf(ui.graph) };
  for (let at = 0; at < scopes.length; at += 1) {
    const scope = scopes[at];
    if (scope === undefined) break;
    for (const node of scope.nodes.values()) {
      const id = `${scope.prefix}${node.id}`;
      const definition = definitionOf(node, id, ui, groups);
      if (definition === undefined) {
        // A bypassed instance shows its whole rim.
        size.slots += ui.subgraphs.get(node.type)?.inputs.length ?? 0;
      } else {
        const subgraph = "subgraph" in definition ? definition.subgraph : definition;
        const more = sizeOf(subgraph.graph);
        size.nodes += more.nodes;
        size.slots += more.slots + subgraph.inputs.length + subgraph.outputs.length;
        size.length += more.length;
      }
      if (size.length > EXPANDED_LENGTH_MAX) {
        throw new Unexpandable(
          id,
          `With its subgraphs and group nodes opened, the workflow has values of more than ${EXPANDED_LENGTH_MAX} ` +
            "characters. Use fewer copies of them, or shorter texts inside.",
        );
      }
      if (size.nodes > EXPANDED_NODES_MAX || size.slots > EXPANDED_SLOTS_MAX) {
        throw new Unexpandable(
          id,
          `With its subgraphs and group nodes opened, the workflow has more than ${EXPANDED_NODES_MAX} nodes ` +
            `or ${EXPANDED_SLOTS_MAX} slots and links. Use fewer copies of them.`,
        );
      }
      if (definition === undefined) continue;
      const inner = open(scope, node, id, definition, lookup);
      scope.inner.set(node.id, inner);
      scopes.push(inner);
    }
  }
  return scopes;
}

/** What an active shell stands for; undefined for every other node. */
function definitionOf(
  node: UiNode,
  id: string,
  ui: UiDocument,
  groups: ReadonlyMap<string, GroupDefinition>,
): GroupDefinition | UiSubgraph | undefined {
  if (node.mode === MODE.muted || node.mode === MODE.bypassed) return undefined;
  const subgraph = ui.subgraphs.get(node.type);
  if (subgraph !== undefined) return subgraph;
  const group = groupName(node.type);
  if (group !== undefined) {
    const found = groups.get(group);
    if (found !== undefined) return found;
    throw new Unexpandable(
      id,
      `The file does not hold the group node "${group.slice(0, 100)}". Open the workflow where the group node works, ` +
        "right-click it, choose Convert to nodes (or Convert to subgraph), and save it again; or export in API format.",
    );
  }
  if (UUID.test(node.type)) {
    throw new Unexpandable(
      id,
      `The file does not hold the subgraph ${node.type}, which this node stands for. Open the workflow in the ComfyUI ` +
        "that has it and save it again; or export in API format.",
    );
  }
  return undefined;
}

function open(
  parent: Scope,
  node: UiNode,
  id: string,
  definition: GroupDefinition | UiSubgraph,
  lookup: ClassLookup | undefined,
): Scope {
  const subgraph = "subgraph" in definition ? definition.subgraph : definition;
  let depth = 1;
  for (let outer: Scope = parent; outer.shell !== null; outer = outer.shell.parent) {
    depth += 1;
    if (outer.shell.definition === subgraph) {
      throw new Unexpandable(id, `"${subgraph.name.slice(0, 100)}" contains itself. Take it out of its own inside.`);
    }
  }
  if (depth > DEPTH_MAX) throw new Unexpandable(id, `Subgraphs are nested more than ${DEPTH_MAX} deep. Unpack some.`);
  let nodes = subgraph.graph.nodes;
  if ("subgraph" in definition) {
    const widgets = shellWidgets(definition, node, lookup);
    if (widgets === undefined) {
      throw new Unexpandable(
        id,
        "The values of this group node cannot be told apart, because it is of an older form than its definition. In " +
          "ComfyUI right-click it, choose Convert to nodes (or Convert to subgraph), and save the workflow again.",
      );
    }
    nodes = new Map([...nodes].map(([key, inner]) => [key, { ...inner, ...widgets.get(key) }]));
  }
  const shell = { definition: subgraph, group: "subgraph" in definition ? definition : null, node, parent };
  const inputs = alignedInputs(subgraph, node, shell.group !== null);
  return newScope(`${id}:`, nodes, subgraph.graph.links, { ...shell, inputs, values: new Map() });
}

function newScope(
  prefix: string,
  nodes: ReadonlyMap<string, UiNode>,
  links: ReadonlyMap<string, UiLink>,
  shell: Scope["shell"],
): Scope {
  return { prefix, nodes, links, shell, inner: new Map(), overrides: new Map(), sources: new Map() };
}

/** The nodes that are left, with their links. */
function emit(scopes: readonly Scope[], ui: UiDocument): ExpandedUi["graph"] {
  const nodes = new Map<string, UiNode>();
  const links = new Map<string, UiLink>();
  for (const scope of scopes) {
    const order = orderOf(scope);
    for (const node of scope.nodes.values()) {
      if (scope.inner.has(node.id)) continue;
      const id = `${scope.prefix}${node.id}`;
      if (nodes.has(id)) {
        throw new Unexpandable(
          id,
          "A node has the id that one inside a subgraph gets. Give it another and save again.",
        );
      }
      const shown = { ...node, inputs: rimInputs(node, ui) };
      nodes.set(id, connected(scope, shown, id, order ?? node.order, links));
    }
  }
  return { nodes, links };
}

/** The inputs of a closed shell in the order of its definition, which decides what a bypassed one hands on. */
function rimInputs(node: UiNode, ui: UiDocument): readonly UiInput[] {
  const definition = ui.subgraphs.get(node.type);
  if (definition === undefined) return node.inputs;
  const aligned = alignedInputs(definition, node, false);
  return definition.inputs.map(
    (slot, index) => aligned[index] ?? { name: slot.name, type: slot.type, link: null, widget: null, label: null },
  );
}

/** The place in the order of execution that nodes of a scope take: that of the outermost shell. */
function orderOf(scope: Scope): number | null {
  let order: number | null = null;
  for (let at = scope; at.shell !== null; at = at.shell.parent) order = at.shell.node.order;
  return order;
}

function connected(scope: Scope, node: UiNode, id: string, order: number, links: Map<string, UiLink>): UiNode {
  const overrides: JsonObject = Object.assign(Object.create(null), node.overrides, scope.overrides.get(node.id));
  const inputs = node.inputs.map((input, slot): UiInput => {
    if (input.link === null) return input;
    const source = sourceOf(scope, input.link);
    if (source.type === "none") return { ...input, link: null };
    if (source.type === "value") overrides[input.widget ?? input.name] = source.value;
    if (source.type !== "node") return { ...input, link: null, outside: source };
    let link = `${scope.prefix}${input.link}`;
    while (links.has(link)) link = `${link}+${id}+${slot}`;
    const type = scope.links.get(input.link)?.type ?? input.type;
    links.set(link, { id: link, from: source.node, fromSlot: source.slot, to: id, toSlot: slot, type });
    return { ...input, link };
  });
  return { ...node, id, order, inputs, overrides: Object.keys(overrides).length === 0 ? null : overrides };
}

const NOTHING: Source = { type: "none" };

/**
 * Where a link comes from once the rims are gone. Every link on the way is remembered, so that chains of shells cost
 * what they are long, once; a ring of shells that only hand on to each other comes from nowhere.
 */
function sourceOf(scope: Scope, link: string): Source {
  const trail: { scope: Scope; link: string }[] = [];
  let at: { scope: Scope; link: string } | undefined = { scope, link };
  let source: Source = NOTHING;
  while (at !== undefined) {
    const known = at.scope.sources.get(at.link);
    if (known !== undefined) {
      source = known;
      break;
    }
    at.scope.sources.set(at.link, NOTHING);
    trail.push(at);
    const next = step(at.scope, at.link);
    if ("type" in next) {
      source = next;
      break;
    }
    at = next;
  }
  for (const passed of trail) passed.scope.sources.set(passed.link, source);
  return source;
}

/** One step: to a source, or to the link that this one continues on the other side of a rim. */
function step(scope: Scope, id: string): Source | { scope: Scope; link: string } {
  const link = scope.links.get(id);
  if (link === undefined) return NOTHING;
  const { shell } = scope;
  if (shell !== null && link.from === shell.definition.inputNode) {
    const outer = shell.inputs[link.fromSlot]?.link ?? null;
    if (outer !== null) return { scope: shell.parent, link: outer };
    const value: Json | undefined = shell.values.get(link.fromSlot);
    return value === undefined ? inheritedValue(scope, link.fromSlot) : { type: "value", value };
  }
  const inner = scope.inner.get(link.from);
  if (inner?.shell) {
    const innerLink = outputLinks(inner.shell.definition)[link.fromSlot];
    return innerLink === undefined ? NOTHING : { scope: inner, link: innerLink };
  }
  if (!scope.nodes.has(link.from)) return NOTHING;
  return { type: "node", node: `${scope.prefix}${link.from}`, slot: link.fromSlot };
}
