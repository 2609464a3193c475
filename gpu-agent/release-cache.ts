/** The releases of a replica's endpoint: each number is fetched once, since a release never changes. */
import type { ReleaseForAgent } from "#contract/agent";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { JobFailure } from "./comfy/job-failure.ts";

export type FetchRelease = (release: number, signal: AbortSignal) => Promise<ReleaseForAgent>;

/** An endpoint seldom has jobs of more releases than this at one time. */
const RELEASES_MAX = 8;
/** A workflow is at most this deep. */
const GRAPH_DEPTH_MAX = 512;

export class ReleaseCache {
  readonly #fetch: FetchRelease;
  readonly #kept = new Map<number, ReleaseForAgent>();

  constructor(fetch: FetchRelease) {
    this.#fetch = fetch;
  }

  /** @throws JobFailure invalid_workflow, when the release's graph says another thing than the release */
  async get(release: number, signal: AbortSignal): Promise<ReleaseForAgent> {
    const kept = this.#kept.get(release);
    if (kept !== undefined) {
      // Moved to the end: the one used longest ago goes first.
      this.#kept.delete(release);
      this.#kept.set(release, kept);
      return kept;
    }
    const fetched = await this.#fetch(release, signal);
    refuseOtherClasses(fetched);
    this.#kept.set(release, fetched);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > RELEASES_MAX && oldest !== undefined) this.#kept.delete(oldest);
    return fetched;
  }
}

/**
 * A machine runs the classes that a release is listed with, and no other that is installed there: a node may be any
 * code. What cannot be read is refused where it is used.
 */
function refuseOtherClasses({ graph, classes }: ReleaseForAgent): void {
  const listed = new Set<unknown>(classes);
  for (const [nodeId, node] of Object.entries(nodesOf(graph))) {
    if (!isJsonObject(node) || listed.has(node.class_type)) continue;
    const classType = typeof node.class_type === "string" ? node.class_type : undefined;
    const message = `Node ${nodeId} is of class ${classType ?? "(none)"}, which is not among the release's classes.`;
    throw new JobFailure("invalid_workflow", message, { nodeId, classType });
  }
}

function nodesOf(graph: string): JsonObject {
  try {
    const nodes = parseExactJson(graph, { depthMax: GRAPH_DEPTH_MAX, pythonNumbers: true });
    return isJsonObject(nodes) ? nodes : {};
  } catch {
    return {};
  }
}
