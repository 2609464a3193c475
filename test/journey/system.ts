/** The whole product as its users run it: `pilotlight dev` in a process of its own, with a fresh state folder. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type * as z from "zod";
import { killLeftovers, processesOf, type Role } from "#cli/local/leftovers";
import { Credentials, RunningServer, readJsonFile, stateFolderAt } from "#cli/local/state-folder";
import { Pilotlight } from "#client/pilotlight";
import type { Endpoint, NewEndpoint } from "#contract/endpoint";
import { until } from "#test/until";

export const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const CLI = join(REPOSITORY, "cli/main.ts");
/** The first start builds the Worker, on a machine that does other things too. */
const START_MS_MAX = 120_000;

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class System {
  readonly url: string;
  readonly client: Pilotlight;
  readonly token: string;
  readonly podId: string;
  readonly state: string;
  /** `pilotlight dev` itself. */
  readonly process: ChildProcess;

  private constructor(url: string, credentials: Credentials, state: string, child: ChildProcess) {
    this.url = url;
    this.token = credentials.key;
    this.podId = credentials.pod_id;
    this.client = new Pilotlight({ baseUrl: url, token: credentials.key });
    this.state = state;
    this.process = child;
  }

  /**
   * Starts everything and waits until it is ready.
   * @param options.env for the agent and its stand-in; `COMFYUI_ARGS` holds flags of the stand-in
   * @param options.state goes on with this folder, at the address of `options.port`
   */
  static async start(
    options: { env?: Record<string, string>; args?: readonly string[]; state?: string; port?: string } = {},
  ): Promise<System> {
    const state = options.state ?? (await mkdtemp(join(tmpdir(), "pilotlight-journey-")));
    const child = spawn(
      process.execPath,
      [CLI, "dev", "--port", options.port ?? "0", "--json-stream", ...(options.args ?? [])],
      {
        env: environment({ COMFYUI_STAND_IN: "1", ...options.env, PILOTLIGHT_STATE_DIR: state }),
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      },
    );
    const said: string[] = [];
    child.stderr.on("data", (piece: Buffer) => said.push(piece.toString()));
    const url = await new Promise<string>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`The system did not start: ${why}\n${said.join("")}`));
      const timer = setTimeout(() => fail("no word from it"), START_MS_MAX);
      createInterface({ input: child.stdout }).on("line", (line) => {
        const event = JSON.parse(line) as { event?: string; url?: string; ok?: boolean };
        if (event.event === "ready" && event.url !== undefined) {
          clearTimeout(timer);
          resolve(event.url);
        } else said.push(`${line}\n`);
      });
      child.once("exit", (code) => fail(`it ended with ${code}`));
    });
    const credentials = await readJsonFile(stateFolderAt(state).credentials, Credentials);
    if (credentials === null) throw new Error("There are no credentials");
    return new System(url, credentials, state, child);
  }

  /** Ends it as a Ctrl-C does, makes sure that nothing is left, and removes its folder. */
  async stop(): Promise<void> {
    await this.end("SIGTERM");
    for (const role of ["agent", "server", "runtime"] as const) await killLeftovers(this.state, role);
    await rm(this.state, { recursive: true, force: true });
  }

  /** Ends `pilotlight dev` alone, and waits for it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = once(this.process, "exit");
      this.process.kill(signal);
      await ended;
    }
    return this.process.exitCode;
  }

  /** Runs the command line against this system. */
  run(...args: readonly string[]): Promise<CommandResult> {
    return runCli(args, { PILOTLIGHT_STATE_DIR: this.state });
  }

  processes(role: Role): Promise<number[]> {
    return processesOf(this.state, role);
  }

  /** The server's Node process. */
  async serverPid(): Promise<number> {
    const running = await readJsonFile(stateFolderAt(this.state).server, RunningServer);
    if (running === null) throw new Error("No server runs");
    return running.pid;
  }

  async agentPid(): Promise<number> {
    const { pid } = JSON.parse(await readFile(join(this.state, "agent/agent.lock"), "utf8")) as { pid: number };
    return pid;
  }

  /** Events of the agent's log, oldest first. */
  async agentEvents(): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(this.state, "agent.log"), "utf8");
    return text
      .split("\n")
      .filter((line) => line.startsWith("{") && line.endsWith("}"))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** The stand-in that the agent started last. */
  async standIn(): Promise<{ pid: number; url: string }> {
    const ready = (await this.agentEvents()).findLast(({ event }) => event === "comfy_ready");
    if (ready === undefined) throw new Error("No stand-in was started yet");
    return { pid: Number(ready.pid), url: `http://127.0.0.1:${ready.port}` };
  }

  /**
   * Makes an endpoint of an example; its slug is the example's unless another is given. Its replica stays for a minute
   * between two jobs unless told otherwise: one that starts within a second would be let go at once.
   */
  async deploy(example: string, more: Partial<z.input<typeof NewEndpoint>> = {}): Promise<Endpoint> {
    const settings = { idle_timeout_s: 60, ...more.settings };
    return await this.client.endpoints.create({
      slug: example,
      workflow: await exampleWorkflow(example),
      ...more,
      settings,
    });
  }
}

export async function exampleWorkflow(example: string): Promise<string> {
  return await readFile(join(REPOSITORY, "examples", `${example}.json`), "utf8");
}

export interface RunningCommand {
  readonly process: ChildProcess;
  /** What it has written so far. */
  stdout(): string;
  stderr(): string;
  /** Its exit code, once it has ended and everything it wrote is here. */
  readonly ended: Promise<number | null>;
}

/** Starts the command line with the project's environment and nothing of a developer's own service. */
export function startCli(args: readonly string[], env: Record<string, string> = {}): RunningCommand {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: environment({ COMFYUI_STAND_IN: "1", ...env }),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    stdout += piece;
  });
  child.stderr.setEncoding("utf8").on("data", (piece: string) => {
    stderr += piece;
  });
  const ended = once(child, "close").then(() => child.exitCode);
  return { process: child, stdout: () => stdout, stderr: () => stderr, ended };
}

/** Runs the command line to its end. */
export async function runCli(args: readonly string[], env: Record<string, string> = {}): Promise<CommandResult> {
  const command = startCli(args, env);
  const code = await command.ended;
  return { code, stdout: command.stdout(), stderr: command.stderr() };
}

function environment(more: Record<string, string>): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(?:PILOTLIGHT_|COMFYUI_|npm_lifecycle_event$|INIT_CWD$|FORCE_COLOR$)/.test(name),
  );
  return { ...Object.fromEntries(kept), ...more };
}

/** Kills a process at once and waits until it is gone. */
export async function killHard(pid: number): Promise<void> {
  process.kill(pid, "SIGKILL");
  await until(`process ${pid} is gone`, () => {
    try {
      process.kill(pid, 0);
      return undefined;
    } catch {
      return true;
    }
  });
}

/** The data of a command's JSON envelope. */
export function envelopeOf(result: CommandResult): {
  ok: boolean;
  data: Record<string, unknown>;
  error: Record<string, unknown>;
} {
  const line = result.stdout.trim().split("\n").at(-1) ?? "";
  const envelope = JSON.parse(line) as {
    schema: string;
    ok: boolean;
    data: Record<string, unknown>;
    error: Record<string, unknown>;
  };
  expect(envelope.schema).toBe("envelope/1");
  return envelope;
}
