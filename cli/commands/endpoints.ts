import { canaryLines } from "#cli/canary-text";
import { podHelp, podOptions, podsOf } from "#cli/chosen-pods";
import type { Command } from "#cli/command";
import { inputTable } from "#cli/commands/deploy";
import { confirmName } from "#cli/confirm-name";
import { settingHelp, settingOptions, settingsOf } from "#cli/endpoint-settings";
import { CliError } from "#cli/errors";
import { textTable } from "#cli/text-table";
import type { Endpoint, WarmWindow } from "#contract/endpoint";
import { stringifyExactJson } from "#contract/exact-json";

const endpoint = { name: "endpoint", required: true };

export const endpointsList: Command = {
  path: ["endpoints", "ls"],
  summary: "List endpoints",
  examples: ["pilotlight endpoints ls"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const data: Endpoint[] = [];
    for await (const each of client.endpoints.list({ signal: call.interrupts.signal })) data.push(each);
    const rows = data.map(({ slug, name, release, settings, updated_at }) => [
      slug,
      name,
      String(release.number),
      `${settings.min_replicas}…${settings.max_replicas}`,
      updated_at,
    ]);
    return {
      data: { data },
      ids: data.map(({ id }) => id),
      text: textTable(["endpoint", "name", "release", "replicas", "updated"], rows),
    };
  },
};

export const endpointsGet: Command = {
  path: ["endpoints", "get"],
  summary: "Show an endpoint with its inputs and settings",
  examples: ["pilotlight endpoints get text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const found = await client.endpoints.get(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    return {
      data: { endpoint: found },
      ids: [found.id],
      text: [
        `${found.slug}  ${found.name}  ${found.id}`,
        `release ${found.release.number} (${found.release.digest.slice(0, 12)}), made ${found.release.created_at}`,
        ...(found.canary === null ? [] : canaryLines(found)),
        ...found.release.warnings.map((warning) => `warning: ${warning}`),
        "",
        ...inputTable(found.release.inputs),
        "",
        ...settingLines(found),
      ],
    };
  },
};

export const endpointsSet: Command = {
  path: ["endpoints", "set"],
  summary: "Change an endpoint's settings",
  examples: [
    "pilotlight endpoints set text-to-image --max-replicas 4 --queue-depth 5000",
    "pilotlight endpoints set text-to-image --gpu-seconds-per-day none",
    "pilotlight endpoints set text-to-image --wait-value 100 --warm 'mon-fri 08:00-18:00 Europe/Berlin 2'",
    "pilotlight endpoints set text-to-image --pod rack --pod cloud:batch",
  ],
  positionals: [endpoint],
  options: { ...podOptions, ...settingOptions },
  optionHelp: { ...podHelp, ...settingHelp },
  run: async (call) => {
    const settings = settingsOf(call);
    if (settings === undefined && call.texts("pod").length === 0) {
      throw new CliError("usage", "Nothing to change: give at least one setting");
    }
    const client = await call.connect();
    const { signal } = call.interrupts;
    const pods = await podsOf(call, client);
    const patch = { ...(settings === undefined ? {} : { settings }), ...(pods === undefined ? {} : { pods }) };
    const changed = await client.endpoints.patch(call.positionals[0] ?? "", patch, { signal });
    return { data: { endpoint: changed }, ids: [changed.id], text: settingLines(changed) };
  },
};

function settingLines({ pods, settings }: Endpoint): string[] {
  const served = pods.map(({ pod_id, lanes }) => (lanes.length === 1 ? `${pod_id} (${lanes.join()})` : pod_id));
  const lines = Object.entries(settings).map(([name, value]) => {
    if (name === "warm_schedule") return `${name} = ${settings.warm_schedule.map(windowText).join("; ") || "none"}`;
    if (name === "idle_timeout_s" && value === null) return `${name} = auto`;
    const shown = Array.isArray(value) ? value.join(", ") || "any" : (value ?? "no bound");
    return `${name} = ${shown}`;
  });
  return [`pods = ${served.join(", ")}`, ...lines];
}

function windowText({ days, from, to, time_zone, replicas }: WarmWindow): string {
  return `${days.join(",")} ${from}-${to} ${time_zone} ${replicas}`;
}

export const endpointsRemove: Command = {
  path: ["endpoints", "rm"],
  summary: "Delete an endpoint, which cancels its waiting and running jobs; asks for its name",
  examples: ["pilotlight endpoints rm text-to-image", "pilotlight endpoints rm text-to-image --yes"],
  positionals: [endpoint],
  options: { yes: { type: "boolean" } },
  optionHelp: { yes: "do not ask" },
  run: async (call) => {
    const client = await call.connect();
    const name = call.positionals[0] ?? "";
    const { slug } = await client.endpoints.get(name, { signal: call.interrupts.signal });
    await confirmName(call, slug, `This deletes ${slug} and cancels its waiting and running jobs.`, "endpoints rm");
    await client.endpoints.delete(name, { signal: call.interrupts.signal });
    return { data: { deleted: name }, text: `${name} is deleted.` };
  },
};

export const schema: Command = {
  path: ["schema"],
  summary: "Print the JSON Schema of an endpoint's inputs and outputs",
  examples: ["pilotlight schema text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const found = await client.endpoints.schema(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    // Whole numbers beyond 2^53 are bounds of seeds: written exactly.
    return { data: found, text: JSON.stringify(JSON.parse(stringifyExactJson(found), keepDigits), null, 2) };
  },
};

/** Keeps a number's own digits while it is only re-indented. */
function keepDigits(_key: string, value: unknown, context?: { source?: string }): unknown {
  const raw = Reflect.get(JSON, "rawJSON") as ((text: string) => unknown) | undefined;
  const source = context?.source;
  if (typeof value !== "number" || source === undefined || raw === undefined) return value;
  return raw(source);
}
