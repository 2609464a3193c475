/** Which GPUs the machine has, as nvidia-smi tells it. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { SLOTS_PER_NODE_MAX } from "#contract/limits";
import { Gpu } from "#contract/replica";

/** Runs a program and gives its standard output; rejects when it is absent or fails. */
export type RunProgram = (program: string, args: readonly string[]) => Promise<string>;

const run = promisify(execFile);
export const runProgram: RunProgram = async (program, args) =>
  (await run(program, [...args], { timeout: 20_000, maxBuffer: 1024 * 1024 })).stdout;

const FIELDS = ["index", "name", "uuid", "memory.total", "driver_version"] as const;

/** @returns the NVIDIA GPUs by index; none when nvidia-smi is absent or fails */
export async function listGpus(runner: RunProgram = runProgram): Promise<Gpu[]> {
  try {
    return parseGpus(await runner("nvidia-smi", [`--query-gpu=${FIELDS.join(",")}`, "--format=csv,noheader,nounits"]));
  } catch {
    return [];
  }
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
    const value = Number((await runner("nvidia-smi", args)).trim());
    return Number.isFinite(value) ? value : null;
  } catch {
    return null;
  }
}

/** True when the machine surely has nothing to compute on but its CPU: no NVIDIA, AMD or Intel device. */
export function hasOnlyCpu(gpus: readonly Gpu[]): boolean {
  return process.platform === "linux" && gpus.length === 0 && !existsSync("/dev/kfd") && !existsSync("/dev/dri");
}
