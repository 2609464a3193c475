/** Whether the classes of a running ComfyUI are those that a release was made with. Pure. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

/** Names listed in one sentence. */
const LISTED_MAX = 10;
const SECTIONS = ["required", "optional"] as const;

/** What /object_info says of the graph's classes: when the release was made, or now. */
export type ClassInfos = Readonly<Record<string, JsonObject | null>>;

/**
 * Compares what the release knows with what is here.
 * @param wanted the release's excerpt of /object_info; classes it does not mention are only looked for
 * @param classes all classes of the graph
 * @param live null for a class that this ComfyUI does not have
 * @param graph API format: which inputs the release sets, and which outputs it uses
 * @returns sentences, none when everything fits
 */
export function compareClasses(
  wanted: ClassInfos,
  classes: readonly string[],
  live: ClassInfos,
  graph: JsonObject,
): string[] {
  const problems: string[] = [];
  const missing = classes.filter((name) => own(live, name) == null);
  if (missing.length > 0) problems.push(...missingSentences(missing, wanted));
  for (const name of classes) {
    const before = own(wanted, name);
    const now = own(live, name);
    if (now == null || before == null) continue;
    problems.push(...classProblems(name, before, now, graph));
  }
  return problems;
}

/** The folder below custom_nodes that a class comes from, or null for ComfyUI's own. */
export function packOf(info: JsonObject | null | undefined): string | null {
  const module = info?.python_module;
  return typeof module === "string" ? (/^custom_nodes\.(.+)$/.exec(module)?.[1] ?? null) : null;
}

/** ComfyUI's words about packs that it could not import, from its log. */
export function importFailures(log: string): string[] {
  const failures = new Set<string>();
  for (const line of log.split("\n")) {
    const failed = /\(IMPORT FAILED\):?\s*(\S.*)$/.exec(line)?.[1];
    if (failed !== undefined) failures.add(`${failed.trim().split(/[/\\]/).at(-1)} could not be imported`);
    const reason = /Cannot import (\S.*?) module for custom nodes:\s*(.*)$/.exec(line);
    if (reason !== null) failures.add(`${reason[1]?.split(/[/\\]/).at(-1)}: ${reason[2]?.trim()}`);
  }
  return [...failures].slice(0, LISTED_MAX);
}

/** One sentence for each pack that should have brought some of them. */
function missingSentences(missing: readonly string[], wanted: ClassInfos): string[] {
  const byPack = new Map<string | null, string[]>();
  for (const name of missing) {
    const pack = packOf(own(wanted, name));
    byPack.set(pack, [...(byPack.get(pack) ?? []), name]);
  }
  return [...byPack].map(([pack, names]) => {
    const listed = names.slice(0, LISTED_MAX).join(", ");
    const more = names.length > LISTED_MAX ? ` and ${names.length - LISTED_MAX} more` : "";
    const source = pack === null ? "" : `; the pack ${pack} should bring ${names.length === 1 ? "it" : "them"}`;
    return `This ComfyUI has no node class ${listed}${more}${source}.`;
  });
}

/** What a version takes beside what the graph sets is its own affair: only what the release uses counts. */
function classProblems(name: string, before: JsonObject, now: JsonObject, graph: JsonObject): string[] {
  const problems: string[] = [];
  const [wanted, found] = [inputTypes(before), inputTypes(now)];
  const nodes = nodesOf(graph, name);
  for (const [input, { type }] of wanted) {
    if (!nodes.some(([, inputs]) => sets(inputs, input))) continue;
    const other = found.get(input);
    if (other === undefined) problems.push(`${name} has no input ${input} any more.`);
    else if (!isSameType(type, other.type)) {
      problems.push(`${name}'s input ${input} is of type ${other.type}, and the release was made for ${type}.`);
    }
  }
  for (const [input, { isRequired }] of found) {
    if (!isRequired || wanted.has(input)) continue;
    if (nodes.some(([, inputs]) => !sets(inputs, input))) {
      problems.push(`${name} needs an input ${input}, which the release does not know.`);
    }
  }
  const [gave, gives] = [outputTypes(before), outputTypes(now)];
  for (const slot of slotsUsed(graph, new Set(nodes.map(([id]) => id)))) {
    const [type, other] = [gave[slot], gives[slot] ?? "nothing"];
    if (type === undefined || isSameType(type, other)) continue;
    problems.push(`${name}'s output ${slot + 1} is of type ${other}, and the release was made for ${type}.`);
  }
  return problems;
}

interface InputType {
  readonly type: string;
  readonly isRequired: boolean;
}

function inputTypes(info: JsonObject): Map<string, InputType> {
  const types = new Map<string, InputType>();
  if (!isJsonObject(info.input)) return types;
  for (const section of SECTIONS) {
    const inputs = info.input[section];
    if (!isJsonObject(inputs)) continue;
    for (const [name, spec] of Object.entries(inputs)) {
      const type = Array.isArray(spec) ? typeOf(spec[0]) : null;
      if (type !== null) types.set(name, { type, isRequired: section === "required" });
    }
  }
  return types;
}

function outputTypes(info: JsonObject): string[] {
  return Array.isArray(info.output) ? info.output.map((type) => typeOf(type) ?? "*") : [];
}

/** Both generations of a combo are one type: its values follow the files on the machine. */
function typeOf(type: Json | undefined): string | null {
  if (Array.isArray(type)) return "COMBO";
  return typeof type === "string" ? type : null;
}

/** A type that takes anything fits, and so does one that takes more than before. */
function isSameType(wanted: string, found: string): boolean {
  if (wanted === found || wanted === "*" || found === "*") return true;
  const accepted = new Set(found.split(",").map((each) => each.trim()));
  return wanted.split(",").every((each) => accepted.has(each.trim()));
}

/** The graph's nodes of a class: their ids and inputs. */
function nodesOf(graph: JsonObject, name: string): [id: string, inputs: JsonObject][] {
  return Object.entries(graph).flatMap(([id, node]): [string, JsonObject][] =>
    isJsonObject(node) && node.class_type === name && isJsonObject(node.inputs) ? [[id, node.inputs]] : [],
  );
}

/** The output slots of these nodes that other nodes take something from, in order. */
function slotsUsed(graph: JsonObject, ids: ReadonlySet<string>): number[] {
  const slots = new Set<number>();
  for (const node of Object.values(graph)) {
    if (!isJsonObject(node) || !isJsonObject(node.inputs)) continue;
    for (const value of Object.values(node.inputs)) {
      if (!Array.isArray(value) || value.length !== 2) continue;
      const [id, slot] = value;
      if (typeof id === "string" && ids.has(id) && typeof slot === "number") slots.add(slot);
    }
  }
  return [...slots].toSorted((one, other) => one - other);
}

/** Inputs that grow are named with their number, or with a dot. */
function sets(inputs: JsonObject, input: string): boolean {
  return Object.keys(inputs).some((name) => name === input || name.startsWith(`${input}.`));
}

function own<Value>(object: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
