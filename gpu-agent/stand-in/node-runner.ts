/** One node of a running prompt: its inputs gathered, its calls made, its results merged. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { isLink } from "./links.ts";
import type { ImageBatch, NodeContext, NodeImplementation, NodeRun } from "./node.ts";
import type { CachedNode } from "./node-cache.ts";
import type { NodeCatalog } from "./node-catalog.ts";

/** Per input, the values of each call; a link to something that never ran gives one null. */
export type GatheredInputs = ReadonlyMap<string, readonly unknown[]>;

export interface Gathered {
  readonly inputs: GatheredInputs;
  /** Linked inputs without a value yet: lazy ones that were not asked for. */
  readonly missing: ReadonlySet<string>;
}

/** Literals count only when the class declares them; links are always followed. */
export function gatherInputs(
  node: JsonObject,
  catalog: NodeCatalog,
  resultOf: (nodeId: string) => CachedNode | undefined,
): Gathered {
  const inputs = new Map<string, readonly unknown[]>();
  const missing = new Set<string>();
  for (const [name, value] of Object.entries(isJsonObject(node.inputs) ? node.inputs : {})) {
    const options = catalog.inputOptions(String(node.class_type), name);
    if (isLink(value) && options?.rawLink !== true) {
      const values = resultOf(value[0])?.outputs[value[1]];
      if (values === undefined) missing.add(name);
      inputs.set(name, values ?? [null]);
    } else if (options !== undefined) inputs.set(name, [value]);
  }
  return { inputs, missing };
}

/** The inputs of the first call; what lazy nodes decide on. */
export function firstCall(inputs: GatheredInputs): Record<string, unknown> {
  return call(inputs, 0);
}

function call(inputs: GatheredInputs, index: number): Record<string, unknown> {
  return Object.fromEntries(
    [...inputs].map(([name, values]) => [name, values[index < values.length ? index : values.length - 1]]),
  );
}

/** Calls the node once per value of its longest input, shorter ones repeating their last value. */
export async function runCalls(
  implementation: NodeImplementation,
  inputs: GatheredInputs,
  context: NodeContext,
): Promise<readonly NodeRun[]> {
  const calls = inputs.size === 0 ? 1 : Math.max(...[...inputs.values()].map((values) => values.length));
  const runs: NodeRun[] = [];
  for (let index = 0; index < calls; index += 1) {
    context.checkInterrupt();
    runs.push(await implementation.run(call(inputs, index), context));
  }
  return runs;
}

/** Slot by slot, the values of all calls; a slot that gives lists is flattened. */
export function mergeOutputs(runs: readonly NodeRun[], isList: readonly boolean[]): unknown[][] {
  const slots = runs[0]?.outputs.length ?? 0;
  return Array.from({ length: slots }, (_, slot) =>
    runs.flatMap((run) => {
      const value = run.outputs[slot];
      return isList[slot] === true && Array.isArray(value) ? value : [value];
    }),
  );
}

/** What the calls showed, list by list; undefined when they showed nothing. */
export function mergeUi(runs: readonly NodeRun[]): JsonObject | undefined {
  const shown = runs.flatMap((run) => (run.ui === undefined ? [] : [run.ui]));
  const first = shown[0];
  if (first === undefined || Object.keys(first).length === 0) return undefined;
  if (shown.length === 1) return first;
  const merged: JsonObject = {};
  for (const key of Object.keys(first)) {
    merged[key] = shown.flatMap((ui): Json[] => {
      const value = ui[key] ?? [];
      return Array.isArray(value) ? value : [value];
    });
  }
  return merged;
}

/** Files a node says it saved: `{filename, subfolder, type}` anywhere in its lists. */
export function savedFiles(ui: JsonObject | undefined): { filename: string; subfolder: string; type: string }[] {
  return Object.values(ui ?? {}).flatMap((list) =>
    (Array.isArray(list) ? list : []).flatMap((item) =>
      isJsonObject(item) && typeof item.filename === "string"
        ? [{ filename: item.filename, subfolder: String(item.subfolder ?? ""), type: String(item.type ?? "output") }]
        : [],
    ),
  );
}

/** A value as an error report shows it: plain values as they are, the rest as text. */
export function shownValue(value: unknown): Json {
  if (value === null || value === undefined) return null;
  if (
    typeof value === "string" ||
    typeof value === "number" ||
    typeof value === "boolean" ||
    typeof value === "bigint"
  ) {
    return value;
  }
  if (isImageLike(value)) {
    const { batch, height, width } = value;
    const size = "channels" in value ? [batch, height, width, value.channels] : [batch, height, width];
    return `tensor([...], size=(${size.join(", ")}))`;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null ? "<dict>" : `<${value.constructor.name} object>`;
}

function isImageLike(value: object): value is ImageBatch {
  return "data" in value && value.data instanceof Float32Array && "batch" in value && "height" in value;
}
