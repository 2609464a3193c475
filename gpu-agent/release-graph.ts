/** The graph of a release as each of its jobs begins with it: read once for each ComfyUI, because jobs wait for it. */
import type { ReleaseForAgent } from "#contract/agent";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { type NodeClasses, stateDefaultPrefixes } from "./comfy/node-classes.ts";

/** A workflow is at most this deep. */
const GRAPH_DEPTH_MAX = 512;
const known = new WeakMap<NodeClasses, WeakMap<ReleaseForAgent, JsonObject>>();

/**
 * @returns a graph in which every output node that saves under a prefix says so; it must not be changed
 * @throws Error when it cannot be read; ComfyUnreachable; the signal's reason when it fires
 */
export async function graphOf(
  release: ReleaseForAgent,
  classes: NodeClasses,
  signal: AbortSignal,
): Promise<Readonly<JsonObject>> {
  const ofClasses = known.get(classes) ?? new WeakMap<ReleaseForAgent, JsonObject>();
  known.set(classes, ofClasses);
  const before = ofClasses.get(release);
  if (before !== undefined) return before;
  const graph = parseExactJson(release.graph, { depthMax: GRAPH_DEPTH_MAX, pythonNumbers: true });
  if (!isJsonObject(graph)) throw new Error("the graph is no object");
  const nodes = release.outputs.map(({ node }) => node);
  await stateDefaultPrefixes(graph, nodes, classes, signal);
  ofClasses.set(release, graph);
  return graph;
}
