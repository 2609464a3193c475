/** Options that set an endpoint's settings, the same when it is deployed and afterwards. */
import type { ParseArgsOptionsConfig } from "node:util";
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import type { EndpointSettings } from "#contract/endpoint";
import { IDLE_TIMEOUT_S_MAX, QUEUE_DEPTH_MAX, REPLICAS_MAX, TIMEOUT_S_MAX } from "#contract/limits";
import { Region } from "#contract/region";

export const settingOptions = {
  "idle-timeout": { type: "string" },
  "min-replicas": { type: "string" },
  "max-replicas": { type: "string" },
  "queue-depth": { type: "string" },
  "job-timeout": { type: "string" },
  "starts-per-minute": { type: "string" },
  "gpu-seconds-per-day": { type: "string" },
  region: { type: "string", multiple: true },
} as const satisfies ParseArgsOptionsConfig;

export const settingHelp: Readonly<Record<keyof typeof settingOptions, string>> = {
  "idle-timeout": "seconds without work after which a replica stops",
  "min-replicas": "replicas kept warm",
  "max-replicas": "replicas at most",
  "queue-depth": "jobs that may wait; the next one is refused",
  "job-timeout": "seconds one attempt may execute",
  "starts-per-minute": "attempts that may start within a minute, or none for no bound",
  "gpu-seconds-per-day": "GPU-seconds within one UTC day, or none for no bound",
  region: "where its replicas may run, as nodes name it; may be repeated; any for everywhere",
};

const STARTS_PER_MINUTE_MAX = 100_000;
const GPU_SECONDS_PER_DAY_MAX = 1_000_000_000;

/** What the options say; undefined when none was given. @throws CliError `usage` */
export function settingsOf(call: Call): Partial<EndpointSettings> | undefined {
  const settings = Object.entries({
    idle_timeout_s: call.integer("idle-timeout", 1, IDLE_TIMEOUT_S_MAX),
    min_replicas: call.integer("min-replicas", 0, REPLICAS_MAX),
    max_replicas: call.integer("max-replicas", 1, REPLICAS_MAX),
    queue_depth_max: call.integer("queue-depth", 1, QUEUE_DEPTH_MAX),
    timeout_s: call.integer("job-timeout", 1, TIMEOUT_S_MAX),
    starts_per_minute_max: bound(call, "starts-per-minute", STARTS_PER_MINUTE_MAX),
    gpu_seconds_per_day_max: bound(call, "gpu-seconds-per-day", GPU_SECONDS_PER_DAY_MAX),
    regions: regionsOf(call),
  }).filter(([, value]) => value !== undefined);
  return settings.length === 0 ? undefined : Object.fromEntries(settings);
}

/** A whole number from 1, or null for `none`. */
function bound(call: Call, option: string, maximum: number): number | null | undefined {
  return call.text(option) === "none" ? null : call.integer(option, 1, maximum);
}

function regionsOf(call: Call): string[] | undefined {
  const regions = call.texts("region");
  if (regions.length === 0) return undefined;
  if (regions.includes("any")) return [];
  for (const region of regions) {
    if (!Region.safeParse(region).success) {
      throw new CliError("usage", `--region takes a name such as eu-west or home, not ${region}`);
    }
  }
  return [...new Set(regions)];
}
