/** Every other value written in the graph. Without models they are what the workflow is about; with models, details. */
import type { Json } from "#contract/exact-json";
import { isScalar } from "./check-literal.ts";
import { isFileName, isModelFile, isPathField } from "./file-names.ts";
import { type GraphNode, linkOf } from "./graph.ts";
import { type Candidates, kindOfType, kindOfValue } from "./input-candidates.ts";
import { humanize, MODEL_RANK, PARAMETER_RANK, slug } from "./input-words.ts";
import type { DeclaredInput } from "./object-info.ts";

/** Values of one graph that may become inputs; beyond, none is looked at. */
const PARAMETERS_MAX = 2_000;
/** What editors leave behind in the inputs of a node. */
const EDITOR_FIELD = /^(upload|choose .* to upload|control_after_generate|control_before_generate|refresh)$/i;
// "TextEncode" and "VAEDecode" end in code as well, "RunNodeCode" in another kind.
const CODE = /(?<!en|(?<!no)de)code$|script|python|eval|exec|expression|formula|command|shell|\bsql\b|javascript/i;

/**
 * Adds what the other finders left: visible in graphs without models, else hidden until the operator asks. Where
 * things are saved is nobody's input.
 */
export function findParameters(candidates: Candidates): void {
  const { live } = candidates.view;
  const modelFree = !live.some(usesModel);
  const places = live.flatMap((node) => parameterFields(node, candidates).map((field) => ({ node, field })));
  // Linked fields first: a primitive is called after the field that it feeds, not "value".
  const linked = places.filter(({ node, field }) => linkOf(node.inputs[field]) !== undefined);
  const literal = places.filter(({ node, field }) => isScalar(node.inputs[field]));
  for (const { node, field } of [...linked, ...literal].slice(0, PARAMETERS_MAX)) {
    const resolved = candidates.resolve(node, field);
    if (resolved === undefined || candidates.isClaimed(resolved.target)) continue;
    const declared = candidates.declared({ node: node.id, field });
    // A field linked to a picture's source reads a picture, even if that source holds but one value.
    const isLinked = resolved.target.node !== node.id;
    if (isLinked && (declared === undefined || kindOfType(declared.type, resolved.value) === undefined)) continue;
    const isModel = isModelFile(field, resolved.value);
    const seed = field !== "value" && declared?.type === "INT" && declared.options.control_after_generate === true;
    candidates.add(resolved, {
      base: baseOf(node, field, candidates),
      title: humanize(field),
      nodeTitle: candidates.titleOf(node),
      kind: kindOfValue(resolved.value),
      seed,
      advanced: isModel || declared?.options.advanced === true || isSaving(node, candidates),
      hidden: !modelFree || isModel || isDangerous(node, field, resolved.value, declared),
      rank: isModel ? MODEL_RANK : PARAMETER_RANK,
    });
  }
}

/**
 * True for texts that choose files, addresses or code: with them a caller would read the machine's disk, make it
 * fetch from its own network, or run a program. The operator may still bring such an input out.
 */
export function isDangerous(node: GraphNode, field: string, value: Json, declared: DeclaredInput | undefined): boolean {
  if (typeof value !== "string" || declared?.type === "COMBO") return false;
  if (isPathField(field) || isFileName(value) || CODE.test(field)) return true;
  return /load|fetch|download|import|request|http|url/i.test(node.classType) || CODE.test(node.classType);
}

/** The field's name; one that says nothing is said together with its node: `threshold_mask_value`. */
function baseOf(node: GraphNode, field: string, candidates: Candidates): string {
  const name = slug(field) ?? "value";
  const title = name === "value" ? slug(candidates.titleOf(node)) : undefined;
  return title === undefined ? name : `${title}_value`;
}

/** The fields of a node that its class knows, in the class's order; every field of an unknown class. */
function parameterFields(node: GraphNode, candidates: Candidates): string[] {
  const known = candidates.classOf(node);
  const declared = known === undefined ? [] : [...known.inputs.keys()];
  // Fields such as `images.image0` grow while the graph is drawn, so that no class lists them.
  const grown = Object.keys(node.inputs).filter((field) => known === undefined || field.includes("."));
  return [...new Set([...declared, ...grown])].filter(
    (field) => Object.hasOwn(node.inputs, field) && field !== "filename_prefix" && !EDITOR_FIELD.test(field),
  );
}

function usesModel(node: GraphNode): boolean {
  return Object.entries(node.inputs).some(
    ([field, value]: [string, Json]) => isScalar(value) && isModelFile(field, value),
  );
}

function isSaving(node: GraphNode, candidates: Candidates): boolean {
  return candidates.classOf(node)?.isOutput ?? !candidates.view.uses.has(node.id);
}
