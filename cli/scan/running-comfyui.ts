/** What a running ComfyUI says of itself. */
import * as z from "zod";
import { CliError } from "#cli/errors";
import { fetchJsonObject } from "#cli/json-file";
import type { JsonObject } from "#contract/exact-json";

export interface RunningComfy {
  readonly version: string | null;
  readonly python: string | null;
  /** The words it was started with; null where it does not say. */
  readonly argv: readonly string[] | null;
  readonly objectInfo: JsonObject;
}

const Stats = z.object({
  system: z.object({
    comfyui_version: z.string().max(100).nullish(),
    python_version: z.string().nullish(),
    argv: z.array(z.string()).nullish(),
  }),
});

/**
 * Asks it.
 * @param url such as http://127.0.0.1:8188
 * @throws CliError `file_unreadable`, `scan_failed`
 */
export async function readRunningComfy(url: string): Promise<RunningComfy> {
  const base = url.replace(/\/+$/, "");
  const stats = Stats.safeParse(await fetchJsonObject(`${base}/system_stats`));
  if (!stats.success) throw new CliError("scan_failed", `${base} does not answer as ComfyUI does: /system_stats`);
  const { comfyui_version, python_version, argv } = stats.data.system;
  return {
    version: comfyui_version ?? null,
    python: /^3\.[0-9]+(\.[0-9]+)?/.exec(python_version ?? "")?.[0] ?? null,
    argv: argv ?? null,
    objectInfo: await fetchJsonObject(`${base}/object_info`),
  };
}

/** Where a ComfyUI looks besides its own folder, by the words it was started with. */
export interface FurtherFolders {
  /** `--base-directory`: models and custom nodes lie there. */
  readonly base: string | undefined;
  /** `--extra-model-paths-config`. */
  readonly modelPaths: readonly string[];
}

/**
 * Reads them.
 * @returns paths as they were given: relative ones are meant from where it was started
 */
export function furtherFolders(argv: readonly string[]): FurtherFolders {
  let base: string | undefined;
  const modelPaths: string[] = [];
  let flag = "";
  for (const word of argv) {
    const [, named, joined] = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (named !== undefined) flag = named;
    const value = named === undefined ? word : joined;
    if (value === undefined || value === "") continue;
    if (flag === "base-directory") base = value;
    if (flag === "extra-model-paths-config") modelPaths.push(value);
  }
  return { base, modelPaths };
}
