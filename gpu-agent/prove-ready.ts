/** What a replica shows before it is ready: its ComfyUI runs a prompt, and the release where that can be run. */
import { randomUUID } from "node:crypto";
import type { ReleaseForAgent } from "#contract/agent";
import { isVerified, verifyRelease } from "./builds/verify-release.ts";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { drivePrompt } from "./comfy/drive-prompt.ts";
import { type Log, messageOf } from "./log.ts";
import type { ReleaseCache } from "./release-cache.ts";
import type { Timings } from "./settings.ts";
import { warmUp } from "./warm-up.ts";

export interface ProveReadyOptions {
  readonly session: ComfySession;
  /** The release to be ready for; null: the server does not say which. */
  readonly release: ReleaseForAgent | null;
  readonly timings: Timings;
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Takes out of text what must not leave the machine. */
  readonly redacted: (text: string) => string;
  /** The next part begins. @param doing what it is, in words */
  readonly onPart: (part: "classes" | "warm_up", doing: string) => void;
}

/**
 * From a ComfyUI that answers to one that a replica can be ready with.
 * @returns whether the release has run here, or all is here that it asks for and it cannot be run without a caller
 * @throws when it is no use: ReleaseUnfit, SmokeFailed, JobFailure, PromptStuck; the signal's reason
 */
export async function proveReady(options: ProveReadyOptions): Promise<boolean> {
  const { session, release, signal, onPart } = options;
  if (release !== null && isVerified(release)) {
    await verifyRelease({
      ...options,
      release,
      onPart: (part) => onPart(part, part === "classes" ? "comparing node classes" : "running the release once"),
    });
  }
  // A smoke test has shown all that these would.
  if (release?.smoke_test != null) return true;
  if (session.server.folders !== null) await tryOut(options);
  if (release === null) return false;
  // The first job after `ready` is to take no longer than the second.
  onPart("warm_up", "running the release once");
  const { type } = await warmUp({ ...options, release });
  // One that could not be run without a caller has at least all that it asks for.
  const isFit = isVerified(release) || (await session.classes.missing(release.classes, signal)).length === 0;
  return type !== "failed" && isFit;
}

/**
 * Says early, and to the operator, what a job would say late and to a caller: classes of the release that are not here.
 * Never rejects.
 */
export async function logMissingClasses(
  session: ComfySession,
  releases: ReleaseCache,
  number: number,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  try {
    const release = await releases.get(number, signal);
    const missing = await session.classes.missing(release.classes, signal);
    if (missing.length > 0) log("node_classes_missing", { classes: missing.join(",").slice(0, 1_000) });
  } catch (error) {
    if (!signal.aborted) log("release_not_checked", { error: messageOf(error) });
  }
}

/** An answer to HTTP proves little: the worker thread may be dead. A prompt of two nodes proves it. */
async function tryOut({ session, timings, signal, log, redacted }: ProveReadyOptions): Promise<void> {
  if ((await session.classes.missing(["EmptyImage", "PreviewImage"], signal)).length > 0) return;
  const empty = { width: 64, height: 64, batch_size: 1, color: Math.floor(Math.random() * 0xffffff) };
  const promptId = randomUUID();
  await drivePrompt({
    session,
    graph: {
      "1": { class_type: "EmptyImage", inputs: empty },
      "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
    },
    promptId,
    timings,
    timeoutMs: timings.bootMs,
    signal,
    log,
    redacted,
  });
  await session.http.deleteHistory(promptId, signal);
}
