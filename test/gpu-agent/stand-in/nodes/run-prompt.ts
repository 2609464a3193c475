/** Runs an API prompt through the node library in the order its links ask for: no cache, no validation, no server. */
import { isJsonObject, type Json } from "#contract/exact-json";
import type { Folders, ImageBatch, NodeContext, NodeRun } from "#gpu-agent/stand-in/node";
import { nodeImplementations } from "#gpu-agent/stand-in/nodes/registry";

/** What the nodes told their context. */
export interface Reports {
  readonly progress: { readonly nodeId: string; readonly value: number; readonly max: number; preview?: ImageBatch }[];
  readonly texts: string[];
}

export interface PromptRun {
  readonly runs: ReadonlyMap<string, NodeRun>;
  readonly reports: Reports;
}

/**
 * @param prompt API form: `{id: {class_type, inputs}}`
 * @throws what the failing node throws
 */
export async function runPrompt(
  prompt: unknown,
  folders: Folders,
  metadata: Readonly<Record<string, string>> = {},
): Promise<PromptRun> {
  const runs = new Map<string, NodeRun>();
  const reports: Reports = { progress: [], texts: [] };
  if (!isNodes(prompt)) throw new TypeError("A prompt is an object");
  const run = async (id: string): Promise<NodeRun> => {
    const known = runs.get(id);
    if (known !== undefined) return known;
    const node = prompt[id];
    if (!isJsonObject(node) || !isJsonObject(node.inputs)) throw new TypeError(`No node ${id}`);
    const inputs: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(node.inputs)) inputs[name] = await resolve(value);
    const implementation = nodeImplementations[String(node.class_type)];
    if (implementation === undefined) throw new TypeError(`No class ${String(node.class_type)}`);
    const result = await implementation.run(inputs, contextFor(id, folders, metadata, reports));
    runs.set(id, result);
    return result;
  };
  const resolve = async (value: Json): Promise<unknown> => {
    if (!Array.isArray(value)) return value;
    const [from, slot] = value;
    return (await run(String(from))).outputs[Number(slot)];
  };
  for (const id of Object.keys(prompt)) await run(id);
  return { runs, reports };
}

function isNodes(value: unknown): value is Readonly<Record<string, Json>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A context that records what it is told; nothing is ever interrupted. */
export function contextFor(
  nodeId: string,
  folders: Folders,
  metadata: Readonly<Record<string, string>> = {},
  reports: Reports = { progress: [], texts: [] },
): NodeContext {
  return {
    nodeId,
    promptId: "11111111-1111-4111-8111-111111111111",
    folders,
    metadata,
    checkInterrupt: () => {},
    progress: (value, max, preview) => {
      reports.progress.push({ nodeId, value, max, ...(preview === undefined ? {} : { preview }) });
      return Promise.resolve();
    },
    sendText: (text) => {
      reports.texts.push(text);
    },
    sleep: () => Promise.resolve(),
  };
}
