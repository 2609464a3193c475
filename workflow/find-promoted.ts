/**
 * What an author says outside of the graph, in the editor's own ways: the inputs and outputs of App mode, and the
 * widgets brought to the outside of a subgraph or group node. The strongest signs there are of what callers set.
 */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { GraphTarget } from "#contract/workflow";
import { isScalar } from "./check-literal.ts";
import { isModelFile, mediaOf } from "./file-names.ts";
import { isDangerous } from "./find-parameters.ts";
import type { GraphNode } from "./graph.ts";
import { type Candidates, kindOfType, kindOfValue, type Resolved } from "./input-candidates.ts";
import { humanize, MARKER_RANK, slug, wordsFor } from "./input-words.ts";
import type { ExpandedUi, PromotedWidget } from "./ui/ui-graph.ts";

/** What the editor's document says beside its nodes. */
export interface Authored extends Pick<ExpandedUi, "promoted" | "extra"> {
  /** The widgets that each of the editor's primitives fills, by its id. */
  readonly primitives: ReadonlyMap<string, readonly GraphTarget[]>;
}

export const NOTHING_AUTHORED: Authored = { promoted: [], extra: {}, primitives: new Map() };

/** Inputs of one app that are looked at; what an app shows is a form for a person. */
const APP_INPUTS_MAX = 500;
const TITLE_LENGTH_MAX = 200;
/** What authors write for the names that callers know. */
const SYNONYMS: Readonly<Record<string, string>> = {
  positive: "prompt",
  positive_prompt: "prompt",
  negative: "negative_prompt",
};
/** Older entries of App mode have a node's id, newer ones a widget's: `<graph>:<node>:<widget>`. */
const GRAPH_PREFIX = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:/i;

/**
 * Adds the promoted widgets that were given a name of their own, under that name. The others are left to the finders
 * that know what a field means; {@link showPromoted} comes back to them.
 */
export function findPromoted(candidates: Candidates, promoted: readonly PromotedWidget[]): void {
  for (const widget of promoted) {
    const label = widget.title ?? widget.name;
    const base = slug(label);
    if (base === undefined || label === widget.field || isNumbered(base, slug(widget.field))) continue;
    const found = placeOf(candidates, widget.node, widget.field);
    if (found !== undefined && isForCallers(found, widget.field, candidates))
      add(candidates, found, widget.field, label);
  }
}

/** Makes one input of the widgets that one primitive fills, where finders saw inputs there. */
export function joinPrimitives(candidates: Candidates, primitives: Authored["primitives"]): void {
  for (const targets of primitives.values()) join(candidates, targets);
}

function join(candidates: Candidates, targets: readonly GraphTarget[]): void {
  const places = targets.flatMap((target) => placeOf(candidates, target.node, target.field) ?? []);
  const kept = places.map(({ resolved }) => candidates.at(resolved.target)).find((each) => each !== undefined);
  if (kept === undefined) return;
  for (const { resolved } of places) {
    const there = candidates.at(resolved.target);
    if (there === undefined) candidates.extend(kept, resolved);
    else if (there !== kept && there.kind === kept.kind) candidates.join(kept, there);
  }
}

/** Brings out what is at promoted widgets, where other finders called it a detail. */
export function showPromoted(candidates: Candidates, promoted: readonly PromotedWidget[]): void {
  for (const { node, field } of promoted) {
    const found = placeOf(candidates, node, field);
    const candidate = found === undefined ? undefined : candidates.at(found.resolved.target);
    if (found === undefined || candidate === undefined || !isForCallers(found, field, candidates)) continue;
    candidate.hidden = false;
    candidate.advanced = false;
  }
}

/**
 * Makes the inputs of App mode the inputs: in their order, and no others are shown unless the operator asks for them.
 * Entries that are no value of the graph are passed over. Call it when all finders have run: they know better names.
 * @returns true when the document has such a list and something of it was found
 */
export function chooseAppInputs(candidates: Candidates, authored: Authored): boolean {
  let chosen = 0;
  for (const { node, field, together } of appInputs(authored)) {
    const found = placeOf(candidates, node, field);
    if (found === undefined) continue;
    if (candidates.at(found.resolved.target) === undefined) add(candidates, found, field, field);
    const candidate = candidates.at(found.resolved.target);
    if (candidate === undefined) continue;
    candidate.fromForm = true;
    candidate.hidden = false;
    candidate.advanced = false;
    // Before everything that is only inferred, in the app's order.
    candidate.rank = chosen - APP_INPUTS_MAX;
    chosen += 1;
    join(candidates, together);
  }
  return chosen > 0;
}

/** The nodes whose results App mode shows; empty without one. */
export function appOutputs({ extra }: Authored): ReadonlySet<string> {
  const list = appOf(extra).outputs;
  return new Set((Array.isArray(list) ? list : []).flatMap((entry) => nodeId(entry) ?? []));
}

interface AppInput extends GraphTarget {
  /** Every place that its one value goes to, where these are several. */
  readonly together: readonly GraphTarget[];
}

/**
 * The places of App mode's list; an entry on a subgraph's instance stands for the widgets behind it, one on a primitive
 * for those that it fills.
 */
function appInputs({ promoted, extra, primitives }: Authored): AppInput[] {
  const list = appOf(extra).inputs;
  return (Array.isArray(list) ? list : []).slice(0, APP_INPUTS_MAX).flatMap((entry) => {
    const [id, field] = Array.isArray(entry) ? entry : [];
    const given = nodeId(id);
    if (given === undefined || typeof field !== "string") return [];
    const node = GRAPH_PREFIX.test(given) ? withoutWidget(given.replace(GRAPH_PREFIX, ""), field) : given;
    const behind = promoted.filter((widget) => widget.node.startsWith(`${node}:`) && widget.name === field);
    if (behind.length > 0) return behind.map((widget) => ({ node: widget.node, field: widget.field, together: [] }));
    const filled = primitives.get(node);
    return filled?.[0] === undefined ? [{ node, field, together: [] }] : [{ ...filled[0], together: filled }];
  });
}

function appOf(extra: JsonObject): JsonObject {
  return isJsonObject(extra.linearData) ? extra.linearData : {};
}

function nodeId(id: Json | undefined): string | undefined {
  return typeof id === "string" || typeof id === "number" ? String(id) : undefined;
}

function withoutWidget(id: string, widget: string): string {
  return id.endsWith(`:${widget}`) ? id.slice(0, -widget.length - 1) : id;
}

interface Found {
  readonly node: GraphNode;
  readonly resolved: Resolved;
}

function placeOf(candidates: Candidates, id: string, field: string): Found | undefined {
  const node = candidates.view.graph.get(id);
  if (node === undefined || !Object.hasOwn(node.inputs, field)) return undefined;
  const resolved = candidates.resolve(node, field);
  if (resolved === undefined || !isScalar(resolved.value)) return undefined;
  if (resolved.target.node === id) return { node, resolved };
  // A connection to a loader reads what it loads, not the one value it holds.
  const type = candidates.declared({ node: id, field })?.type;
  return type === undefined || kindOfType(type, resolved.value) === undefined ? undefined : { node, resolved };
}

/** Model files, paths and code stay hidden until the operator asks for them, wherever the author put them. */
function isForCallers({ node, resolved }: Found, field: string, candidates: Candidates): boolean {
  const declared = candidates.declared({ node: node.id, field });
  if (mediaOf(node, field, declared, candidates.classOf(node) !== undefined) !== undefined) return true;
  return !isModelFile(field, resolved.value) && !isDangerous(node, field, resolved.value, declared);
}

/** True for `text_1`, which an editor made of a second `text`. */
function isNumbered(base: string, field: string | undefined): boolean {
  return base === field || base.replace(/_\d+$/, "") === field;
}

function add(candidates: Candidates, { node, resolved }: Found, field: string, label: string): void {
  const slugged = slug(label) ?? slug(field) ?? "input";
  const base = SYNONYMS[slugged] ?? slugged;
  const words = wordsFor(base, MARKER_RANK);
  const declared = candidates.declared({ node: node.id, field });
  const known = candidates.classOf(node) !== undefined;
  const media = typeof resolved.value === "string" ? mediaOf(node, field, declared, known) : undefined;
  const seed = /^(?:noise_)?seed$/.test(field) || declared?.options.control_after_generate === true;
  const isInteger = typeof resolved.value === "bigint" || Number.isInteger(resolved.value);
  candidates.add(
    resolved,
    {
      base,
      title: base === slugged && label !== slugged ? label.slice(0, TITLE_LENGTH_MAX) : humanize(base),
      ...(words.description === undefined ? {} : { description: words.description }),
      nodeTitle: candidates.titleOf(node),
      kind: media === undefined ? kindOfValue(resolved.value) : "file",
      ...(media === undefined ? {} : { media }),
      seed: seed && isInteger,
      multiline: base.includes("prompt"),
      advanced: false,
      hidden: false,
      rank: words.rank,
    },
    // One widget outside may set several inside.
    true,
  );
}
