/**
 * Links that nobody drew: the nodes of cg-use-everywhere hand what they get to every fitting input that is free. Their
 * extension writes down where that ended (`extra.ue_links`); without its notes, only it could say.
 */
import { isJsonObject, type Json } from "#contract/exact-json";
import { idOf, listOf, numberOf } from "./read-ui.ts";
import { type ExpandedUi, MODE, type UiGraph, type UiInput, type UiLink, type UiNode } from "./ui-graph.ts";

const BROADCASTERS: ReadonlySet<string> = new Set([
  "Anything Everywhere",
  "Anything Everywhere?",
  "Anything Everywhere3",
  "Prompts Everywhere",
]);

/** A real node that also hands its value on. */
const SEED_BROADCASTER = "Seed Everywhere";

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
  const active = [...graph.nodes.values()].filter((node) => isBroadcaster(node.type) && isActive(node));
  if (noted === undefined) {
    const used = new Set([...graph.links.values()].map((link) => link.from));
    const seeds = [...graph.nodes.values()].filter(
      (node) => node.type === SEED_BROADCASTER && isActive(node) && !used.has(node.id),
    );
    return { graph, unexplained: [...active, ...seeds] };
  }
  const nodes = new Map(graph.nodes);
  const links = new Map(graph.links);
  // Each node's inputs are copied once, however many notes there are about it.
  const filled = new Map<UiNode, UiInput[]>();
  for (const [index, entry] of listOf(noted).entries()) {
    const link = broadcastLink(entry, `everywhere:${index}`);
    const target = link === undefined ? undefined : graph.nodes.get(link.to);
    if (link === undefined || target === undefined || !isInForce(entry, graph, active)) continue;
    const inputs = filled.get(target) ?? [...target.inputs];
    const slot = inputs[link.toSlot];
    if (slot === undefined || slot.link !== null) continue;
    links.set(link.id, { ...link, type: slot.type });
    inputs[link.toSlot] = { ...slot, link: link.id };
    filled.set(target, inputs);
  }
  for (const [target, inputs] of filled) nodes.set(target.id, { ...target, inputs });
  return { graph: { nodes, links }, unexplained: [] };
}

function isActive(node: UiNode | undefined): boolean {
  return node !== undefined && node.mode !== MODE.muted && node.mode !== MODE.bypassed;
}

/** Notes outlive the nodes they were made for where the extension was taken away; newer ones name that node. */
function isInForce(note: Json, graph: UiGraph, active: readonly UiNode[]): boolean {
  const controller = isJsonObject(note) ? idOf(note.controller) : undefined;
  return controller === undefined ? active.length > 0 : isActive(graph.nodes.get(controller));
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
