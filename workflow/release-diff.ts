/** What one release changes against another: inputs, outputs, nodes of the graph, classes and model files. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { ReleaseDiff } from "#contract/release";
import type { InputSpec, OutputSpec } from "#contract/workflow";
import { buildDiff, type DiffedBuild } from "./build/build-diff.ts";
import { fieldChanges, wordsDiff } from "./field-changes.ts";
import { findModels } from "./find-models.ts";
import type { GraphNode } from "./graph.ts";
import { classLookup } from "./known-classes.ts";

/** The parts of a release that a diff looks at. */
export interface DiffedRelease {
  readonly number: number;
  readonly digest: string;
  /** API format, as the importer writes it. */
  readonly graph: JsonObject;
  readonly inputs: readonly InputSpec[];
  readonly outputs: readonly OutputSpec[];
  readonly classes: readonly string[];
  readonly build: DiffedBuild | null;
}

/** Inputs and outputs are matched by name, nodes by id; what has another name or id is one removed and one added. */
export function releaseDiff(from: DiffedRelease, to: DiffedRelease): ReleaseDiff {
  return {
    from: from.number,
    to: to.number,
    same: from.digest === to.digest,
    inputs: namedDiff(from.inputs, to.inputs),
    outputs: namedDiff(from.outputs, to.outputs),
    nodes: nodesDiff(nodesOf(from.graph), nodesOf(to.graph)),
    build: buildDiff(from.build, to.build),
    classes: wordsDiff(from.classes, to.classes),
    models: wordsDiff(modelsOf(from.graph), modelsOf(to.graph)),
  };
}

function namedDiff<Spec extends { readonly name: string }>(from: readonly Spec[], to: readonly Spec[]) {
  const before = new Map(from.map((spec) => [spec.name, spec]));
  const after = new Set(to.map(({ name }) => name));
  return {
    added: to.filter(({ name }) => !before.has(name)),
    removed: from.filter(({ name }) => !after.has(name)),
    changed: to.flatMap((spec) => {
      const old = before.get(spec.name);
      const fields = old === undefined ? [] : fieldChanges(fieldsOf(old), fieldsOf(spec));
      return fields.length === 0 ? [] : [{ name: spec.name, fields }];
    }),
  };
}

function fieldsOf(spec: object): Map<string, unknown> {
  return new Map(Object.entries(spec));
}

function nodesDiff(from: ReadonlyMap<string, GraphNode>, to: ReadonlyMap<string, GraphNode>): ReleaseDiff["nodes"] {
  const missingIn = (other: ReadonlyMap<string, GraphNode>, nodes: ReadonlyMap<string, GraphNode>) =>
    [...nodes.values()]
      .filter(({ id }) => !other.has(id))
      .map(({ id, classType }) => ({ node: id, class_type: classType }));
  return {
    added: missingIn(from, to),
    removed: missingIn(to, from),
    changed: [...to.values()].flatMap((node) => {
      const old = from.get(node.id);
      const fields = old === undefined ? [] : fieldChanges(nodeFields(old), nodeFields(node));
      return fields.length === 0 ? [] : [{ node: node.id, class_type: node.classType, fields }];
    }),
  };
}

function nodeFields({ classType, title, inputs }: GraphNode): Map<string, unknown> {
  const values = Object.entries(inputs).map(([name, value]): [string, unknown] => [`inputs.${name}`, value]);
  return new Map<string, unknown>([["class_type", classType], ["title", title], ...values]);
}

/** A stored graph has been checked when it was imported. */
function nodesOf(graph: JsonObject): Map<string, GraphNode> {
  const nodes = new Map<string, GraphNode>();
  for (const [id, node] of Object.entries(graph)) {
    if (!isJsonObject(node)) continue;
    const { class_type: classType, inputs, _meta: meta } = node;
    nodes.set(id, {
      id,
      classType: text(classType) ?? "",
      title: isJsonObject(meta) ? text(meta.title) : undefined,
      inputs: isJsonObject(inputs) ? inputs : {},
    });
  }
  return nodes;
}

function text(value: Json | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** Each model file as `folder/filename`, or the filename alone where nothing tells the folder. */
function modelsOf(graph: JsonObject): string[] {
  const found = findModels(nodesOf(graph), classLookup(undefined));
  return found.map(({ folder, filename }) => (folder === null ? filename : `${folder}/${filename}`));
}
