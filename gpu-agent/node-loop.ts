/** The node's side of its pod: joins, polls, and keeps its replicas to what the answers say. */
import { NodeMetricsAnswer } from "#contract/agent";
import type { Gpu, NodeMetrics } from "#contract/replica";
import { type AgentCalls, newPollId } from "./control/agent-calls.ts";
import { backoffMs, pause } from "./control/backoff.ts";
import { ControlError, isSessionLost, isUnwanted } from "./control/control-error.ts";
import { beginJoin, endJoin } from "./control/join-id.ts";
import { loadSession, nextStart, type StoredSession, saveSession, tokenHash } from "./control/node-session.ts";
import { type Log, messageOf } from "./log.ts";
import type { Inventory } from "./node-inventory.ts";
import type { ReplicaSet } from "./replica-set.ts";
import type { AgentSettings } from "./settings.ts";
import type { StatePaths } from "./state-directory.ts";

/** Answers that come back at once and change nothing are not asked for faster than this. */
const IDLE_ANSWER_MS = 1_000;

/** The node cannot go on without a person. */
export class NodeRefused extends Error {}

export interface NodeLoopOptions {
  readonly settings: AgentSettings;
  readonly paths: StatePaths;
  readonly calls: AgentCalls;
  readonly replicas: ReplicaSet;
  readonly gpus: () => Promise<Gpu[]>;
  readonly comfyDescription: () => string;
  readonly slots: number;
  readonly slotsPerGpu: number;
  readonly inventory: Inventory;
  /** The server asks for figures at this pace, ms. */
  readonly onMetricsPace: (everyMs: number) => void;
  readonly version: string;
  readonly log: Log;
  /** The agent drains: the pod is told to give it nothing new. */
  readonly drain: AbortSignal;
  /** Ends the loop. */
  readonly stop: AbortSignal;
}

export class NodeLoop {
  readonly #options: NodeLoopOptions;
  #stored: StoredSession | null = null;
  #changed = new AbortController();
  #start = 0;
  #polls = 0;
  /** Polls in a row that were answered with a refusal of its cards. */
  #refusals = 0;

  constructor(options: NodeLoopOptions) {
    this.#options = options;
  }

  /** The credential of the moment. */
  get session(): string | null {
    return this.#stored?.session ?? null;
  }

  /** Something the pod should hear of now: cuts the waiting poll short. */
  changed(): void {
    this.#changed.abort(new Error("the node has news"));
  }

  /** Goes on until `stop`. @throws NodeRefused */
  async run(): Promise<void> {
    const { settings, paths, stop, drain, log } = this.#options;
    this.#stored = await loadSession(paths.session, settings.url, settings.joinToken);
    this.#start = nextStart(this.#stored?.start ?? 0, Date.now());
    if (this.#stored !== null) {
      this.#stored = { ...this.#stored, start: this.#start };
      await this.#save(this.#stored);
      log("node_session_found", { nodeId: this.#stored.node_id });
    }
    drain.addEventListener("abort", () => this.changed(), { once: true });
    while (!stop.aborted) {
      try {
        this.#stored ??= await this.#join();
        await this.#poll(this.#stored);
        this.#refusals = 0;
      } catch (error) {
        if (stop.aborted) return;
        if (this.#stored !== null && isUnwanted(error)) {
          await this.#waitUnwanted(error);
          continue;
        }
        if (!isSessionLost(error)) throw this.#refused(error);
        log("node_session_lost", { error: messageOf(error) });
        this.#stored = null;
        // Whoever answers for it now, nobody wants what it ran: jobs in hand are finished.
        this.#options.replicas.apply([]);
        this.#options.inventory.forgotten();
        await this.#endJoin();
      }
    }
  }

  /** The last word: nothing runs here any more. One try. */
  async farewell(): Promise<void> {
    const { calls, settings, log } = this.#options;
    if (this.#stored === null) return;
    try {
      const { message: last } = await this.#message();
      const message = { ...last, draining: true, wait_ms: 0 };
      await calls.pollNode(
        this.#stored.node_id,
        message,
        AbortSignal.timeout(Math.min(5_000, settings.timings.callMs)),
      );
    } catch (error) {
      log("node_farewell_unheard", { error: messageOf(error) });
    }
  }

  /** The pod takes other cards now: a setting, which may be a slip and be restored. Asked again so often that it stays online. */
  async #waitUnwanted(error: Error): Promise<void> {
    const { settings, stop, log } = this.#options;
    this.#refusals += 1;
    const waitMs = backoffMs(this.#refusals, Math.random(), settings.timings);
    if (this.#refusals === 1) log("node_unwanted", { error: messageOf(error) });
    await pause(waitMs, stop).catch(() => undefined);
  }

  async #join(): Promise<StoredSession> {
    const { settings, calls, stop, log, version, slots, slotsPerGpu, inventory } = this.#options;
    const { joinToken, url, name, region } = settings;
    if (joinToken === undefined) {
      throw new NodeRefused(
        "This node has no session: it never joined, or it was removed from its pod. Make a join token and give it to the agent (--join-token or PILOTLIGHT_JOIN_TOKEN).",
      );
    }
    const gpus = await this.#options.gpus();
    const comfyui = this.#options.comfyDescription();
    const join_id = await this.#joinId(url, joinToken);
    const disk = await inventory.current();
    const request = {
      join_id,
      name,
      agent_version: version,
      comfyui,
      gpus,
      slots,
      slots_per_gpu: slotsPerGpu,
      inventory: disk,
      ...(region === undefined ? {} : { region }),
    };
    let joined: Awaited<ReturnType<AgentCalls["join"]>>;
    try {
      joined = await calls.join(joinToken, request, stop);
    } catch (error) {
      stop.throwIfAborted();
      if (isSessionLost(error)) throw new NodeRefused(`The server does not take the join token: ${messageOf(error)}`);
      throw error;
    }
    const stored: StoredSession = {
      url,
      node_id: joined.node_id,
      pod_id: joined.pod_id,
      session: joined.session,
      join_token_sha256: tokenHash(joinToken),
      start: this.#start,
    };
    inventory.told(disk);
    if (await this.#save(stored)) await this.#endJoin();
    log("node_joined", { nodeId: stored.node_id, podId: stored.pod_id });
    return stored;
  }

  /** A session that cannot be kept works all the same, until the agent ends. @returns whether it is kept */
  async #save(stored: StoredSession): Promise<boolean> {
    const { paths, log } = this.#options;
    try {
      await saveSession(paths.session, stored);
      return true;
    } catch (error) {
      log("node_session_not_saved", { error: messageOf(error) });
      return false;
    }
  }

  /** Without room on the disk an id lasts until the agent ends, which is better than not to join. */
  async #joinId(url: string, joinToken: string): Promise<string> {
    try {
      return await beginJoin(this.#options.paths.joining, url, joinToken);
    } catch (error) {
      this.#options.log("join_id_not_kept", { error: messageOf(error) });
      return newPollId();
    }
  }

  async #endJoin(): Promise<void> {
    await endJoin(this.#options.paths.joining).catch((error: unknown) => {
      this.#options.log("join_id_not_removed", { error: messageOf(error) });
    });
  }

  async #poll(stored: StoredSession): Promise<void> {
    const { calls, replicas, stop, settings, inventory, onMetricsPace } = this.#options;
    // News that comes while the message is made must cut the poll short, so the listener is there first.
    const changed = new AbortController();
    this.#changed = changed;
    const startedAt = performance.now();
    const { message: said, disk } = await this.#message();
    const message = { ...said, wait_ms: settings.timings.pollWaitMs };
    let answer: Awaited<ReturnType<AgentCalls["pollNode"]>>;
    try {
      answer = await calls.pollNode(stored.node_id, message, AbortSignal.any([stop, changed.signal]));
    } catch (error) {
      if (changed.signal.aborted && !stop.aborted) return;
      throw error;
    }
    if (answer.session !== undefined && answer.session !== stored.session) {
      this.#stored = { ...stored, session: answer.session };
      await this.#save(this.#stored);
    }
    if (disk !== null) inventory.told(disk);
    if (answer.send_inventory === true) inventory.forgotten();
    if (answer.metrics_every_ms !== undefined) onMetricsPace(answer.metrics_every_ms);
    const acted = replicas.apply(answer.replicas);
    const tookMs = performance.now() - startedAt;
    if (!acted && tookMs < IDLE_ANSWER_MS) {
      const signal = AbortSignal.any([stop, changed.signal]);
      await pause(Math.min(IDLE_ANSWER_MS, settings.timings.pollWaitMs), signal).catch(() => undefined);
    }
  }

  async #message() {
    const { replicas, slots, slotsPerGpu, drain, settings, inventory, version } = this.#options;
    const gpus = await this.#options.gpus();
    const disk = await inventory.news();
    // Numbered and filled in one turn: a higher number never carries older news.
    this.#polls += 1;
    const message = {
      poll_id: newPollId(),
      order: { start: this.#start, seq: this.#polls },
      name: settings.name,
      agent_version: version,
      comfyui: this.#options.comfyDescription(),
      gpus,
      slots,
      slots_per_gpu: slotsPerGpu,
      ...(disk === null ? {} : { inventory: disk }),
      ...(settings.region === undefined ? {} : { region: settings.region }),
      draining: drain.aborted,
      replicas: replicas.held,
    };
    return { message, disk };
  }

  /** One try. @returns ms until the next figures are due; null while the node has no session */
  async sendMetrics(metrics: NodeMetrics): Promise<number | null> {
    const stored = this.#stored;
    if (stored === null) return null;
    const { calls, stop: signal } = this.#options;
    const path = `nodes/${stored.node_id}/metrics`;
    const request = { method: "POST", path, json: { metrics }, signal } as const;
    return (await calls.client.json(NodeMetricsAnswer, request)).next_in_ms;
  }

  #refused(error: unknown): unknown {
    if (!(error instanceof ControlError)) return error;
    return new NodeRefused(
      error.status === 426
        ? "This agent is too old for the server: update it."
        : `The server refuses this node: ${error.message}`,
    );
  }
}
