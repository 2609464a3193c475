/** What the machine has beside its GPUs: the part that hardly changes is asked once, its disk before each poll. */
import { statfs } from "node:fs/promises";
import { arch, platform, release, totalmem } from "node:os";
import { NODE_BUILDS_MAX, NODE_MODELS_MAX } from "#contract/limits";
import type { Gpu, NodeInventory } from "#contract/replica";
import { type RunProgram, runProgram } from "./inventory.ts";
import { processor } from "./machine-meter.ts";

const MIB = 1024 * 1024;
/** Free space moves with every job; by less than this it is not news. */
const DISK_STEP_MB = 4_096;
/** A disk is not read more often than this. */
const DISK_READ_MS = 10_000;

/** What of a disk a pod wants to know: the latest used first. */
export interface DiskStores {
  /** Digests of whole builds. */
  readonly builds: () => Promise<readonly string[]>;
  /** sha256 of whole models. */
  readonly models: () => Promise<readonly string[]>;
}

export interface InventoryOptions {
  readonly gpus: readonly Gpu[];
  /** Of the file system that is measured. */
  readonly folder: string;
  /** The interpreter of ComfyUI; null when each build has its own. */
  readonly python: string | null;
  readonly stores: DiskStores;
  readonly runner?: RunProgram;
  /** Monotonic, ms. */
  readonly now?: () => number;
}

type Fixed = Omit<NodeInventory, "disk_total_mb" | "disk_free_mb" | "builds" | "models">;

export class Inventory {
  readonly #options: Required<InventoryOptions>;
  #fixed: Promise<Fixed> | null = null;
  #read: { readonly inventory: NodeInventory; readonly at: number } | null = null;
  #told: NodeInventory | null = null;

  constructor(options: InventoryOptions) {
    this.#options = { runner: runProgram, now: () => performance.now(), ...options };
  }

  /** As of now. What cannot be found out is null, or nothing. Never rejects. */
  async current(): Promise<NodeInventory> {
    const { now, folder, stores } = this.#options;
    if (this.#read !== null && now() - this.#read.at < DISK_READ_MS) return this.#read.inventory;
    this.#fixed ??= this.#findOut();
    const [fixed, disk, builds, models] = await Promise.all([
      this.#fixed,
      statfs(folder).catch(() => null),
      stores.builds().catch(() => []),
      stores.models().catch(() => []),
    ]);
    const inventory = {
      ...fixed,
      disk_total_mb: disk === null ? null : Math.round((disk.blocks * disk.bsize) / MIB),
      disk_free_mb: disk === null ? null : Math.round((disk.bavail * disk.bsize) / MIB),
      builds: builds.slice(0, NODE_BUILDS_MAX),
      models: models.slice(0, NODE_MODELS_MAX),
    };
    this.#read = { inventory, at: now() };
    return inventory;
  }

  /** @returns what the pod has not been told yet; null when it knows all that matters */
  async news(): Promise<NodeInventory | null> {
    const current = await this.current();
    return this.#told !== null && isSame(current, this.#told) ? null : current;
  }

  /** The pod has answered: it knows this one. */
  told(inventory: NodeInventory): void {
    this.#told = inventory;
  }

  /** The pod has lost it, or another pod asks. */
  forgotten(): void {
    this.#told = null;
  }

  async #findOut(): Promise<Fixed> {
    const { gpus, python, runner } = this.#options;
    const [smi, pythonVersion] = await Promise.all([
      gpus.length === 0 ? "" : runner("nvidia-smi", []).catch(() => ""),
      python === null ? "" : runner(python, ["--version"]).catch(() => ""),
    ]);
    const { name, cores } = processor();
    return {
      os: `${platform()} ${release()} ${arch()}`.slice(0, 200),
      cpu: name,
      cpu_cores: cores === 0 ? null : cores,
      memory_mb: Math.round(totalmem() / MIB),
      driver: gpus.find(({ driver }) => driver !== null)?.driver ?? null,
      cuda: /CUDA Version:\s*([0-9.]+)/.exec(smi)?.[1] ?? null,
      python: /^Python (\S{1,90})/.exec(pythonVersion.trim())?.[1] ?? null,
      node: process.versions.node,
    };
  }
}

/** Whether a pod that knows the one need not hear of the other. */
function isSame(a: NodeInventory, b: NodeInventory): boolean {
  const step = Math.abs((a.disk_free_mb ?? 0) - (b.disk_free_mb ?? 0));
  return step < DISK_STEP_MB && JSON.stringify({ ...a, disk_free_mb: 0 }) === JSON.stringify({ ...b, disk_free_mb: 0 });
}
