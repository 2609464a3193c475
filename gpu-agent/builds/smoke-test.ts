/**
 * One run of a release's graph before its first job: with defaults, small files and the test's own values, by the same way
 * as a job. It proves that the release works here, and leaves its weights where the first job finds them.
 */
import { randomInt, randomUUID } from "node:crypto";
import type { ReleaseForAgent } from "#contract/agent";
import type { SmokeTest } from "#contract/build";
import type { Json, JsonObject } from "#contract/exact-json";
import type { OutputSpec } from "#contract/workflow";
import { validateInputs } from "#workflow/validate-inputs";
import { ComfyRefused } from "../comfy/comfy-http.ts";
import type { ComfySession } from "../comfy/comfy-session.ts";
import { drivePrompt, type PromptResult } from "../comfy/drive-prompt.ts";
import { JobFailure } from "../comfy/job-failure.ts";
import { cleanTrial, fillTrial, trialGraph } from "../comfy/trial-run.ts";
import type { Log } from "../log.ts";
import { collectOutputs, type Found } from "../outputs/collect-outputs.ts";
import { fileType } from "../outputs/content-types.ts";
import type { Timings } from "../settings.ts";
import { sampleFile } from "./sample-files.ts";

/** The first run reads the weights from disk, and a video takes minutes; what hangs is found sooner by its silence. */
const SMOKE_MS_MAX = 30 * 60_000;
const SEED_MAX = 2 ** 48 - 1;

export interface SmokeOptions {
  readonly session: ComfySession;
  readonly release: Pick<ReleaseForAgent, "graph" | "inputs" | "outputs">;
  readonly test: SmokeTest;
  readonly timings: Timings;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly redacted: (text: string) => string;
}

/** The release does not work on this machine; the message says where. */
export class SmokeFailed extends Error {}

/**
 * Runs the test.
 * @throws SmokeFailed; PromptStuck when ComfyUI has to go; the signal's reason
 */
export async function runSmokeTest(options: SmokeOptions): Promise<void> {
  const { session, release, test, timings, signal, log, redacted } = options;
  const promptId = randomUUID();
  const folder = `smoke-tests/${promptId}`;
  const startedAt = performance.now();
  try {
    const graph = await fill(options, folder);
    const result = await drivePrompt({
      session,
      graph,
      promptId,
      timings,
      timeoutMs: SMOKE_MS_MAX,
      signal,
      log,
      redacted,
    });
    await checkOutputs(result, release.outputs, test, options);
    log("smoke_test_passed", { ms: Math.round(performance.now() - startedAt) });
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof JobFailure)) throw error;
    throw new SmokeFailed(`The smoke test failed: ${error.jobError.message}`, { cause: error });
  } finally {
    await cleanTrial(session, promptId, folder, "smoke_test_not_cleaned", log);
  }
}

async function fill({ session, release, test, signal }: SmokeOptions, folder: string): Promise<JsonObject> {
  const graph = trialGraph(release);
  if (graph === null) throw new SmokeFailed("The release's graph is no object.");
  // What the graph itself says stands where the test says nothing.
  const specs = release.inputs.filter((input) => input.type !== "file").map((input) => ({ ...input, required: false }));
  const names = new Set<string>(specs.map((input) => input.name));
  const given = Object.entries(test.inputs).filter(([name]) => names.has(name));
  const checked = validateInputs(specs, Object.fromEntries(given) as { [name: string]: Json }, {
    randomSeed: () => randomInt(SEED_MAX),
  });
  if (!checked.ok) throw new SmokeFailed(`The smoke test's values do not fit the release: ${checked.detail}`);
  const files: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const input of release.inputs) {
    if (input.type !== "file") continue;
    const { filename, bytes } = await sampleFile(input);
    files[input.name] = await session.http.uploadInput(new Blob([new Uint8Array(bytes)]), filename, folder, signal);
  }
  return fillTrial(
    graph,
    session,
    release.outputs,
    folder,
    { inputs: release.inputs, values: checked.values, files },
    signal,
  );
}

/** What must come has come, is of the kind that the release promises, and can be read. */
async function checkOutputs(
  result: PromptResult,
  specs: readonly OutputSpec[],
  test: SmokeTest,
  { session, signal }: SmokeOptions,
): Promise<void> {
  const found = collectOutputs(result.outputs, result.meta, specs);
  if (found.length === 0) throw new SmokeFailed("The smoke test ran, and no output came of it.");
  for (const name of test.outputs) {
    const spec = specs.find((each) => each.name === name);
    if (spec === undefined)
      throw new SmokeFailed(`The smoke test asks for an output ${name}, which the release lacks.`);
    const mine = found.filter((each) => each.output === name);
    if (mine.length === 0) throw new SmokeFailed(`The smoke test ran, and its output ${name} did not come.`);
    const kinds = mine.map(kindOf);
    if (spec.kind !== "file" && !kinds.includes(spec.kind)) {
      throw new SmokeFailed(`The smoke test's output ${name} is of kind ${kinds[0]}, and not ${spec.kind}.`);
    }
  }
  for (const each of found) {
    if (each.type === "file" && (await isEmpty(session, each.file, signal))) {
      throw new SmokeFailed(
        `The smoke test's output ${each.output} (${each.file.filename}) is empty or cannot be read.`,
      );
    }
  }
}

function kindOf(found: Found): OutputSpec["kind"] {
  return found.type === "text" ? "text" : fileType(found.file.filename).kind;
}

async function isEmpty(
  session: ComfySession,
  file: Parameters<ComfySession["http"]["view"]>[0],
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const answer = await session.http.view(file, signal);
    for await (const part of answer.body) if ((part as Buffer).byteLength > 0) return false;
    return true;
  } catch (error) {
    if (error instanceof ComfyRefused) return true;
    throw error;
  }
}
