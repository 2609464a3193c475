/** How long each stretch of an attempt may take, by the server's clock. */
import type { RunningPhase } from "#contract/job";

/** From the lease to the first sign of execution: fetching inputs and loading large weights from a slow disk. */
export const START_MS_MAX = 60 * 60_000;
/** Uploading the outputs. */
export const UPLOAD_MS_MAX = 60 * 60_000;

/** When the attempt, entering `phase` at `at`, must have moved on. */
export function phaseDeadline(phase: RunningPhase, at: number, timeoutMs: number): number {
  if (phase === "executing") return at + timeoutMs;
  if (phase === "uploading") return at + UPLOAD_MS_MAX;
  return at + START_MS_MAX;
}
