/** The local stack: the server and the GPU agent as child processes, started again when they die, stopped together. */
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { CliError } from "#cli/errors";
import { type Child, startChild } from "#cli/local/child-process";
import { agentArguments, type ComfyChoice } from "#cli/local/comfyui";
import { killLeftovers } from "#cli/local/leftovers";
import { withLivingPod } from "#cli/local/living-pod";
import { ServerMessage } from "#cli/local/server-message";
import {
  Credentials,
  makeStateFolder,
  readJsonFile,
  SavedJoinToken,
  type StateFolder,
  writeJsonFile,
} from "#cli/local/state-folder";
import { Pilotlight } from "#client/pilotlight";

const AGENT_PROGRAM = fileURLToPath(new URL("../../gpu-agent/main.ts", import.meta.url));
/** The first start builds the Worker; on a slow machine that takes its time. */
const SERVER_START_MS_MAX = 180_000;
const RESTART_PAUSE_MS = 500;
const RESTART_PAUSE_MS_MAX = 30_000;
/** A program that ran this long has not failed to start. */
const STEADY_MS = 30_000;
/** A stand-in needs no GPU: two endpoints can run beside each other without taking turns. */
const STAND_IN_SLOTS = 2;
const JOIN_TOKEN_S = 365 * 86_400;
/** An agent that ends so often may have been refused. */
const FAILURES_BLAMED_ON_TOKEN = 3;
/** Jobs in hand may end before Ctrl-C ends the agent; longer ones go back to the queue. */
const AGENT_DRAIN_S = 2;
const AGENT_GRACE_MS = 8_000;
const SERVER_GRACE_MS = 5_000;

export interface LocalStack {
  readonly url: string;
  readonly credentials: Credentials;
  readonly isFirstStart: boolean;
  readonly client: Pilotlight;
  /** Joins an agent on this machine; it is kept alive until the stack stops. */
  startAgent(comfy: ComfyChoice): Promise<void>;
  /** Ends everything this started, agent first. */
  stop(): Promise<void>;
  /** Ends everything at once, without asking. */
  kill(): void;
}

export interface StackOptions {
  readonly state: StateFolder;
  /** Left out: PILOTLIGHT_PORT or 8787. */
  readonly port?: number;
  /** URLs that callers give may point at this machine; left out: they may not. */
  readonly allowLoopbackUrls?: boolean;
  /** One line for people when something dies and is started again. */
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

/** A server runs on this state folder already. */
export class AlreadyRunning extends Error {
  /** Null when its address could not be read. */
  readonly url: string | null;
  constructor(detail: string, url: string | null) {
    super(detail);
    this.name = "AlreadyRunning";
    this.url = url;
  }
}

/**
 * Starts the server and waits until it answers.
 * @throws AlreadyRunning; CliError `server_failed` with the reason
 */
export async function startStack(options: StackOptions): Promise<LocalStack> {
  const { state, report, signal } = options;
  await makeStateFolder(state);
  const keepers: Keeper[] = [];

  let url = "";
  let isFirstStart = false;
  const serverEnv = (port: number | undefined) => ({
    PILOTLIGHT_STATE_DIR: state.root,
    // Decided here: what the shell happens to hold must not open anything.
    ALLOW_LOOPBACK_URLS: String(options.allowLoopbackUrls ?? false),
    ...(port === undefined ? {} : { PILOTLIGHT_PORT: String(port) }),
  });
  const server = new Keeper("The server", report, async () => {
    // Once its address has been told, a restarted server keeps it.
    const child = startServer(state, serverEnv(url === "" ? options.port : Number(new URL(url).port)));
    try {
      const message = await firstMessage(child, signal, state.serverLog);
      if (message.type === "running") throw new AlreadyRunning(message.detail, message.url);
      if (message.type === "failed") throw new CliError("server_failed", message.detail);
      if (url !== "" && message.url !== url) report(`The server is now at ${message.url}.`);
      url = message.url;
      isFirstStart ||= message.isFirstStart;
    } catch (error) {
      await child.stop(SERVER_GRACE_MS);
      throw error;
    }
    return child;
  });
  keepers.push(server);
  await server.start();

  // Only now, with the state folder's lock in our server's hands, can no other stack own an agent of it.
  await killLeftovers(state.root, "agent");
  const chosen = await readJsonFile(state.credentials, Credentials);
  if (chosen === null) throw new CliError("server_failed", `${state.credentials} is missing`);
  const client = new Pilotlight({ baseUrl: url, token: chosen.key });
  const credentials = await withLivingPod(state, client.pods, chosen, report, signal);

  return {
    url,
    credentials,
    isFirstStart,
    client,
    startAgent: async (comfy) => {
      const agent = new Keeper("The agent", report, async (failures) => {
        const token = await joinToken(state, client, credentials.pod_id, failures < FAILURES_BLAMED_ON_TOKEN, signal);
        return startChild({
          program: AGENT_PROGRAM,
          args: [
            ...["--url", url, "--name", "this-machine", "--state-directory", state.agent],
            ...["--drain-seconds", String(AGENT_DRAIN_S), ...agentArguments(comfy)],
            ...(comfy.kind === "stand-in" ? ["--slots", String(STAND_IN_SLOTS)] : []),
          ],
          // What drives the jobs was decided here; the agent must not find a second answer in the environment.
          env: {
            PILOTLIGHT_JOIN_TOKEN: token,
            COMFYUI_DIR: undefined,
            COMFYUI_URL: undefined,
            COMFYUI_STAND_IN: undefined,
          },
          stateRoot: state.root,
          role: "agent",
          logFile: state.agentLog,
        });
      });
      keepers.push(agent);
      await agent.start();
    },
    stop: async () => {
      for (const keeper of keepers.toReversed()) {
        await keeper.stop(keeper === server ? SERVER_GRACE_MS : AGENT_GRACE_MS);
      }
      await rm(state.server, { force: true });
    },
    kill: () => {
      for (const keeper of keepers) keeper.kill();
    },
  };
}

/** The agent's join token: the one it joined with, unless that has expired or does not work. */
async function joinToken(
  state: StateFolder,
  client: Pilotlight,
  pod: string,
  mayReuse: boolean,
  signal: AbortSignal,
): Promise<string> {
  const saved = mayReuse ? await readJsonFile(state.joinToken, SavedJoinToken) : null;
  if (saved !== null && Date.parse(saved.expires_at) > Date.now()) return saved.token;
  const { token, expires_at } = await client.pods.createJoinToken(pod, { expires_in: JOIN_TOKEN_S }, { signal });
  if (token === undefined) throw new CliError("server_failed", "The server made no join token");
  await writeJsonFile(state.joinToken, { token, expires_at });
  return token;
}

function startServer(state: StateFolder, env: Record<string, string | undefined>): Child {
  return startChild({
    program: fileURLToPath(new URL("./server-process.ts", import.meta.url)),
    args: [],
    env,
    stateRoot: state.root,
    role: "server",
    logFile: state.serverLog,
  });
}

/** The one message of a starting server. */
async function firstMessage(child: Child, signal: AbortSignal, logFile: string): Promise<ServerMessage> {
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail("it is not ready in time"), SERVER_START_MS_MAX);
    const onAbort = () => settle(() => reject(signal.reason));
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const fail = (why: string) =>
      settle(() => reject(new CliError("server_failed", `The local server did not start: ${why}`, `See ${logFile}`)));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    child.process.once("message", (message) => settle(() => resolve(ServerMessage.parse(message))));
    void child.ended.then(({ code, signal: by }) =>
      fail(by === null ? `it ended with ${code}` : `it was ended by ${by}`),
    );
  });
}

/** Keeps one program running until it is told to stop. */
class Keeper {
  readonly #name: string;
  readonly #report: (line: string) => void;
  readonly #launch: (failures: number) => Promise<Child>;
  #child: Child | undefined;
  #stopping = false;
  #failures = 0;
  #wake: (() => void) | undefined;

  constructor(name: string, report: (line: string) => void, launch: (failures: number) => Promise<Child>) {
    this.#name = name;
    this.#report = report;
    this.#launch = launch;
  }

  /** @throws what the first launch throws; later ones are repeated */
  async start(): Promise<void> {
    this.#watch(await this.#launch(0));
  }

  #watch(child: Child): void {
    this.#child = child;
    const startedAt = performance.now();
    void child.ended.then(async ({ code, signal }) => {
      if (this.#stopping) return;
      // What it started may outlive it and hold its port.
      await child.stop(0);
      if (performance.now() - startedAt > STEADY_MS) this.#failures = 0;
      this.#report(`${this.#name} ended (${signal ?? `code ${code}`}) and is started again.`);
      await this.#relaunch();
    });
  }

  async #relaunch(): Promise<void> {
    while (!this.#stopping) {
      const pauseMs = Math.min(RESTART_PAUSE_MS * 2 ** this.#failures, RESTART_PAUSE_MS_MAX);
      this.#failures += 1;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pauseMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (this.#stopping) return;
      try {
        const child = await this.#launch(this.#failures);
        if (this.#stopping) await child.stop(0);
        else this.#watch(child);
        return;
      } catch (error) {
        this.#report(`${this.#name} does not start: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    await this.#child?.stop(graceMs);
  }

  kill(): void {
    this.#stopping = true;
    this.#wake?.();
    void this.#child?.stop(0);
  }
}
