import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { textTable } from "#cli/text-table";
import type { GpuTypeChange, WorkspaceGpuType } from "#contract/api/gpu-types";

const type = { name: "type", required: true };
const VRAM_GB_MAX = 10_000;
const BANDWIDTH_MAX = 1_000_000;
const PRICE_MAX = 1_000;

export const gpusList: Command = {
  path: ["gpus", "ls"],
  summary: "List types of GPU: memory, price, what each suits",
  examples: ["pilotlight gpus ls"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const answer = await client.gpuTypes.list({ signal: call.interrupts.signal });
    const rows = answer.data.map((each) => [
      each.name,
      `${gigabytes(each)} GB`,
      `$${each.price_per_hour.toFixed(2)}`,
      each.bandwidth_gb_s === null ? "–" : `${each.bandwidth_gb_s} GB/s`,
      each.own ? "own" : each.changed.length > 0 ? "changed" : "",
      each.suits,
    ]);
    return {
      data: answer,
      ids: answer.data.map(({ name }) => name),
      text: [
        ...textTable(["type", "vram", "per hour", "bandwidth", "source", "suits"], rows),
        `Shipped prices are of ${answer.prices_as_of}; \`pilotlight gpus set\` sets your own.`,
      ],
    };
  },
};

export const gpusSet: Command = {
  path: ["gpus", "set"],
  summary: "Set the price of a type of GPU, or add a type of your own",
  examples: [
    "pilotlight gpus set rtx-4090 --price 0.08",
    'pilotlight gpus set rtx-4090-48 --price 0.4 --vram 48 --match "RTX 4090"',
  ],
  positionals: [type],
  options: {
    price: { type: "string" },
    suits: { type: "string" },
    title: { type: "string" },
    vram: { type: "string" },
    bandwidth: { type: "string" },
    match: { type: "string", multiple: true },
  },
  optionHelp: {
    price: "US dollars for one GPU-hour",
    suits: "what it is good for",
    title: "of an own type: what it is called",
    vram: "of an own type: GB of memory",
    bandwidth: "of an own type: GB/s of its memory",
    match: "of an own type: what nvidia-smi calls it; may be repeated",
  },
  run: async (call) => {
    const price = call.text("price");
    if (price !== undefined && !(/^[0-9]+(?:\.[0-9]+)?$/.test(price) && Number(price) <= PRICE_MAX)) {
      throw new CliError("usage", `--price takes dollars for an hour, such as 0.34, not ${price}`);
    }
    const vram = call.integer("vram", 1, VRAM_GB_MAX);
    const matches = call.texts("match");
    const change: GpuTypeChange = {
      price_per_hour: price === undefined ? undefined : Number(price),
      suits: call.text("suits"),
      title: call.text("title"),
      vram_mb: vram === undefined ? undefined : vram * 1024,
      bandwidth_gb_s: call.integer("bandwidth", 1, BANDWIDTH_MAX),
      matches: matches.length === 0 ? undefined : [...matches],
    };
    if (Object.values(change).every((value) => value === undefined)) {
      throw new CliError("usage", "Nothing to set: give --price or --suits");
    }
    const client = await call.connect();
    const set = await client.gpuTypes.set(call.positionals[0] ?? "", change, { signal: call.interrupts.signal });
    const { name, price_per_hour, suits } = set;
    const text = `${name}: ${gigabytes(set)} GB, $${price_per_hour.toFixed(2)} an hour. ${suits}`;
    return { data: { gpu_type: set }, ids: [name], text };
  },
};

export const gpusReset: Command = {
  path: ["gpus", "reset"],
  summary: "Take back what was set: a shipped type is as shipped again, an own one is gone",
  examples: ["pilotlight gpus reset rtx-4090"],
  positionals: [type],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const name = call.positionals[0] ?? "";
    await client.gpuTypes.reset(name, { signal: call.interrupts.signal });
    return { data: { reset: name }, text: `${name} is as shipped, or gone if it was your own.` };
  },
};

function gigabytes({ vram_mb }: WorkspaceGpuType): string {
  return String(Math.round((vram_mb / 1024) * 10) / 10);
}
