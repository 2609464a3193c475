/** Everything that runs in a chaos run: the server with its launcher, the agents, a receiver, and the wires between. */
import { glob, mkdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { processesOf } from "#cli/local/leftovers";
import { type LocalStack, startStack } from "#cli/local/stack";
import { readJsonFile, Secrets, type StateFolder, stateFolderAt } from "#cli/local/state-folder";
import { Pilotlight } from "#client/pilotlight";
import { until } from "#test/until";
import { AgentProcess } from "./agent-process.ts";
import type { LogText } from "./evidence.ts";
import type { SeededChance } from "./seeded-chance.ts";
import { TcpProxy } from "./tcp-proxy.ts";
import { WebhookReceiver } from "./webhook-receiver.ts";
import { SLUGS, WORKFLOWS } from "./workload.ts";

/** Faults cost attempts; a job that met many of them must not fail for it. */
const ATTEMPTS_MAX = 10;
const STEADY_MS = 60_000;

export interface ClusterPlan {
  /** Of the run. */
  readonly folder: string;
  /** Of the server: the full disk, if there is to be one. */
  readonly state: string;
  readonly agents: number;
  readonly chance: SeededChance;
  readonly report: (line: string) => void;
}

export class Cluster {
  readonly state: StateFolder;
  readonly agents: readonly AgentProcess[];
  readonly receiver: WebhookReceiver;
  /** The wire between callers and the server. */
  readonly callers: TcpProxy;
  /** Reaches the server directly, for looking. */
  readonly client: Pilotlight;
  readonly token: string;
  readonly joinToken: string;
  readonly #stack: LocalStack;
  readonly #folder: string;

  private constructor(parts: {
    state: StateFolder;
    agents: readonly AgentProcess[];
    receiver: WebhookReceiver;
    callers: TcpProxy;
    stack: LocalStack;
    joinToken: string;
    folder: string;
  }) {
    this.state = parts.state;
    this.agents = parts.agents;
    this.receiver = parts.receiver;
    this.callers = parts.callers;
    this.joinToken = parts.joinToken;
    this.#stack = parts.stack;
    this.#folder = parts.folder;
    this.client = parts.stack.client;
    this.token = parts.stack.credentials.key;
  }

  static async start({ folder, state, agents, chance, report }: ClusterPlan): Promise<Cluster> {
    const never = new AbortController();
    const stack = await startStack({
      ...{ state: stateFolderAt(state), port: 0, report, signal: never.signal },
      // The receiver of webhooks is on this machine.
      allowLoopbackUrls: true,
    });
    try {
      const server = () => ({ host: "127.0.0.1", port: Number(new URL(stack.url).port) });
      const { token: joinToken } = await stack.client.pods.createJoinToken(stack.credentials.pod_id);
      if (joinToken === undefined) throw new Error("no join token");
      const started: AgentProcess[] = [];
      for (let number = 1; number <= agents; number += 1) {
        const own = join(folder, `agent-${number}`);
        await mkdir(own, { recursive: true });
        started.push(await AgentProcess.start({ name: `agent-${number}`, folder: own, joinToken, target: server }));
      }
      return new Cluster({
        state: stateFolderAt(state),
        agents: started,
        receiver: await WebhookReceiver.start(chance, join(folder, "webhooks.jsonl")),
        callers: await TcpProxy.start(server),
        stack,
        joinToken,
        folder,
      });
    } catch (error) {
      await stack.stop();
      throw error;
    }
  }

  /** Makes the endpoints and waits until each has a replica that is ready. */
  async deploy(): Promise<void> {
    // Two slots on each agent: most for the plain jobs, the rest for those with a photo.
    const slots = this.agents.length * 2;
    const photo = Math.max(1, Math.floor(slots / 4));
    const common = { idle_timeout_s: 3_600, attempts_max: ATTEMPTS_MAX };
    for (const [name, replicas] of [
      ["plain", slots - photo],
      ["photo", photo],
    ] as const) {
      const settings = { ...common, min_replicas: replicas, max_replicas: replicas };
      await this.client.endpoints.create({ slug: SLUGS[name], workflow: WORKFLOWS[name], settings });
    }
    for (const slug of Object.values(SLUGS)) {
      await until(`${slug} has a replica`, async () => {
        const replicas = await this.client.endpoints.replicas(slug);
        return replicas.some(({ state }) => state === "ready") ? true : undefined;
      });
    }
  }

  /** A caller's client, through the wire that faults cut. */
  caller(options: { fetch: typeof fetch }): Pilotlight {
    return new Pilotlight({ baseUrl: this.callers.url, token: this.token, ...options });
  }

  /** Ids of the runtime's processes. */
  async workerd(): Promise<number[]> {
    return processesOf(this.state.root, "runtime");
  }

  /** Waits for the first 2xx. @returns ms it took */
  async healthy(): Promise<number> {
    const startedAt = performance.now();
    await until(
      "the server answers",
      async () => {
        const response = await fetch(`${this.client.baseUrl}/v1/health`, { signal: AbortSignal.timeout(1_000) });
        await response.body?.cancel();
        return response.ok ? true : undefined;
      },
      STEADY_MS,
    );
    return performance.now() - startedAt;
  }

  async secrets(): Promise<string[]> {
    const kept = await readJsonFile(this.state.secrets, Secrets);
    return [this.token, this.joinToken, ...(kept === null ? [] : [kept.signing_secret])];
  }

  /** What the server, the agents and their ComfyUIs have written. */
  async logs(): Promise<LogText[]> {
    const files = [this.state.serverLog];
    for (const { logFile, slotsFolder } of this.agents) {
      files.push(logFile);
      for await (const name of glob("*/comfyui.log*", { cwd: slotsFolder })) files.push(join(slotsFolder, name));
    }
    return await Promise.all(
      files.map(async (file) => ({ name: relative(this.#folder, file), text: await readFile(file, "utf8") })),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.stop()));
    await this.#stack.stop();
    await this.callers.stop();
    await this.receiver.stop();
  }
}
