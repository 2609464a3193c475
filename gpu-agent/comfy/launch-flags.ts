/** The flags a ComfyUI is started with. Flag sets differ by version and an unknown flag ends the start, so it is asked first. */
import type { ComfyFolders } from "./comfy-server.ts";

export interface LaunchPlan {
  readonly port: number;
  readonly folders: ComfyFolders;
  readonly user: string;
  readonly database: string;
  readonly cpuOnly: boolean;
  /** Leave the workflow inside saved files. */
  readonly metadata: boolean;
  /** The operator's own flags, none of OWN_FLAGS among them; they win. */
  readonly extra: readonly string[];
}

/**
 * Where a ComfyUI listens and what it writes its jobs' files to: on loopback and in folders that are emptied, whatever the
 * operator's flags say. Models, custom nodes and devices are theirs to choose.
 */
export const OWN_FLAGS: readonly string[] = [
  "listen",
  "port",
  "tls-keyfile",
  "tls-certfile",
  "input-directory",
  "output-directory",
  "temp-directory",
  "auto-launch",
];

/** MB; inputs may be as large as outputs. */
const UPLOAD_MB_MAX = 4_096;
const DEVICE_FLAGS = ["cpu", "directml", "cuda-device", "default-device", "oneapi-device-selector"];

/** Names of the flags in the text of `--help`. */
export function supportedFlags(help: string): ReadonlySet<string> {
  return new Set([...help.matchAll(/--([a-z0-9][a-z0-9_-]*)/g)].map(([, name]) => name ?? ""));
}

/**
 * Flags of a list that arguments set. ComfyUI takes every beginning of a flag's name that no other flag shares for the
 * flag, so that `--liste` is `--listen`: a beginning counts as the flag, shared or not.
 */
export function flagsSet(args: readonly string[], names: readonly string[]): string[] {
  const given = [...supportedFlags(args.join(" "))];
  return names.filter((name) => given.some((each) => name.startsWith(each)));
}

/**
 * Flags for a ComfyUI of the agent's own. Its models and custom nodes stay where the installation has them
 * (--base-directory would move both); only what it writes goes elsewhere, so that the installation is never changed.
 * @param supported null when the program could not be asked: then only the flags that every version knows
 */
export function launchFlags(plan: LaunchPlan, supported: ReadonlySet<string> | null): string[] {
  const given = supportedFlags(plan.extra.join(" "));
  const flags: string[] = [];
  const add = (name: string, ...values: string[]) => {
    const known = supported === null ? COMMON.has(name) : supported.has(name);
    if (known && !given.has(name)) flags.push(`--${name}`, ...values);
  };
  // Loopback only: ComfyUI has no authentication, and custom nodes run any code.
  flags.push("--listen", "127.0.0.1", "--port", String(plan.port));
  add("disable-auto-launch");
  add("output-directory", plan.folders.output);
  add("input-directory", plan.folders.input);
  add("temp-directory", plan.folders.temp);
  add("user-directory", plan.user);
  // Newer versions lock their database: two processes must not share one.
  add("database-url", `sqlite:///${plan.database}`);
  add("max-upload-size", String(UPLOAD_MB_MAX));
  add("preview-method", "auto");
  if (!plan.metadata) add("disable-metadata");
  if (plan.cpuOnly && !DEVICE_FLAGS.some((name) => given.has(name))) add("cpu");
  return [...flags, ...plan.extra];
}

const COMMON = new Set(["disable-auto-launch", "output-directory", "input-directory", "temp-directory", "cpu"]);
