/**
 * One run of a release's graph before the first job, so that the first job finds what later ones find: weights in memory,
 * kernels compiled, custom nodes awake. A graph that fails here fails its jobs, which say why; what that means for the
 * replica, or for a release that is tried, is for the caller to say.
 */
import { randomUUID } from "node:crypto";
import type { ReleaseForAgent } from "#contract/agent";
import type { JsonObject } from "#contract/exact-json";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { drivePrompt } from "./comfy/drive-prompt.ts";
import { JobFailure } from "./comfy/job-failure.ts";
import { cleanTrial, fillTrial, trialGraph } from "./comfy/trial-run.ts";
import type { Log } from "./log.ts";
import type { Timings } from "./settings.ts";

export interface WarmUpOptions {
  readonly session: ComfySession;
  readonly release: Pick<ReleaseForAgent, "graph" | "inputs" | "outputs" | "classes">;
  readonly timings: Timings;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly redacted: (text: string) => string;
  /** The run may execute so long, ms; `warmUpMs` when left out. */
  readonly timeoutMs?: number;
}

export type WarmUpEnd =
  | { readonly type: "ran" }
  | { readonly type: "skipped"; readonly reason: string }
  | { readonly type: "failed"; readonly failure: JobFailure };

/**
 * Runs the graph as its author saved it, to its end or for `warmUpMs`. One that needs a caller's file, or calls somebody's paid service, is left alone.
 * @throws what ends the replica's start: ComfyUI has died or hangs (JobFailure, PromptStuck), the signal has fired
 */
export async function warmUp(options: WarmUpOptions): Promise<WarmUpEnd> {
  const { session, timings, signal, log, redacted } = options;
  const reason = await whyNot(options);
  if (reason !== null) {
    log("warm_up_skipped", { reason });
    return { type: "skipped", reason };
  }
  const promptId = randomUUID();
  const folder = `warm-ups/${promptId}`;
  const startedAt = performance.now();
  try {
    const graph = await graphFor(options, folder);
    await drivePrompt({
      session,
      graph,
      promptId,
      timings,
      timeoutMs: options.timeoutMs ?? timings.warmUpMs,
      signal,
      log,
      redacted,
    });
    log("warmed_up", { ms: Math.round(performance.now() - startedAt) });
    return { type: "ran" };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof JobFailure) || error.comfy === "restart") throw error;
    log("warm_up_failed", { code: error.jobError.code, nodeId: error.jobError.node_id });
    return { type: "failed", failure: error };
  } finally {
    await cleanTrial(session, promptId, folder, "warm_up_not_cleaned", log);
  }
}

/** @returns why the graph cannot, or must not, be run without a job */
async function whyNot({ session, release, signal }: WarmUpOptions): Promise<string | null> {
  if (release.inputs.some((input) => input.type === "file")) return "it needs a caller's file";
  if ((await session.classes.missing(release.classes, signal)).length > 0) return "a node class is not there";
  for (const name of release.classes) {
    if (await session.classes.isPaid(name, signal)) return "it calls a paid service";
  }
  return null;
}

function graphFor({ session, release, signal }: WarmUpOptions, folder: string): Promise<JsonObject> {
  const graph = trialGraph(release);
  if (graph === null) throw new JobFailure("invalid_workflow", "The release's graph is no object.");
  return fillTrial(graph, session, release.outputs, folder, { inputs: [], values: {}, files: {} }, signal);
}
