/**
 * The command line, read as ComfyUI's argparse reads it: its flags by name, exit 2 for one it does not know. Flags
 * that steer a GPU are accepted and change nothing here.
 */
import { statSync } from "node:fs";
import type { JsonObject } from "#contract/exact-json";
import { CRASH_MOMENTS } from "./faults.ts";
import { GENERATIONS, type GenerationName } from "./generations.ts";
import type { CachePolicy } from "./node-cache.ts";

/** How many values follow a flag: none, one, at most one, any number, at least one. */
type Arity = "0" | "1" | "?" | "*" | "+";

const IGNORED_IN_BOTH: Readonly<Record<Arity, string>> = {
  "0": "async-offload auto-launch bf16-text-enc bf16-unet bf16-vae cpu cpu-vae cuda-malloc deterministic disable-all-custom-nodes disable-api-nodes disable-auto-launch disable-cuda-malloc disable-mmap disable-smart-memory disable-xformers dont-print-server dont-upcast-attention enable-compress-response-body force-channels-last force-fp16 force-fp32 force-non-blocking force-upcast-attention fp16-text-enc fp16-unet fp16-vae fp32-text-enc fp32-unet fp32-vae fp64-unet fp8_e4m3fn-text-enc fp8_e4m3fn-unet fp8_e5m2-text-enc fp8_e5m2-unet fp8_e8m0fnu-unet gpu-only highvram log-stdout lowvram mmap-torch-files multi-user novram supports-fp8-compute use-flash-attention use-pytorch-cross-attention use-quad-cross-attention use-sage-attention use-split-cross-attention windows-standalone-build",
  "1": "comfy-api-base cuda-device database-url default-device default-hashing-function front-end-root front-end-version oneapi-device-selector reserve-vram tls-certfile tls-keyfile",
  "?": "directml verbose",
  "*": "fast",
  "+": "extra-model-paths-config whitelist-custom-nodes",
};
const IGNORED_IN: Readonly<Record<GenerationName, Readonly<Partial<Record<Arity, string>>>>> = {
  "0.3.64": { "0": "disable-ipex-optimize normalvram" },
  newer: {
    "0": "debug-hang disable-async-offload disable-cuda-graphs disable-dynamic-vram disable-manager-ui disable-nvml-pressure disable-pinned-memory disable-triton-backend enable-asset-hashing enable-assets enable-dynamic-vram enable-manager enable-manager-legacy-ui enable-triton-backend fast-disk fp16-intermediates high-ram list-feature-flags use-ck-attention",
    "1": "feature-flag models-directory vram-headroom",
    "*": "cache-ram",
  },
};
const UNDERSTOOD: Readonly<Record<string, Arity>> = {
  "base-directory": "1",
  "cache-classic": "0",
  "cache-lru": "1",
  "cache-none": "0",
  "disable-metadata": "0",
  "enable-cors-header": "?",
  "input-directory": "1",
  listen: "?",
  "max-upload-size": "1",
  "output-directory": "1",
  port: "1",
  "preview-method": "1",
  "preview-size": "1",
  "quick-test-for-ci": "0",
  "temp-directory": "1",
  "user-directory": "1",
  // The stand-in's own:
  generation: "1",
  "fault-slow-boot-ms": "1",
  "fault-slow-node-ms": "1",
  "fault-slow-marker-ms": "1",
  "fault-model-load-ms": "1",
  "fault-node-exception": "1",
  "fault-out-of-memory": "1",
  "fault-dead-worker": "0",
  "fault-silent-socket": "0",
  "fault-crash": "1",
  "fault-disk-full": "0",
  "fault-missing-model": "1",
  "fault-history-loss": "0",
};

/** Results kept by a server whose cache is bounded by memory; each can be a big batch of pictures. */
const MEMORY_CACHE_ENTRIES_MAX = 64;

export interface Settings {
  readonly generation: GenerationName;
  readonly addresses: readonly string[];
  readonly port: number;
  /** As given; what is missing lies under the base directory. */
  readonly baseDirectory: string | undefined;
  readonly inputDirectory: string | undefined;
  readonly outputDirectory: string | undefined;
  readonly tempDirectory: string | undefined;
  readonly modelsDirectory: string | undefined;
  readonly bodyBytesMax: number;
  readonly corsOrigin: string | undefined;
  readonly cache: CachePolicy;
  readonly previews: boolean;
  readonly previewSizeMax: number;
  readonly disableMetadata: boolean;
  /** Ends after the start, as ComfyUI's own smoke test does. */
  readonly quickTest: boolean;
  readonly slowBootMs: number;
  /** For `Faults.change`. */
  readonly faults: JsonObject;
}

export type CommandLine =
  | { readonly type: "run"; readonly settings: Settings }
  | { readonly type: "help"; readonly text: string }
  /** Exit code 2 and this text on stderr. */
  | { readonly type: "refused"; readonly text: string };

class UsageError extends Error {}

export function parseCommandLine(argv: readonly string[]): CommandLine {
  try {
    const generation = generationOf(argv);
    const flags = flagsOf(generation);
    if (argv.includes("-h") || argv.includes("--help")) return { type: "help", text: helpText(flags) };
    return { type: "run", settings: settingsFrom(generation, valuesOf(argv, flags)) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { type: "refused", text: `usage: main.py [-h] [flags]\nmain.py: error: ${error.message}\n` };
  }
}

/** Read before the rest, because it decides which flags there are. */
function generationOf(argv: readonly string[]): GenerationName {
  const at = argv.findIndex((word) => word === "--generation" || word.startsWith("--generation="));
  if (at < 0) return "0.3.64";
  const given = argv[at]?.split("=")[1] ?? argv[at + 1] ?? "";
  return oneOf("generation", given, Object.keys(GENERATIONS)) === "newer" ? "newer" : "0.3.64";
}

function flagsOf(generation: GenerationName): ReadonlyMap<string, Arity> {
  const flags = new Map(Object.entries(UNDERSTOOD));
  for (const table of [IGNORED_IN_BOTH, IGNORED_IN[generation]]) {
    for (const arity of ["0", "1", "?", "*", "+"] as const) {
      for (const name of (table[arity] ?? "").split(" ")) if (name !== "") flags.set(name, arity);
    }
  }
  return flags;
}

/** Every flag that was given, with its values. */
function valuesOf(argv: readonly string[], flags: ReadonlyMap<string, Arity>): ReadonlyMap<string, readonly string[]> {
  const given = new Map<string, string[]>();
  const unknown: string[] = [];
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? "";
    const [name = "", inline] = word.startsWith("--") ? splitOnce(word.slice(2)) : [];
    const arity = flags.get(name);
    if (arity === undefined) {
      unknown.push(word);
      continue;
    }
    const values = inline === undefined ? [] : [inline];
    const countMax = arity === "0" ? 0 : arity === "1" || arity === "?" ? 1 : Number.POSITIVE_INFINITY;
    if (values.length > countMax) throw new UsageError(`argument --${name}: ignored explicit argument '${inline}'`);
    while (inline === undefined && values.length < countMax && isValue(argv[at + 1])) {
      at += 1;
      values.push(argv[at] ?? "");
    }
    if (arity === "1" && values.length === 0) throw new UsageError(`argument --${name}: expected one argument`);
    if (arity === "+" && values.length === 0)
      throw new UsageError(`argument --${name}: expected at least one argument`);
    const isRepeatable = name === "fault-missing-model";
    given.set(name, isRepeatable ? [...(given.get(name) ?? []), ...values] : values);
  }
  if (unknown.length > 0) throw new UsageError(`unrecognized arguments: ${unknown.join(" ")}`);
  return given;
}

function settingsFrom(generation: GenerationName, given: ReadonlyMap<string, readonly string[]>): Settings {
  const text = (name: string): string | undefined => given.get(name)?.[0];
  const number = (name: string, missing: number, wholeOnly = true): number => {
    const value = text(name);
    if (value === undefined) return missing;
    if (!(wholeOnly ? /^-?\d+$/ : /^-?\d+(\.\d*)?$/).test(value)) {
      throw new UsageError(`argument --${name}: invalid ${wholeOnly ? "int" : "float"} value: '${value}'`);
    }
    return Number(value);
  };
  for (const name of ["user-directory", "front-end-root"]) {
    const folder = text(name);
    if (folder !== undefined) requireFolder(name, folder);
  }
  const previewMethod = oneOf("preview-method", text("preview-method") ?? "none", [
    "none",
    "auto",
    "latent2rgb",
    "taesd",
  ]);
  const listen = given.has("listen") ? (text("listen") ?? "0.0.0.0,::") : "127.0.0.1";
  return {
    generation,
    addresses: listen.split(","),
    port: number("port", 8188),
    baseDirectory: text("base-directory"),
    inputDirectory: text("input-directory"),
    outputDirectory: text("output-directory"),
    tempDirectory: text("temp-directory"),
    modelsDirectory: text("models-directory"),
    bodyBytesMax: Math.round(number("max-upload-size", 100, false) * 1024 * 1024),
    corsOrigin: given.has("enable-cors-header") ? (text("enable-cors-header") ?? "*") : undefined,
    cache: cachePolicy(generation, given, number("cache-lru", 0)),
    previews: previewMethod !== "none",
    previewSizeMax: number("preview-size", 512),
    disableMetadata: given.has("disable-metadata"),
    quickTest: given.has("quick-test-for-ci"),
    slowBootMs: number("fault-slow-boot-ms", 0),
    faults: {
      slow_node_ms: number("fault-slow-node-ms", 0),
      slow_marker_ms: number("fault-slow-marker-ms", 30_000),
      model_load_ms: number("fault-model-load-ms", 0),
      node_exception: text("fault-node-exception") ?? "",
      out_of_memory: number("fault-out-of-memory", 0),
      dead_worker: given.has("fault-dead-worker"),
      silent_socket: given.has("fault-silent-socket"),
      crash: given.has("fault-crash") ? oneOf("fault-crash", text("fault-crash") ?? "", CRASH_MOMENTS) : "",
      disk_full: given.has("fault-disk-full"),
      missing_models: [...(given.get("fault-missing-model") ?? [])],
      history_loss: given.has("fault-history-loss"),
    },
  };
}

function cachePolicy(generation: GenerationName, given: ReadonlyMap<string, unknown>, lru: number): CachePolicy {
  const asked = ["cache-classic", "cache-lru", "cache-none", "cache-ram"].filter((name) => given.has(name));
  if (asked[0] !== undefined && asked[1] !== undefined) {
    throw new UsageError(`argument --${asked[1]}: not allowed with argument --${asked[0]}`);
  }
  if (lru > 0) return { kind: "lru", entriesMax: lru };
  if (given.has("cache-none")) return { kind: "none" };
  const isClassic = given.has("cache-classic") || GENERATIONS[generation].defaultCache === "classic";
  return isClassic ? { kind: "classic" } : { kind: "lru", entriesMax: MEMORY_CACHE_ENTRIES_MAX };
}

function requireFolder(name: string, folder: string): void {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found === undefined) throw new UsageError(`argument --${name}: The path '${folder}' does not exist.`);
  if (!found.isDirectory()) throw new UsageError(`argument --${name}: '${folder}' is not a directory.`);
}

function oneOf(name: string, value: string, choices: readonly string[]): string {
  if (choices.includes(value)) return value;
  const listed = choices.map((choice) => `'${choice}'`).join(", ");
  throw new UsageError(`argument --${name}: invalid choice: '${value}' (choose from ${listed})`);
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf("=");
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

/** Negative numbers are values, other words with a dash are flags. */
function isValue(word: string | undefined): boolean {
  return word !== undefined && (!word.startsWith("-") || /^-\d/.test(word));
}

function helpText(flags: ReadonlyMap<string, Arity>): string {
  const shown: Readonly<Record<Arity, string>> = {
    "0": "",
    "1": " VALUE",
    "?": " [VALUE]",
    "*": " [VALUE ...]",
    "+": " VALUE [VALUE ...]",
  };
  const lines = [...flags].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, arity]) => `  --${name}${shown[arity]}`);
  return `usage: main.py [-h] [flags]\n\nThe Pilotlight stand-in for ComfyUI.\n\noptions:\n  -h, --help\n${lines.join("\n")}\n`;
}
