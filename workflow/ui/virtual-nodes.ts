/** Nodes that live in the editor alone: it draws them or reads them, and never sends them to a server. */

export const SETTERS: ReadonlySet<string> = new Set(["SetNode", "easy setNode"]);
export const GETTERS: ReadonlySet<string> = new Set(["GetNode", "easy getNode"]);

const VIRTUAL: ReadonlySet<string> = new Set([
  ...SETTERS,
  ...GETTERS,
  "Note",
  "MarkdownNote",
  "PrimitiveNode",
  "Reroute",
  // The helpers of rgthree-comfy; its contexts, switches and loaders are real nodes.
  "Reroute (rgthree)",
  "Label (rgthree)",
  "Bookmark (rgthree)",
  "Node Collector (rgthree)",
  "Node Combiner (rgthree)",
  "Fast Muter (rgthree)",
  "Fast Bypasser (rgthree)",
  "Fast Groups Muter (rgthree)",
  "Fast Groups Bypasser (rgthree)",
  "Fast Actions Button (rgthree)",
  "Mute / Bypass Relay (rgthree)",
  "Mute / Bypass Repeater (rgthree)",
  "Random Unmuter (rgthree)",
]);

/** Whether a class is known to be the editor's own. */
export function isVirtual(classType: string): boolean {
  return VIRTUAL.has(classType);
}
