/** From the editor's document to the graph that servers run, in one step. */
import type { JsonObject } from "#contract/exact-json";
import type { Refusal } from "#contract/problems";
import type { ClassLookup } from "../known-classes.ts";
import { type ConvertedUi, convertUi } from "./convert-ui.ts";
import { expandUi } from "./expand-subgraphs.ts";
import { readUi } from "./read-ui.ts";
import type { ExpandedUi } from "./ui-graph.ts";

export interface EditorGraph extends ConvertedUi {
  /** The document without shells: what the author brought outside, and `extra`, are signs of what callers set. */
  readonly expanded: ExpandedUi;
}

/** Reads, expands and converts; refusals are those of the three. */
export function editorGraph(document: JsonObject, lookup: ClassLookup): EditorGraph | Refusal {
  const read = readUi(document);
  if (!read.ok) return read;
  const shown = expandUi(read.ui, lookup);
  if (!shown.ok) return shown;
  const converted = convertUi(shown.expanded, lookup);
  return converted.ok ? { ...converted, expanded: shown.expanded } : converted;
}
