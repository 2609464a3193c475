/** Files that callers bring: pictures, masks, sound and video that loaders read. */
import type { MediaKind } from "#contract/workflow";
import { mediaOf } from "./file-names.ts";
import type { GraphNode } from "./graph.ts";
import type { Candidates } from "./input-candidates.ts";
import { wordsFor } from "./input-words.ts";

export function findFiles(candidates: Candidates): void {
  for (const node of candidates.view.live) {
    const known = candidates.classOf(node);
    for (const [field, value] of Object.entries(node.inputs)) {
      if (typeof value !== "string") continue;
      const media = mediaOf(node, field, known?.inputs.get(field), known !== undefined);
      if (media === undefined) continue;
      const used = usedAs(node, media, candidates);
      const words = wordsFor(used);
      const target = { node: node.id, field };
      candidates.add(
        { target, declaredAt: [target], value },
        {
          base: used,
          title: words.title,
          ...(words.description === undefined ? {} : { description: words.description }),
          nodeTitle: candidates.titleOf(node),
          byTitle: candidates.hasOwnTitle(node),
          kind: "file",
          media: used,
          advanced: false,
          hidden: false,
          rank: words.rank,
        },
      );
    }
  }
}

/** LoadImage gives a picture and its mask; when only the mask is read, a mask is what callers bring. */
function usedAs(node: GraphNode, media: MediaKind, candidates: Candidates): MediaKind {
  const uses = candidates.view.uses.get(node.id) ?? [];
  if (media !== "image" || uses.length === 0) return media;
  const outputs = candidates.classOf(node)?.outputs ?? ["IMAGE", "MASK"];
  return uses.every((use) => outputs[use.output] === "MASK") ? "mask" : media;
}
