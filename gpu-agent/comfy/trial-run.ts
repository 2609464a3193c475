/** What the runs of a release's graph before its first job have in common: their folder, and that nothing is left of them. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { ReleaseForAgent } from "#contract/agent";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { fillGraph } from "#workflow/fill-graph";
import { type Log, messageOf } from "../log.ts";
import { jobPrefix } from "../outputs/job-prefix.ts";
import type { ComfySession } from "./comfy-session.ts";
import { stateDefaultPrefixes } from "./node-classes.ts";

const GRAPH_DEPTH_MAX = 512;
/** ComfyUI is asked this long to forget the run. */
const CLEAN_MS = 5_000;

/** @returns null when the release's graph is no object */
export function trialGraph(release: Pick<ReleaseForAgent, "graph">): JsonObject | null {
  const graph = parseExactJson(release.graph, { depthMax: GRAPH_DEPTH_MAX, pythonNumbers: true });
  return isJsonObject(graph) ? graph : null;
}

/**
 * The graph with values in it, saving below a folder of the run's own.
 * @param graph is changed
 */
export async function fillTrial(
  graph: JsonObject,
  session: ComfySession,
  outputs: ReleaseForAgent["outputs"],
  folder: string,
  filling: Pick<Parameters<typeof fillGraph>[0], "inputs" | "values" | "files">,
  signal: AbortSignal,
): Promise<JsonObject> {
  const outputNodes = outputs.map((output) => output.node);
  await stateDefaultPrefixes(graph, outputNodes, session.classes, signal);
  const filenamePrefix = (node: string, prefix: string) => jobPrefix(folder, node, prefix);
  return fillGraph({ graph, ...filling, filenamePrefix });
}

/** Whatever came of it, nothing is left where jobs are. Never rejects. @param trouble the event that is logged otherwise */
export async function cleanTrial(
  session: ComfySession,
  promptId: string,
  folder: string,
  trouble: string,
  log: Log,
): Promise<void> {
  const { folders, died } = session.server;
  try {
    if (!died.aborted) await session.http.deleteHistory(promptId, AbortSignal.timeout(CLEAN_MS));
    if (folders === null) return;
    for (const place of [folders.input, folders.output])
      await rm(join(place, folder), { recursive: true, force: true });
  } catch (error) {
    log(trouble, { error: messageOf(error) });
  }
}
