import type { Call, Command } from "#cli/command";
import { confirmName } from "#cli/confirm-name";
import { figureText, nodeFrame, nodeState } from "#cli/node-figures";
import { nodeNamed, podsNamed } from "#cli/pod-names";
import { textTable } from "#cli/text-table";
import type { Nodes } from "#client/nodes";
import type { NodeSummary } from "#contract/replica";

const node = { name: "node", required: true };
const podOption = { pod: { type: "string" } } as const;
const podHelp = { pod: "its pod, by id or name; all are looked through when left out" };
const SAMPLES_MAX = 1_000_000;

export const nodesList: Command = {
  path: ["nodes", "ls"],
  summary: "List nodes with their GPUs and what they run",
  examples: ["pilotlight nodes ls", "pilotlight nodes ls --pod default"],
  positionals: [],
  options: podOption,
  optionHelp: { pod: "of this pod alone, by id or name" },
  run: async (call) => {
    const { signal } = call.interrupts;
    const client = await call.connect();
    const data: NodeSummary[] = [];
    for (const { id } of await podsNamed(client, call.text("pod"), signal)) {
      data.push(...(await client.nodes.list(id, { signal })));
    }
    const rows = data.map((each) => [
      each.id,
      each.name,
      each.region ?? "–",
      nodeState(each),
      each.gpus.map(({ name }) => name).join(", ") || "none",
      each.gpu_type ?? "–",
      `${each.slots.filter(({ replica_id }) => replica_id !== null).length} of ${each.slots.length}`,
      each.comfyui,
      each.last_seen_at,
    ]);
    const header = ["node", "name", "region", "state", "gpus", "type", "slots used", "comfyui", "last seen"];
    return { data: { data }, ids: data.map(({ id }) => id), text: textTable(header, rows) };
  },
};

export const nodesShow: Command = {
  path: ["nodes", "show"],
  summary: "Show a node: its cards, what is on its disk, how it fares, what it runs",
  examples: ["pilotlight nodes show cellar", "pilotlight nodes show node_…"],
  positionals: [node],
  options: podOption,
  optionHelp: podHelp,
  run: async (call) => {
    const { signal } = call.interrupts;
    const client = await call.connect();
    const place = await nodeNamed(client, call.positionals[0] ?? "", call.text("pod"), signal);
    const found = await client.nodes.get(place.pod, place.node, { signal });
    return {
      data: { node: found },
      ids: [found.id],
      text: [...nodeFrame(found, Date.now()), "", ...cardLines(found), ...inventoryLines(found)],
    };
  },
};

function cardLines({ gpus }: NodeSummary): string[] {
  return gpus.map(
    ({ index, name, vram_mb, uuid }) => `card ${index}: ${name}, ${vram_mb} MiB${uuid === null ? "" : `, ${uuid}`}`,
  );
}

function inventoryLines({
  inventory,
  agent_version,
  comfyui,
  joined_at,
  region,
  slots_per_gpu,
}: NodeSummary): string[] {
  const rows: [string, string | number | null | undefined][] = [
    ["region", region],
    ["slots per GPU", slots_per_gpu],
    ["CPU", inventory?.cpu],
    ["CUDA", inventory?.cuda],
    ["Python", inventory?.python],
    ["Node.js", inventory?.node],
    ["agent", agent_version],
    ["ComfyUI", comfyui],
    ["builds on its disk", inventory?.builds.length],
    ["models on its disk", inventory?.models.length],
    ["joined", joined_at],
  ];
  return rows.flatMap(([name, value]) => (value === null || value === undefined ? [] : [`${name}: ${value}`]));
}

export const nodesWatch: Command = {
  path: ["nodes", "watch"],
  summary: "Watch a node each second: GPU, VRAM, temperature, CPU, memory, disk, network",
  examples: ["pilotlight nodes watch cellar", "pilotlight nodes watch cellar --count 60 --json-stream"],
  positionals: [node],
  options: { ...podOption, count: { type: "string" } },
  optionHelp: { ...podHelp, count: "end after so many looks; until Ctrl-C when left out" },
  forPeople: true,
  run: async (call) => {
    const { signal } = call.interrupts;
    const count = call.integer("count", 1, SAMPLES_MAX) ?? Number.POSITIVE_INFINITY;
    const client = await call.connect();
    const place = await nodeNamed(client, call.positionals[0] ?? "", call.text("pod"), signal);
    let looks = 0;
    let last: NodeSummary | null = null;
    try {
      for await (const found of client.nodes.watch(place.pod, place.node, { signal })) {
        looks += 1;
        last = found;
        call.output.event({ type: "node", node: found });
        const isFrame = call.output.frame(nodeFrame(found, Date.now()));
        if (!isFrame && call.output.format === "text") call.output.say(figureText(found));
        if (looks >= count) break;
      }
    } catch (error) {
      // Ctrl-C is how watching ends.
      if (!signal.aborted) throw error;
    }
    return { data: { looks, node: last }, ids: [place.node] };
  },
};

type Change = "drain" | "undrain" | "cordon" | "uncordon" | "trust";

function change(verb: Change, summary: string): Command {
  return {
    path: ["nodes", verb],
    summary,
    examples: [`pilotlight nodes ${verb} cellar`],
    positionals: [node],
    options: podOption,
    optionHelp: podHelp,
    run: async (call) => {
      const changed = await withNode(call, (nodes, pod, id, options) => nodes[verb](pod, id, options));
      return {
        data: { node: changed },
        ids: [changed.id],
        text: `${changed.name} (${changed.id}): ${nodeState(changed)}`,
      };
    },
  };
}

async function withNode<T>(
  call: Call,
  work: (nodes: Nodes, pod: string, id: string, options: { signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const { signal } = call.interrupts;
  const client = await call.connect();
  const place = await nodeNamed(client, call.positionals[0] ?? "", call.text("pod"), signal);
  return work(client.nodes, place.pod, place.node, { signal });
}

export const nodesDrain = change("drain", "Empty a node: what it runs finishes and stops, and it gets nothing new");
export const nodesUndrain = change("undrain", "Let a drained node run replicas again");
export const nodesCordon = change("cordon", "Give a node nothing new; what it runs stays");
export const nodesUncordon = change("uncordon", "Let a cordoned node get new replicas again");
export const nodesTrust = change("trust", "End a node's quarantine");

export const nodesRemove: Command = {
  path: ["nodes", "rm"],
  summary: "Remove a node: its replicas stop after the jobs in hand, and it must join again; asks for its name",
  examples: ["pilotlight nodes rm cellar", "pilotlight nodes rm node_… --yes"],
  positionals: [node],
  options: { ...podOption, yes: { type: "boolean" } },
  optionHelp: { ...podHelp, yes: "do not ask" },
  run: async (call) => {
    const { signal } = call.interrupts;
    const client = await call.connect();
    const named = call.positionals[0] ?? "";
    const place = await nodeNamed(client, named, call.text("pod"), signal);
    await confirmName(call, named, `This removes ${named}; the jobs it has in hand are finished.`, "nodes rm");
    await client.nodes.remove(place.pod, place.node, { signal });
    return { data: { removed: place.node }, text: `${named} is removed. To keep it out, revoke its join token.` };
  },
};
