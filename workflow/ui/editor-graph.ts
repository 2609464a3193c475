/** From the editor's document to the graph that servers run, in one step. */
import type { JsonObject } from "#contract/exact-json";
import type { Refusal } from "#contract/problems";
import type { ClassLookup } from "../known-classes.ts";
import { type ConvertedUi, convertUi } from "./convert-ui.ts";
import { expandUi } from "./expand-subgraphs.ts";
import { readUi } from "./read-ui.ts";
import type { ExpandedUi, PromotedWidget, UiGraph } from "./ui-graph.ts";

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
  const promoted = expanded.promoted.flatMap((widget) => filledBy(widget, expanded, converted));
  return { ...converted, expanded, promoted: [...promoted, ...titledPrimitives(expanded, converted)] };
}

/** What a promoted primitive fills, under its title where the widget is called as all of them are. */
function filledBy(widget: PromotedWidget, { graph }: ExpandedUi, { primitives }: ConvertedUi): PromotedWidget[] {
  const targets = primitives.get(widget.node);
  if (targets === undefined) return [widget];
  const own = widget.name === "value" ? titleOf(graph, widget.node) : widget.name;
  return targets.map((target) => ({ ...target, name: own ?? target.field, title: widget.title }));
}

/** What the editor calls a primitive that nobody has named. */
const UNTITLED = /^primitive(?: ?node)?$/i;

function titledPrimitives({ graph }: ExpandedUi, { primitives }: ConvertedUi): PromotedWidget[] {
  return [...primitives].flatMap(([id, targets]) => {
    const title = titleOf(graph, id);
    return title === undefined ? [] : targets.map((target) => ({ ...target, name: title, title: null }));
  });
}

/** The title that an author gave a primitive. */
function titleOf(graph: UiGraph, id: string): string | undefined {
  const title = graph.nodes.get(id)?.title?.trim() ?? "";
  return title === "" || UNTITLED.test(title) ? undefined : title;
}
