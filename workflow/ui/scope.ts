/** One level of a document while its shells are opened, and what is known of a subgraph's rim. */
import type { Json, JsonObject } from "#contract/exact-json";
import type { GroupDefinition } from "./expand-group-nodes.ts";
import type { UiSubgraph } from "./read-ui.ts";
import type { UiGraph, UiInput, UiLink, UiNode } from "./ui-graph.ts";

/** Where an input's value comes from, seen from outside of all shells. */
export type Source =
  | { readonly type: "node"; readonly node: string; readonly slot: number }
  | { readonly type: "value"; readonly value: Json }
  /** The value of a widget of another node, or of the very one that asks. */
  | { readonly type: "widget"; readonly node: string; readonly field: string }
  | { readonly type: "none" };

/** The document itself (no shell), or the inside of one shell: the same definition twice is two scopes. */
export interface Scope {
  /** Stands before the ids of its nodes: `""`, `"12:"`, `"3:12:"`. */
  readonly prefix: string;
  readonly nodes: ReadonlyMap<string, UiNode>;
  readonly links: ReadonlyMap<string, UiLink>;
  /** The shells in it that are open, by their ids here. */
  readonly inner: Map<string, Scope>;
  /** Values set from outside on widgets of its nodes, by node id here. */
  readonly overrides: Map<string, JsonObject>;
  /** Links already followed. */
  readonly sources: Map<string, Source>;
  readonly shell: {
    readonly definition: UiSubgraph;
    readonly group: GroupDefinition | null;
    readonly node: UiNode;
    readonly parent: Scope;
    /** The shell's inputs by the slots of the definition. */
    readonly inputs: readonly (UiInput | undefined)[];
    /** What was typed into the shell, by slots of the definition. */
    readonly values: Map<number, Json>;
  } | null;
}

/** Where a link ends. */
export interface End {
  readonly node: UiNode;
  readonly input: UiInput;
}

const ends = new WeakMap<UiGraph, ReadonlyMap<string, End>>();

/** Where each link of a level ends, by what the nodes' inputs say. */
export function endsOf(graph: UiGraph): ReadonlyMap<string, End> {
  const known = ends.get(graph);
  if (known !== undefined) return known;
  const found = new Map<string, End>();
  for (const node of graph.nodes.values()) {
    for (const input of node.inputs) {
      if (input.link !== null && !found.has(input.link)) found.set(input.link, { node, input });
    }
  }
  ends.set(graph, found);
  return found;
}

/** What a level costs, and every copy of it again. */
export interface Size {
  readonly nodes: number;
  /** Slots and links. */
  readonly slots: number;
  /** Of the values in widgets, and of titles, as {@link lengthOf} counts them. */
  readonly length: number;
}

const sizes = new WeakMap<UiGraph, Size>();

/** What one copy of a level costs. */
export function sizeOf(graph: UiGraph): Size {
  const known = sizes.get(graph);
  if (known !== undefined) return known;
  let slots = graph.links.size;
  let length = 0;
  for (const node of graph.nodes.values()) {
    slots += node.inputs.length + node.outputs.length;
    length += (node.title ?? "").length + lengthOf(node.widgets) + lengthOf(node.namedWidgets);
  }
  const size = { nodes: graph.nodes.size, slots, length };
  sizes.set(graph, size);
  return size;
}

/** About how many characters a value takes: one for each value in it, and those of its texts and keys. */
export function lengthOf(value: Json | readonly Json[]): number {
  if (typeof value === "string") return 1 + value.length;
  if (typeof value !== "object" || value === null) return 1;
  let length = 1;
  if (Array.isArray(value)) for (const item of value) length += lengthOf(item);
  else for (const [key, item] of Object.entries(value)) length += key.length + lengthOf(item);
  return length;
}

const places = new WeakMap<Scope, ReadonlyMap<UiInput, number>>();

/** The slot of the definition that one of a shell's inputs stands for. */
export function slotOfInput(scope: Scope, input: UiInput): number | undefined {
  let known = places.get(scope);
  if (known === undefined) {
    const found = new Map<UiInput, number>();
    scope.shell?.inputs.forEach((aligned, slot) => {
      if (aligned !== undefined) found.set(aligned, slot);
    });
    places.set(scope, found);
    known = found;
  }
  return known.get(input);
}

interface Rim {
  readonly inputs: readonly (readonly string[])[];
  readonly outputs: readonly (string | undefined)[];
}

const rims = new WeakMap<UiSubgraph, Rim>();

/** The links that start at each input slot of a subgraph, in the order they were made. */
export function inputLinks(definition: UiSubgraph): readonly (readonly string[])[] {
  return rimOf(definition).inputs;
}

/** The link that gives each output of a subgraph its value: the first that was made. */
export function outputLinks(definition: UiSubgraph): readonly (string | undefined)[] {
  return rimOf(definition).outputs;
}

function rimOf(definition: UiSubgraph): Rim {
  const known = rims.get(definition);
  if (known !== undefined) return known;
  const { links } = definition.graph;
  // The slots list their links, but not in files of every program.
  const inputs = definition.inputs.map((slot) => new Set(slot.links.filter((id) => links.has(id))));
  const outputs = definition.outputs.map((slot) => slot.links.find((id) => links.has(id)));
  for (const link of links.values()) {
    if (link.from === definition.inputNode) inputs[link.fromSlot]?.add(link.id);
    if (link.to === definition.outputNode && link.toSlot in outputs) outputs[link.toSlot] ??= link.id;
  }
  const rim = { inputs: inputs.map((set) => [...set]), outputs };
  rims.set(definition, rim);
  return rim;
}

/**
 * A shell's inputs by the slots of its definition. Slots are told by name, as the editor does, because an instance may
 * list them in another order, or only those with links; then by place, for those without a partner on either side. A
 * group node's go by place alone where the names do not settle it all: editors made them up in several ways.
 */
export function alignedInputs(
  definition: UiSubgraph,
  node: UiNode,
  isGroup: boolean,
): readonly (UiInput | undefined)[] {
  const slots = definition.inputs;
  const waiting = new Map<string, number[]>();
  slots.forEach((slot, index) => {
    const list = waiting.get(slot.name);
    if (list === undefined) waiting.set(slot.name, [index]);
    else list.push(index);
  });
  // Taken from the end, so that slots of one name go in their order.
  for (const list of waiting.values()) list.reverse();
  const aligned: (UiInput | undefined)[] = slots.map(() => undefined);
  const strangers: { input: UiInput; place: number }[] = [];
  node.inputs.forEach((input, place) => {
    const index = waiting.get(input.name)?.pop();
    if (index === undefined) strangers.push({ input, place });
    else aligned[index] = input;
  });
  if (isGroup && strangers.length > 0) {
    const connections = node.inputs.filter((input) => input.widget === null);
    const byPlace = [node.inputs, connections].find((inputs) => inputs.length === slots.length);
    if (byPlace !== undefined) return byPlace;
  }
  for (const { input, place } of strangers) {
    if (place < slots.length && aligned[place] === undefined && slots[place]?.type === input.type) {
      aligned[place] = input;
    }
  }
  return aligned;
}
