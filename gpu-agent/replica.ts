/** One replica: a ComfyUI on a slot that takes one endpoint's jobs, one at a time, until it is told to stop. */
import { randomUUID } from "node:crypto";
import type { HeldReplica, Lease, WantedReplica } from "#contract/agent";
import type { ReplicaState } from "#contract/replica";
import type { ComfyHost } from "./comfy/comfy-server.ts";
import { type ComfySession, closeSession, openSession } from "./comfy/comfy-session.ts";
import { drivePrompt } from "./comfy/drive-prompt.ts";
import { lastWords } from "./comfy/spawn-host.ts";
import { type AgentCalls, newPollId } from "./control/agent-calls.ts";
import { isLeaseLost } from "./control/control-error.ts";
import { type Log, messageOf, withFields } from "./log.ts";
import { PhaseClock } from "./phase-clock.ts";
import { redact } from "./redact.ts";
import { ReleaseCache } from "./release-cache.ts";
import { runJob } from "./run-job.ts";
import type { AgentSettings } from "./settings.ts";
import { freeBytes, type StatePaths } from "./state-directory.ts";

/** ComfyUI failing this often without a finished job in between is the machine's trouble, not the jobs'. */
const RESTARTS_MAX = 3;
const ERROR_LENGTH_MAX = 4_000;

export interface ReplicaOptions {
  readonly wanted: WantedReplica;
  readonly calls: AgentCalls;
  readonly host: ComfyHost;
  readonly settings: AgentSettings;
  readonly paths: StatePaths;
  readonly log: Log;
  /** The pod should hear of this replica's state now. */
  readonly onChange: () => void;
}

export class Replica {
  readonly #options: ReplicaOptions;
  readonly #log: Log;
  readonly #releases: ReleaseCache;
  /** Take no more jobs. */
  readonly #drain = new AbortController();
  /** Give back the job in hand as well. */
  readonly #hurry = new AbortController();
  readonly #phases = new PhaseClock();
  #state: ReplicaState = "preparing";
  #error: string | null = null;
  #release: number | null = null;
  readonly ended: Promise<void>;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    const { replica_id: replicaId, slot, endpoint_id: endpointId } = options.wanted;
    this.#log = withFields(options.log, { replicaId, endpointId, slot });
    this.#releases = new ReleaseCache((release, signal) => options.calls.release(replicaId, release, signal));
    this.ended = this.#run();
  }

  get held(): HeldReplica {
    const { replica_id, slot } = this.#options.wanted;
    return { replica_id, slot, state: this.#state, ...(this.#error === null ? {} : { error: this.#error }) };
  }

  /** Finish the job in hand, take no other, stop. */
  drain(): void {
    if (this.#drain.signal.aborted) return;
    this.#drain.abort(new Error("the replica drains"));
    if (this.#state !== "stopped" && this.#state !== "crashed") {
      this.#enter("draining");
      void this.#report();
    }
  }

  /** Stop at once: the job in hand goes back to the queue. */
  hurry(): void {
    this.drain();
    this.#hurry.abort(new Error("the agent shuts down"));
  }

  async #run(): Promise<void> {
    let comfy: ComfySession | null = null;
    try {
      comfy = await this.#start();
      comfy = await this.#takeJobs(comfy);
      this.#phases.begin("stopping");
      await closeSession(comfy);
      comfy = null;
      this.#phases.end();
      this.#enter("stopped");
    } catch (error) {
      if (this.#drain.signal.aborted) this.#enter("stopped");
      else {
        this.#error = this.#redacted(error instanceof Error ? error.message : String(error));
        this.#log("replica_crashed", { error: this.#error.split("\n", 1)[0] });
        this.#enter("crashed");
      }
    } finally {
      // Already closed on the good way; here after trouble.
      if (comfy !== null) await closeSession(comfy).catch(() => undefined);
    }
    this.#options.onChange();
    await this.#report();
  }

  #enter(state: ReplicaState): void {
    if (this.#state === state) return;
    // A draining replica stays so until it has stopped, whatever its ComfyUI does meanwhile.
    if (this.#state === "draining" && state !== "stopped" && state !== "crashed") return;
    this.#state = state;
    this.#log("replica_state", { state });
    if (state !== "ready" && state !== "busy") this.#options.onChange();
  }

  /** From nothing to a ComfyUI that has shown it can run a prompt. */
  async #start(): Promise<ComfySession> {
    const { host, settings, wanted } = this.#options;
    const { signal } = this.#drain;
    this.#enter("preparing");
    this.#phases.begin("preparing");
    void this.#report();
    await this.#refuseFullDisk();
    const server = await host.start({
      slot: wanted.slot,
      log: this.#log,
      signal,
      onPhase: (phase) => {
        this.#enter(phase);
        this.#phases.begin(phase);
        void this.#report();
      },
    });
    try {
      this.#enter("loading");
      this.#phases.begin("loading");
      void this.#report();
      const session = await openSession(server, settings.timings, this.#log, signal);
      if (server.folders !== null) await this.#tryOut(session);
      return session;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  /** An answer to HTTP proves little: the worker thread may be dead. A prompt of two nodes proves it. */
  async #tryOut(session: ComfySession): Promise<void> {
    const { settings } = this.#options;
    const { signal } = this.#drain;
    const classes = ["EmptyImage", "PreviewImage"];
    if ((await session.http.missingClasses(classes, signal)).length > 0) return;
    const color = Math.floor(Math.random() * 0xffffff);
    const empty = { width: 64, height: 64, batch_size: 1, color };
    const promptId = randomUUID();
    await drivePrompt({
      session,
      graph: {
        "1": { class_type: "EmptyImage", inputs: empty },
        "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      },
      promptId,
      timings: settings.timings,
      timeoutMs: settings.timings.bootMs,
      signal,
      log: this.#log,
      redacted: (text) => this.#redacted(text),
      onStart: () => undefined,
      onProgress: () => undefined,
      onPreview: () => undefined,
    });
    await session.http.deleteHistory(promptId);
  }

  /** Until it drains. @returns the ComfyUI it ended with: it may have been restarted on the way */
  async #takeJobs(started: ComfySession): Promise<ComfySession> {
    let comfy = started;
    let failures = 0;
    let pollId = newPollId();
    let lease: Lease | null = null;
    await this.#becomeReady(comfy);
    for (;;) {
      if (comfy.server.died.aborted) {
        if (lease !== null) await this.#giveBack(lease, "ComfyUI died before the job began");
        lease = null;
        failures += 1;
        if (failures > RESTARTS_MAX)
          throw new Error(`ComfyUI fails again and again: ${lastWords(comfy.server.died.reason)}`);
        comfy = await this.#restart(comfy);
      }
      if (this.#drain.signal.aborted) {
        if (lease !== null) await this.#giveBack(lease, "the replica drains");
        return comfy;
      }
      if (lease === null) {
        await this.#refuseFullDisk();
        const answer = await this.#poll(pollId, comfy.server.died);
        if (answer === null) continue;
        if (answer.stop) this.drain();
        lease = answer.lease;
        pollId = newPollId();
        continue;
      }
      this.#enter("busy");
      const end = await this.#runJob(lease, comfy, pollId);
      this.#enter("ready");
      lease = end.next;
      // Whether or not the answer arrived, a poll under the same id gets the same lease.
      if (lease !== null) pollId = newPollId();
      if (end.comfy === "restart" && !comfy.server.died.aborted) {
        failures += 1;
        if (failures > RESTARTS_MAX) throw new Error("ComfyUI hangs again and again");
        comfy = await this.#restart(comfy);
      } else if (end.outcome === "succeeded") failures = 0;
    }
  }

  async #runJob(lease: Lease, comfy: ComfySession, nextPollId: string) {
    const { calls, settings, paths } = this.#options;
    return runJob({
      lease,
      calls,
      comfy,
      releases: this.#releases,
      settings,
      spool: paths.spool,
      log: this.#log,
      hurry: this.#hurry.signal,
      nextPollId: () => (this.#drain.signal.aborted || comfy.server.died.aborted ? undefined : nextPollId),
    });
  }

  /** @returns null when the wait was cut short: the replica drains, or ComfyUI died */
  async #poll(pollId: string, died: AbortSignal) {
    const { calls, settings, wanted } = this.#options;
    const signal = AbortSignal.any([this.#drain.signal, died]);
    const poll = { poll_id: pollId, leases: [], wait_ms: settings.timings.pollWaitMs };
    try {
      return await calls.pollReplica(wanted.replica_id, poll, signal);
    } catch (error) {
      if (signal.aborted) return null;
      // The endpoint does not know this replica any more.
      if (!isLeaseLost(error)) throw error;
      this.#log("replica_unknown", { error: messageOf(error) });
      return { lease: null, ended: [], stop: true };
    }
  }

  async #giveBack(lease: Lease, reason: string): Promise<void> {
    const { calls, settings } = this.#options;
    await calls.giveBack(lease, reason, AbortSignal.timeout(settings.timings.callMs)).catch((error: unknown) => {
      this.#log("lease_not_given_back", { leaseId: lease.lease_id, error: messageOf(error) });
    });
  }

  async #restart(comfy: ComfySession): Promise<ComfySession> {
    this.#log("comfy_restarts", { reason: lastWords(comfy.server.died.reason ?? "it hangs").split("\n", 1)[0] });
    await closeSession(comfy);
    const next = await this.#start();
    await this.#becomeReady(next);
    return next;
  }

  /** The endpoint must know the replica before it polls. */
  async #becomeReady(comfy: ComfySession): Promise<void> {
    this.#phases.end();
    this.#enter("ready");
    await this.#report();
    if (this.#release === null || this.#drain.signal.aborted) return;
    const { signal } = this.#drain;
    try {
      const release = await this.#releases.get(this.#release, signal);
      const missing = await comfy.http.missingClasses(release.classes, signal);
      if (missing.length > 0) this.#log("node_classes_missing", { classes: missing.join(",").slice(0, 1_000) });
    } catch (error) {
      // A job will fetch it again and say what is wrong.
      if (!signal.aborted) this.#log("release_not_checked", { error: messageOf(error) });
    }
  }

  /** Tells the endpoint the present state; the answer may say that the replica is no longer wanted. */
  async #report(): Promise<void> {
    const { calls, wanted, settings } = this.#options;
    const ended = this.#state === "stopped" || this.#state === "crashed";
    // The last report must not hold up the end of the agent for ever.
    const signal = ended ? AbortSignal.timeout(settings.timings.callMs) : this.#hurry.signal;
    const message = {
      state: this.#state,
      phases: this.#phases.times,
      ...(this.#error === null ? {} : { error: this.#error }),
    };
    try {
      const answer = await calls.reportReplica(wanted.replica_id, message, signal);
      this.#release = answer.release;
      if (answer.stop && !ended) this.drain();
    } catch (error) {
      if (signal.aborted) return;
      this.#log("replica_report_refused", { error: messageOf(error) });
      if (isLeaseLost(error) && !ended) this.drain();
    }
  }

  async #refuseFullDisk(): Promise<void> {
    const { settings, paths } = this.#options;
    const free = await freeBytes(paths.root);
    if (free < settings.freeBytesMin) {
      const [have, need] = [free, settings.freeBytesMin].map((bytes) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`);
      throw new Error(`free disk space is ${have}, below the ${need} that a job may need`);
    }
  }

  #redacted(text: string): string {
    const { settings } = this.#options;
    const folders: Record<string, string> = { [settings.stateDirectory]: "<agent>" };
    if (settings.comfy.kind === "spawn") folders[settings.comfy.directory] = "<ComfyUI>";
    const result = redact(text, folders);
    // The end of a log says more than its beginning.
    return result.length <= ERROR_LENGTH_MAX ? result : `…${result.slice(-(ERROR_LENGTH_MAX - 1))}`;
  }
}
