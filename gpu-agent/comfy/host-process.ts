/** Starting, watching and ending a ComfyUI process that belongs to this agent. */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pause, settlesWithin } from "../control/backoff.ts";
import { isSameProcess, processIdentity } from "../process-identity.ts";
import { readIdentity } from "../state-directory.ts";

/** Lines kept for the report of a crash. */
const TAIL_LINES = 30;
const LINE_LENGTH_MAX = 500;
/** In the process's folder: all that it wrote since it started. */
export const LOG_FILE = "comfyui.log";
/** Written by Python when the thread that runs prompts dies; ComfyUI's HTTP API goes on as if nothing had happened. */
const WORKER_DEATH = /^Exception in thread .*\(prompt_worker\)/;

export interface HostProcessOptions {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly environment: NodeJS.ProcessEnv;
  /** The slot's folder: pid file and log. */
  readonly directory: string;
  /** Between SIGTERM and SIGKILL. */
  readonly stopMs: number;
}

export class HostProcess {
  readonly pid: number;
  readonly #options: HostProcessOptions;
  readonly #died = new AbortController();
  readonly #tail: string[] = [];
  readonly #lineListeners = new Set<(line: string) => void>();
  readonly #exited: Promise<void>;
  #stopping = false;
  #gone = false;

  /** @throws when the program cannot be started */
  static async start(options: HostProcessOptions): Promise<HostProcess> {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const child = spawn(options.program, [...options.args], {
      cwd: options.cwd,
      env: options.environment,
      stdio: ["ignore", "pipe", "pipe"],
      // A process group of its own, so that whatever custom nodes start ends with it.
      detached: true,
    });
    // Written before anything is awaited: a kill of the agent must not leave a process that nobody can find.
    if (child.pid !== undefined) {
      writeFileSync(pidFile(options.directory), JSON.stringify(processIdentity(child.pid)), { mode: 0o600 });
    }
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    return new HostProcess(child, options);
  }

  private constructor(child: ChildProcess, options: HostProcessOptions) {
    if (child.pid === undefined) throw new Error("the process has no number");
    this.#options = options;
    this.pid = child.pid;
    const log = openLog(options.directory);
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        log.write(`${line}\n`);
        this.#hear(line);
      });
    }
    this.#exited = new Promise((resolve) => {
      // "close" and not "exit": the last lines have been read by then.
      child.once("exit", (code, signal) => {
        this.#gone = true;
        // What it started must not outlive it; the group keeps its number as long as anything is left of it.
        signalGroup(this.pid, "SIGKILL");
        const closed = new Promise<void>((done) => child.once("close", () => done()));
        void settlesWithin(closed, 1_000).then(() => {
          log.end();
          rmSync(pidFile(options.directory), { force: true });
          const how = signal === null ? `exit code ${code ?? "unknown"}` : `signal ${signal}`;
          this.#die(this.#stopping ? "it was stopped" : `the process ended with ${how}`);
          resolve();
        });
      });
    });
  }

  /** Fires when the process has ended, or its worker thread has. */
  get died(): AbortSignal {
    return this.#died.signal;
  }

  /** The last lines of its output. */
  get tail(): string {
    return this.#tail.join("\n");
  }

  /** Hears each line that it writes from now on. @returns ends that */
  onLine(listener: (line: string) => void): () => void {
    this.#lineListeners.add(listener);
    return () => this.#lineListeners.delete(listener);
  }

  /** SIGTERM, then SIGKILL, to the whole group. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (!this.#gone) signalGroup(this.pid, "SIGTERM");
    if (!(await settlesWithin(this.#exited, this.#options.stopMs)) && !this.#gone) signalGroup(this.pid, "SIGKILL");
    await this.#exited;
  }

  #hear(line: string): void {
    this.#tail.push(line.slice(0, LINE_LENGTH_MAX));
    if (this.#tail.length > TAIL_LINES) this.#tail.shift();
    for (const listener of this.#lineListeners) listener(line);
    if (WORKER_DEATH.test(line)) {
      // The traceback follows within the same moment.
      setTimeout(() => this.#die("its worker thread died"), 200).unref();
    }
  }

  #die(how: string): void {
    if (!this.#died.signal.aborted) this.#died.abort(new ProcessDied(how, this.tail));
  }
}

export class ProcessDied extends Error {
  /** Its last lines, not redacted. */
  readonly tail: string;
  constructor(how: string, tail: string) {
    super(how);
    this.tail = tail;
  }
}

function pidFile(directory: string): string {
  return join(directory, "comfyui.pid");
}

/** A fresh log for each start; the one before it is kept beside it. */
function openLog(directory: string) {
  const path = join(directory, LOG_FILE);
  try {
    renameSync(path, `${path}.1`);
  } catch {
    // There was none.
  }
  const stream = createWriteStream(path, { mode: 0o600 });
  // A full disk must not end the agent.
  stream.on("error", () => undefined);
  return stream;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nothing is left of it.
  }
}

/**
 * Ends the ComfyUI processes that an agent left behind when it was killed.
 * @param slots the folder that holds one folder per slot
 * @returns how many there were
 */
export async function killLeftovers(slots: string): Promise<number> {
  let killed = 0;
  for (const slot of await readdir(slots).catch(() => [])) {
    const path = pidFile(join(slots, slot));
    const identity = readIdentity(path);
    if (identity === null) continue;
    if (isSameProcess(identity)) {
      signalGroup(identity.pid, "SIGKILL");
      killed += 1;
      while (isSameProcess(identity)) await pause(20);
    }
    rmSync(path, { force: true });
  }
  return killed;
}

/** A port that was free a moment ago. Whoever uses it must be ready to lose it. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (typeof address === "object" && address !== null) resolve(address.port);
        else reject(new Error("no port"));
      });
    });
  });
}

/** What a ComfyUI process may see of the agent's environment: all but the agent's own settings and secrets. */
export function childEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("PILOTLIGHT_")));
}
