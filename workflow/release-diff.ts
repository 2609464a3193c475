/** What one release changes against another: inputs, outputs, nodes of the graph, classes and model files. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { FieldChange, ReleaseDiff } from "#contract/release";
import type { InputSpec, OutputSpec } from "#contract/workflow";
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

/** The fields whose values differ, in the order of the newer one and then those it has no more. */
function fieldChanges(from: ReadonlyMap<string, unknown>, to: ReadonlyMap<string, unknown>): FieldChange[] {
  const names = new Set([...to.keys(), ...from.keys()]);
  return [...names].flatMap((field) => {
    const [before, after] = [from.get(field), to.get(field)];
    if (isSame(before, after)) return [];
    return [
      { field, ...(before === undefined ? {} : { from: before }), ...(after === undefined ? {} : { to: after }) },
    ];
  });
}

/** Equal as JSON, whatever the order of fields. */
function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const [fields, others] = [new Map(Object.entries(one)), new Map(Object.entries(other))];
  return (
    fields.size === others.size &&
    [...fields].every(([name, value]) => others.has(name) && isSame(value, others.get(name)))
  );
}

function wordsDiff(from: readonly string[], to: readonly string[]): { added: string[]; removed: string[] } {
  const [before, after] = [new Set(from), new Set(to)];
  return {
    added: [...after].filter((word) => !before.has(word)),
    removed: [...before].filter((word) => !after.has(word)),
  };
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
