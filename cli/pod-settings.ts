/** Options that set a pod's settings, the same when it is made and afterwards. */
import type { ParseArgsOptionsConfig } from "node:util";
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { IDLE_TIMEOUT_S_MAX, REPLICAS_MAX } from "#contract/limits";
import { Region } from "#contract/region";
import { GpuTypeName, type PodSettings } from "#contract/replica";

export const podOptions = {
  description: { type: "string" },
  gpu: { type: "string", multiple: true },
  containers: { type: "string" },
  region: { type: "string", multiple: true },
  "min-replicas": { type: "string" },
  "idle-timeout": { type: "string" },
  price: { type: "string", multiple: true },
} as const satisfies ParseArgsOptionsConfig;

export const podOptionHelp: Readonly<Record<keyof typeof podOptions, string>> = {
  description: "what it is for",
  gpu: "a type of card that may join, the preferred one first (`pilotlight gpus ls`); may be repeated; any for every card",
  containers: "replicas that may run on it at once, or none for as many as its nodes have slots",
  region: "where its nodes may be; may be repeated; any for everywhere",
  "min-replicas": "replicas kept on it even when idle",
  "idle-timeout": "seconds after which no replica idles on it any longer, or none",
  price: "dollars for an hour of a card, such as rtx-4090=0.08; may be repeated; rtx-4090=none takes one back",
};

const CONTAINERS_MAX = 10_000;
const PRICE_MAX = 1_000;

/**
 * What the options say; what was not given is not in it.
 * @param prices those the pod has: the options name the ones that change
 * @throws CliError `usage`
 */
export function podSettingsOf(call: Call, prices: PodSettings["prices"]): Partial<PodSettings> {
  const settings = Object.entries({
    description: call.text("description"),
    gpu_types: listOf(call, "gpu", GpuTypeName, "rtx-4090"),
    containers_max: bound(call, "containers", CONTAINERS_MAX),
    regions: listOf(call, "region", Region, "eu-west"),
    min_replicas: call.integer("min-replicas", 0, REPLICAS_MAX),
    idle_timeout_s: bound(call, "idle-timeout", IDLE_TIMEOUT_S_MAX),
    prices: pricesOf(call, prices),
  }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(settings);
}

/** A whole number from 1, or null for `none`. */
function bound(call: Call, option: string, maximum: number): number | null | undefined {
  return call.text(option) === "none" ? null : call.integer(option, 1, maximum);
}

function listOf(call: Call, option: string, schema: typeof Region, example: string): string[] | undefined {
  const names = call.texts(option).flatMap((text) => text.split(",").map((name) => name.trim()));
  if (names.length === 0) return undefined;
  if (names.includes("any")) return [];
  for (const name of names) {
    if (!schema.safeParse(name).success) {
      throw new CliError("usage", `--${option} takes a name such as ${example}, not ${name}`);
    }
  }
  return [...new Set(names)];
}

function pricesOf(call: Call, known: PodSettings["prices"]): PodSettings["prices"] | undefined {
  const given = call.texts("price");
  if (given.length === 0) return undefined;
  const prices = new Map(Object.entries(known));
  for (const text of given) {
    const [, name = "", amount = ""] = /^([a-z0-9-]+)=(none|[0-9]+(?:\.[0-9]+)?)$/.exec(text) ?? [];
    if (name === "" || Number(amount) > PRICE_MAX) {
      throw new CliError("usage", `--price takes a card and dollars, such as rtx-4090=0.08, not ${text}`);
    }
    if (amount === "none") prices.delete(name);
    else prices.set(name, Number(amount));
  }
  return Object.fromEntries(prices);
}
