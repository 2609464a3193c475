/** The launch flags of a running ComfyUI that belong to a build, out of the words it was started with. */
import type { BuildManifest } from "#contract/build";

/**
 * Flags of one machine or one start: addresses, folders, devices, logs. The agent sets its own of those, and a build that
 * named them would not run elsewhere.
 */
const FLAGS_OF_THE_MACHINE = new Set([
  ...["listen", "port", "tls-keyfile", "tls-certfile", "enable-cors-header", "max-upload-size", "multi-user"],
  ...["base-directory", "models-directory", "input-directory", "output-directory", "temp-directory", "user-directory"],
  ...["extra-model-paths-config", "database-url", "front-end-root", "front-end-version", "comfy-api-base"],
  ...["auto-launch", "disable-auto-launch", "windows-standalone-build", "dont-print-server", "quick-test-for-ci"],
  ...["enable-manager", "enable-manager-legacy-ui", "disable-manager-ui", "log-stdout", "verbose"],
  ...["preview-method", "disable-metadata", "cpu", "directml", "cuda-device", "default-device"],
  "oneapi-device-selector",
]);

const CACHES: ReadonlyMap<string, BuildManifest["launch"]["cache"]> = new Map([
  ["cache-classic", "classic"],
  ["cache-lru", "lru"],
  ["cache-none", "none"],
  ["cache-ram", "ram"],
]);

/** Flags and their values that a build keeps. */
const WORDS_MAX = 50;
const WORD_LENGTH_MAX = 200;

/**
 * @param argv as /system_stats has it: the program first
 * @returns the flags kept, in their order, and the names of those left out
 */
export function launchOfArgv(argv: readonly string[]): {
  readonly launch: BuildManifest["launch"];
  readonly leftOut: readonly string[];
} {
  const flags: string[] = [];
  const leftOut: string[] = [];
  let cache: BuildManifest["launch"]["cache"] = "default";
  for (const words of groups(argv)) {
    const name = /^--([^=]+)/.exec(words[0] ?? "")?.[1] ?? "";
    const named = CACHES.get(name);
    if (named !== undefined) {
      cache = named;
      // A number after it stays beside the mode.
      if (words.length === 1 && !words[0]?.includes("=")) continue;
    }
    const fits = flags.length + words.length <= WORDS_MAX && words.every((word) => word.length <= WORD_LENGTH_MAX);
    if (FLAGS_OF_THE_MACHINE.has(name) || !fits) leftOut.push(`--${name}`.slice(0, WORD_LENGTH_MAX));
    else flags.push(...words);
  }
  return { launch: { flags, cache }, leftOut };
}

/** Each flag with the words up to the next; what stands before the first is the program. */
function groups(argv: readonly string[]): string[][] {
  const found: string[][] = [];
  for (const word of argv) {
    if (/^--[a-z0-9]/i.test(word)) found.push([word]);
    else if (word !== "") found.at(-1)?.push(word);
  }
  return found;
}
