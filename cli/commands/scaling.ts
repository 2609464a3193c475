import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { scalingText } from "#cli/scaling-text";
import { spanOf } from "#cli/times";
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
  examples: ["pilotlight warm text-to-image --replicas 2 --for 2h"],
  positionals: [endpoint],
  options: { replicas: { type: "string" }, for: { type: "string" } },
  optionHelp: {
    replicas: "how many; 1 when left out, and never more than max_replicas",
    for: "how long: 90s, 30m, 2h, 1d; 1h when left out",
  },
  run: async (call) => {
    const replicas = call.integer("replicas", 1, REPLICAS_MAX) ?? 1;
    const forS = Math.round(spanOf(call.text("for") ?? "1h", "for") / 1_000);
    if (forS < 1 || forS > WARM_S_MAX) throw new CliError("usage", "--for takes 1s to 7d");
    const client = await call.connect();
    const { signal } = call.interrupts;
    const found = await client.scaling.warm(call.positionals[0] ?? "", { replicas, for_s: forS }, { signal });
    return { data: found, text: scalingText(found, Date.now()) };
  },
};

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
