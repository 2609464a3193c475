/**
 * Where a link of the editor's graph really comes from: through reroutes, set/get pairs, primitives and bypassed nodes
 * to the node that runs.
 */
import type { Json } from "#contract/exact-json";
import { MODE, type UiGraph, type UiInput, type UiLink, type UiNode } from "./ui-graph.ts";
import { GETTERS, isVirtual, SETTERS } from "./virtual-nodes.ts";

export type Source =
  | { readonly type: "output"; readonly node: string; readonly slot: number }
  /** A primitive, or what was typed into a shell: the value is written into the widget that the link ends at. */
  | { readonly type: "value"; readonly value: Json; readonly primitive?: string }
  /** A shell's widget that shows this one's value. */
  | { readonly type: "widget"; readonly node: string; readonly field: string }
  /** A get node whose set node is not there: the editor itself refuses to run that. */
  | { readonly type: "lost"; readonly getter: string; readonly name: string }
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
    let link: UiLink | undefined = first;
    while (link !== undefined) {
      const key: string = `${link.from}\n${link.fromSlot}\n${wanted}`;
      const before = known.get(key);
      if (before !== undefined) return finish(before);
      passed.push(key);
      // Until the way's end is found, whoever comes here again has walked in a circle.
      known.set(key, NONE);
      const node = graph.nodes.get(link.from);
      if (node === undefined) return finish(NONE);
      const slot = link.fromSlot;
      if (node.type === "PrimitiveNode") return finish(primitiveValue(node));
      let through: UiInput | undefined;
      if (node.mode === MODE.bypassed) through = node.inputs[bypassSlot(node, slot, wanted)];
      else if (GETTERS.has(node.type)) {
        const setter = setterFor(setters, node);
        if (setter === undefined) return finish({ type: "lost", getter: node.id, name: pairName(node) });
        through = setter.inputs[0];
      } else if (isVirtual(node.type) && !knownToServer(node.type)) through = node.inputs[slot];
      // The editor's own nodes hand on whatever their mode; only what would run can be muted.
      else return finish(node.mode === MODE.muted ? { type: "muted" } : { type: "output", node: node.id, slot });
      if (through === undefined) break;
      if (through.link === null) return finish(through.outside ?? NONE);
      link = graph.links.get(through.link);
    }
    return finish(NONE);
  };
}

function primitiveValue(node: UiNode): Source {
  const overridden = node.overrides?.value;
  const primitive = node.id;
  if (overridden !== undefined) return { type: "value", value: overridden, primitive };
  const { widgets } = node;
  const value = Array.isArray(widgets) ? widgets[0] : (widgets as { value?: Json } | null)?.value;
  return value === undefined || value === null ? NONE : { type: "value", value, primitive };
}

/** The input a bypassed node hands on at an output: same place if it fits, else the exact type, else one that fits. */
export function bypassSlot(node: UiNode, slot: number, wanted: string): number {
  const { inputs } = node;
  if (wanted === "*" || wanted === "") return slot < inputs.length ? slot : 0;
  const given = node.outputs[slot]?.type ?? wanted;
  const opposite = inputs[slot];
  const fits = (input: UiInput): boolean => fitsType(input.type, given) && fitsType(input.type, wanted);
  if (opposite !== undefined && fits(opposite)) return slot;
  const exact = inputs.findIndex((input) => input.type === wanted);
  return exact === -1 ? inputs.findIndex(fits) : exact;
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

/** Set nodes by the shell they lie in (`""`, `"12:"`) and the name that their get nodes ask for. */
function settersByName(graph: UiGraph): ReadonlyMap<string, UiNode> {
  const setters = new Map<string, UiNode>();
  for (const node of graph.nodes.values()) {
    const name = pairName(node);
    const key = `${shellOf(node)}\n${name}`;
    if (SETTERS.has(node.type) && name !== "" && !setters.has(key)) setters.set(key, node);
  }
  return setters;
}

/** The set node of a get node: in the same shell, else in the one around it, and so on. */
function setterFor(setters: ReadonlyMap<string, UiNode>, getter: UiNode): UiNode | undefined {
  const name = pairName(getter);
  for (let shell = shellOf(getter); ; shell = outerShell(shell)) {
    const setter = setters.get(`${shell}\n${name}`);
    if (setter !== undefined || shell === "") return setter;
  }
}

function shellOf(node: UiNode): string {
  return outerShell(`${node.id}:`);
}

/** `"3:12:"` of `"3:12:7:"`. */
function outerShell(prefix: string): string {
  return prefix.slice(0, prefix.lastIndexOf(":", prefix.length - 2) + 1);
}

function pairName(node: UiNode): string {
  // The one widget of both; some files store it by its name.
  const [name] = Array.isArray(node.widgets) ? node.widgets : Object.values(node.widgets ?? node.namedWidgets ?? {});
  return typeof name === "string" ? name : "";
}
