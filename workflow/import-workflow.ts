/** From a workflow as people send it to a typed endpoint: a clean graph, named inputs with bounds, named outputs. */
import { isJsonObject, type JsonObject, stringifyExactJson } from "#contract/exact-json";
import { type FieldError, type Refusal, refusal } from "#contract/problems";
import type { ImportedWorkflow, InputSpec, OutputSpec, Overrides } from "#contract/workflow";
import { applyInputOverrides, applyOutputOverrides, type Overridable } from "./apply-overrides.ts";
import { assignNames } from "./assign-names.ts";
import { type CheckedGraph, checkGraph } from "./check-graph.ts";
import { converted } from "./check-literal.ts";
import { describeInput } from "./describe-input.ts";
import { fieldDeclaration } from "./dynamic-inputs.ts";
import { findFiles } from "./find-files.ts";
import { findMarkers } from "./find-markers.ts";
import { findOutputs, outputSpecs } from "./find-outputs.ts";
import { findParameters } from "./find-parameters.ts";
import {
  type Authored,
  appOutputs,
  chooseAppInputs,
  findPromoted,
  joinPrimitives,
  NOTHING_AUTHORED,
  showPromoted,
} from "./find-promoted.ts";
import { findPrompts } from "./find-prompts.ts";
import { findSettings } from "./find-settings.ts";
import { findViewComfy, isChosenByAuthor } from "./find-view-comfy.ts";
import { type Graph, type GraphNode, linkOf, usesOf, walk } from "./graph.ts";
import { type Candidate, Candidates } from "./input-candidates.ts";
import { type ClassLookup, classLookup } from "./known-classes.ts";
import type { ObjectInfo } from "./object-info.ts";
import { readPngMetadata } from "./png-metadata.ts";
import { readGraph } from "./read-graph.ts";
import { editorGraph } from "./ui/editor-graph.ts";

export interface ImportOptions {
  /** GET /object_info of the server that will run the graph, whole or in part; types and bounds come from it. */
  readonly objectInfo?: ObjectInfo | undefined;
  readonly overrides?: Overrides | undefined;
  /** A ViewComfy form beside the graph: its fields are the inputs, and what it leaves out is hidden. */
  readonly viewComfy?: JsonObject | undefined;
  /** The release before: a place in the graph that had a name keeps it, so that callers need not change. */
  readonly previous?: { readonly inputs: readonly InputSpec[]; readonly outputs: readonly OutputSpec[] } | undefined;
}

export interface ImportSuccess {
  readonly ok: true;
  readonly workflow: ImportedWorkflow;
}

/** Inputs of one endpoint; the ones beyond are hidden, and the operator can bring them out. */
export const INPUTS_MAX = 200;
const CLASSES_QUOTED_MAX = 20;
const WARNINGS_MAX = 50;

/**
 * Reads API-format JSON or the editor's own, or either out of a PNG that ComfyUI saved. Async because pictures may
 * hold deflated text.
 * Refusals: `workflow_format_ui` for the editor's format with classes that only object_info could explain,
 * `invalid_body` for overrides that cannot be applied, `invalid_workflow` for everything else, with an error for each
 * wrong node. Error paths start with `/workflow`; those of the editor's nodes are `/workflow/nodes/<id>`.
 */
export async function importWorkflow(
  source: { readonly text: string } | { readonly png: Uint8Array },
  options: ImportOptions = {},
): Promise<ImportSuccess | Refusal> {
  const text = "text" in source ? source.text : await textOfPng(source.png);
  if (typeof text !== "string") return text;
  const found = readGraph(text);
  if (!found.ok) return found;
  const lookup = classLookup(options.objectInfo);
  if (found.format === "api") {
    const checked = checkGraph(found.nodes, `/workflow${found.pointer}`, lookup);
    return checked.ok ? infer(checked, lookup, options) : checked;
  }
  const editor = editorGraph(found.document, lookup);
  if (!editor.ok) return editor;
  const checked = checkGraph(editor.graph, "/workflow/nodes", lookup);
  if (!checked.ok) return checked;
  const warnings = [...editor.notes, ...checked.warnings];
  const { promoted, primitives } = editor;
  return infer({ ...checked, warnings }, lookup, options, { promoted, primitives, extra: editor.expanded.extra });
}

async function textOfPng(png: Uint8Array): Promise<string | Refusal> {
  const metadata = await readPngMetadata(png, ["prompt", "workflow"]);
  if (!metadata.ok) return refusal("invalid_workflow", metadata.fault);
  // The prompt is what ComfyUI ran; the other is the editor's document of the same workflow.
  const text = metadata.text.get("prompt") ?? metadata.text.get("workflow");
  if (text !== undefined) return text;
  return refusal(
    "invalid_workflow",
    "The picture holds no workflow: ComfyUI writes it into the PNGs it saves, and many programs remove it again.",
  );
}

function infer(
  checked: CheckedGraph,
  lookup: ClassLookup,
  options: ImportOptions,
  authored: Authored = NOTHING_AUTHORED,
): ImportSuccess | Refusal {
  const document = convertLiterals(checked, lookup);
  const candidates = new Candidates({
    graph: checked.graph,
    live: liveNodes(checked.graph, lookup),
    uses: usesOf(checked.graph),
    lookup,
  });
  const formNotes = options.viewComfy === undefined ? [] : findViewComfy(candidates, options.viewComfy);
  findMarkers(candidates);
  findPromoted(candidates, authored.promoted);
  findFiles(candidates);
  findPrompts(candidates);
  findSettings(candidates);
  findParameters(candidates);
  joinPrimitives(candidates, authored.primitives);
  showPromoted(candidates, authored.promoted);
  chooseAppInputs(candidates, authored);
  const hasForm = candidates.all().some((candidate) => candidate.fromForm === true);
  if (hasForm) candidates.hide((candidate) => !isChosenByAuthor(candidate, candidates));

  const warnings = [...checked.warnings, ...formNotes];
  const described = describeAll(candidates, options.previous?.inputs ?? [], warnings);
  const outputs = namedOutputs(candidates, options.previous?.outputs ?? [], appOutputs(authored));
  const errors: FieldError[] = [];
  const inputSpecs = applyInputOverrides(described, options.overrides?.inputs, errors);
  const outputSpecsShown = applyOutputOverrides(outputs, options.overrides?.outputs, errors);
  if (outputSpecsShown.length === 0) {
    if (outputs.length === 0)
      return refusal("invalid_workflow", "No node gives an output. Add one, such as SaveImage.");
    errors.push({ path: "/overrides/outputs", reason: "At least one output must remain." });
  }
  const [first] = errors;
  if (first !== undefined) return refusal("invalid_body", `${first.path}: ${first.reason}`, { errors });

  warnings.push(...missingFiles(described, inputSpecs));
  const { unknownClasses } = checked;
  if (unknownClasses.length > 0) {
    const more = unknownClasses.length > CLASSES_QUOTED_MAX ? " and others" : "";
    warnings.push(
      `Types and bounds were guessed for unknown classes: ${unknownClasses.slice(0, CLASSES_QUOTED_MAX).join(", ")}${more}. ` +
        "Send your server's object_info to have them right.",
    );
  }
  return {
    ok: true,
    workflow: {
      graph: stringifyExactJson(document),
      inputs: inputSpecs,
      outputs: outputSpecsShown,
      classes: [...new Set([...checked.graph.values()].map((node) => node.classType))].sort(),
      warnings: warnings.slice(0, WARNINGS_MAX),
    },
  };
}

/** A file nobody must send is read from the workflow's own, which only the author's machine is known to have. */
function missingFiles(described: readonly Overridable<InputSpec>[], shown: readonly InputSpec[]): string[] {
  const required = new Set(shown.filter((input) => input.required).flatMap((input) => input.targets.map(placeKey)));
  return described.flatMap(({ spec }) =>
    spec.type !== "file" || spec.targets.every((target) => required.has(placeKey(target)))
      ? []
      : [
          `Without a file from the caller, "${spec.name}" reads ${spec.example ?? "a file"}, which the build must hold.`,
        ],
  );
}

/** Writes into the graph what ComfyUI would make of each literal, as "64" for a number. */
function convertLiterals(checked: CheckedGraph, lookup: ClassLookup): JsonObject {
  for (const node of checked.graph.values()) {
    const known = lookup(node.classType);
    if (known === undefined) continue;
    for (const [field, value] of Object.entries(node.inputs)) {
      const declared = fieldDeclaration(known, node.inputs, field);
      if (declared === undefined || linkOf(value) !== undefined || isJsonObject(value)) continue;
      node.inputs[field] = converted(value, declared.type);
    }
  }
  return checked.document;
}

/** What the outputs need. Nodes that nothing needs never run, so that their values are nobody's inputs. */
function liveNodes(graph: Graph, lookup: ClassLookup): GraphNode[] {
  const uses = usesOf(graph);
  const ends = [...graph.values()].filter((node) => {
    const known = lookup(node.classType);
    return known === undefined ? !uses.has(node.id) : known.isOutput;
  });
  return walk(graph, ends).ordered;
}

function describeAll(
  candidates: Candidates,
  previous: readonly InputSpec[],
  warnings: string[],
): Overridable<InputSpec>[] {
  const wanted = candidates
    .all()
    .map((candidate, index) => ({ candidate, index }))
    .sort(
      (a, b) =>
        Number(a.candidate.hidden) - Number(b.candidate.hidden) ||
        Number(a.candidate.advanced) - Number(b.candidate.advanced) ||
        a.candidate.rank - b.candidate.rank ||
        a.index - b.index,
    )
    .map(({ candidate }) => candidate);
  const usable = wanted.filter((candidate) => describeInput(candidate.base, candidate, candidates) !== undefined);
  const before = new Map<string, string>();
  for (const input of previous) for (const target of input.targets) before.set(placeKey(target), input.name);
  const heirs = heirsOf(previous, usable);
  const fresh = assignNames(usable);
  const names = assignNames(usable, (candidate: Candidate) => {
    for (const target of candidate.targets) {
      const name = before.get(placeKey(target));
      if (name !== undefined && heirs.get(name) === candidate) return name;
    }
    return undefined;
  });
  let shown = 0;
  const described = usable.flatMap((candidate) => {
    const name = names.get(candidate) ?? candidate.base;
    const spec = describeInput(name, candidate, candidates);
    if (spec === undefined) return [];
    if (!candidate.hidden) shown += 1;
    const hidden = candidate.hidden || shown > INPUTS_MAX;
    return [{ spec: titled(spec, candidate, name), names: [name, fresh.get(candidate) ?? name], hidden }];
  });
  if (shown > INPUTS_MAX) {
    warnings.push(`The workflow has ${shown} values that callers might set; ${INPUTS_MAX} of them are inputs.`);
  }
  return described;
}

/** Who gets the name that an input had: of the parts that it fell into, the one with the first of its places. */
function heirsOf(previous: readonly InputSpec[], candidates: readonly Candidate[]): ReadonlyMap<string, Candidate> {
  const holders = new Map(
    candidates.flatMap((candidate) => candidate.targets.map((target) => [placeKey(target), candidate] as const)),
  );
  const heirs = new Map<string, Candidate>();
  for (const { name, targets } of previous) {
    const [heir] = targets.flatMap((target) => holders.get(placeKey(target)) ?? []);
    if (heir !== undefined) heirs.set(name, heir);
  }
  return heirs;
}

/** Of several inputs with one meaning, all but the first say which one they are: by number or by node, as the name does. */
function titled(spec: InputSpec, candidate: Candidate, name: string): InputSpec {
  const number = /_([0-9]+)$/.exec(name)?.[1];
  if (number !== undefined && name === `${candidate.base}_${number}`) {
    return { ...spec, title: `${candidate.title} ${number}` };
  }
  return name === candidate.base || candidate.title === candidate.nodeTitle || !name.endsWith(`_${candidate.base}`)
    ? spec
    : { ...spec, title: `${candidate.title} (${candidate.nodeTitle})` };
}

/** `chosen` are the nodes whose results the author shows; where one of them is an output, the others are hidden. */
function namedOutputs(
  candidates: Candidates,
  previous: readonly OutputSpec[],
  chosen: ReadonlySet<string>,
): Overridable<OutputSpec>[] {
  const all = findOutputs(candidates);
  const hasChosen = all.some((output) => chosen.has(output.node));
  const found = hasChosen ? all.map((output) => ({ ...output, hidden: !chosen.has(output.node) })) : all;
  const before = new Map(previous.map((output) => [output.node, output.name]));
  const fresh = outputSpecs(found, () => undefined);
  const specs = outputSpecs(found, (output) => before.get(output.node));
  return found.flatMap((output) => {
    const spec = specs.get(output);
    return spec === undefined
      ? []
      : [{ spec, names: [spec.name, fresh.get(output)?.name ?? spec.name], hidden: output.hidden }];
  });
}

function placeKey(target: { node: string; field: string }): string {
  return `${target.node}\n${target.field}`;
}
