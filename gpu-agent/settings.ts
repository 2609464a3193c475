/** What the agent is told: by flags, by the environment, or by the program that embeds it. */
import { existsSync } from "node:fs";
import { homedir, hostname } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import * as z from "zod";
import { FILE_BYTES_MAX, LEASE_RENEW_MS, LONG_POLL_MS, OUTPUT_PART_BYTES, SLOTS_PER_NODE_MAX } from "#contract/limits";
import { Region } from "#contract/region";
import { flagsSet, OWN_FLAGS } from "./comfy/launch-flags.ts";

/** Every pace and patience of the agent, ms. Tests shorten them; the defaults are for real machines. */
export const Timings = z.strictObject({
  /** How long a poll may wait at the server. */
  pollWaitMs: z.int().nonnegative().default(LONG_POLL_MS),
  /** Three heartbeats missed: the connection is dead. */
  pollStallMs: z.int().positive().default(15_000),
  /** One small call to the server. */
  callMs: z.int().positive().default(30_000),
  retryBaseMs: z.int().positive().default(500),
  retryMaxMs: z.int().positive().default(15_000),
  /** Shorter than the lease needs: the answer to a renewal is also how a quiet job hears that it was canceled. */
  leaseRenewMs: z.int().positive().default(Math.min(LEASE_RENEW_MS, 3_000)),
  /** Progress and previews go out at most this often. */
  progressMs: z.int().positive().default(500),
  /** ComfyUI imports torch and every custom node first: minutes on slow disks. */
  bootMs: z.int().positive().default(600_000),
  /** The run before a replica is ready may execute for so long: weights are in memory by then, and a job may wait for it. */
  warmUpMs: z.int().positive().default(120_000),
  /** One small call to ComfyUI; its event loop stalls while it decodes large pictures. */
  comfyCallMs: z.int().positive().default(30_000),
  historyPollMs: z.int().positive().default(1_000),
  /** The queue lists whole prompts, so it is asked more rarely. */
  queuePollMs: z.int().positive().default(3_000),
  /** No frame while our prompt runs: the socket may be dead, and is opened anew. */
  socketSilentMs: z.int().positive().default(15_000),
  socketOpenMs: z.int().positive().default(10_000),
  /** Nothing moves while our prompt runs: ComfyUI's worker is taken for dead. Above the longest load of a model. */
  hangMs: z.int().positive().default(300_000),
  /** After an interrupt, before the process is ended. */
  interruptMs: z.int().positive().default(10_000),
  /** After SIGTERM, before SIGKILL. */
  stopMs: z.int().positive().default(10_000),
  /** An attached ComfyUI may be gone this long before its job is given up. */
  unreachableMs: z.int().positive().default(30_000),
  /** How long jobs in hand may go on after SIGTERM. */
  drainMs: z.int().nonnegative().default(600_000),
});
export type Timings = z.infer<typeof Timings>;

const ComfySettings = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("spawn"),
    directory: z.string(),
    python: z.string(),
    args: z.array(z.string()).default([]),
    /** Leave the workflow inside saved files; off, because callers would see the operator's graph. */
    metadata: z.boolean().default(false),
  }),
  z.strictObject({ kind: z.literal("attach"), urls: z.array(z.url()).min(1).max(SLOTS_PER_NODE_MAX) }),
  z.strictObject({
    kind: z.literal("builds"),
    /** Interpreters to make environments with, looked at before those of the usual names. */
    pythons: z.array(z.string()).default([]),
    /** Take file:// repositories, wheels and models: what such an address names is read with the agent's own rights. */
    allowFiles: z.boolean().default(false),
    metadata: z.boolean().default(false),
  }),
  z.strictObject({ kind: z.literal("stand-in"), args: z.array(z.string()).default([]) }),
]);
export type ComfySettings = z.infer<typeof ComfySettings>;

export const AgentSettings = z.strictObject({
  /** Where the Worker is; its path, if any, comes before /agent/v1. */
  url: z.url({ protocol: /^https?$/ }),
  /** Needed to join; a node that has joined goes on without it until its session ends. */
  joinToken: z.string().min(1).optional(),
  name: z.string().min(1).max(200),
  /** Where the machine is; endpoints may ask for it. Left out: it serves only those that do not. */
  region: Region.optional(),
  stateDirectory: z.string().min(1),
  comfy: ComfySettings,
  /** Left out: `slotsPerGpu` for each GPU, or for the CPU where there is none. */
  slots: z.int().min(1).max(SLOTS_PER_NODE_MAX).optional(),
  /** Replicas that share a card. Their models share its memory, so more than one is for small ones. */
  slotsPerGpu: z.int().min(1).max(SLOTS_PER_NODE_MAX).default(1),
  /** The next job is fetched, and waits in ComfyUI's queue, while one runs. Off: one after the other. */
  leaseAhead: z.boolean().default(true),
  /** No work is taken with less free disk than this. */
  freeBytesMin: z
    .int()
    .nonnegative()
    .default(1024 ** 3),
  /** Above this an output goes up in parts. */
  putBytesMax: z.int().positive().default(FILE_BYTES_MAX),
  partBytes: z.int().positive().default(OUTPUT_PART_BYTES),
  timings: Timings.prefault({}),
});
export type AgentSettings = z.infer<typeof AgentSettings>;

export const USAGE = `Usage: node gpu-agent/main.ts --url URL [options]

  --url URL               the server                          PILOTLIGHT_URL
  --join-token TOKEN      or on standard input ("-")          PILOTLIGHT_JOIN_TOKEN
  --name NAME             shown in lists (host name)          PILOTLIGHT_NODE_NAME
  --region NAME           where this machine is, as endpoints PILOTLIGHT_REGION
                          name it in their regions
  --state-directory DIR   session, logs, working files        PILOTLIGHT_STATE_DIRECTORY
  --slots-per-gpu N       replicas that share a card (1)      PILOTLIGHT_SLOTS_PER_GPU
  --slots N               replicas at once on all cards       PILOTLIGHT_SLOTS
  --no-lease-ahead        hold no job while another one runs  PILOTLIGHT_NO_LEASE_AHEAD=1

One of:
  --comfyui-dir DIR       run the ComfyUI installed there     COMFYUI_DIR
     --comfyui-python EXE (DIR/.venv, DIR/venv, python3)      COMFYUI_PYTHON
     --comfyui-args ARGS  more flags for ComfyUI              COMFYUI_ARGS
     --keep-metadata      leave the workflow in saved files   COMFYUI_KEEP_METADATA=1
  --builds                make what each release needs        COMFYUI_BUILDS=1
     --build-python EXE   an interpreter for its environments PILOTLIGHT_BUILD_PYTHON
     --allow-file-sources take file:// addresses in builds    PILOTLIGHT_ALLOW_FILE_SOURCES=1
     --keep-metadata      as above
  --comfyui-url URL[,URL] use ComfyUI servers that run        COMFYUI_URL
  --stand-in              the CPU stand-in, for tests         COMFYUI_STAND_IN=1

  --drain-seconds N       for jobs in hand after SIGTERM (600)
  --hang-seconds N        nothing moves: ComfyUI is restarted (300)
  --boot-seconds N        until ComfyUI must answer (600)
  --min-free-gb N         free disk needed to take work (1)
`;

/** What the caller got wrong; the message is for the terminal. */
export class SettingsError extends Error {}

/**
 * Reads flags first, then the environment.
 * @param readStdin asked only for `--join-token -`
 * @throws SettingsError with a sentence that says what to change
 */
export async function readSettings(
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  readStdin: () => Promise<string>,
): Promise<AgentSettings> {
  const string = { type: "string" } as const;
  const boolean = { type: "boolean" } as const;
  let flags: Record<string, string | boolean | undefined>;
  try {
    flags = parseArgs({
      args: [...argv],
      options: {
        url: string,
        "join-token": string,
        name: string,
        region: string,
        "state-directory": string,
        slots: string,
        "slots-per-gpu": string,
        "no-lease-ahead": boolean,
        "comfyui-dir": string,
        "comfyui-python": string,
        "comfyui-args": string,
        "keep-metadata": boolean,
        "comfyui-url": string,
        builds: boolean,
        "build-python": string,
        "allow-file-sources": boolean,
        "stand-in": boolean,
        "drain-seconds": string,
        "hang-seconds": string,
        "boot-seconds": string,
        "min-free-gb": string,
      },
    }).values;
  } catch (error) {
    throw new SettingsError(error instanceof Error ? error.message : String(error));
  }

  const text = (flag: string, variable?: string): string | undefined => {
    const value = flags[flag] ?? (variable === undefined ? undefined : environment[variable]);
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const yes = (flag: string, variable: string): boolean =>
    flags[flag] === true || ["1", "true", "yes"].includes(environment[variable] ?? "");
  const number = (flag: string, variable?: string): number | undefined => {
    const value = text(flag, variable);
    if (value === undefined) return undefined;
    const result = Number(value);
    if (!Number.isFinite(result) || result < 0) throw new SettingsError(`--${flag} must be a number, not ${value}`);
    return result;
  };
  const milliseconds = (flag: string): number | undefined => {
    const seconds = number(flag);
    return seconds === undefined ? undefined : Math.round(seconds * 1_000);
  };

  const given = text("join-token", "PILOTLIGHT_JOIN_TOKEN");
  const joinToken = given === "-" ? (await readStdin()).trim() : given;
  const freeGb = number("min-free-gb");
  const result = AgentSettings.safeParse({
    url: text("url", "PILOTLIGHT_URL"),
    joinToken: joinToken === "" ? undefined : joinToken,
    name: text("name", "PILOTLIGHT_NODE_NAME") ?? hostname(),
    region: text("region", "PILOTLIGHT_REGION"),
    stateDirectory: resolve(
      text("state-directory", "PILOTLIGHT_STATE_DIRECTORY") ??
        join(environment.XDG_STATE_HOME ?? join(homedir(), ".local", "state"), "pilotlight-agent"),
    ),
    comfy: comfySettings(text, yes),
    slots: number("slots", "PILOTLIGHT_SLOTS"),
    slotsPerGpu: number("slots-per-gpu", "PILOTLIGHT_SLOTS_PER_GPU"),
    leaseAhead: !yes("no-lease-ahead", "PILOTLIGHT_NO_LEASE_AHEAD"),
    ...(freeGb === undefined ? {} : { freeBytesMin: Math.round(freeGb * 1024 ** 3) }),
    timings: {
      drainMs: milliseconds("drain-seconds"),
      hangMs: milliseconds("hang-seconds"),
      bootMs: milliseconds("boot-seconds"),
    },
  });
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.join(".") ?? "settings";
  if (where === "url") throw new SettingsError("--url (or PILOTLIGHT_URL) must be the server's http or https address");
  if (where === "region") throw new SettingsError(`--region (or PILOTLIGHT_REGION): ${issue?.message ?? "not valid"}`);
  throw new SettingsError(`${where}: ${issue?.message ?? "not valid"}`);
}

function comfySettings(
  text: (flag: string, variable?: string) => string | undefined,
  yes: (flag: string, variable: string) => boolean,
): unknown {
  const directory = text("comfyui-dir", "COMFYUI_DIR");
  const url = text("comfyui-url", "COMFYUI_URL");
  const builds = yes("builds", "COMFYUI_BUILDS");
  const standIn = yes("stand-in", "COMFYUI_STAND_IN");
  const chosen = [directory !== undefined, url !== undefined, builds, standIn].filter(Boolean).length;
  if (chosen !== 1)
    throw new SettingsError("Give exactly one of --comfyui-dir, --comfyui-url, --builds and --stand-in");
  const args = splitArgs(text("comfyui-args", "COMFYUI_ARGS") ?? "");
  if (standIn) return { kind: "stand-in", args };
  if (url !== undefined) return { kind: "attach", urls: url.split(",").map((each) => each.trim()) };
  if (builds) {
    const python = text("build-python", "PILOTLIGHT_BUILD_PYTHON");
    return {
      kind: "builds",
      pythons: python === undefined ? [] : [python],
      allowFiles: yes("allow-file-sources", "PILOTLIGHT_ALLOW_FILE_SOURCES"),
      metadata: yes("keep-metadata", "COMFYUI_KEEP_METADATA"),
    };
  }
  const folder = resolve(directory ?? "");
  if (!existsSync(join(folder, "main.py")))
    throw new SettingsError(`There is no ComfyUI in ${folder}: main.py is missing`);
  const own = flagsSet(args, OWN_FLAGS);
  if (own.length > 0) {
    const named = own.map((flag) => `--${flag}`).join(", ");
    throw new SettingsError(`COMFYUI_ARGS: leave ${named} out; the agent chooses ComfyUI's address and folders itself`);
  }
  return {
    kind: "spawn",
    directory: folder,
    python: text("comfyui-python", "COMFYUI_PYTHON") ?? findPython(folder),
    args,
    metadata: yes("keep-metadata", "COMFYUI_KEEP_METADATA"),
  };
}

function findPython(directory: string): string {
  const places = [join(directory, ".venv", "bin", "python"), join(directory, "venv", "bin", "python")];
  return places.find((place) => existsSync(place)) ?? "python3";
}

/** Splits as a shell would: spaces separate, single and double quotes hold together. */
export function splitArgs(text: string): string[] {
  return [...text.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)].map(([word]) =>
    word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"),
  );
}
