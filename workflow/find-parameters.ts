/** Every other value written in the graph. Without models they are what the workflow is about; with models, details. */
import type { Json } from "#contract/exact-json";
import { isScalar } from "./check-literal.ts";
import { isModelFile, isPathField } from "./file-names.ts";
import type { GraphNode } from "./graph.ts";
import { type Candidates, kindOfValue } from "./input-candidates.ts";
import { humanize, MODEL_RANK, PARAMETER_RANK, slug } from "./input-words.ts";

/** Values of one graph that may become inputs; beyond, none is looked at. */
const PARAMETERS_MAX = 2_000;
/** What editors leave behind in the inputs of a node. */
const EDITOR_FIELD = /^(upload|choose .* to upload|control_after_generate|control_before_generate|refresh)$/i;

/**
 * Adds what the other finders left: visible in graphs without models, else hidden until the operator asks. Where
 * things are saved is nobody's input.
 */
export function findParameters(candidates: Candidates): void {
  const { live } = candidates.view;
  const modelFree = !live.some(usesModel);
  let left = PARAMETERS_MAX;
  for (const node of live) {
    for (const field of parameterFields(node, candidates)) {
      const resolved = candidates.resolve(node, field);
      if (resolved === undefined || candidates.isClaimed(resolved.target)) continue;
      if (left === 0) return;
      left -= 1;
      const isModel = isModelFile(field, resolved.value);
      const isPath = typeof resolved.value === "string" && isPathField(field);
      const declared = candidates.declared({ node: node.id, field });
      const tooltip = declared?.options.tooltip;
      const seed = declared?.type === "INT" && declared.options.control_after_generate === true && field !== "value";
      candidates.add(resolved, {
        base: seed ? "seed" : (slug(field) ?? "value"),
        title: humanize(field),
        ...(typeof tooltip === "string" && tooltip !== "" ? { description: tooltip.slice(0, 2_000) } : {}),
        nodeTitle: candidates.titleOf(node),
        kind: kindOfValue(resolved.value),
        seed,
        advanced: isModel || declared?.options.advanced === true || isSaving(node, candidates),
        hidden: !modelFree || isModel || isPath,
        rank: isModel ? MODEL_RANK : PARAMETER_RANK,
      });
    }
  }
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
  return candidates.classOf(node)?.isOutput === true;
}
