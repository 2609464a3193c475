/** What the options of `simulate` say. */
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { type ContenderOptions, POLICIES_DEFAULT } from "#cli/simulate/contenders";
import type { EndpointSettings } from "#contract/endpoint";
import { GPU_TYPES } from "#contract/gpu-types";
import { IDLE_TIMEOUT_S_MAX, REPLICAS_MAX, WAIT_VALUE_MAX, WAIT_VALUE_MIN } from "#contract/limits";

const PRICE_MAX = 1_000;

/**
 * The policies and their settings: what the options say, over what the endpoint has.
 * @param startMs when the trace began, in Unix ms, for the warm schedule; null: unknown
 * @throws CliError `usage`
 */
export function contenderOptions(call: Call, settings: EndpointSettings, startMs: number | null): ContenderOptions {
  const idleTimeoutS = idleTimeoutOf(call, settings.idle_timeout_s);
  const floors = differentNumbersOf(call, "min", 0, REPLICAS_MAX) ?? [settings.min_replicas];
  const ceiling = call.integer("max", 1, REPLICAS_MAX) ?? settings.max_replicas;
  for (const floor of floors) {
    if (!Number.isInteger(floor)) throw new CliError("usage", `--min must be whole numbers, not ${floor}`);
    if (floor > ceiling) throw new CliError("usage", `--min is ${floor}, above --max, which is ${ceiling}`);
  }
  const waitValues = differentNumbersOf(call, "wait-value", WAIT_VALUE_MIN, WAIT_VALUE_MAX);
  const target = numberOf(call, "target-p95", 0.1, 3_600);
  if (waitValues !== undefined && target !== undefined) {
    throw new CliError("usage", "Give --wait-value or --target-p95: the one is learned from the other");
  }
  return {
    names: (call.text("policy") ?? POLICIES_DEFAULT.join(",")).split(",").map((name) => name.trim()),
    floors,
    waitValues: waitValues ?? [settings.wait_value],
    schedule:
      startMs === null || settings.warm_schedule.length === 0 ? null : { windows: settings.warm_schedule, startMs },
    targetP95S: target ?? (waitValues === undefined ? settings.target_p95_wait_s : null),
    settings: {
      ceiling,
      idleTimeoutMs: idleTimeoutS === null ? null : idleTimeoutS * 1_000,
      queueDelayMs: (numberOf(call, "queue-delay", 0, 3_600) ?? settings.queue_delay_s) * 1_000,
      jobsPerReplica: call.integer("jobs-per-replica", 1, 1_000) ?? settings.jobs_per_replica,
      batchTargetWaitMs: (numberOf(call, "batch-target-wait", 0, 604_800) ?? settings.batch_target_wait_s) * 1_000,
    },
  };
}

/** Seconds; null: none of its own, which an endpoint's option calls auto, and a pod's none. @throws CliError `usage` */
function idleTimeoutOf(call: Call, own: number | null): number | null {
  const text = call.text("idle-timeout");
  if (text === "auto" || text === "none") return null;
  return call.integer("idle-timeout", 1, IDLE_TIMEOUT_S_MAX) ?? own;
}

/** Dollars for an hour of a GPU; null when neither --price nor --gpu says. @throws CliError `usage` */
export function priceOf(call: Call): number | null {
  const price = numberOf(call, "price", 0, PRICE_MAX);
  const gpu = call.text("gpu");
  if (gpu === undefined) return price ?? null;
  const type = GPU_TYPES.find(({ name }) => name === gpu);
  if (type === undefined) {
    throw new CliError("usage", `--gpu knows no ${gpu}`, `It knows ${GPU_TYPES.map(({ name }) => name).join(", ")}.`);
  }
  return price ?? type.price_per_hour;
}

/** A number of an option, with a fraction. @throws CliError `usage` when it is none or out of range */
export function numberOf(call: Call, option: string, minimum: number, maximum: number): number | undefined {
  const numbers = numbersOf(call, option, minimum, maximum);
  if (numbers !== undefined && numbers.length > 1) throw new CliError("usage", `--${option} is one number`);
  return numbers?.[0];
}

/** What is to be tried side by side: a value that is given twice would only be a second row of the same name. */
function differentNumbersOf(call: Call, option: string, minimum: number, maximum: number): number[] | undefined {
  const numbers = numbersOf(call, option, minimum, maximum);
  return numbers === undefined ? undefined : [...new Set(numbers)];
}

function numbersOf(call: Call, option: string, minimum: number, maximum: number): number[] | undefined {
  return call
    .text(option)
    ?.split(",")
    .map((text) => {
      const value = /^[0-9]{1,9}(?:\.[0-9]{1,6})?$/.test(text.trim()) ? Number(text) : Number.NaN;
      if (value >= minimum && value <= maximum) return value;
      throw new CliError("usage", `--${option} must be a number from ${minimum} to ${maximum}, not ${text}`);
    });
}
