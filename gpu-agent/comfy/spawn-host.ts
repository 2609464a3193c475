/** A ComfyUI of the agent's own for each slot: a process with its own port, folders, database and GPU. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Gpu } from "#contract/replica";
import { pause } from "../control/backoff.ts";
import { gpuUtilization } from "../inventory.ts";
import { messageOf } from "../log.ts";
import { cpuTicks, diskBytesRead } from "../process-identity.ts";
import type { Timings } from "../settings.ts";
import { ComfyHttp } from "./comfy-http.ts";
import type { ComfyFolders, ComfyHost, ComfyServer, StartOptions } from "./comfy-server.ts";
import { StartFailed } from "./comfy-server.ts";
import { childEnvironment, freePort, HostProcess, LOG_FILE, ProcessDied } from "./host-process.ts";
import { launchFlags, supportedFlags } from "./launch-flags.ts";

export interface Launch {
  readonly program: string;
  /** Before ComfyUI's own flags: its main file. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly extra: readonly string[];
  readonly metadata: boolean;
  readonly cpuOnly: boolean;
  readonly environment: NodeJS.ProcessEnv;
  /** "spawned", "stand-in", or which build it is. */
  readonly label: string;
  /** What an earlier start left in the user folder goes: another build's settings and database are not this one's. */
  readonly freshUser?: boolean;
}

export interface SpawnHostOptions {
  readonly launch: Launch;
  readonly gpus: readonly Gpu[];
  /** Holds one folder per slot. */
  readonly slots: string;
  readonly timings: Timings;
}

/** Another program may take the port between its choice and its use. */
const PORT_TRIES_MAX = 4;
const ANSWER_POLL_MS = 100;
/** A process below this share of one core over a second of looking is idle. */
const BUSY_SHARE = 0.2;
const BUSY_LOOK_MS = 1_000;
const BUSY_READ_BYTES = 1024 * 1024;
const TICKS_PER_SECOND = 100;
const HELP_MS = 120_000;

const run = promisify(execFile);

export class SpawnHost implements ComfyHost {
  readonly #options: SpawnHostOptions;
  #version: string | null = null;
  #flags: Promise<ReadonlySet<string> | null> | null = null;

  constructor(options: SpawnHostOptions) {
    this.#options = options;
  }

  get description(): string {
    const { label } = this.#options.launch;
    return this.#version === null ? label : `${label} ${this.#version}`;
  }

  async start(options: StartOptions): Promise<ComfyServer> {
    this.#flags ??= this.#probeFlags();
    const flags = await this.#flags;
    options.signal.throwIfAborted();
    const directory = join(this.#options.slots, String(options.slot));
    const folders = await prepareFolders(directory, this.#options.launch.freshUser === true);
    options.onPhase("booting");
    for (let tries = 1; ; tries += 1) {
      const port = await freePort();
      const child = await this.#spawn(directory, folders, port, options.slot, flags);
      const stopListening = child.onLine((line) => options.onLine?.(line));
      try {
        this.#version = await this.#untilReady(child, port, options);
        options.log("comfy_ready", { slot: options.slot, port, pid: child.pid, version: this.#version });
        return this.#server(child, port, folders, options.slot, directory);
      } catch (error) {
        await child.stop();
        options.signal.throwIfAborted();
        const portTaken = /address already in use|EADDRINUSE|Port \d+ is (already )?in use/i.test(child.tail);
        if (portTaken && tries < PORT_TRIES_MAX) continue;
        throw error;
      } finally {
        stopListening();
      }
    }
  }

  async #spawn(
    directory: string,
    folders: ComfyFolders,
    port: number,
    slot: number,
    flags: ReadonlySet<string> | null,
  ): Promise<HostProcess> {
    const { launch, timings } = this.#options;
    const plan = {
      port,
      folders,
      user: join(directory, "user"),
      database: join(directory, "user", "comfyui.db"),
      cpuOnly: launch.cpuOnly,
      metadata: launch.metadata,
      extra: launch.extra,
    };
    try {
      return await HostProcess.start({
        program: launch.program,
        args: [...launch.args, ...launchFlags(plan, flags)],
        cwd: launch.cwd,
        environment: { ...launch.environment, ...gpuEnvironment(this.#gpu(slot)) },
        directory,
        stopMs: timings.stopMs,
      });
    } catch (error) {
      throw new StartFailed(`${launch.program} cannot be started: ${messageOf(error)}`);
    }
  }

  #gpu(slot: number): Gpu | undefined {
    const { gpus } = this.#options;
    return gpus.length === 0 ? undefined : gpus[slot % gpus.length];
  }

  /** Alive: wait, up to the boot's limit. Ended: fail now, with what it wrote last. */
  async #untilReady(child: HostProcess, port: number, options: StartOptions): Promise<string | null> {
    const { timings } = this.#options;
    const http = new ComfyHttp(`http://127.0.0.1:${port}`, 5_000);
    const deadline = performance.now() + timings.bootMs;
    const signal = AbortSignal.any([options.signal, child.died]);
    while (performance.now() < deadline) {
      try {
        const { version, argv } = await http.systemStats(signal);
        // Whoever answers must be the one that was told this port.
        if (argv.length === 0 || argv.includes(String(port))) return version;
      } catch {
        // Not yet.
      }
      await pause(ANSWER_POLL_MS, signal).catch(() => undefined);
      options.signal.throwIfAborted();
      if (child.died.aborted) throw new StartFailed(`ComfyUI ended while it started:\n${child.tail}`);
    }
    throw new StartFailed(`ComfyUI did not answer within ${Math.round(timings.bootMs / 1_000)} s:\n${child.tail}`);
  }

  #server(child: HostProcess, port: number, folders: ComfyFolders, slot: number, directory: string): ComfyServer {
    const gpu = this.#gpu(slot);
    return {
      url: `http://127.0.0.1:${port}`,
      folders,
      logFile: join(directory, LOG_FILE),
      died: child.died,
      stop: () => child.stop(),
      isBusy: async () => {
        const before = cpuTicks(child.pid);
        const readBefore = diskBytesRead(child.pid);
        await pause(BUSY_LOOK_MS);
        const after = cpuTicks(child.pid);
        const readAfter = diskBytesRead(child.pid);
        // A model that comes from a slow disk moves neither the CPU nor the GPU.
        if (readBefore !== null && readAfter !== null && readAfter - readBefore > BUSY_READ_BYTES) return true;
        const utilization = gpu === undefined ? null : await gpuUtilization(gpu);
        if (utilization !== null && utilization > 0) return true;
        if (before === null || after === null) return utilization === null ? null : false;
        return ((after - before) / TICKS_PER_SECOND) * 1_000 > BUSY_SHARE * BUSY_LOOK_MS;
      },
    };
  }

  /** @returns null when the program cannot be asked */
  async #probeFlags(): Promise<ReadonlySet<string> | null> {
    const { launch } = this.#options;
    try {
      const { stdout } = await run(launch.program, [...launch.args, "--help"], {
        cwd: launch.cwd,
        env: launch.environment,
        timeout: HELP_MS,
        maxBuffer: 4 * 1024 * 1024,
      });
      const flags = supportedFlags(stdout);
      return flags.has("port") ? flags : null;
    } catch {
      return null;
    }
  }
}

/** Empty input, output and temp folders: what an earlier run left there belongs to nobody. */
async function prepareFolders(directory: string, freshUser: boolean): Promise<ComfyFolders> {
  const folders = { input: join(directory, "input"), output: join(directory, "output"), temp: join(directory, "temp") };
  for (const folder of Object.values(folders)) {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
  }
  if (freshUser) await rm(join(directory, "user"), { recursive: true, force: true });
  await mkdir(join(directory, "user"), { recursive: true, mode: 0o700 });
  return folders;
}

/** nvidia-smi numbers GPUs by their bus, CUDA by their speed unless it is told otherwise. */
function gpuEnvironment(gpu: Gpu | undefined): NodeJS.ProcessEnv {
  if (gpu === undefined) return {};
  return { CUDA_DEVICE_ORDER: "PCI_BUS_ID", CUDA_VISIBLE_DEVICES: gpu.uuid ?? String(gpu.index) };
}

/** How to start the ComfyUI in a folder. */
export function comfyLaunch(
  comfy: { directory: string; python: string; args: readonly string[]; metadata: boolean },
  cpuOnly: boolean,
  stateRoot: string,
  environment: NodeJS.ProcessEnv,
): Launch {
  // Compiled Python is written where it already is, or away from the installation: its owner's files are not ours.
  const compiled = existsSync(join(comfy.directory, "__pycache__"))
    ? { PYTHONDONTWRITEBYTECODE: "1" }
    : { PYTHONPYCACHEPREFIX: join(stateRoot, "pycache") };
  return {
    program: comfy.python,
    args: [join(comfy.directory, "main.py")],
    cwd: comfy.directory,
    extra: comfy.args,
    metadata: comfy.metadata,
    cpuOnly,
    environment: { ...childEnvironment(environment), ...compiled, PYTHONUNBUFFERED: "1" },
    label: "spawned",
  };
}

/** How to start the CPU stand-in: the same flags, another program. */
export function standInLaunch(args: readonly string[], environment: NodeJS.ProcessEnv): Launch {
  return {
    program: process.execPath,
    args: [join(import.meta.dirname, "..", "stand-in", "main.ts")],
    cwd: process.cwd(),
    extra: args,
    metadata: false,
    cpuOnly: true,
    environment: childEnvironment(environment),
    label: "stand-in",
  };
}

/** What a ComfyUI that died wrote last, or its reason to be gone. */
export function lastWords(reason: unknown): string {
  if (reason instanceof ProcessDied) return `${reason.message}\n${reason.tail}`.trim();
  return reason instanceof Error ? reason.message : String(reason);
}
