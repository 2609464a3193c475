/** Which GPUs the machine has, as nvidia-smi tells it. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { SLOTS_PER_NODE_MAX } from "#contract/limits";
import { Gpu } from "#contract/replica";
import { messageOf } from "./log.ts";
import { isCode } from "./state-directory.ts";

/** Runs a program and gives its standard output; rejects when it is absent, fails, or takes too long and is killed. */
export type RunProgram = (program: string, args: readonly string[]) => Promise<string>;

const RUN_MS_MAX = 20_000;
/** Eight cards whose driver has to be woken first take longer than half a minute. */
const LIST_MS_MAX = 60_000;
/** How busy a GPU is, is asked while somebody waits for the answer. */
const LOOK_MS_MAX = 20_000;

const run = promisify(execFile);
const runFor =
  (timeout: number): RunProgram =>
  async (program, args) =>
    // A program that hangs in a sick driver does not listen to anything milder.
    (await run(program, [...args], { timeout, killSignal: "SIGKILL", maxBuffer: 1024 * 1024 })).stdout;
export const runProgram: RunProgram = runFor(RUN_MS_MAX);

const FIELDS = ["index", "name", "uuid", "memory.total", "driver_version"] as const;

/**
 * @param onTrouble hears why a program that is there does not tell its GPUs: they are taken for none then
 * @returns the NVIDIA GPUs by index, a card that is cut into slices (MIG) as its slices; none where nvidia-smi is absent
 */
export async function listGpus(
  runner: RunProgram = runFor(LIST_MS_MAX),
  onTrouble: (reason: string) => void = () => undefined,
): Promise<Gpu[]> {
  const ask = (...args: string[]) => within(runner("nvidia-smi", args), LIST_MS_MAX + 1_000);
  let gpus: Gpu[];
  try {
    gpus = parseGpus(await ask(`--query-gpu=${FIELDS.join(",")}`, "--format=csv,noheader,nounits"));
  } catch (error) {
    if (!isCode(error, "ENOENT")) onTrouble(whyFailed(error));
    return [];
  }
  // Which is asked apart, because old drivers answer a query for a field that they do not know with nothing at all.
  const slices = gpus.length === 0 ? [] : parseSlices(await ask("-L").catch(() => ""));
  return gpus.flatMap((gpu) => {
    const own = slices.filter(({ index }) => index === gpu.index);
    return own.length === 0 ? [gpu] : own.map(({ profile, gib, uuid }) => sliceOf(gpu, profile, gib, uuid));
  });
}

/**
 * Does not wait for longer, whatever becomes of the program: one that the kernel holds cannot even be killed.
 * @throws when the time is over
 */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer in ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first line that a program left, or that it was killed for taking too long. */
function whyFailed(error: unknown): string {
  const { stdout, stderr, killed } = error as { stdout?: string; stderr?: string; killed?: boolean };
  if (killed === true) return "nvidia-smi did not answer in time";
  const said = [stdout, stderr].flatMap((text) => text?.trim().split("\n")[0] ?? []).find((line) => line !== "");
  return `nvidia-smi failed: ${said ?? messageOf(error)}`.slice(0, 500);
}

interface Slice {
  /** Of the card. */
  readonly index: number;
  /** Such as `3g.40gb`. */
  readonly profile: string;
  readonly gib: number;
  readonly uuid: string;
}

/** Reads `nvidia-smi -L`: below each card that is cut up, a line for each slice. */
export function parseSlices(text: string): Slice[] {
  const slices: Slice[] = [];
  let index: number | null = null;
  for (const line of text.split("\n")) {
    const card = /^GPU (\d+):/.exec(line);
    if (card !== null) index = Number(card[1]);
    const slice = /^\s+MIG (\S*?(\d+)gb\S*)\s+Device\s+\d+:\s+\(UUID: (MIG-[^)]{1,96})\)/.exec(line);
    if (slice === null || index === null) continue;
    slices.push({ index, profile: slice[1] ?? "", gib: Number(slice[2]), uuid: slice[3] ?? "" });
  }
  return slices;
}

/** A slice is a card of its own for whoever computes on it, and of no type: it is slower than a card of its name. */
function sliceOf(gpu: Gpu, profile: string, gib: number, uuid: string): Gpu {
  return { ...gpu, name: `${gpu.name} MIG ${profile}`.slice(0, 200), uuid, vram_mb: gib * 1024 };
}

export function isSlice({ uuid }: Pick<Gpu, "uuid">): boolean {
  return uuid?.startsWith("MIG-") === true;
}

/** Reads nvidia-smi's CSV; "[N/A]" and the like become null or 0. Lines that are not a GPU are left out. */
export function parseGpus(csv: string): Gpu[] {
  const known = (text: string | undefined): string | null =>
    text === undefined || text === "" || text.startsWith("[") ? null : text.slice(0, 100);
  const gpus: Gpu[] = [];
  for (const line of csv.split("\n")) {
    const [index, name, uuid, memory, driver] = line.split(",").map((field) => field.trim());
    const gpu = Gpu.safeParse({
      index: /^\d+$/.test(index ?? "") ? Number(index) : -1,
      name: (name ?? "").slice(0, 200),
      uuid: known(uuid),
      vram_mb: Math.round(Number(known(memory) ?? 0)) || 0,
      driver: known(driver),
    });
    if (gpu.success) gpus.push(gpu.data);
  }
  return gpus.sort((a, b) => a.index - b.index).slice(0, SLOTS_PER_NODE_MAX);
}

/**
 * Those GPUs that whoever started the agent left to it.
 * @param visible CUDA_VISIBLE_DEVICES: indices or (beginnings of) UUIDs, the first wrong one ends the list
 */
export function visibleGpus(gpus: readonly Gpu[], visible: string | undefined): Gpu[] {
  if (visible === undefined) return [...gpus];
  const chosen: Gpu[] = [];
  for (const name of visible.split(",").map((each) => each.trim())) {
    const gpu = gpus.find(
      (each) => String(each.index) === name || (name !== "" && each.uuid?.startsWith(name) === true),
    );
    if (gpu === undefined) break;
    chosen.push(gpu);
  }
  return chosen;
}

/** How busy a GPU is, 0 to 100, or null when nobody can tell. */
export async function gpuUtilization(gpu: Gpu, runner: RunProgram = runProgram): Promise<number | null> {
  try {
    const args = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", `--id=${gpu.uuid ?? gpu.index}`];
    const value = Number((await within(runner("nvidia-smi", args), LOOK_MS_MAX + 1_000)).trim());
    return Number.isFinite(value) ? value : null;
  } catch {
    return null;
  }
}

/** Of NVIDIA's driver, AMD's, and of any graphics card. */
const DEVICES = ["/dev/nvidiactl", "/dev/kfd", "/dev/dri"];

/**
 * True when the machine surely has nothing to compute on but its CPU: no NVIDIA, AMD or Intel device. Where a sick driver
 * does not tell its cards, ComfyUI is to say so, and not to work a hundred times slower.
 */
export function hasOnlyCpu(gpus: readonly Gpu[]): boolean {
  return process.platform === "linux" && gpus.length === 0 && !DEVICES.some((device) => existsSync(device));
}
