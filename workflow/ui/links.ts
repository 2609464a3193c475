/**
 * Where a link of the editor's graph really comes from: through reroutes, set/get pairs, primitives and bypassed nodes
 * to the node that runs.
 */
import type { Json } from "#contract/exact-json";
import { MODE, type UiGraph, type UiLink, type UiNode } from "./ui-graph.ts";
import { GETTERS, isVirtual, SETTERS } from "./virtual-nodes.ts";

export type Source =
  | { readonly type: "output"; readonly node: string; readonly slot: number }
  /** A primitive: its value is written into the widget that the link ends at. */
  | { readonly type: "value"; readonly value: Json }
  /** The source does not run: the input goes away, its widget with it. */
  | { readonly type: "muted" }
  /** The link leads nowhere: a widget of that name keeps its own value. */
  | { readonly type: "none" };

const NONE: Source = { type: "none" };

/**
 * A function from a link and the type that its target wants to the source. Every place on a way remembers the answer,
 * so that all links of a graph together cost its size and not its square; a loop of reroutes leads nowhere.
 */
export function linkResolver(
  graph: UiGraph,
  knownToServer: (classType: string) => boolean,
): (link: UiLink, wanted: string) => Source {
  const known = new Map<string, Source>();
  const setters = settersByName(graph);

  return (first, wanted) => {
    const passed: string[] = [];
    const finish = (source: Source): Source => {
      for (const key of passed) known.set(key, source);
      return source;
    };
    for (let link: UiLink | undefined = first; link !== undefined; ) {
      const key: string = `${link.from}\n${link.fromSlot}\n${wanted}`;
      const before = known.get(key);
      if (before !== undefined) return finish(before);
      passed.push(key);
      // Until the way's end is found, whoever comes here again has walked in a circle.
      known.set(key, NONE);
      const node = graph.nodes.get(link.from);
      if (node === undefined) return finish(NONE);
      if (node.mode === MODE.muted) return finish({ type: "muted" });
      const slot = link.fromSlot;
      if (node.type === "PrimitiveNode") return finish(primitiveValue(node));
      if (node.mode === MODE.bypassed) link = linkInto(graph, node, bypassSlot(node, slot, wanted));
      else if (GETTERS.has(node.type)) link = linkInto(graph, setters.get(pairName(node)), 0);
      else if (isVirtual(node.type) && !knownToServer(node.type)) link = linkInto(graph, node, slot);
      else return finish({ type: "output", node: node.id, slot });
    }
    return finish(NONE);
  };
}

function linkInto(graph: UiGraph, node: UiNode | undefined, slot: number): UiLink | undefined {
  const id = node?.inputs[slot]?.link ?? null;
  return id === null ? undefined : graph.links.get(id);
}

function primitiveValue(node: UiNode): Source {
  const overridden = node.overrides?.value;
  if (overridden !== undefined) return { type: "value", value: overridden };
  const { widgets } = node;
  const value = Array.isArray(widgets) ? widgets[0] : (widgets as { value?: Json } | null)?.value;
  return value === undefined || value === null ? NONE : { type: "value", value };
}

/** The input a bypassed node hands on at an output: same place if it fits, else the exact type, else one that fits. */
export function bypassSlot(node: UiNode, slot: number, wanted: string): number {
  const { inputs } = node;
  if (wanted === "*" || wanted === "") return slot < inputs.length ? slot : 0;
  const given = node.outputs[slot]?.type ?? wanted;
  const opposite = inputs[slot];
  if (opposite !== undefined && fitsType(opposite.type, given)) return slot;
  const exact = inputs.findIndex((input) => input.type === wanted);
  return exact === -1 ? inputs.findIndex((input) => fitsType(input.type, given)) : exact;
}

/** Types connect when one is `*`, or when the comma-separated lists share a name, whatever its case. */
export function fitsType(one: string, other: string): boolean {
  if (one === "*" || other === "*" || one === "" || other === "") return true;
  const names = new Set(one.toLowerCase().split(","));
  return other
    .toLowerCase()
    .split(",")
    .some((name) => names.has(name));
}

/** Set nodes by the name that their get nodes ask for. */
function settersByName(graph: UiGraph): ReadonlyMap<string, UiNode> {
  const setters = new Map<string, UiNode>();
  for (const node of graph.nodes.values()) {
    const name = pairName(node);
    if (SETTERS.has(node.type) && name !== "" && !setters.has(name)) setters.set(name, node);
  }
  return setters;
}

function pairName(node: UiNode): string {
  const name = Array.isArray(node.widgets) ? node.widgets[0] : undefined;
  return typeof name === "string" ? name : "";
}
