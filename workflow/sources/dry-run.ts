/** Everything that can be said of a workflow before there is an endpoint: the importer's result, models and classes. */
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { type Refusal, refusal } from "#contract/problems";
import type { ImportedWorkflow, Overrides } from "#contract/workflow";
import { checkGraph } from "../check-graph.ts";
import { type EditorFacts, editorFacts, NO_FACTS } from "../editor-facts.ts";
import { type ClassUse, findClasses } from "../find-classes.ts";
import { findModels, type ModelUse } from "../find-models.ts";
import { importWorkflow } from "../import-workflow.ts";
import { classLookup } from "../known-classes.ts";
import type { ObjectInfo } from "../object-info.ts";
import { readSnapshot, type Snapshot } from "./snapshot.ts";
import { formOf, graphText, type SourceContents } from "./source-contents.ts";

export interface DryRunOptions {
  /** GET /object_info as JSON: what is not shaped like a class in it counts as unknown. */
  readonly objectInfo?: JsonObject;
  readonly overrides?: Overrides;
  /** A ViewComfy form; stands above the one the source holds. */
  readonly viewComfy?: JsonObject;
}

export interface DryRun {
  readonly ok: true;
  /** Which of the two formats the graph was read from. */
  readonly format: "api" | "editor";
  readonly workflow: ImportedWorkflow;
  readonly models: readonly ModelUse[];
  readonly classes: readonly ClassUse[];
  /** What a comfy-pack pins; null for other sources. */
  readonly snapshot: Snapshot | null;
  /** What could not be known, and what would tell it, in sentences. */
  readonly unknown: readonly string[];
}

/** Imports a source as a deploy would. Refusals are the importer's. */
export async function dryRun(source: SourceContents, options: DryRunOptions = {}): Promise<DryRun | Refusal> {
  const text = graphText(source);
  if (text === undefined) return refusal("invalid_workflow", "The file holds no workflow.");
  // The lookup takes any JSON: it leaves out what is not shaped like a class.
  const objectInfo = options.objectInfo as unknown as ObjectInfo | undefined;
  const viewComfy = options.viewComfy ?? formOf(source);
  const imported = await importWorkflow({ text }, { objectInfo, overrides: options.overrides, viewComfy });
  if (!imported.ok) return imported;
  const lookup = classLookup(objectInfo);
  const nodes = parseExactJson(imported.workflow.graph);
  const checked = checkGraph(isJsonObject(nodes) ? nodes : {}, "/workflow", lookup);
  if (!checked.ok) return checked;
  const editor = factsOf(source);
  const snapshot = source.snapshot === undefined ? undefined : readSnapshot(source.snapshot);
  // The snapshot was taken on a machine where the workflow ran; the editor's notes are its templates'.
  const facts = {
    packages: (editor ?? NO_FACTS).packages,
    models: new Map([...(editor ?? NO_FACTS).models, ...(snapshot?.models ?? [])]),
  };
  const models = findModels(checked.graph, lookup, facts);
  const classes = findClasses(checked.graph, objectInfo, facts);
  return {
    ok: true,
    format: source.prompt === undefined ? "editor" : "api",
    workflow: imported.workflow,
    models,
    classes,
    snapshot: snapshot ?? null,
    unknown: unknownThings(models, classes, wayOut(editor !== undefined, snapshot)),
  };
}

function factsOf({ workflow }: SourceContents): EditorFacts | undefined {
  if (workflow === undefined) return undefined;
  try {
    return editorFacts(parseExactJson(workflow, { pythonNumbers: true }));
  } catch {
    // Beside a good graph, a broken document of the editor costs what it would have told and nothing else.
    return undefined;
  }
}

function wayOut(hasEditor: boolean, snapshot: Snapshot | undefined): string {
  if (snapshot !== undefined && snapshot.customNodes.length > 0) return "It is one of the snapshot's custom nodes.";
  return hasEditor
    ? "The editor's document does not say it; GET /object_info of a ComfyUI that has it does."
    : "The editor's own file, or a PNG that ComfyUI saved, often says it; GET /object_info always does.";
}

function unknownThings(models: readonly ModelUse[], classes: readonly ClassUse[], way: string): string[] {
  const unknown = classes.filter(({ origin }) => origin === "unknown").map((each) => each.class);
  const homeless = models.filter(({ folder }) => folder === null).map(({ filename }) => filename);
  return [
    ...(unknown.length === 0 ? [] : [`Which package brings ${listed(unknown)}. ${way}`]),
    ...(homeless.length === 0 ? [] : [`In which model folder ${listed(homeless)} must lie.`]),
  ];
}

const LISTED_MAX = 10;

function listed(names: readonly string[]): string {
  const all = [...new Set(names)];
  const more = all.length - LISTED_MAX;
  return more <= 0 ? all.join(", ") : `${all.slice(0, LISTED_MAX).join(", ")} and ${more} more`;
}
