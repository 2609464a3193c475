/** One job, from its lease to its final report. */
import { rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { CompleteLease, Lease, ManifestEntry, ReleaseForAgent } from "#contract/agent";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import type { JobError } from "#contract/job";
import { fillGraph } from "#workflow/fill-graph";
import { ComfyUnreachable } from "./comfy/comfy-http.ts";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { drivePrompt, type PromptResult, PromptStuck } from "./comfy/drive-prompt.ts";
import { ComfyDiedFirst, type ComfyHealth, JobFailure } from "./comfy/job-failure.ts";
import { type AgentCalls, isAboutOutputs } from "./control/agent-calls.ts";
import { ControlError, isGone } from "./control/control-error.ts";
import { LeaseKeeper } from "./control/lease-keeper.ts";
import type { UploadLimits } from "./control/uploads.ts";
import { bringInputs } from "./inputs/bring-inputs.ts";
import { type Log, messageOf, withFields } from "./log.ts";
import { deliverOutputs, storeOutput } from "./outputs/deliver-outputs.ts";
import { EarlyOutputs } from "./outputs/early-outputs.ts";
import { jobFolder, jobPrefix, leaseFolder } from "./outputs/job-prefix.ts";
import type { OutputSource } from "./outputs/output-files.ts";
import { PhaseClock } from "./phase-clock.ts";
import { redact } from "./redact.ts";
import type { ReleaseCache } from "./release-cache.ts";
import { graphOf } from "./release-graph.ts";
import type { AgentSettings } from "./settings.ts";

/**
 * Outputs are delivered this often at most: the first time ahead of the complete, which finds what did not arrive, the
 * second time waiting until each is stored, and once more for a store that has lost one since.
 */
const DELIVERIES_MAX = 3;
/**
 * The first beat leaves the way to ComfyUI free: it may come as late as the lease's confirmation, seconds away, and says
 * more once the prompt is on its way. A job that has ended by then is confirmed by its result.
 */
const FIRST_BEAT_MS = 10;
/** An upload that takes no longer is not told of: the message would only stand in its way. */
const UPLOAD_UNTOLD_MS = 20;
/** The server waits so long for outputs that were sent ahead before the replica goes on with the next job, and then. */
const STORED_WAIT_MS = 100;
const STORED_PATIENCE_MS = 30_000;
/**
 * A job that is held ahead goes back once this share of the time to confirm its lease has passed: nobody waits for it
 * longer than for an answer that was lost.
 */
const HELD_SHARE_MAX = 0.7;
/** A field that no class has. */
const EMPTIED_FIELD = "pilotlight_emptied";
/** ComfyUI is asked this long to forget a job that has ended. */
const CLEAN_MS = 5_000;

export type NextPoll = Pick<CompleteLease, "next_poll_id" | "next_wait_ms">;

/** The job before, or all that comes before a job of another release. */
export interface Before {
  /** Never rejects. */
  readonly free: Promise<void>;
  /** Until then nothing of the job may be in ComfyUI's queue. */
  readonly isAlone?: boolean;
}

export interface RunJobOptions {
  readonly lease: Lease;
  readonly calls: AgentCalls;
  readonly comfy: ComfySession;
  readonly releases: ReleaseCache;
  readonly settings: AgentSettings;
  readonly spool: string;
  readonly log: Log;
  /** The agent must go now: stop the prompt and give the lease back. */
  readonly hurry: AbortSignal;
  /** The replica takes no more jobs: one that has not begun goes back. */
  readonly drain: AbortSignal;
  /** What ComfyUI works on; this job is held ahead until that is over. Null: it begins at once. */
  readonly before: Before | null;
  /** How often ComfyUI's folders were emptied for another release: what it made before, it may not take for there. */
  readonly emptied: number;
  /** Whether it has begun, is free or reports has changed. */
  readonly onChange: () => void;
  /** Asked when the job is about to end: how the next lease may come with the answer, or after it. */
  readonly nextPoll: () => NextPoll;
}

export interface JobEnd {
  readonly outcome: "succeeded" | "failed" | "canceled" | "lost" | "given_back";
  readonly next: Lease | null;
  readonly comfy: ComfyHealth;
  /** The prompt that ComfyUI may still be running. */
  readonly stuckPrompt?: string;
}

/** A job on its way. */
export interface RunningJob {
  readonly lease: Lease;
  /**
   * Resolves when ComfyUI has ended the prompt, one way or another, and can run the next one while outputs go up. Not
   * when it has to be restarted first: `end` says so.
   */
  readonly free: Promise<void>;
  readonly isFree: boolean;
  /** The server knows that its outputs go up, and may give another job. */
  readonly isSending: boolean;
  /** Its turn has come: from then on it counts as an attempt. Until then it is held ahead. */
  readonly hasBegun: boolean;
  /** Never rejects. */
  readonly end: Promise<JobEnd>;
  /** Nothing of the job is left in ComfyUI. The next job need not wait for it. Never rejects. */
  readonly cleaned: Promise<void>;
  /** The final report is on its way. */
  readonly isReporting: boolean;
  /** Gives the lease back, and stops the prompt. */
  giveBack(reason: string): void;
  /** The server says that the lease is over. Only for a job that has not begun: later ones hear it for themselves. */
  revoke(): void;
}

/**
 * Runs the job of a lease and reports how it ended.
 * Two things go on at once: the keeper renews the lease, whatever ComfyUI does; the steps are taken one after the other.
 */
export function runJob(options: RunJobOptions): RunningJob {
  return new JobRun(options);
}

/** A reason that nobody reads: one that is made for each job would come with a stack of calls. */
const NOT_HELD = new Error("the job is held ahead no longer");

/** Why a job was stopped from outside. */
class Stopped extends Error {
  readonly why: "canceled" | "lost" | "given_back";
  constructor(why: Stopped["why"]) {
    super(why);
    this.why = why;
  }
}

class JobRun implements RunningJob {
  readonly lease: Lease;
  readonly free: Promise<void>;
  readonly end: Promise<JobEnd>;
  readonly cleaned: Promise<void>;
  isReporting = false;
  isFree = false;
  isSending = false;
  hasBegun = false;
  readonly #options: RunJobOptions;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #keeper: LeaseKeeper;
  readonly #phases = new PhaseClock();
  readonly #early: EarlyOutputs;
  readonly #limits: UploadLimits;
  #promptId: string | null = null;
  #givenBack: Promise<void> = Promise.resolve();
  /** Ends the time for which the job is held ahead. */
  readonly #held = new AbortController();

  constructor(options: RunJobOptions) {
    const { lease, calls, settings } = options;
    this.#options = options;
    this.lease = lease;
    const { putBytesMax, partBytes } = settings;
    this.#limits = { putBytesMax, partBytes };
    const sending = { calls, lease, limits: this.#limits, mayBeOnItsWay: true };
    this.#early = new EarlyOutputs({
      source: this.#outputSource(),
      store: (index, filename, file, signal) => storeOutput(sending, index, filename, file, signal),
      signal: this.#stop.signal,
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.free = promise;
    const setFree = () => {
      if (this.isFree) return;
      this.isFree = true;
      resolve();
      options.onChange();
    };
    this.#log = withFields(options.log, { jobId: lease.job_id, leaseId: lease.lease_id, attempt: lease.attempt });
    this.#keeper = new LeaseKeeper({
      calls,
      lease,
      renewMs: Math.min(settings.timings.leaseRenewMs, lease.renew_within_ms / 3),
      progressMs: settings.timings.progressMs,
      log: this.#log,
      onEnd: (end) => this.#stop.abort(new Stopped(end)),
    });
    this.end = this.#run(setFree);
    this.cleaned = this.end.then((end) => this.#clean(end.comfy));
  }

  giveBack(reason: string): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(new Stopped("given_back"));
    // At once, and not after the interrupt: another node may begin while this one ends.
    this.#givenBack = this.#release(reason);
  }

  revoke(): void {
    if (!this.hasBegun) this.#stop.abort(new Stopped("canceled"));
  }

  async #run(setFree: () => void): Promise<JobEnd> {
    const { hurry, before } = this.#options;
    const hasten = () => this.giveBack("the agent shuts down");
    hurry.addEventListener("abort", hasten, { once: true });
    if (hurry.aborted) hasten();
    this.#phases.begin("inputs");
    if (before === null) this.#begin(FIRST_BEAT_MS);
    else this.#hold(before);
    let end: JobEnd;
    try {
      end = await this.#steps(setFree);
    } catch (caught) {
      const error = this.#withoutPrompt() ?? caught;
      if (comfyHealth(error) === "healthy") setFree();
      else if (!this.hasBegun || error instanceof ComfyDiedFirst) this.giveBack("ComfyUI died before the job began");
      end = await this.#reportTrouble(error);
    } finally {
      hurry.removeEventListener("abort", hasten);
      this.#held.abort(NOT_HELD);
      this.#keeper.stop();
    }
    await this.#early.discard();
    if (end.comfy === "restart" && this.#promptId !== null) end = { ...end, stuckPrompt: this.#promptId };
    this.#log("job_ended", {
      outcome: end.outcome,
      ...Object.fromEntries(this.#phases.times.map((t) => [t.phase, t.ms])),
    });
    return end;
  }

  /** Until the job before it is free, and not for long. */
  #hold(before: Before): void {
    const { lease, drain } = this.#options;
    const { signal } = this.#held;
    this.#log("job_held_ahead");
    const giveBack = (reason: string) => {
      if (!signal.aborted) this.giveBack(reason);
    };
    const timer = setTimeout(
      () => giveBack("the job before it takes longer than expected"),
      lease.confirm_within_ms * HELD_SHARE_MAX,
    );
    signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
    const leave = () => giveBack("the replica drains");
    drain.addEventListener("abort", leave, { once: true, signal });
    if (drain.aborted) leave();
    void before.free.then(() => this.#begin(FIRST_BEAT_MS));
  }

  /** The job's turn has come. @param beatMs when the server hears of it, unless there is more to say then */
  #begin(beatMs: number): void {
    if (this.hasBegun || this.#stop.signal.aborted) return;
    this.hasBegun = true;
    if (this.#options.before !== null) this.#held.abort(NOT_HELD);
    // The prompt goes out first.
    setImmediate(() => this.#log("job_started"));
    const firstBeat = setTimeout(() => void this.#keeper.start(), beatMs);
    this.#keeper.stopped.addEventListener("abort", () => clearTimeout(firstBeat), { once: true });
    this.#options.onChange();
  }

  async #steps(setFree: () => void): Promise<JobEnd> {
    const { lease, calls, comfy, releases, settings, spool } = this.#options;
    const { signal } = this.#stop;
    const folder = leaseFolder(lease);
    this.#keeper.phase("preparing");
    const release = await releases.get(lease.release, signal);
    const files = await bringInputs({
      calls,
      lease,
      http: comfy.http,
      spool,
      freeBytesMin: settings.freeBytesMin,
      signal,
    });
    const graph = await this.#fill(release, files, folder);

    this.#phases.begin("queue");
    const result = await this.#drive(graph, release, setFree);
    setFree();

    for (let deliveries = 1; ; deliveries += 1) {
      const outputs = await this.#deliver(result, release, deliveries === 1);
      signal.throwIfAborted();
      this.#keeper.settle();
      try {
        return { outcome: "succeeded", next: await this.#complete(outputs), comfy: "healthy" };
      } catch (error) {
        if (!(error instanceof ControlError) || !isAboutOutputs(error)) throw error;
        if (deliveries >= DELIVERIES_MAX) {
          throw new JobFailure("output_failed", "The server does not keep the outputs it was sent.", { cause: error });
        }
        this.#log("output_missing", { error: messageOf(error) });
      }
    }
  }

  /** @param mayBeOnItsWay the complete will find out whether a small output has arrived */
  async #deliver(result: PromptResult, release: ReleaseForAgent, mayBeOnItsWay: boolean): Promise<ManifestEntry[]> {
    const { lease, calls } = this.#options;
    this.#phases.begin("uploading");
    const telling = setTimeout(() => this.#tellUpload(), UPLOAD_UNTOLD_MS);
    try {
      return await deliverOutputs(result, {
        calls,
        lease,
        source: this.#outputSource(),
        early: this.#early,
        limits: this.#limits,
        mayBeOnItsWay,
        specs: release.outputs,
        folder: leaseFolder(lease),
        signal: this.#stop.signal,
      });
    } finally {
      clearTimeout(telling);
      this.#phases.end();
    }
  }

  #tellUpload(): void {
    this.#keeper.uploads();
    this.isSending = true;
    this.#options.onChange();
  }

  /** @returns the next lease, if one came @throws ControlError, output_missing among others */
  async #complete(outputs: readonly ManifestEntry[]): Promise<Lease | null> {
    const { lease, calls, nextPoll } = this.#options;
    const { signal } = this.#stop;
    const message = { outputs: [...outputs], phases: this.#phases.times };
    this.isReporting = true;
    try {
      const first = { ...message, ...nextPoll(), outputs_wait_ms: STORED_WAIT_MS };
      return (await calls.complete(lease, first, signal)).next;
    } catch (error) {
      this.isReporting = false;
      this.#options.onChange();
      if (!(error instanceof ControlError) || error.code !== "output_pending") throw error;
    }
    this.#tellUpload();
    // What takes long goes up while the next job runs, which is not to come with this answer.
    return (await calls.complete(lease, { ...message, outputs_wait_ms: STORED_PATIENCE_MS }, signal)).next;
  }

  async #fill(release: ReleaseForAgent, files: Record<string, string>, folder: string): Promise<JsonObject> {
    const { lease, comfy } = this.#options;
    const outputNodes = release.outputs.map((output) => output.node);
    try {
      const graph = await graphOf(release, comfy.classes, this.#stop.signal);
      const values = parseExactJson(lease.inputs);
      if (!isJsonObject(values)) throw new Error("the inputs are no object");
      const filenamePrefix = (node: string, prefix: string) => jobPrefix(folder, node, prefix);
      const filled = fillGraph({ graph, inputs: release.inputs, values, files, filenamePrefix });
      if (this.#options.emptied > 0) makeAnew(filled, outputNodes, this.#options.emptied);
      return filled;
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      if (error instanceof ComfyUnreachable) throw error;
      throw new JobFailure("invalid_workflow", `The workflow cannot be filled: ${messageOf(error)}`, { cause: error });
    }
  }

  #outputSource(): OutputSource {
    const { comfy, settings, spool } = this.#options;
    return { http: comfy.http, folders: comfy.server.folders, spool, freeBytesMin: settings.freeBytesMin };
  }

  #drive(graph: JsonObject, release: ReleaseForAgent, setFree: () => void): Promise<PromptResult> {
    const { lease, comfy, settings, before } = this.#options;
    const promptId = crypto.randomUUID();
    this.#promptId = promptId;
    return drivePrompt({
      session: comfy,
      graph,
      promptId,
      timings: settings.timings,
      timeoutMs: lease.timeout_ms,
      signal: this.#stop.signal,
      log: this.#log,
      redacted: (text) => this.#redacted(text),
      ...(before === null ? {} : { turn: before.free, waitsHere: before.isAlone === true }),
      onEnded: setFree,
      onStart: () => {
        this.#begin(0);
        this.#phases.begin("executing");
        this.#keeper.phase("executing");
      },
      onProgress: (progress) => this.#keeper.progress(progress),
      onPreview: (preview) => this.#keeper.preview(preview),
      onFinished: (shown) => this.#early.send(shown, release.outputs),
    });
  }

  /** What went wrong, where ComfyUI died while its prompt was still prepared: whatever else did came of that. */
  #withoutPrompt(): ComfyDiedFirst | null {
    const { died } = this.#options.comfy.server;
    if (this.#promptId !== null || !died.aborted) return null;
    return new ComfyDiedFirst(`ComfyUI died: ${this.#redacted(messageOf(died.reason))}`);
  }

  async #reportTrouble(error: unknown): Promise<JobEnd> {
    const comfy = comfyHealth(error);
    const stopped = this.#stop.signal.aborted ? this.#stop.signal.reason : null;
    if (stopped instanceof Stopped) {
      if (stopped.why !== "given_back") return { outcome: stopped.why, next: null, comfy };
      await this.#givenBack;
      return { outcome: "given_back", next: null, comfy };
    }
    if (isGone(error)) return { outcome: "lost", next: null, comfy };
    const jobError = asJobError(error);
    this.#log("job_failed", { code: jobError.code, nodeId: jobError.node_id, classType: jobError.class_type });
    if (!(error instanceof JobFailure)) this.#log("job_trouble", { error: messageOf(error) });
    this.#phases.end();
    this.#keeper.settle();
    try {
      await this.#options.calls.fail(
        this.#options.lease,
        { error: jobError, phases: this.#phases.times },
        this.#stop.signal,
      );
      return { outcome: "failed", next: null, comfy };
    } catch (refused) {
      if (this.#stop.signal.reason instanceof Stopped) return { outcome: "lost", next: null, comfy };
      this.#log("job_report_refused", { error: messageOf(refused) });
      return { outcome: "lost", next: null, comfy };
    }
  }

  async #release(reason: string): Promise<void> {
    this.#keeper.settle();
    const { calls, lease, settings } = this.#options;
    await calls.giveBack(lease, reason, AbortSignal.timeout(settings.timings.callMs)).catch((error: unknown) => {
      this.#log("lease_not_given_back", { error: messageOf(error) });
    });
  }

  /** Leaves nothing of the job behind where the agent can reach. */
  async #clean(comfy: ComfyHealth): Promise<void> {
    const { lease, comfy: session } = this.#options;
    const { folders } = session.server;
    try {
      if (this.#promptId !== null && comfy === "healthy" && !session.server.died.aborted) {
        await session.http.deleteHistory(this.#promptId, AbortSignal.timeout(CLEAN_MS));
      }
      if (folders === null) return;
      for (const folder of [folders.input, folders.output]) {
        await rm(join(folder, leaseFolder(lease)), { recursive: true, force: true });
        // It stays as long as another lease of the job has something in it.
        await rmdir(join(folder, jobFolder(lease))).catch(() => undefined);
      }
    } catch (error) {
      this.#log("job_not_cleaned", { error: messageOf(error) });
    }
  }

  #redacted(text: string): string {
    const { settings, comfy } = this.#options;
    const folders: Record<string, string> = { [settings.stateDirectory]: "<agent>" };
    if (settings.comfy.kind === "spawn") folders[settings.comfy.directory] = "<ComfyUI>";
    if (comfy.server.folders !== null) {
      folders[comfy.server.folders.output] = "<output>";
      folders[comfy.server.folders.input] = "<input>";
    }
    return redact(text, folders);
  }
}

/**
 * ComfyUI answers a repeated node with the name of the file that it made before, and knows a node by everything that is
 * written in its inputs: one more field, which no class reads, has it made again.
 */
function makeAnew(graph: JsonObject, nodes: readonly string[], emptied: number): void {
  for (const id of nodes) {
    const node = graph[id];
    if (isJsonObject(node) && isJsonObject(node.inputs)) node.inputs[EMPTIED_FIELD] = emptied;
  }
}

function comfyHealth(error: unknown): ComfyHealth {
  if (error instanceof PromptStuck) return "restart";
  return error instanceof JobFailure ? error.comfy : "healthy";
}

function asJobError(error: unknown): JobError {
  if (error instanceof JobFailure) return error.jobError;
  return { code: "replica_failed", message: redact(`The GPU agent could not finish the job: ${messageOf(error)}`) };
}
