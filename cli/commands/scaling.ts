import type { Call, Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { scalingText } from "#cli/scaling-text";
import { momentOf, spanOf } from "#cli/times";
import { REPLICAS_MAX, SCALING_DECISIONS_KEPT, WARM_S_MAX } from "#contract/limits";

const endpoint = { name: "endpoint", required: true };
const DECISIONS_SHOWN = 20;

export const scaling: Command = {
  path: ["scaling"],
  summary: "Show how many replicas an endpoint wants, why, and what was decided before",
  examples: ["pilotlight scaling text-to-image", "pilotlight scaling text-to-image --limit 200"],
  positionals: [endpoint],
  options: { limit: { type: "string" } },
  optionHelp: { limit: `decisions, 1 to ${SCALING_DECISIONS_KEPT}, ${DECISIONS_SHOWN} when left out` },
  run: async (call) => {
    const limit = call.integer("limit", 1, SCALING_DECISIONS_KEPT) ?? DECISIONS_SHOWN;
    const client = await call.connect();
    const { signal } = call.interrupts;
    const found = await client.scaling.get(call.positionals[0] ?? "", { limit }, { signal });
    return { data: found, text: scalingText(found, Date.now()) };
  },
};

export const warm: Command = {
  path: ["warm"],
  summary: "Keep some replicas warm for a while, in place of what was asked for before",
  examples: [
    "pilotlight warm text-to-image --replicas 2 --for 2h",
    "pilotlight warm text-to-image --replicas 2 --until 2026-11-21T18:00:00+01:00",
  ],
  positionals: [endpoint],
  options: { replicas: { type: "string" }, for: { type: "string" }, until: { type: "string" } },
  optionHelp: {
    replicas: "how many; 1 when left out, and never more than max_replicas",
    for: "how long: 90s, 30m, 2h, 1d; 1h when left out",
    until: "instead of --for: a time to come, with its zone, such as 2026-11-21T18:00:00Z",
  },
  run: async (call) => {
    const replicas = call.integer("replicas", 1, REPLICAS_MAX) ?? 1;
    const length = lengthOf(call);
    const client = await call.connect();
    const { signal } = call.interrupts;
    const found = await client.scaling.warm(call.positionals[0] ?? "", { replicas, ...length }, { signal });
    return { data: found, text: scalingText(found, Date.now()) };
  },
};

/** @throws CliError `usage` */
function lengthOf(call: Call): { readonly for_s: number } | { readonly until: string } {
  const until = call.text("until");
  if (until === undefined) {
    const forS = Math.round(spanOf(call.text("for") ?? "1h", "for") / 1_000);
    if (forS < 1 || forS > WARM_S_MAX) throw new CliError("usage", "--for takes 1s to 7d");
    return { for_s: forS };
  }
  if (call.text("for") !== undefined) throw new CliError("usage", "Give --for or --until, not both");
  return { until: momentOf(until, "until") };
}

export const cool: Command = {
  path: ["cool"],
  summary: "End what was asked for with warm: the warm floor is the settings' again",
  examples: ["pilotlight cool text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const found = await client.scaling.cool(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return { data: found, text: scalingText(found, Date.now()) };
  },
};
