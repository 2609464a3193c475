/** From the editor's document to the graph that servers run, in one step. */
import type { JsonObject } from "#contract/exact-json";
import type { Refusal } from "#contract/problems";
import type { ClassLookup } from "../known-classes.ts";
import { type ConvertedUi, convertUi } from "./convert-ui.ts";
import { expandUi } from "./expand-subgraphs.ts";
import { readUi } from "./read-ui.ts";
import type { ExpandedUi, PromotedWidget } from "./ui-graph.ts";

export interface EditorGraph extends ConvertedUi {
  /** The document without shells: what the author brought outside, and `extra`, are signs of what callers set. */
  readonly expanded: ExpandedUi;
  /** Widgets brought to the outside of shells, and those that a primitive with a title of its own fills. */
  readonly promoted: readonly PromotedWidget[];
}

/** Reads, expands and converts; refusals are those of the three. */
export function editorGraph(document: JsonObject, lookup: ClassLookup): EditorGraph | Refusal {
  const read = readUi(document);
  if (!read.ok) return read;
  const shown = expandUi(read.ui, lookup);
  if (!shown.ok) return shown;
  const { expanded } = shown;
  const converted = convertUi(expanded, lookup);
  if (!converted.ok) return converted;
  return { ...converted, expanded, promoted: [...expanded.promoted, ...titledPrimitives(expanded, converted)] };
}

/** What the editor calls a primitive that nobody has named. */
const UNTITLED = /^primitive(?: ?node)?$/i;

function titledPrimitives({ graph }: ExpandedUi, { primitives }: ConvertedUi): PromotedWidget[] {
  return [...primitives].flatMap(([id, targets]) => {
    const title = graph.nodes.get(id)?.title?.trim() ?? "";
    if (title === "" || UNTITLED.test(title)) return [];
    return targets.map((target) => ({ ...target, name: title, title: null }));
  });
}
