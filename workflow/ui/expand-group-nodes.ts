/**
 * Group nodes, which subgraphs came after: `workflow/Name`, later `workflow>Name`, defined in `extra.groupNodes`. A
 * definition is turned into a subgraph: the slots of its nodes that nothing inside is linked to are its rim, in order.
 * The values of all inner widgets stand in the shell's `widgets_values`, one node after another.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { ClassLookup } from "../known-classes.ts";
import type { DeclaredInput } from "../object-info.ts";
import { listOf, numberOf, readNode, textOf, type UiSlot, type UiSubgraph } from "./read-ui.ts";
import type { PromotedWidget, UiInput, UiLink, UiNode } from "./ui-graph.ts";

/** A group node as a subgraph whose nodes are numbered from 0. */
export interface GroupDefinition {
  readonly subgraph: UiSubgraph;
  /** The widgets that the author gave another name, which shows that they are meant to be set from outside. */
  readonly renamed: readonly Omit<PromotedWidget, "title">[];
}

const INPUT_NODE = "in";
const OUTPUT_NODE = "out";
/** Nodes of the editor alone; their text is no widget of the group. */
const NOTES = new Set(["Note", "MarkdownNote"]);
const WIDGET_TYPES = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"]);

/** The name of a group node's definition in its type; undefined for other types. */
export function groupName(type: string): string | undefined {
  return /^workflow[/>](.+)$/s.exec(type)?.[1];
}

/** The definitions of a document, by name. What is not shaped like one is left out. */
export function readGroups(extra: JsonObject): ReadonlyMap<string, GroupDefinition> {
  const groups = new Map<string, GroupDefinition>();
  if (!isJsonObject(extra.groupNodes)) return groups;
  for (const [name, definition] of Object.entries(extra.groupNodes)) {
    if (isJsonObject(definition) && Array.isArray(definition.nodes)) groups.set(name, readGroup(name, definition));
  }
  return groups;
}

function readGroup(name: string, definition: JsonObject): GroupDefinition {
  const nodes = listOf(definition.nodes).map((entry, index) => readGroupNode(entry, index));
  const outside = new Set(listOf(definition.external).map((entry) => externalKey(entry, nodes)));
  const config = isJsonObject(definition.config) ? definition.config : {};
  const links = new Map<string, UiLink>();
  /** The link of each input and whether an output has one, by `node:slot`. */
  const linkTo = new Map<string, string>();
  const linkedFrom = new Set<string>();
  for (const [index, entry] of listOf(definition.links).entries()) {
    const [from, fromSlot, to, toSlot, , type] = listOf(entry).map((part) => numberOf(part) ?? part);
    // Links from outside name no node that they come from.
    if (typeof from !== "number" || typeof to !== "number") continue;
    const slots = { fromSlot: numberOf(fromSlot) ?? 0, toSlot: numberOf(toSlot) ?? 0 };
    const id = String(index);
    links.set(id, { id, from: String(from), to: String(to), ...slots, type: textOf(type) ?? "*" });
    linkTo.set(`${to}:${slots.toSlot}`, id);
    linkedFrom.add(`${from}:${slots.fromSlot}`);
  }

  const inputs: UiSlot[] = [];
  const bound = new Map<string, UiNode>();
  const converted: (() => void)[] = [];
  for (const node of nodes) {
    const slots = node.inputs.map(
      (input, slot): UiInput => ({ ...input, link: linkTo.get(`${node.id}:${slot}`) ?? null }),
    );
    bound.set(node.id, { ...node, inputs: slots });
    node.inputs.forEach((input, slot) => {
      if (slots[slot]?.link !== null) return;
      const settings = inputConfig(config, node, input);
      const bring = (): void => {
        const id = `${INPUT_NODE}${inputs.length}`;
        links.set(id, {
          id,
          from: INPUT_NODE,
          fromSlot: inputs.length,
          to: node.id,
          toSlot: slot,
          type: input.type,
        });
        slots[slot] = { ...input, link: id };
        inputs.push({ name: settings.name ?? input.label ?? input.name, type: input.type, label: null, links: [id] });
      };
      if (settings.hidden) return;
      // Widgets that were made inputs come after all others.
      if (input.widget === null) bring();
      else converted.push(bring);
    });
  }
  for (const bring of converted) bring();

  const outputs: UiSlot[] = [];
  for (const node of nodes) {
    if (NOTES.has(node.type)) continue;
    node.outputs.forEach((output, slot) => {
      const key = `${node.id}:${slot}`;
      const shown = outputConfig(config, node, slot) ?? (!linkedFrom.has(key) || outside.has(key));
      // A primitive that feeds nothing has no type, and then no output either.
      if (!shown || (node.type === "PrimitiveNode" && !linkedFrom.has(key))) return;
      const id = `${OUTPUT_NODE}${outputs.length}`;
      links.set(id, {
        id,
        from: node.id,
        fromSlot: slot,
        to: OUTPUT_NODE,
        toSlot: outputs.length,
        type: output.type,
      });
      outputs.push({ name: output.name, type: output.type, label: null, links: [id] });
    });
  }
  return {
    subgraph: {
      id: name,
      name,
      inputs,
      outputs,
      inputNode: INPUT_NODE,
      outputNode: OUTPUT_NODE,
      graph: { nodes: bound, links },
    },
    renamed: nodes.flatMap((node) => renamedWidgets(config, node)),
  };
}

/** One inner node; its place in the list is its id. Entries that are no nodes keep the places of the others. */
function readGroupNode(entry: Json, index: number): UiNode {
  const fields: JsonObject = isJsonObject(entry) ? entry : {};
  const node = readNode({ ...fields, type: textOf(fields.type) ?? "Note" }, index);
  if (node === undefined) throw new Error("a node with an id and a type was not read");
  return node;
}

/** `[node, slot, type]`: an output that is linked inside and shown outside; the node by its place, or itself. */
function externalKey(entry: Json, nodes: readonly UiNode[]): string {
  const [node, slot] = listOf(entry);
  const index = isJsonObject(node) ? numberOf(node.index) : numberOf(node);
  return `${nodes[index ?? -1]?.id ?? "none"}:${numberOf(slot) ?? 0}`;
}

function settingsOf(config: JsonObject, node: UiNode, side: "input" | "output"): JsonObject {
  const own = Object.hasOwn(config, node.id) ? config[node.id] : undefined;
  const settings = isJsonObject(own) ? own[side] : undefined;
  return isJsonObject(settings) ? settings : {};
}

/** What the author made of an input: its name outside, and whether it is there. A reroute's goes by its type. */
function inputConfig(config: JsonObject, node: UiNode, input: UiInput): { name: string | undefined; hidden: boolean } {
  const settings = settingsOf(config, node, "input");
  const key = Object.hasOwn(settings, input.name)
    ? input.name
    : node.type === "Reroute"
      ? Object.keys(settings)[0]
      : "";
  const own = key !== undefined && Object.hasOwn(settings, key) ? settings[key] : undefined;
  if (!isJsonObject(own)) return { name: undefined, hidden: false };
  return { name: textOf(own.name), hidden: own.visible === false };
}

function outputConfig(config: JsonObject, node: UiNode, slot: number): boolean | undefined {
  const settings = settingsOf(config, node, "output");
  const own = Object.hasOwn(settings, String(slot)) ? settings[String(slot)] : undefined;
  return isJsonObject(own) && typeof own.visible === "boolean" ? own.visible : undefined;
}

function renamedWidgets(config: JsonObject, node: UiNode): Omit<PromotedWidget, "title">[] {
  if (node.type === "Reroute" || node.type === "PrimitiveNode") return [];
  return Object.entries(settingsOf(config, node, "input")).flatMap(([field, own]) => {
    const name = isJsonObject(own) && own.visible !== false ? textOf(own.name) : undefined;
    const connection = node.inputs.some((input) => input.name === field);
    return name === undefined || name === "" || name === field || connection ? [] : [{ node: node.id, field, name }];
  });
}

/** What a shell's values make of one inner node: its list of values, or single ones that stand above its own. */
type InnerWidgets = Partial<Pick<UiNode, "widgets" | "overrides">>;

/** A run of the shell's values: all of a node's, or the one of a field and the control value behind it. */
type Run = { readonly node: UiNode; readonly length: number; readonly field: string | undefined };

/**
 * Shares a shell's values out to the inner nodes, by node id; undefined where their number cannot be explained, so
 * that a value might go to the wrong widget. Nodes that are not in the answer keep what the definition says.
 */
export function shellWidgets(
  group: GroupDefinition,
  shell: UiNode,
  lookup: ClassLookup | undefined,
): ReadonlyMap<string, InnerWidgets> | undefined {
  const shared = new Map<string, InnerWidgets>();
  if (!Array.isArray(shell.widgets) || shell.widgets.length === 0) return shared;
  const { nodes, links } = group.subgraph.graph;
  const linked = new Set([...links.values()].map((link) => link.from));
  for (const primitiveLength of [undefined, 1]) {
    const runs = layout([...nodes.values()], linked, lookup, primitiveLength);
    if (runs === undefined || runs.reduce((sum, run) => sum + run.length, 0) !== shell.widgets.length) continue;
    let at = 0;
    for (const { node, length, field } of runs) {
      const values = shell.widgets.slice(at, at + length);
      at += length;
      if (field === undefined) shared.set(node.id, { widgets: values });
      else {
        const overrides: JsonObject = shared.get(node.id)?.overrides ?? Object.create(null);
        if (values[0] !== undefined) overrides[field] = values[0];
        shared.set(node.id, { overrides });
      }
    }
    return shared;
  }
  return undefined;
}

/** In which order the shell has its values. Widgets made inputs come last, or not at all when linked inside. */
function layout(
  nodes: readonly UiNode[],
  linked: ReadonlySet<string>,
  lookup: ClassLookup | undefined,
  primitiveLength: number | undefined,
): readonly Run[] | undefined {
  const runs: Run[] = [];
  const last: Run[] = [];
  for (const node of nodes) {
    const length = Array.isArray(node.widgets) ? node.widgets.length : 0;
    if (length === 0 || NOTES.has(node.type)) continue;
    if (node.type === "PrimitiveNode") {
      if (linked.has(node.id)) runs.push({ node, length: primitiveLength ?? length, field: undefined });
      continue;
    }
    const converted = new Map(node.inputs.flatMap((input) => (input.widget === null ? [] : [[input.widget, input]])));
    if (converted.size === 0) {
      runs.push({ node, length, field: undefined });
      continue;
    }
    const known = lookup?.(node.type);
    if (known === undefined) return undefined;
    let stored = length;
    for (const declared of known.inputs.values()) {
      if (!WIDGET_TYPES.has(declared.type) || declared.options.forceInput === true) continue;
      const run = { node, length: hasControl(declared) ? 2 : 1, field: declared.name };
      // The class has got further inputs since the definition was made.
      if (stored < run.length) break;
      stored -= run.length;
      const input = converted.get(declared.name);
      if (input === undefined) runs.push(run);
      else if (input.link === null || input.link.startsWith(INPUT_NODE)) last.push(run);
    }
  }
  return [...runs, ...last];
}

/** True for a value that the editor changes after each run, and keeps how in a value behind it. */
function hasControl(declared: DeclaredInput): boolean {
  if (declared.name === "seed" || declared.name === "noise_seed") return true;
  const control = declared.options.control_after_generate;
  return control !== undefined && control !== null && control !== false;
}
