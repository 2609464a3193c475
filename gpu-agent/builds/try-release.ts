/**
 * What a release has to show before it takes the place of one that works: its classes are those it was made with, and its
 * graph runs. Stricter than a replica's start, since nothing stands still over it: the old release goes on.
 */

import { JobFailure } from "../comfy/job-failure.ts";
import { lastWords } from "../comfy/spawn-host.ts";
import { warmUp } from "../warm-up.ts";
import { BuildFailed, type BuildFault } from "./build-failed.ts";
import { runSmokeTest, SmokeFailed } from "./smoke-test.ts";
import { ReleaseUnfit, type VerifyOptions, verifyClasses } from "./verify-release.ts";

/** As a smoke test: the first run reads the weights from disk, and a video takes minutes. */
const TRIAL_MS_MAX = 30 * 60_000;
/** What another try, or another machine, may not run into. */
const PASSING: readonly BuildFault[] = ["disk_full", "fetch_failed", "model_failed"];

export interface TryOptions extends Omit<VerifyOptions, "onPart"> {
  readonly onPart: (part: "classes" | "smoke_test" | "warm_up") => void;
  /** Something that whoever follows it should know. */
  readonly onLine: (line: string) => void;
}

/**
 * Tries a release.
 * @throws ReleaseUnfit, SmokeFailed; JobFailure or PromptStuck when ComfyUI has to go; the signal's reason
 */
export async function tryRelease(options: TryOptions): Promise<void> {
  const { release, onPart, onLine } = options;
  onPart("classes");
  await verifyClasses(options);
  onLine(`All ${release.classes.length} node classes are there.`);
  if (release.smoke_test != null) {
    onPart("smoke_test");
    await runSmokeTest({ ...options, test: release.smoke_test });
    onLine("The smoke test has passed.");
    return;
  }
  onPart("warm_up");
  const end = await warmUp({ ...options, timeoutMs: TRIAL_MS_MAX });
  if (end.type === "failed") {
    throw new ReleaseUnfit(`The graph was run as it was saved, and failed: ${end.failure.jobError.message}`, {
      cause: end.failure,
    });
  }
  onLine(
    end.type === "ran"
      ? "The graph has run as it was saved."
      : `The graph was not run: ${end.reason}. A smoke test would say with which values it can be.`,
  );
}

/** Whether the same would come of the same try again. */
export function isFinal(error: unknown): boolean {
  if (error instanceof BuildFailed) return !PASSING.includes(error.fault);
  if (error instanceof JobFailure) return error.comfy === "healthy";
  return error instanceof ReleaseUnfit || error instanceof SmokeFailed;
}

/** Why it failed, in words. */
export function reasonOf(error: unknown): string {
  return error instanceof JobFailure ? error.jobError.message : lastWords(error);
}
