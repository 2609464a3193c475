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
