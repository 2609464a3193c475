/** What drives the jobs on this machine: a real ComfyUI when there is one, else the CPU stand-in. */
import * as z from "zod";

export type ComfyChoice =
  | { readonly kind: "directory"; readonly directory: string }
  | { readonly kind: "url"; readonly url: string; readonly found: FoundComfyUi | null }
  | { readonly kind: "builds" }
  | { readonly kind: "stand-in" };

/** What answers at a ComfyUI's address. */
export interface FoundComfyUi {
  readonly version: string;
  /** It is a CPU stand-in, started by hand. */
  readonly isStandIn: boolean;
}

/** Where a ComfyUI that was started by hand answers. */
export const COMFYUI_DEFAULT_URL = "http://127.0.0.1:8188";
const ANSWER_MS_MAX = 2_000;
const STAND_IN_MEANS =
  "Model-free nodes compute for real, samplers draw a placeholder that says it is one; " +
  "set COMFYUI_DIR or COMFYUI_URL for real pictures.";

/**
 * Looks for a ComfyUI: COMFYUI_DIR, COMFYUI_URL, one that runs at its usual address. COMFYUI_BUILDS=1 and
 * COMFYUI_STAND_IN=1 skip the look.
 * @param fetchFrom sends the request; tests give their own
 */
export async function chooseComfyUi(
  env: NodeJS.ProcessEnv,
  fetchFrom: typeof fetch = globalThis.fetch,
): Promise<ComfyChoice> {
  if (env.COMFYUI_STAND_IN === "1") return { kind: "stand-in" };
  if (env.COMFYUI_BUILDS === "1") return { kind: "builds" };
  if (env.COMFYUI_DIR !== undefined && env.COMFYUI_DIR !== "") return { kind: "directory", directory: env.COMFYUI_DIR };
  if (env.COMFYUI_URL !== undefined && env.COMFYUI_URL !== "") {
    // It may be a list, one server for each slot; the first one speaks for them.
    const [first = env.COMFYUI_URL] = env.COMFYUI_URL.split(",");
    return { kind: "url", url: env.COMFYUI_URL, found: await comfyUiAt(first.trim(), fetchFrom) };
  }
  const found = await comfyUiAt(COMFYUI_DEFAULT_URL, fetchFrom);
  return found === null ? { kind: "stand-in" } : { kind: "url", url: COMFYUI_DEFAULT_URL, found };
}

const SystemStats = z.object({
  system: z.object({
    comfyui_version: z.string().default("of unknown version"),
    pilotlight_stand_in: z.boolean().default(false),
  }),
});

/** Asks an address whether it is a ComfyUI; null when none answers there. */
export async function comfyUiAt(url: string, fetchFrom: typeof fetch = globalThis.fetch): Promise<FoundComfyUi | null> {
  try {
    const address = `${url.replace(/\/+$/, "")}/system_stats`;
    const response = await fetchFrom(address, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (!response.ok) return null;
    const { system } = SystemStats.parse(await response.json());
    return { version: system.comfyui_version, isStandIn: system.pilotlight_stand_in };
  } catch {
    return null;
  }
}

/** The agent's flags for a choice. */
export function agentArguments(choice: ComfyChoice): string[] {
  switch (choice.kind) {
    case "directory":
      return ["--comfyui-dir", choice.directory];
    case "url":
      return ["--comfyui-url", choice.url];
    case "builds":
      return ["--builds"];
    case "stand-in":
      return ["--stand-in"];
  }
}

/** One sentence that says plainly what will run the jobs. */
export function describeComfyUi(choice: ComfyChoice): string {
  switch (choice.kind) {
    case "directory":
      return `ComfyUI in ${choice.directory} runs the jobs; the agent starts it.`;
    case "url":
      if (choice.found === null) return `ComfyUI at ${choice.url} is to run the jobs, but does not answer yet.`;
      return choice.found.isStandIn
        ? `A CPU stand-in at ${choice.url} runs the jobs. ${STAND_IN_MEANS}`
        : `ComfyUI ${choice.found.version} at ${choice.url} runs the jobs.`;
    case "builds":
      return "The agent makes the ComfyUI that each release asks for.";
    case "stand-in":
      return `There is no ComfyUI here, so the CPU stand-in runs the jobs. ${STAND_IN_MEANS}`;
  }
}

/** Whether samplers draw placeholders. */
export function isStandIn(choice: ComfyChoice): boolean {
  return choice.kind === "stand-in" || (choice.kind === "url" && choice.found?.isStandIn === true);
}
