/** The texts that steer sampling: followed from samplers and guiders back through conditioning to the text encoders. */
import type { GraphTarget } from "#contract/workflow";
import { isScalar } from "./check-literal.ts";
import { type GraphNode, linkOf } from "./graph.ts";
import type { Candidates, Resolved } from "./input-candidates.ts";
import { slug, wordsFor } from "./input-words.ts";

type Polarity = "positive" | "negative";
/** What an output of a node passes on. */
type Way = Polarity | "none";

const CONDITIONING_FIELD = /^(positive|negative|pos|neg|conditioning|cond|uncond)([_0-9].*)?$/i;
const NEGATIVE_FIELD = /^(neg|uncond)|_negative$/i;
const POSITIVE_FIELD = /^pos/i;
/** Text fields of encoders whose class nobody described, the leading one of several first. */
const TEXT_FIELDS = [
  "text",
  "prompt",
  "t5xxl",
  "text_g",
  "llama",
  "clip_g",
  "clip_l",
  "text_l",
  "tags",
  "lyrics",
  "caption",
  "positive_prompt",
  "negative_prompt",
  "positive",
  "negative",
];
/** Fields that hold a prompt wherever they stand, as in loaders and samplers that encode text themselves. */
const DIRECT_FIELDS: Readonly<Record<string, Polarity>> = {
  prompt: "positive",
  positive_prompt: "positive",
  positive: "positive",
  text_positive: "positive",
  positive_text: "positive",
  negative_prompt: "negative",
  negative: "negative",
  text_negative: "negative",
  negative_text: "negative",
};
/** Nodes that drop what they are given: a text behind one has no effect. */
const SILENCER = /ZeroOut/i;

export function findPrompts(candidates: Candidates): void {
  const encoders = encodersOf(candidates);
  // A text that is both is what the result should show; the negative one of models that ignore it is often a copy.
  for (const polarity of ["positive", "negative"] as const) {
    for (const [node, found] of encoders) if (found === polarity) addTexts(node, polarity, candidates);
  }
  for (const node of candidates.view.live) {
    for (const [name, polarity] of Object.entries(DIRECT_FIELDS)) {
      for (const field of fieldsCalled(name, node, candidates)) addText(node, field, baseOf(polarity), candidates);
    }
  }
  for (const node of candidates.view.live) {
    if (!/TextEncode/i.test(node.classType) || encoders.has(node)) continue;
    addTexts(node, /negative/i.test(node.title ?? "") ? "negative" : "positive", candidates);
  }
  // What nothing is drawn after may be spoken or written on something.
  if (candidates.all().some(({ base }) => base === "prompt")) return;
  for (const node of candidates.view.live) {
    const declared = candidates.declared({ node: node.id, field: "text" });
    if (declared?.type === "STRING" && declared.options.multiline === true) addText(node, "text", "text", candidates);
  }
}

/** Every node with texts that some sampler reads as conditioning, in the order they are met. */
function encodersOf(candidates: Candidates): Map<GraphNode, Polarity> {
  const { live, uses } = candidates.view;
  const encoders = new Map<GraphNode, Polarity>();
  const seen = new Set<string>();
  for (const node of live) {
    const isEnd = !(uses.get(node.id) ?? []).some((use) => isConditioning(use.node, use.field, candidates));
    if (!isEnd) continue;
    const open: { node: GraphNode; output: number; polarity: Polarity }[] = [];
    const follow = (from: GraphNode, fields: readonly string[], polarity: Polarity): void => {
      for (const field of fields.toReversed()) {
        const link = linkOf(from.inputs[field]);
        const source = link === undefined ? undefined : candidates.view.graph.get(link.node);
        const towards = NEGATIVE_FIELD.test(field) ? "negative" : polarity;
        if (link !== undefined && source !== undefined)
          open.push({ node: source, output: link.output, polarity: towards });
      }
    };
    follow(node, conditioningFields(node, candidates), "positive");
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      const way = wayThrough(step.node, step.output, step.polarity, candidates);
      const key = `${step.node.id}\n${way}\n${step.polarity}`;
      if (seen.has(key) || SILENCER.test(step.node.classType)) continue;
      seen.add(key);
      if (textFields(step.node, candidates).length > 0 && encoders.get(step.node) !== "positive") {
        encoders.set(step.node, step.polarity);
      }
      follow(step.node, fieldsOnWay(step.node, way, candidates), step.polarity);
    }
  }
  return encoders;
}

/**
 * Which conditioning inputs come out of one output. Nodes that take both kinds give them back in the same order,
 * perhaps among other outputs; of a class nobody described, what is read as positive is taken to be the positive one.
 */
function wayThrough(node: GraphNode, output: number, polarity: Polarity, candidates: Candidates): Way {
  const types = candidates.classOf(node)?.outputs;
  if (types === undefined) return polarity;
  if (types[output] !== "CONDITIONING") return types[output] === "*" ? polarity : "none";
  return types.indexOf("CONDITIONING") === output ? "positive" : "negative";
}

/** The fields to follow: all of them in a node that does not keep the two kinds apart. */
function fieldsOnWay(node: GraphNode, way: Way, candidates: Candidates): string[] {
  const fields = conditioningFields(node, candidates);
  const negative = fields.filter((field) => NEGATIVE_FIELD.test(field));
  const positive = fields.filter((field) => POSITIVE_FIELD.test(field));
  if (negative.length === 0 || positive.length === 0) return fields;
  return way === "none" ? [] : way === "positive" ? positive : negative;
}

function conditioningFields(node: GraphNode, candidates: Candidates): string[] {
  return Object.keys(node.inputs).filter((field) => isConditioning(node, field, candidates));
}

/** True for a field linked to conditioning, by the type its source declares or, failing that, by its name. */
function isConditioning(node: GraphNode, field: string, candidates: Candidates): boolean {
  const link = linkOf(node.inputs[field]);
  const source = link === undefined ? undefined : candidates.view.graph.get(link.node);
  if (link === undefined || source === undefined) return false;
  const type = candidates.classOf(source)?.outputs[link.output];
  if (type !== undefined && type !== "*") return type === "CONDITIONING";
  return CONDITIONING_FIELD.test(field) || candidates.declared({ node: node.id, field })?.type === "CONDITIONING";
}

/** The field of a name, and the texts of that name which an option brings: `model.prompt`. */
function fieldsCalled(name: string, node: GraphNode, candidates: Candidates): string[] {
  const isBrought = (field: string): boolean =>
    field.endsWith(`.${name}`) && candidates.declared({ node: node.id, field })?.type === "STRING";
  return Object.keys(node.inputs).filter((field) => field === name || isBrought(field));
}

/** Fields of a node that hold prose, the leading one first. */
function textFields(node: GraphNode, candidates: Candidates): string[] {
  const known = candidates.classOf(node);
  const isText = (field: string): boolean => {
    const value = node.inputs[field];
    if (typeof value !== "string" && linkOf(value) === undefined) return false;
    if (isConditioning(node, field, candidates)) return false;
    if (known === undefined) return TEXT_FIELDS.includes(field);
    const declared = known.inputs.get(field);
    return declared?.type === "STRING" && (declared.options.multiline === true || TEXT_FIELDS.includes(field));
  };
  const rank = (field: string): number =>
    TEXT_FIELDS.includes(field) ? TEXT_FIELDS.indexOf(field) : TEXT_FIELDS.length;
  return Object.keys(node.inputs)
    .filter(isText)
    .sort((a, b) => rank(a) - rank(b));
}

function baseOf(polarity: Polarity): string {
  return polarity === "positive" ? "prompt" : "negative_prompt";
}

/** Equal texts of one encoder (SDXL's text_g and text_l) become one input; a differing one gets its field's name. */
function addTexts(node: GraphNode, polarity: Polarity, candidates: Candidates): void {
  let leading: unknown;
  for (const [index, field] of textFields(node, candidates).entries()) {
    const [resolved] = textsBehind(node, field, candidates);
    const own = NEGATIVE_FIELD.test(field) ? "negative_prompt" : baseOf(polarity);
    if (index === 0) leading = resolved?.value;
    if (field === "lyrics") addText(node, field, "lyrics", candidates);
    else if (index === 0 || resolved?.value === leading) addText(node, field, own, candidates);
    else
      addText(
        node,
        field,
        own === "negative_prompt" && polarity === "positive" ? own : `${own}_${slug(field) ?? index}`,
        candidates,
      );
  }
}

function addText(node: GraphNode, field: string, base: string, candidates: Candidates): void {
  for (const [index, resolved] of textsBehind(node, field, candidates).entries()) {
    const name = index === 0 ? base : `${base}_${slug(resolved.target.field) ?? index}`;
    const source = candidates.view.graph.get(resolved.target.node) ?? node;
    const words = wordsFor(name, wordsFor(base).rank);
    candidates.add(
      resolved,
      {
        base: name,
        title: words.title,
        ...(words.description === undefined ? {} : { description: words.description }),
        // "CLIP Text Encode" tells two prompts apart for nobody.
        nodeTitle: candidates.hasOwnTitle(source) ? candidates.titleOf(source) : "",
        kind: "string",
        multiline: true,
        advanced: !["prompt", "negative_prompt", "lyrics"].includes(name) && resolved.value === "",
        hidden: false,
        rank: words.rank,
      },
      true,
    );
  }
}

const TEXT_SOURCES_MAX = 8;
const TEXT_NODES_MAX = 50;

/**
 * The texts that end up in a field: its own, a primitive's, or all those that a joining node puts together. Only texts
 * count; a sampler's conditioning input or a number gives none.
 */
function textsBehind(node: GraphNode, field: string, candidates: Candidates): Resolved[] {
  const found: Resolved[] = [];
  const open: { node: GraphNode; field: string; way: GraphTarget[] }[] = [{ node, field, way: [] }];
  const seen = new Set<string>();
  for (let place = open.pop(); place !== undefined && found.length < TEXT_SOURCES_MAX; place = open.pop()) {
    const target = { node: place.node.id, field: place.field };
    const value = place.node.inputs[place.field];
    if (typeof value === "string") found.push({ target, declaredAt: [target, ...place.way], value });
    const link = linkOf(value);
    const source = link === undefined ? undefined : candidates.view.graph.get(link.node);
    if (
      source === undefined ||
      seen.has(source.id) ||
      seen.size >= TEXT_NODES_MAX ||
      isConditioning(place.node, place.field, candidates)
    )
      continue;
    seen.add(source.id);
    const way = [target, ...place.way];
    for (const next of sourceFields(source, candidates).toReversed()) open.push({ node: source, field: next, way });
  }
  return found;
}

/** Fields of a node that gives text: declared ones, or those that such nodes usually have. Joints are not prose. */
function sourceFields(node: GraphNode, candidates: Candidates): string[] {
  const known = candidates.classOf(node);
  return Object.keys(node.inputs).filter((field) => {
    if (/delimiter|separator|regex|find|replace|mode/i.test(field)) return false;
    const value = node.inputs[field];
    if (!isScalar(value) && linkOf(value) === undefined) return false;
    if (known !== undefined) return known.inputs.get(field)?.type === "STRING";
    return /^(value|string|text|prompt|positive|negative)([_0-9].*|[0-9]*)$/i.test(field);
  });
}
