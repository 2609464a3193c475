/** How a build's ComfyUI is started. Pure. */
import { join } from "node:path";
import type { BuildManifest } from "#contract/build";
import { supportedFlags } from "../comfy/launch-flags.ts";
import type { Launch } from "../comfy/spawn-host.ts";
import type { HeldBuild } from "./build-store.ts";
import { offlineEnvironment } from "./environments.ts";

/** Results of nodes that `--cache-lru` keeps: those of a large graph or two. */
const LRU_RESULTS = 100;

/** @param metadata leave the workflow in saved files */
export function buildLaunch(
  build: Pick<HeldBuild, "comfyui" | "python" | "digest" | "marker">,
  options: { readonly cpuOnly: boolean; readonly metadata: boolean; readonly environment: NodeJS.ProcessEnv },
): Launch {
  const { launch } = build.marker.manifest;
  return {
    program: build.python,
    args: [join(build.comfyui, "main.py")],
    cwd: build.comfyui,
    extra: [...cacheFlags(launch), ...launch.flags],
    metadata: options.metadata,
    cpuOnly: options.cpuOnly,
    environment: { ...offlineEnvironment(options.environment), PYTHONUNBUFFERED: "1" },
    label: `build ${build.digest.slice(0, 12)}`,
    freshUser: true,
  };
}

/**
 * A version that has no such flag ends at once and says so: the build asks for what it does not hold.
 * A mode that the flags give with its number stands.
 */
function cacheFlags({ cache, flags }: BuildManifest["launch"]): string[] {
  if (supportedFlags(flags.join(" ")).has(`cache-${cache}`)) return [];
  switch (cache) {
    case "default":
      return [];
    case "classic":
      return ["--cache-classic"];
    case "lru":
      return ["--cache-lru", String(LRU_RESULTS)];
    case "none":
      return ["--cache-none"];
    case "ram":
      return ["--cache-ram"];
    default:
      throw new Error(`unhandled: ${String(cache satisfies never)}`);
  }
}
