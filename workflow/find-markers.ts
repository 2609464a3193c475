/** Inputs that the author has marked: nodes of ComfyDeploy and comfy-pack, and core primitives and choices with titles. */
import type { Json } from "#contract/exact-json";
import type { MediaKind } from "#contract/workflow";
import { isScalar, numeric } from "./check-literal.ts";
import type { GraphNode } from "./graph.ts";
import { type Candidates, kindOfValue, type ScalarKind } from "./input-candidates.ts";
import { MARKER_RANK, slug, wordsFor } from "./input-words.ts";
import { WRITTEN_CHOICE_CLASS, WRITTEN_CHOICE_FIELD } from "./written-choices.ts";

/** Claims the markers' places, so that the finders after it leave them alone. */
export function findMarkers(candidates: Candidates): void {
  for (const node of candidates.view.live) {
    if (node.classType.startsWith("ComfyUIDeployExternal")) findDeployMarker(node, candidates);
    else if (node.classType.startsWith("CPackInput")) findPackMarker(node, candidates);
    else if (/^Primitive(Int|Float|String|StringMultiline|Boolean)$/.test(node.classType))
      findPrimitive(node, candidates, "value");
    else if (node.classType === WRITTEN_CHOICE_CLASS) findPrimitive(node, candidates, WRITTEN_CHOICE_FIELD);
  }
}

/** The kinds of ComfyDeploy's nodes by the rest of their class name; files are written to `field`. */
const DEPLOY_KINDS: Readonly<Record<string, { kind: ScalarKind } | { kind: "file"; media: MediaKind; field: string }>> =
  {
    Text: { kind: "string" },
    TextAny: { kind: "string" },
    NumberInt: { kind: "integer" },
    NumberSliderInt: { kind: "integer" },
    Seed: { kind: "integer" },
    Number: { kind: "number" },
    NumberSlider: { kind: "number" },
    Boolean: { kind: "boolean" },
    Enum: { kind: "string" },
    Image: { kind: "file", media: "image", field: "input_id" },
    ImageAlpha: { kind: "file", media: "image", field: "input_id" },
    Audio: { kind: "file", media: "audio", field: "audio_file" },
    Video: { kind: "file", media: "video", field: "input_id" },
    File: { kind: "file", media: "file", field: "input_id" },
  };

function findDeployMarker(node: GraphNode, candidates: Candidates): void {
  const type = node.classType.slice("ComfyUIDeployExternal".length);
  const row = Object.hasOwn(DEPLOY_KINDS, type) ? DEPLOY_KINDS[type] : undefined;
  const id = node.inputs.input_id;
  if (row === undefined || typeof id !== "string") return;
  const field = row.kind === "file" ? row.field : "default_value";
  const value = node.inputs[field];
  const target = { node: node.id, field };
  if (!isScalar(value) && row.kind !== "file") return;
  const base = slug(id) ?? "input";
  const words = wordsFor(base, MARKER_RANK);
  const minimum = numeric(node.inputs.min_value);
  const maximum = numeric(node.inputs.max_value);
  const choices = type === "Enum" ? enumChoices(node.inputs.options) : undefined;
  candidates.add(
    { target, declaredAt: [target], value: row.kind === "file" ? "" : (value ?? "") },
    {
      base,
      title: text(node.inputs.display_name) ?? words.title,
      ...described(text(node.inputs.description) ?? words.description),
      nodeTitle: candidates.titleOf(node),
      kind: row.kind,
      ...(row.kind === "file" ? { media: row.media } : {}),
      seed: type === "Seed",
      multiline: type === "Text",
      ...(row.kind !== "file" && minimum !== undefined ? { minimum } : {}),
      ...(row.kind !== "file" && maximum !== undefined ? { maximum } : {}),
      ...(choices === undefined ? {} : { choices }),
      advanced: false,
      hidden: false,
      rank: words.rank,
    },
  );
  candidates.claim({ node: node.id, field: "input_id" });
}

/** ComfyDeploy's choices are a JSON list of texts, or one on each line. */
function enumChoices(options: Json | undefined): string[] | undefined {
  if (typeof options !== "string") return undefined;
  const inner = options.trim().replace(/^\[|\]$/g, "");
  const choices = inner
    .split(/[\n,]/)
    .map((choice) => choice.trim().replace(/^"|"$/g, ""))
    .filter((choice) => choice !== "");
  return choices.length === 0 ? undefined : [...new Set(choices)];
}

function findPackMarker(node: GraphNode, candidates: Candidates): void {
  const type = node.classType.slice("CPackInput".length);
  const field = ["value", type.toLowerCase(), "image", "file", "filename"].find((name) => isScalar(node.inputs[name]));
  const value = field === undefined ? undefined : node.inputs[field];
  if (field === undefined || value === undefined) return;
  const consumers = candidates.view.uses.get(node.id) ?? [];
  const identifier = /^[A-Za-z_][A-Za-z0-9_]*$/.test(node.title ?? "") ? slug(node.title ?? "") : undefined;
  const base = identifier ?? slug(consumers[0]?.field ?? "") ?? "input";
  const words = wordsFor(base, MARKER_RANK);
  const file = type === "Image" || type === "File";
  const minimum = numeric(node.inputs.min);
  const maximum = numeric(node.inputs.max);
  const target = { node: node.id, field };
  candidates.add(
    { target, declaredAt: [target, ...consumers.map((use) => ({ node: use.node.id, field: use.field }))], value },
    {
      base,
      title: words.title,
      ...described(words.description),
      nodeTitle: candidates.titleOf(node),
      kind: file ? "file" : type === "Int" ? "integer" : type === "String" ? "string" : kindOfValue(value),
      ...(file ? { media: type === "Image" ? "image" : "file" } : {}),
      seed:
        type === "Int" &&
        isSeed(
          base,
          consumers.map((use) => use.field),
        ),
      multiline: base.includes("prompt"),
      ...(minimum === undefined ? {} : { minimum }),
      ...(maximum === undefined ? {} : { maximum }),
      advanced: false,
      hidden: false,
      rank: words.rank,
    },
  );
}

/** A primitive with a title of its own is an input of that name; one that only says where to save is none. */
function findPrimitive(node: GraphNode, candidates: Candidates, field: string): void {
  const consumers = candidates.view.uses.get(node.id) ?? [];
  const target = { node: node.id, field };
  const value = node.inputs[field];
  if (!isScalar(value)) return;
  if (consumers.length > 0 && consumers.every((use) => use.field === "filename_prefix")) {
    candidates.claim(target);
    return;
  }
  const base = candidates.hasOwnTitle(node) ? slug(node.title ?? "") : undefined;
  if (base === undefined) return;
  const words = wordsFor(base, MARKER_RANK);
  const fields = consumers.map((use) => use.field);
  candidates.add(
    { target, declaredAt: [target, ...consumers.map((use) => ({ node: use.node.id, field: use.field }))], value },
    {
      base,
      title: node.title ?? words.title,
      ...described(words.description),
      nodeTitle: candidates.titleOf(node),
      kind: kindOfValue(value),
      seed: node.classType === "PrimitiveInt" && isSeed(base, fields),
      advanced: false,
      hidden: false,
      rank: words.rank,
    },
  );
}

function isSeed(base: string, fields: readonly string[]): boolean {
  return /(^|_)seed$/.test(base) || fields.some((field) => field === "seed" || field === "noise_seed");
}

function text(value: Json | undefined): string | undefined {
  return typeof value === "string" && value.trim() !== "" ? value.trim().slice(0, 2_000) : undefined;
}

function described(description: string | undefined): { description?: string } {
  return description === undefined ? {} : { description };
}
