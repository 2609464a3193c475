/** How the machine fares at this moment: its GPUs as nvidia-smi tells, the rest as Linux does. */
import { readFile, statfs } from "node:fs/promises";
import { cpus, freemem, totalmem } from "node:os";
import { SLOTS_PER_NODE_MAX } from "#contract/limits";
import type { Gpu, NodeMetrics } from "#contract/replica";
import { isSlice, type RunProgram, runProgram, within } from "./inventory.ts";

const MIB = 1024 * 1024;
/** Figures go out each second: those of the GPUs that take longer come with the next ones, and hold nothing else back. */
const GPU_WAIT_MS = 800;
/** Older figures of a GPU say nothing of now: a program that hangs is a driver that does. */
const GPU_FIGURES_MS_MAX = 10_000;
const GPU_FIELDS = [
  "index",
  "utilization.gpu",
  "memory.used",
  "memory.total",
  "temperature.gpu",
  "power.draw",
] as const;

export interface MachineMeterOptions {
  /** The agent's cards; others of the machine are not shown. */
  readonly gpus: readonly Gpu[];
  /** Of the file system that is measured. */
  readonly folder: string;
  readonly runner?: RunProgram;
  /** A file of /proc as text; rejects where there is none. */
  readonly readProc?: (path: string) => Promise<string>;
  /** Monotonic, ms. */
  readonly now?: () => number;
}

interface Totals {
  readonly at: number;
  readonly cpu: { readonly busy: number; readonly all: number } | null;
  readonly network: { readonly received: number; readonly sent: number } | null;
}

/** Shares and rates are those since the last measurement; the first one says null for them. */
export class MachineMeter {
  readonly #options: Required<MachineMeterOptions>;
  #last: Totals | null = null;
  /** The program that runs; never a second one beside it, however long it hangs. */
  #asking: Promise<void> | null = null;
  #figures: { readonly csv: string; readonly at: number } | null = null;

  constructor(options: MachineMeterOptions) {
    this.#options = {
      runner: runProgram,
      readProc: (path) => readFile(path, "utf8"),
      now: () => performance.now(),
      ...options,
    };
  }

  /** What cannot be measured is null. Never rejects. */
  async measure(): Promise<NodeMetrics> {
    const { readProc, now } = this.#options;
    const [gpus, stat, meminfo, net, disk] = await Promise.all([
      this.#gpus(),
      readProc("/proc/stat").catch(() => null),
      readProc("/proc/meminfo").catch(() => null),
      readProc("/proc/net/dev").catch(() => null),
      statfs(this.#options.folder).catch(() => null),
    ]);
    const before = this.#last;
    const totals: Totals = {
      at: now(),
      cpu: stat === null ? null : parseCpu(stat),
      network: net === null ? null : parseNetwork(net),
    };
    this.#last = totals;
    const seconds = before === null ? 0 : (totals.at - before.at) / 1_000;
    const rate = (of: "received" | "sent") => {
      if (before?.network == null || totals.network === null || seconds <= 0) return null;
      // A counter that went back belongs to an interface that went away.
      return Math.max(0, Math.round((totals.network[of] - before.network[of]) / seconds));
    };
    return {
      gpus,
      cpu_percent: cpuShare(before?.cpu ?? null, totals.cpu),
      ...memoryOf(meminfo),
      disk_free_mb: disk === null ? null : Math.round((disk.bavail * disk.bsize) / MIB),
      disk_total_mb: disk === null ? null : Math.round((disk.blocks * disk.bsize) / MIB),
      network_in_bytes_per_s: rate("received"),
      network_out_bytes_per_s: rate("sent"),
    };
  }

  async #gpus(): Promise<NodeMetrics["gpus"]> {
    const { gpus, now } = this.#options;
    if (gpus.length === 0) return [];
    this.#asking ??= this.#ask();
    await within(this.#asking, GPU_WAIT_MS).catch(() => undefined);
    const isFresh = this.#figures !== null && now() - this.#figures.at < GPU_FIGURES_MS_MAX;
    const seen = new Map(
      parseGpuFigures(isFresh ? (this.#figures?.csv ?? "") : "").map((figures) => [figures.index, figures]),
    );
    return gpus.slice(0, SLOTS_PER_NODE_MAX).map((gpu) => figuresOf(gpu, seen.get(gpu.index) ?? null));
  }

  /** Ends with the program. */
  async #ask(): Promise<void> {
    const { runner, now } = this.#options;
    const query = [`--query-gpu=${GPU_FIELDS.join(",")}`, "--format=csv,noheader,nounits"];
    const csv = await runner("nvidia-smi", query).catch(() => null);
    this.#figures = csv === null ? null : { csv, at: now() };
    this.#asking = null;
  }
}

type GpuFigures = NodeMetrics["gpus"][number];

/** Of a slice the driver tells what its whole card does: how warm that is, and not how busy or full the slice. */
function figuresOf(gpu: Gpu, seen: GpuFigures | null): GpuFigures {
  const { index } = gpu;
  const none = {
    index,
    busy_percent: null,
    vram_used_mb: null,
    vram_total_mb: null,
    temperature_c: null,
    power_w: null,
  };
  if (seen === null) return none;
  if (!isSlice(gpu)) return seen;
  return { ...none, vram_total_mb: gpu.vram_mb, temperature_c: seen.temperature_c, power_w: seen.power_w };
}

/** Reads nvidia-smi's CSV; "[N/A]" and the like are null, and a line that is not a GPU is left out. */
export function parseGpuFigures(csv: string): NodeMetrics["gpus"] {
  const figures: NodeMetrics["gpus"] = [];
  for (const line of csv.split("\n")) {
    const fields = line.split(",").map((field) => field.trim());
    const [index, busy, used, total, temperature, power] = fields.map((field) =>
      /^-?\d+(\.\d+)?$/.test(field) ? Number(field) : null,
    );
    if (index === null || index === undefined || fields.length < GPU_FIELDS.length) continue;
    figures.push({
      index,
      busy_percent: percent(busy ?? null),
      vram_used_mb: positive(used ?? null),
      vram_total_mb: positive(total ?? null),
      temperature_c: temperature ?? null,
      power_w: positive(power ?? null),
    });
  }
  return figures;
}

/** The first line of /proc/stat: what each kind of work has taken, in ticks. Waiting for a disk is not work. */
export function parseCpu(stat: string): Totals["cpu"] {
  const [name, ...ticks] = (stat.split("\n")[0] ?? "").trim().split(/\s+/);
  const numbers = ticks.map(Number);
  if (name !== "cpu" || numbers.length < 5 || numbers.some((each) => !Number.isFinite(each))) return null;
  // A guest's time is counted in the user's already.
  const counted = numbers.slice(0, 8);
  const all = counted.reduce((sum, each) => sum + each, 0);
  return { busy: all - (numbers[3] ?? 0) - (numbers[4] ?? 0), all };
}

/** All of /proc/net/dev but the loopback, bytes since the start. */
export function parseNetwork(dev: string): Totals["network"] {
  let received = 0;
  let sent = 0;
  let known = false;
  for (const line of dev.split("\n")) {
    const [name, rest] = line.split(":");
    if (rest === undefined || name?.trim() === "lo") continue;
    const counters = rest.trim().split(/\s+/).map(Number);
    const [bytesIn, bytesOut] = [counters[0], counters[8]];
    if (bytesIn === undefined || bytesOut === undefined) continue;
    if (!Number.isFinite(bytesIn) || !Number.isFinite(bytesOut)) continue;
    known = true;
    received += bytesIn;
    sent += bytesOut;
  }
  return known ? { received, sent } : null;
}

function cpuShare(before: Totals["cpu"], now: Totals["cpu"]): number | null {
  if (before === null || now === null || now.all <= before.all) return null;
  return percent(Math.round((1_000 * (now.busy - before.busy)) / (now.all - before.all)) / 10);
}

/** What is available counts as free: caches give way. */
function memoryOf(meminfo: string | null): Pick<NodeMetrics, "memory_used_mb" | "memory_total_mb"> {
  const kib = (name: string) => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(meminfo ?? "")?.[1];
    return found === undefined ? null : Number(found) / 1024;
  };
  const total = kib("MemTotal") ?? totalmem() / MIB;
  const free = kib("MemAvailable") ?? freemem() / MIB;
  return { memory_used_mb: Math.max(0, Math.round(total - free)), memory_total_mb: Math.round(total) };
}

function percent(value: number | null): number | null {
  return value === null ? null : Math.min(100, Math.max(0, value));
}

function positive(value: number | null): number | null {
  return value === null || value < 0 ? null : value;
}

/** How the machine calls its processor, and how many cores it has; null and 0 where it does not tell. */
export function processor(): { readonly name: string | null; readonly cores: number } {
  const all = cpus();
  return { name: all[0]?.model.trim().slice(0, 200) || null, cores: all.length };
}
