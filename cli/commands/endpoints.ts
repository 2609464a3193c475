import type { Command } from "#cli/command";
import { inputTable } from "#cli/commands/deploy";
import { duration, textTable } from "#cli/text-table";
import type { Endpoint } from "#contract/endpoint";
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
        ...found.release.warnings.map((warning) => `warning: ${warning}`),
        "",
        ...inputTable(found.release.inputs),
        "",
        ...Object.entries(found.settings).map(([name, value]) => `${name} = ${value}`),
      ],
    };
  },
};

export const endpointsRemove: Command = {
  path: ["endpoints", "rm"],
  summary: "Delete an endpoint; its waiting and running jobs are canceled",
  examples: ["pilotlight endpoints rm text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const name = call.positionals[0] ?? "";
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

export const queueStats: Command = {
  path: ["queue", "stats"],
  summary: "Show how an endpoint's queue and replicas stand",
  examples: ["pilotlight queue stats text-to-image"],
  positionals: [endpoint],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const queue = await client.endpoints.queue(call.positionals[0] ?? "", { signal: call.interrupts.signal });
    const { queued, running, oldest_wait_ms, finished_last_hour: hour, service_ms_p50 } = queue;
    return {
      data: queue,
      text: [
        `queued    ${queued.interactive} interactive, ${queued.batch} batch` +
          (oldest_wait_ms === null ? "" : `; the oldest waits ${duration(oldest_wait_ms)}`),
        `running   ${running}${service_ms_p50 === null ? "" : `; half of the last ones took ${duration(service_ms_p50)} or less`}`,
        `last hour ${hour.succeeded} succeeded, ${hour.failed} failed, ${hour.canceled} canceled, ${hour.expired} expired`,
        "",
        ...textTable(
          ["replica", "node", "state", "release", "since", "error"],
          queue.replicas.map(({ id, node_id, state, release, started_at, error }) => [
            id,
            node_id,
            state,
            String(release),
            started_at,
            error ?? "",
          ]),
        ),
      ],
    };
  },
};
