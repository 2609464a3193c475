/** Options that set an endpoint's settings, the same when it is deployed and afterwards. */
import type { ParseArgsOptionsConfig } from "node:util";
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { chosen } from "#cli/job-filters";
import { warmWindowOf } from "#cli/warm-window";
import { type EndpointSettings, ScalingPolicy, type WarmWindow } from "#contract/endpoint";
import {
  IDLE_TIMEOUT_S_MAX,
  QUEUE_DEPTH_MAX,
  REPLICAS_MAX,
  TIMEOUT_S_MAX,
  WAIT_VALUE_MAX,
  WAIT_VALUE_MIN,
} from "#contract/limits";
import { Region } from "#contract/region";

const POLICIES = ScalingPolicy.options.join(", ");

export const settingOptions = {
  "idle-timeout": { type: "string" },
  "min-replicas": { type: "string" },
  "max-replicas": { type: "string" },
  "queue-depth": { type: "string" },
  "job-timeout": { type: "string" },
  "starts-per-minute": { type: "string" },
  "gpu-seconds-per-day": { type: "string" },
  region: { type: "string", multiple: true },
  policy: { type: "string" },
  "wait-value": { type: "string" },
  "target-p95": { type: "string" },
  "queue-delay": { type: "string" },
  "jobs-per-replica": { type: "string" },
  "batch-wait": { type: "string" },
  warm: { type: "string", multiple: true },
} as const satisfies ParseArgsOptionsConfig;

export const settingHelp: Readonly<Record<keyof typeof settingOptions, string>> = {
  "idle-timeout": "seconds without work after which a replica stops, or auto: by what is learned of the demand",
  "min-replicas": "replicas kept warm",
  "max-replicas": "replicas at most",
  "queue-depth": "jobs that may wait; the next one is refused",
  "job-timeout": "seconds one attempt may execute",
  "starts-per-minute": "attempts that may start within a minute, or none for no bound",
  "gpu-seconds-per-day": "GPU-seconds within one UTC day, or none for no bound",
  region: "where its replicas may run, as nodes name it; may be repeated; any for everywhere",
  policy: `how the number of replicas is decided: ${POLICIES}`,
  "wait-value": "GPU-seconds a second of waiting is worth: 1 thrifty, 10 balanced, 100 fast",
  "target-p95": "seconds that 95 of 100 interactive jobs may wait, or none: by the wait value",
  "queue-delay": "with policy queue_delay: another replica when a job has waited so many seconds",
  "jobs-per-replica": "with policy request_count: jobs for each replica",
  "batch-wait": "seconds that batch jobs wait for an idle replica before one is started for them",
  warm: "replicas kept warm in a part of the week, such as 'mon-fri 08:00-18:00 Europe/Berlin 2'; may be repeated; none for no such part",
};

const BATCH_WAIT_S_MAX = 7 * 86_400;
const STARTS_PER_MINUTE_MAX = 100_000;
const GPU_SECONDS_PER_DAY_MAX = 1_000_000_000;

/** What the options say; undefined when none was given. @throws CliError `usage` */
export function settingsOf(call: Call): Partial<EndpointSettings> | undefined {
  const settings = Object.entries({
    idle_timeout_s: call.text("idle-timeout") === "auto" ? null : call.integer("idle-timeout", 1, IDLE_TIMEOUT_S_MAX),
    min_replicas: call.integer("min-replicas", 0, REPLICAS_MAX),
    max_replicas: call.integer("max-replicas", 1, REPLICAS_MAX),
    queue_depth_max: call.integer("queue-depth", 1, QUEUE_DEPTH_MAX),
    timeout_s: call.integer("job-timeout", 1, TIMEOUT_S_MAX),
    starts_per_minute_max: bound(call, "starts-per-minute", STARTS_PER_MINUTE_MAX),
    gpu_seconds_per_day_max: bound(call, "gpu-seconds-per-day", GPU_SECONDS_PER_DAY_MAX),
    regions: regionsOf(call),
    policy: chosen(call, "policy", ScalingPolicy, POLICIES),
    wait_value: number(call, "wait-value", WAIT_VALUE_MIN, WAIT_VALUE_MAX),
    target_p95_wait_s: call.text("target-p95") === "none" ? null : number(call, "target-p95", 0.1, 3_600),
    queue_delay_s: number(call, "queue-delay", 0, 3_600),
    jobs_per_replica: call.integer("jobs-per-replica", 1, 1_000),
    batch_target_wait_s: call.integer("batch-wait", 0, BATCH_WAIT_S_MAX),
    warm_schedule: warmScheduleOf(call),
  }).filter(([, value]) => value !== undefined);
  return settings.length === 0 ? undefined : Object.fromEntries(settings);
}

/** A whole number from 1, or null for `none`. */
function bound(call: Call, option: string, maximum: number): number | null | undefined {
  return call.text(option) === "none" ? null : call.integer(option, 1, maximum);
}

/** A number that need not be whole. */
function number(call: Call, option: string, minimum: number, maximum: number): number | undefined {
  const text = call.text(option);
  if (text === undefined) return undefined;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (value >= minimum && value <= maximum) return value;
  throw new CliError("usage", `--${option} takes a number from ${minimum} to ${maximum}, not ${text}`);
}

function warmScheduleOf(call: Call): WarmWindow[] | undefined {
  const windows = call.texts("warm");
  if (windows.length === 0) return undefined;
  return windows.includes("none") ? [] : windows.map(warmWindowOf);
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
