/**
 * Links that nobody drew: the nodes of cg-use-everywhere hand what they get to every fitting input that is free. Their
 * extension writes down where that ended (`extra.ue_links`); without its notes, only it could say.
 */
import { isJsonObject, type Json } from "#contract/exact-json";
import { idOf, listOf, numberOf } from "./read-ui.ts";
import { type ExpandedUi, MODE, type UiGraph, type UiLink, type UiNode } from "./ui-graph.ts";

const BROADCASTERS: ReadonlySet<string> = new Set([
  "Anything Everywhere",
  "Anything Everywhere?",
  "Anything Everywhere3",
  "Prompts Everywhere",
]);

/** Whether a class does nothing but hand on, and is no node of the result. */
export function isBroadcaster(classType: string): boolean {
  return BROADCASTERS.has(classType);
}

/**
 * The graph with the links that were written down, at inputs that have no other. `unexplained` are broadcasting nodes
 * that run in a file without such notes.
 */
export function withBroadcasts({ graph, extra }: ExpandedUi): {
  readonly graph: UiGraph;
  readonly unexplained: readonly UiNode[];
} {
  const noted = extra.ue_links;
  const active = [...graph.nodes.values()].filter(
    (node) => isBroadcaster(node.type) && node.mode !== MODE.muted && node.mode !== MODE.bypassed,
  );
  if (active.length === 0) return { graph, unexplained: [] };
  if (noted === undefined) return { graph, unexplained: active };
  const nodes = new Map(graph.nodes);
  const links = new Map(graph.links);
  for (const [index, entry] of listOf(noted).entries()) {
    const link = broadcastLink(entry, `everywhere:${index}`);
    const target = link === undefined ? undefined : nodes.get(link.to);
    const slot = link === undefined ? undefined : target?.inputs[link.toSlot];
    if (link === undefined || target === undefined || slot === undefined || slot.link !== null) continue;
    links.set(link.id, { ...link, type: slot.type });
    const inputs = target.inputs.map((input) => (input === slot ? { ...input, link: link.id } : input));
    nodes.set(target.id, { ...target, inputs });
  }
  return { graph: { nodes, links }, unexplained: [] };
}

function broadcastLink(entry: Json, id: string): UiLink | undefined {
  if (!isJsonObject(entry)) return undefined;
  const from = idOf(entry.upstream);
  const to = idOf(entry.downstream);
  const fromSlot = numberOf(entry.upstream_slot);
  const toSlot = numberOf(entry.downstream_slot);
  if (from === undefined || to === undefined || fromSlot === undefined || toSlot === undefined) return undefined;
  return { id, from, fromSlot, to, toSlot, type: "*" };
}
