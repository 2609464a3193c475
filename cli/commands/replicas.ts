/** Replicas: how they stand, what they wrote, what their time went to; and sending one away. */
import type { Call, Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { duration, textTable } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import { ReplicaId } from "#contract/ids";
import type { Replica } from "#contract/replica";

const endpointArgument = { name: "endpoint", required: true };
const positionals = [endpointArgument, { name: "replica", required: true }];

export const replicasList: Command = {
  path: ["replicas", "ls"],
  summary: "List the replicas of an endpoint: where they run, how they stand, what their time went to",
  examples: ["pilotlight replicas ls text-to-image", "pilotlight replicas ls text-to-image --state ended"],
  positionals: [endpointArgument],
  options: { state: { type: "string" } },
  optionHelp: { state: "current (default), ended: those of the last hour, or all" },
  run: async (call) => {
    const state = call.text("state") ?? "current";
    if (state !== "current" && state !== "ended" && state !== "all") {
      throw new CliError("usage", `--state takes current, ended or all, not ${state}`);
    }
    const client = await call.connect();
    const data = await client.replicas.list(call.positionals[0] ?? "", state, { signal: call.interrupts.signal });
    const rows = data.map((replica) => [
      replica.id,
      replica.state,
      replica.gpu_type ?? "",
      replica.node_id,
      String(replica.release),
      ...secondsOf(replica),
      replica.doing ?? replica.error?.split("\n", 1)[0] ?? "",
    ]);
    return {
      data: { data },
      ids: data.map(({ id }) => id),
      text: textTable(["replica", "state", "gpu", "node", "release", "cold", "idle", "busy", "now"], rows),
    };
  },
};

export const replicasShow: Command = {
  path: ["replicas", "show"],
  summary: "Show a replica with its states and the phases of its start",
  examples: ["pilotlight replicas show text-to-image rep_01k…"],
  positionals,
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const { signal } = call.interrupts;
    const replica = await client.replicas.get(...named(call), { signal });
    return { data: { replica }, ids: [replica.id], text: shown(replica) };
  },
};

export const replicasLogs: Command = {
  path: ["replicas", "logs"],
  summary: "Print what a replica wrote while it was prepared and started",
  examples: [
    "pilotlight replicas logs text-to-image rep_01k…",
    "pilotlight replicas logs text-to-image rep_01k… --follow",
  ],
  positionals,
  options: { follow: { type: "boolean" } },
  optionHelp: { follow: "go on until the replica is ready or has ended" },
  run: async (call) => {
    const client = await call.connect();
    const [endpoint, replica] = named(call);
    if (call.flag("follow")) return follow(call, client, endpoint, replica);
    const { data, next } = await client.replicas.logs(endpoint, replica, 0, { signal: call.interrupts.signal });
    return { data: { data, next }, text: data.map(({ at, line }) => `${at}  ${line}`) };
  },
};

export const replicasStop: Command = {
  path: ["replicas", "stop"],
  summary: "Stop a replica after the job in hand; another is started only if it is needed",
  examples: ["pilotlight replicas stop text-to-image rep_01k…"],
  positionals,
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const replica = await client.replicas.stop(...named(call), { signal: call.interrupts.signal });
    return { data: { replica }, ids: [replica.id], text: `${replica.id} stops after the job in hand.` };
  },
};

export const replicasReplace: Command = {
  path: ["replicas", "replace"],
  summary: "Start a new replica, and stop this one when that one is ready",
  examples: ["pilotlight replicas replace text-to-image rep_01k…"],
  positionals,
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const replica = await client.replicas.replace(...named(call), { signal: call.interrupts.signal });
    const text =
      replica.state === "draining"
        ? `${replica.id} stops already.`
        : `${replica.id} works until another one is ready; where there is no room for one more, it stops first.`;
    return { data: { replica }, ids: [replica.id], text };
  },
};

export const replicasSeconds: Command = {
  path: ["replicas", "seconds"],
  summary: "Show what the time of an endpoint's replicas went to, by day, pod and type of card",
  examples: [
    "pilotlight replicas seconds text-to-image",
    "pilotlight replicas seconds text-to-image --from 2026-11-01 --to 2026-11-30",
  ],
  positionals: [endpointArgument],
  options: { from: { type: "string" }, to: { type: "string" } },
  optionHelp: { from: "first UTC day, as 2026-11-01; 30 days ago", to: "last UTC day; today" },
  run: async (call) => {
    const days = { from: dayOf(call, "from"), to: dayOf(call, "to") };
    const client = await call.connect();
    const data = await client.replicas.seconds(call.positionals[0] ?? "", days, { signal: call.interrupts.signal });
    const rows = data.map(({ day, pod_id, gpu_type, seconds, started, crashed, cost }) => [
      day,
      pod_id,
      gpu_type ?? "",
      ...[seconds.cold, seconds.idle, seconds.busy].map((each) => duration(each * 1_000)),
      String(started),
      String(crashed),
      cost === null ? "" : `$${cost.toFixed(cost < 1 ? 4 : 2)}`,
    ]);
    return {
      data: { data },
      text: textTable(["day", "pod", "gpu", "cold", "idle", "busy", "started", "crashed", "cost"], rows),
    };
  },
};

/** Prints lines as they come, until there is nothing more to expect. */
async function follow(call: Call, client: Pilotlight, endpoint: string, replica: string) {
  const { signal } = call.interrupts;
  let next = 0;
  for await (const { number, at, line } of client.replicas.follow(endpoint, replica, { signal })) {
    call.output.event({ type: "line", number, at, line });
    if (call.output.format === "text") call.output.say(`${at}  ${line}`);
    next = number + 1;
  }
  const { state } = await client.replicas.get(endpoint, replica, { signal });
  return { data: { state, next }, text: `${replica} is ${state}.` };
}

/** @throws CliError `usage` when the second is no replica's id */
function named(call: Call): [endpoint: string, replica: string] {
  const [endpoint = "", replica = ""] = call.positionals;
  if (!ReplicaId.safeParse(replica).success) {
    const hint = `Its replicas: pilotlight replicas ls ${endpoint}`;
    throw new CliError("usage", `${JSON.stringify(replica)} is no replica's id`, hint);
  }
  return [endpoint, replica];
}

function dayOf(call: Call, option: "from" | "to"): string | undefined {
  const day = call.text(option);
  if (day !== undefined && !/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(day)) {
    throw new CliError("usage", `--${option} takes a day such as 2026-11-21, not ${day}`);
  }
  return day;
}

function secondsOf({ seconds }: Replica): string[] {
  return [seconds.cold, seconds.idle, seconds.busy].map((each) => duration(each * 1_000));
}

function shown(replica: Replica): string[] {
  const [cold, idle, busy] = secondsOf(replica);
  const phases = replica.phases.map(({ phase, ms }) => `${phase} ${duration(ms)}`);
  return [
    `${replica.id}  ${replica.state}${replica.doing === null ? "" : `: ${replica.doing}`}`,
    `release   ${replica.release}`,
    `runs on   ${replica.gpu_type ?? "a card without a name"}, node ${replica.node_id}, pod ${replica.pod_id}`,
    `time      cold ${cold}, idle ${idle}, busy ${busy}`,
    ...(phases.length === 0 ? [] : [`start     ${phases.join(" · ")}`]),
    ...replica.states.map(({ state, at }) => `${at}  ${state}`),
    ...(replica.error === null ? [] : ["", ...replica.error.split("\n")]),
  ];
}
