/**
 * What a replica proves before it is ready: its ComfyUI has the release's classes, they are those that the release was made
 * with, and its graph runs. For builds and for installs of the machine's owner alike; nothing is changed.
 */
import { readFile } from "node:fs/promises";
import type { ReleaseForAgent } from "#contract/agent";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import type { ComfySession } from "../comfy/comfy-session.ts";
import type { Log } from "../log.ts";
import type { Timings } from "../settings.ts";
import { type ClassInfos, compareClasses, importFailures } from "./compare-classes.ts";
import { runSmokeTest } from "./smoke-test.ts";

/** Sentences in one error; the first are the ones to act on. */
const PROBLEMS_MAX = 12;
const JSON_DEPTH_MAX = 512;

export interface VerifyOptions {
  readonly session: ComfySession;
  readonly release: ReleaseForAgent;
  readonly timings: Timings;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly redacted: (text: string) => string;
  /** The next part begins. */
  readonly onPart: (part: "classes" | "warm_up") => void;
}

/** This ComfyUI cannot run the release. The message names what is missing and who should bring it. */
export class ReleaseUnfit extends Error {}

/** Whether a release says what must be proven; those that do not are made before releases were verified. */
export function isVerified(release: ReleaseForAgent): boolean {
  return release.build != null || release.object_info != null || release.smoke_test != null;
}

/**
 * Verifies a release.
 * @throws ReleaseUnfit, SmokeFailed; the signal's reason
 */
export async function verifyRelease(options: VerifyOptions): Promise<void> {
  const { release } = options;
  if (!isVerified(release)) return;
  options.onPart("classes");
  await verifyClasses(options);
  if (release.smoke_test == null) return;
  options.onPart("warm_up");
  await runSmokeTest({ ...options, test: release.smoke_test });
}

/**
 * Compares the release's classes with those that are here; without an excerpt in the release, they only have to be there.
 * @throws ReleaseUnfit; the signal's reason
 */
export async function verifyClasses({
  session,
  release,
  signal,
  log,
  redacted,
}: Omit<VerifyOptions, "timings" | "onPart">): Promise<void> {
  const live: Record<string, JsonObject | null> = Object.create(null) as Record<string, JsonObject | null>;
  for (const name of release.classes) live[name] = await session.http.classInfo(name, signal);
  const problems = compareClasses(excerptOf(release), release.classes, live, graphOf(release));
  if (problems.length === 0) return;
  log("release_unfit", { problems: problems.length });
  const failures = importFailures(await logOf(session, signal));
  const shown = [...problems, ...failures.map((failure) => `ComfyUI's log: ${failure}`)].slice(0, PROBLEMS_MAX);
  throw new ReleaseUnfit(redacted(shown.join("\n")));
}

function excerptOf(release: ReleaseForAgent): ClassInfos {
  if (release.object_info == null) return {};
  const excerpt = parseExactJson(release.object_info, { depthMax: JSON_DEPTH_MAX, pythonNumbers: true });
  if (!isJsonObject(excerpt)) throw new ReleaseUnfit("The release's excerpt of /object_info is no object.");
  const infos: Record<string, JsonObject | null> = Object.create(null) as Record<string, JsonObject | null>;
  for (const [name, info] of Object.entries(excerpt)) if (isJsonObject(info)) infos[name] = info;
  return infos;
}

function graphOf(release: ReleaseForAgent): JsonObject {
  const graph = parseExactJson(release.graph, { depthMax: JSON_DEPTH_MAX, pythonNumbers: true });
  return isJsonObject(graph) ? graph : {};
}

/** What ComfyUI wrote since it started: from its file, or as far back as it remembers. */
async function logOf(session: ComfySession, signal: AbortSignal): Promise<string> {
  const { logFile } = session.server;
  try {
    return logFile === undefined ? await session.http.logs(signal) : await readFile(logFile, "utf8");
  } catch {
    signal.throwIfAborted();
    // The missing classes are worth saying without it.
    return "";
  }
}
