/** One replica: a ComfyUI on a slot that takes one endpoint's jobs, one at a time, until it is told to stop. */
import { randomUUID } from "node:crypto";
import type { HeldReplica, Lease, ReleaseForAgent, WantedReplica } from "#contract/agent";
import type { ReplicaState } from "#contract/replica";
import type { PreparedHost, ReleaseHosts } from "./builds/release-hosts.ts";
import { isFinal, reasonOf, tryRelease } from "./builds/try-release.ts";
import { isVerified, verifyRelease } from "./builds/verify-release.ts";
import { type ComfySession, closeSession, openSession } from "./comfy/comfy-session.ts";
import { drivePrompt, PromptStuck } from "./comfy/drive-prompt.ts";
import { JobFailure } from "./comfy/job-failure.ts";
import { lastWords } from "./comfy/spawn-host.ts";
import { stopPrompt } from "./comfy/stop-prompt.ts";
import { keepTempSmall, TEMP_BYTES_MAX } from "./comfy/temp-quota.ts";
import { type AgentCalls, newPollId } from "./control/agent-calls.ts";
import { isGone } from "./control/control-error.ts";
import { ReplicaSocket } from "./control/replica-socket.ts";
import { Errand } from "./errand.ts";
import { LeftByReleases } from "./left-by-releases.ts";
import { type Log, messageOf, withFields } from "./log.ts";
import { PhaseClock } from "./phase-clock.ts";
import { hasEnded } from "./reconcile.ts";
import { redact } from "./redact.ts";
import { ReleaseCache } from "./release-cache.ts";
import { ReplicaReporter } from "./replica-report.ts";
import { type Before, type JobEnd, type RunningJob, runJob } from "./run-job.ts";
import type { AgentSettings } from "./settings.ts";
import { freeBytes, type StatePaths } from "./state-directory.ts";
import { type WarmUpEnd, warmUp } from "./warm-up.ts";

/** ComfyUI failing this often without a finished job in between is the machine's trouble, not the jobs'. */
const RESTARTS_MAX = 3;
const ERROR_LENGTH_MAX = 4_000;
/** Outputs that take longer than this to go up go up beside the next job. Below it, asking apart costs more. */
const UPLOAD_PATIENCE_MS = 150;
/** One that ComfyUI works on, one ahead, and one that sends its outputs; the server gives no more. */
const JOBS_IN_HAND_MAX = 3;
/** Jobs that follow each other without a look at the free disk space. */
const JOBS_WITHOUT_PAUSE = 50;
/** While nobody seems to wait, the next lease is asked for once a job has run for so long: most are done by then. */
const ASK_AHEAD_MS = 200;
/** A job that is held ahead for longer than this is watched: that it was canceled is news for it alone. */
const UNWATCHED_MS = 100;
/** An answer without work that comes faster than this is not asked for again at once. */
const IDLE_ANSWER_MS = 250;

export interface ReplicaOptions {
  readonly wanted: WantedReplica;
  readonly calls: AgentCalls;
  readonly hosts: ReleaseHosts;
  readonly settings: AgentSettings;
  readonly paths: StatePaths;
  readonly log: Log;
  /** The pod should hear of this replica's state now. */
  readonly onChange: () => void;
}

/** An errand: a release to try, and how far its build is. */
interface Beside {
  /** The poll that was answered with it. */
  readonly id: string;
  readonly number: number;
  readonly errand: Errand;
  /** Null: its build is at hand. Else it resolves when it has been made, with what went wrong; never rejects. */
  readonly prepared: Promise<{ readonly error: unknown } | null> | null;
  /** Fires when it has resolved. */
  readonly over: AbortSignal;
  /** Gives it up. */
  readonly stop: AbortController;
}

export class Replica {
  readonly #options: ReplicaOptions;
  readonly #log: Log;
  readonly #socket: ReplicaSocket;
  readonly #calls: AgentCalls;
  readonly #releases: ReleaseCache;
  /** Take no more jobs. */
  readonly #drain = new AbortController();
  /** Give back the job in hand as well. */
  readonly #hurry = new AbortController();
  readonly #reporter: ReplicaReporter;
  readonly #phases = new PhaseClock();
  #state: ReplicaState = "preparing";
  #error: string | null = null;
  #comfy: ComfySession | null = null;
  #prepared: PreparedHost | null = null;
  #release: number | null = null;
  /** The release that has run here since the start. */
  #proven: number | null = null;
  /** The errand that came with the answer to a poll. */
  #asked: { readonly id: string; readonly release: number } | null = null;
  /** The one that it is on. */
  #errand: Errand | null = null;
  /** One whose build is made while jobs go on. */
  #beside: Beside | null = null;
  /** The jobs that it has leases for, in the order in which they run: those before the last may still send outputs. */
  readonly #hand: RunningJob[] = [];
  readonly #left: LeftByReleases;
  /** The lease that came with the answer to a complete. */
  #carried: Lease | null = null;
  /** The job whose complete asks for the next lease. */
  #carries: RunningJob | null = null;
  /** A poll is open. */
  #isAsking = false;
  /** The id of the next poll, or of the one that is not answered yet. */
  #pollId = newPollId();
  /** The last lease came while another was held: there is a queue. */
  #othersWait = false;
  /** When the jobs in hand, or how far they are, last changed. */
  #changedAt = 0;
  #wake: () => void = () => undefined;
  /** ComfyUI lives, and has to be ended. */
  #broke = new AbortController();
  #stuckPrompt: string | undefined;
  /** Resolves when leases that came too late have gone back. */
  #givenBack: Promise<void> = Promise.resolve();
  /** Resolves when the jobs that have ended left nothing behind. */
  #cleaned: Promise<void> = Promise.resolve();
  #jobs = 0;
  /** Times ComfyUI failed since the last finished job. */
  #failures = 0;
  /** Resolves when it has ended and said so. Never rejects. */
  readonly ended: Promise<void>;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    const { replica_id: replicaId, slot, endpoint_id: endpointId } = options.wanted;
    this.#log = withFields(options.log, { replicaId, endpointId, slot });
    this.#left = new LeftByReleases(this.#hand, this.#log);
    this.#socket = new ReplicaSocket({
      connect: () => options.calls.client.webSocket(`replicas/${replicaId}/socket`),
      timings: options.settings.timings,
      log: this.#log,
      onUnwanted: (lease) => this.#giveBackSoon(lease),
    });
    this.#calls = options.calls.over(this.#socket);
    this.#releases = new ReleaseCache((release, signal) => options.calls.release(replicaId, release, signal));
    this.#reporter = new ReplicaReporter({
      send: (report, signal) => options.calls.reportReplica(replicaId, report, signal),
      standing: () => ({
        state: this.#state,
        error: this.#error,
        phases: this.#phases.times,
        build: this.#prepared?.build,
        proven: this.#proven,
      }),
      redacted: (text) => this.#redacted(text),
      onAnswer: ({ release, stop }) => {
        this.#release = release;
        if (stop && !hasEnded(this.held)) this.drain();
      },
      onRefused: (error) => {
        this.#log("replica_report_refused", { error: messageOf(error) });
        if (isGone(error) && !hasEnded(this.held)) this.drain();
      },
      hurry: this.#hurry.signal,
      lastMs: options.settings.timings.callMs,
    });
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
    if (!hasEnded(this.held)) this.#enter("draining");
  }

  /** Stop at once: the job in hand goes back to the queue. */
  hurry(): void {
    this.drain();
    this.#hurry.abort(new Error("the agent shuts down"));
  }

  async #run(): Promise<void> {
    let end: "stopped" | "crashed" = "stopped";
    try {
      await this.#start();
      await this.#takeJobs();
    } catch (error) {
      if (!this.#drain.signal.aborted) {
        end = "crashed";
        const died = this.#comfy?.server.died;
        this.#error = this.#redacted(lastWords(died?.aborted === true ? died.reason : error));
        this.#log("replica_crashed", { error: this.#error.split("\n", 1)[0] });
      }
    }
    this.#socket.forgoPolls();
    await this.#dropBeside();
    await this.#handEmpty();
    const carried = this.#takeCarried();
    if (carried !== null) await this.#giveBack(carried, "the replica stops");
    this.#phases.begin("stopping");
    await this.#closeComfy();
    await this.#givenBack;
    this.#socket.close();
    this.#phases.end();
    this.#enter(end);
    await this.#reporter.end();
  }

  /** Tells the log, the endpoint and the pod. Only `ready` and `busy` are left for their next question. */
  #enter(state: ReplicaState): void {
    // A draining replica stays so until it has ended, whatever its ComfyUI does meanwhile.
    if (this.#state === "draining" && !hasEnded({ state })) return;
    const was = this.#state;
    this.#state = state;
    if (state === "busy") return;
    if (!hasEnded({ state })) void this.#reporter.now();
    // Between two jobs it is ready each time, which is no news.
    if (was === state || (state === "ready" && was === "busy")) return;
    this.#log("replica_state", { state });
    if (state !== "ready") this.#options.onChange();
  }

  /**
   * From nothing to a ComfyUI that has shown it can run the release, or a prompt where the release asks for no more.
   * @param number of the release; null: the one that the server names
   * @param errand the release is only tried: it has to show more, and nobody may wait for it any more
   */
  async #start(number: number | null = null, errand: Errand | null = null): Promise<void> {
    const { hosts, settings, wanted } = this.#options;
    const signal = errand === null ? this.#drain.signal : AbortSignal.any([this.#drain.signal, errand.stopped]);
    this.#proven = null;
    this.#phases.begin("preparing");
    this.#log("replica_state", { state: "preparing" });
    this.#enter("preparing");
    await this.#refuseFullDisk();
    const release = await this.#wantedRelease(number);
    this.#left.began(release?.release ?? null);
    this.#prepared = await hosts.prepareHost(release, {
      signal,
      onStep: (step) => this.#part(step === "models" ? "weights" : step),
      onDoing: (doing) => this.#reporter.doing(doing),
      onLine: (step, line) => this.#line(`${step}: ${line}`),
    });
    const server = await this.#prepared.host.start({
      slot: wanted.slot,
      log: this.#log,
      signal,
      onPhase: (phase) => {
        this.#phases.begin("boot");
        this.#reporter.doing("starting ComfyUI");
        this.#enter(phase);
      },
      onLine: (line) => this.#line(line),
    });
    try {
      this.#phases.begin("loading");
      this.#reporter.doing(null);
      this.#enter("loading");
      this.#comfy = await openSession(server, settings.timings, this.#log, signal);
      if (errand !== null && release !== null) await this.#try(this.#comfy, release, errand, signal);
      else await this.#show(this.#comfy, release);
      this.#phases.end();
      this.#reporter.doing(null);
      // The endpoint must know the replica before it polls.
      this.#enter("ready");
      await this.#reporter.settled;
      this.#socket.open();
      await this.#checkClasses(this.#comfy);
    } catch (error) {
      if (this.#comfy === null) await server.stop();
      throw error;
    }
  }

  /** What a replica shows before it is ready. @throws when it is no use */
  async #show(comfy: ComfySession, release: ReleaseForAgent | null): Promise<void> {
    if (release !== null && isVerified(release)) await this.#verify(comfy, release);
    // A smoke test has shown all that these would.
    if (release?.smoke_test != null) {
      this.#proven = release.release;
      return;
    }
    if (comfy.server.folders !== null) await this.#tryOut(comfy);
    if (release === null) return;
    const { type } = await this.#warmUp(comfy, release);
    // One that could not be run without a caller has at least all that it asks for.
    const { signal } = this.#drain;
    const isFit = isVerified(release) || (await comfy.classes.missing(release.classes, signal)).length === 0;
    if (type !== "failed" && isFit) this.#proven = release.release;
  }

  /** A line for the replica's own log, and for that of the release that it tries. */
  #line(text: string): void {
    this.#reporter.line(text);
    this.#errand?.line(text);
  }

  async #closeComfy(): Promise<void> {
    const comfy = this.#comfy;
    const prepared = this.#prepared;
    this.#comfy = null;
    this.#prepared = null;
    if (comfy !== null) {
      await this.#cleaned;
      await closeSession(comfy).catch((error: unknown) => this.#log("comfy_not_closed", { error: messageOf(error) }));
    }
    prepared?.release();
  }

  /** The release to be ready for, or null where the server does not say which. */
  async #wantedRelease(number: number | null): Promise<ReleaseForAgent | null> {
    const { signal } = this.#drain;
    // The answer to the first report names it.
    await this.#reporter.settled;
    signal.throwIfAborted();
    const wanted = number ?? this.#release;
    return wanted === null ? null : this.#releases.get(wanted, signal);
  }

  /** Throws when this ComfyUI cannot run the release: a replica that is ready has run it once. */
  #verify(session: ComfySession, release: ReleaseForAgent): Promise<void> {
    return verifyRelease({
      session,
      release,
      timings: this.#options.settings.timings,
      signal: this.#drain.signal,
      log: this.#log,
      redacted: (text) => this.#redacted(text),
      onPart: (part) => this.#part(part, part === "classes" ? "comparing node classes" : "running the release once"),
    });
  }

  /** A part of the present state begins, and what came before it has its time. */
  #part(name: string, doing: string | null = null): void {
    this.#phases.begin(name);
    this.#reporter.doing(doing);
    void this.#reporter.now();
  }

  /** An answer to HTTP proves little: the worker thread may be dead. A prompt of two nodes proves it. */
  async #tryOut(session: ComfySession): Promise<void> {
    const { settings } = this.#options;
    const { signal } = this.#drain;
    if ((await session.classes.missing(["EmptyImage", "PreviewImage"], signal)).length > 0) return;
    const empty = { width: 64, height: 64, batch_size: 1, color: Math.floor(Math.random() * 0xffffff) };
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
    await session.http.deleteHistory(promptId, signal);
  }

  /** The first job after `ready` is to take no longer than the second. */
  #warmUp(session: ComfySession, release: ReleaseForAgent): Promise<WarmUpEnd> {
    this.#part("warm_up", "running the release once");
    return warmUp({
      session,
      release,
      timings: this.#options.settings.timings,
      signal: this.#drain.signal,
      log: this.#log,
      redacted: (text) => this.#redacted(text),
    });
  }

  /** Says early, and to the operator, what a job would say late and to a caller. */
  async #checkClasses(comfy: ComfySession): Promise<void> {
    const { signal } = this.#drain;
    if (this.#release === null || signal.aborted) return;
    try {
      const release = await this.#releases.get(this.#release, signal);
      const missing = await comfy.classes.missing(release.classes, signal);
      if (missing.length > 0) this.#log("node_classes_missing", { classes: missing.join(",").slice(0, 1_000) });
    } catch (error) {
      if (!signal.aborted) this.#log("release_not_checked", { error: messageOf(error) });
    }
  }

  /**
   * Until it drains. One job at a time is ComfyUI's; beside it there are at most two more: one that is held ahead, and one
   * before it whose outputs still go up.
   */
  async #takeJobs(): Promise<void> {
    while (!this.#drain.signal.aborted) {
      const comfy = await this.#livingComfy();
      if (this.#beside?.over.aborted === true) {
        await this.#endErrand(this.#beside, comfy);
        continue;
      }
      if (this.#hand.length === 0 && this.#carried === null) {
        await this.#tidy(comfy, TEMP_BYTES_MAX);
        await this.#refuseFullDisk();
      }
      const lease = await this.#nextLease(comfy);
      const asked = this.#asked;
      this.#asked = null;
      if (asked !== null && lease === null) await this.#goOnErrand(asked, comfy);
      if (lease === null) continue;
      if (await this.#canRun(lease)) this.#begin(lease, comfy);
      else await this.#changeBuild(lease);
    }
    // Whatever comes now goes back at once, while the job in hand is finished.
    this.#socket.forgoPolls();
  }

  /** Whether the ComfyUI at hand has the build that the job's release needs. */
  async #canRun(lease: Lease): Promise<boolean> {
    const build = this.#prepared?.build ?? null;
    if (build === null) return true;
    const release = await this.#releases.get(lease.release, this.#drain.signal).catch(() => null);
    // What cannot be fetched fails the job, which says why.
    return release === null || release.build?.digest === build;
  }

  /**
   * Jobs of two releases wait in one queue while one takes the other's place, and theirs may be two builds. The job goes
   * back, unharmed; the replica becomes one of its release, and finds it at the head of the queue.
   */
  async #changeBuild(lease: Lease): Promise<void> {
    this.#log("build_changes", { release: lease.release });
    this.#socket.takeBackPolls();
    await this.#giveBack(lease, "its release needs another build, which is being prepared");
    await this.#handEmpty();
    await this.#givenBack;
    await this.#closeComfy();
    await this.#start(lease.release);
  }

  /**
   * Tries a release that is to take another one's place: at once in the ComfyUI at hand, or when its build is there, which
   * is made while jobs go on.
   */
  async #goOnErrand({ id, release: number }: { id: string; release: number }, comfy: ComfySession): Promise<void> {
    const { calls, wanted } = this.#options;
    this.#log("errand_begins", { release: number });
    const errand = new Errand({
      id,
      release: number,
      send: (report, signal) => calls.reportVerification(wanted.replica_id, report, signal),
      redacted: (text) => this.#redacted(text),
      onRefused: (error) => this.#log("verification_report_refused", { error: messageOf(error) }),
      signal: AbortSignal.any([this.#drain.signal, this.#hurry.signal]),
    });
    this.#errand = errand;
    const stop = new AbortController();
    const over = new AbortController();
    const signal = AbortSignal.any([this.#drain.signal, errand.stopped, stop.signal]);
    // One that cannot be fetched is said below, as everything else that goes wrong.
    const release = await this.#releases.get(number, signal).catch(() => null);
    const build = this.#prepared?.build ?? null;
    if (release === null || build === null || build === release.build?.digest) {
      await this.#endErrand({ id, number, errand, prepared: null, over: over.signal, stop }, comfy);
      return;
    }
    const prepared = this.#prepareBeside(release, signal)
      .then(
        () => null,
        (error: unknown) => ({ error }),
      )
      .finally(() => over.abort());
    this.#beside = { id, number, errand, prepared, over: over.signal, stop };
  }

  /**
   * Runs what an errand asks for, and says what came of it. What goes wrong is the release's, or this machine's, and no
   * reason to end: the replica goes back to what it can run.
   */
  async #endErrand({ number, errand, prepared }: Beside, comfy: ComfySession): Promise<void> {
    this.#beside = null;
    const signal = AbortSignal.any([this.#drain.signal, errand.stopped]);
    let isElsewhere = false;
    try {
      if (prepared !== null) {
        const failure = await prepared;
        if (failure !== null) throw failure.error;
        this.#socket.takeBackPolls();
        await this.#handEmpty();
        const carried = this.#takeCarried();
        if (carried !== null) await this.#giveBack(carried, "the replica tries another release first");
        await this.#givenBack;
        signal.throwIfAborted();
        isElsewhere = true;
        await this.#closeComfy();
        await this.#start(number, errand);
      } else {
        const release = await this.#releases.get(number, signal);
        this.#phases.begin("errand");
        await this.#left.goFor(number, comfy, this.#cleaned);
        await this.#try(comfy, release, errand, signal);
      }
      this.#log("errand_done", { release: number });
      await errand.end({ state: "ready" });
    } catch (error) {
      this.#drain.signal.throwIfAborted();
      const died = (this.#comfy ?? comfy).server.died;
      const cause = died.aborted && !isElsewhere ? died.reason : error;
      const reason = this.#redacted(reasonOf(cause));
      this.#log("errand_failed", { release: number, error: reason.split("\n", 1)[0] });
      await errand.end({ state: "failed", error: reason, final: cause === error && isFinal(error) });
      if (isElsewhere) {
        this.#errand = null;
        await this.#closeComfy();
        await this.#start();
      } else if (needsRestart(error)) this.#broke.abort(new Error("ComfyUI has to be restarted"));
    } finally {
      errand.close();
      this.#errand = null;
      this.#phases.end();
      this.#reporter.doing(null);
    }
  }

  /** The replica ends: whoever gave the errand takes it back. */
  async #dropBeside(): Promise<void> {
    const beside = this.#beside;
    if (beside === null) return;
    this.#beside = null;
    beside.errand.close();
    beside.stop.abort(new Error("the replica stops"));
    await beside.prepared;
  }

  /** Makes the build of another release while its own ComfyUI goes on: one that cannot be made costs no start. */
  async #prepareBeside(release: ReleaseForAgent, signal: AbortSignal): Promise<void> {
    this.#line("The release has another build, which is being prepared.");
    const prepared = await this.#options.hosts.prepareHost(release, {
      signal,
      onStep: (step) => this.#line(`${step}: begins`),
      onDoing: (doing) => this.#reporter.doing(doing),
      onLine: (step, line) => this.#line(`${step}: ${line}`),
    });
    prepared.release();
  }

  #try(comfy: ComfySession, release: ReleaseForAgent, errand: Errand, signal: AbortSignal): Promise<void> {
    errand.enter("verifying");
    return tryRelease({
      session: comfy,
      release,
      timings: this.#options.settings.timings,
      signal,
      log: this.#log,
      redacted: (text) => this.#redacted(text),
      onPart: (part) => this.#part(part, `trying release ${release.release}`),
      onLine: (line) => this.#line(line),
    });
  }

  /** @returns null when something has changed that comes first: the replica drains, ComfyUI died, a job has ended */
  async #nextLease(comfy: ComfySession): Promise<Lease | null> {
    const { died } = comfy.server;
    const prepared = this.#beside === null ? [] : [this.#beside.over];
    const signal = AbortSignal.any([this.#drain.signal, died, this.#broke.signal, ...prepared]);
    const carried = this.#takeCarried();
    if (carried !== null) return carried;
    const waitMs = this.#askInMs();
    if (waitMs > 0) {
      await this.#changedOr(waitMs, signal);
      return null;
    }
    this.#isAsking = true;
    try {
      const lease = await this.#poll(this.#pollId, signal);
      // An unanswered poll keeps its id: the lease in an answer that was lost comes again.
      if (lease !== null || this.#asked !== null || !signal.aborted) this.#pollId = newPollId();
      this.#othersWait = lease !== null && this.#hand.length > 0;
      return lease;
    } finally {
      this.#isAsking = false;
    }
  }

  /** In how many ms the next lease is asked for, unless something changes before; 0: now. */
  #askInMs(): number {
    if (this.#hand.length === 0) return 0;
    const sinceMs = performance.now() - this.#changedAt;
    const isPause = this.#jobs % JOBS_WITHOUT_PAUSE === 0;
    const [sending, working] = [this.#hand.filter((job) => job.isFree), this.#hand.filter((job) => !job.isFree)];
    // A complete that asks is answered first.
    if (this.#carries?.isReporting === true || (isPause && working.length < 2)) return IDLE_ANSWER_MS;
    if (working.length > 1) return Math.max(0, UNWATCHED_MS - sinceMs);
    if (this.#hand.length >= JOBS_IN_HAND_MAX) return IDLE_ANSWER_MS;
    if (working.length === 0) return Math.max(0, UPLOAD_PATIENCE_MS - sinceMs);
    if (!this.#options.settings.leaseAhead || sending.some((job) => !job.isSending)) return IDLE_ANSWER_MS;
    return this.#othersWait ? 0 : Math.max(0, ASK_AHEAD_MS - sinceMs);
  }

  #begin(lease: Lease, comfy: ComfySession): void {
    this.#enter("busy");
    const job = this.#runJob(lease, comfy, this.#beforeOf(lease, comfy));
    this.#hand.push(job);
    this.#cleaned = Promise.all([this.#cleaned, job.cleaned]).then(() => undefined);
    void job.end.then((end) => this.#ended(job, comfy, end));
    this.#change();
  }

  /** What the job of a lease waits for; null: nothing. */
  #beforeOf(lease: Lease, comfy: ComfySession): Before | null {
    const emptied = this.#left.goFor(lease.release, comfy, this.#cleaned);
    if (emptied !== null) return { free: emptied, isAlone: true };
    const last = this.#hand.findLast((job) => !job.isFree);
    // What waits for the folders to be emptied is not to be overtaken.
    return last === undefined ? null : { free: last.free, isAlone: !last.hasBegun };
  }

  #ended(job: RunningJob, comfy: ComfySession, end: JobEnd): void {
    this.#hand.splice(this.#hand.indexOf(job), 1);
    if (end.outcome === "succeeded") this.#failures = 0;
    if (this.#carries === job) {
      this.#carries = null;
      // With a next lease the id is used up; without, a poll under it gets what a lost answer held.
      if (end.next !== null) this.#pollId = newPollId();
      else this.#othersWait = false;
    }
    if (end.next !== null) this.#carried = end.next;
    if (end.comfy === "restart") {
      this.#stuckPrompt = end.stuckPrompt;
      // It is restarted: what has not sent anything to keep yet begins again elsewhere.
      for (const other of this.#hand) if (!other.isFree) other.giveBack("ComfyUI has to be restarted");
      if (this.#comfy === comfy) this.#broke.abort(new Error("ComfyUI has to be restarted"));
    }
    if (this.#hand.length === 0 && this.#carried === null) this.#enter("ready");
    this.#change();
  }

  /** The lease that came with the answer to a complete: others wait behind it. */
  #takeCarried(): Lease | null {
    const lease = this.#carried;
    this.#carried = null;
    if (lease !== null) this.#othersWait = true;
    return lease;
  }

  #change(): void {
    this.#changedAt = performance.now();
    this.#wake();
  }

  /** Resolves at the next change of the jobs in hand, after `ms`, or when the signal fires. */
  async #changedOr(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    const done = () => resolve();
    this.#wake = done;
    signal.addEventListener("abort", done, { once: true });
    await promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
  }

  /** Resolves when all jobs in hand have ended. */
  async #handEmpty(): Promise<void> {
    while (this.#hand.length > 0) await Promise.all(this.#hand.map((job) => job.end));
  }

  /** The ComfyUI at hand, or a new one when it has died. @throws when it dies again and again */
  async #livingComfy(): Promise<ComfySession> {
    const comfy = this.#comfy;
    const isBroken = this.#broke.signal.aborted;
    if (comfy !== null && !comfy.server.died.aborted && !isBroken) return comfy;
    const died = comfy?.server.died;
    const reason = died?.aborted === true ? lastWords(died.reason) : "it hangs";
    // Whatever comes now would wait for the new one, which other replicas need not.
    this.#socket.takeBackPolls();
    // A new ComfyUI empties its folders: files that are still being sent come first.
    await this.#handEmpty();
    const carried = this.#takeCarried();
    if (carried !== null) await this.#giveBack(carried, "ComfyUI died before the job began");
    await this.#givenBack;
    if (comfy !== null && isBroken) await this.#letGo(comfy, this.#stuckPrompt);
    this.#failures += 1;
    if (this.#failures > RESTARTS_MAX) throw new Error(`ComfyUI fails again and again: ${reason}`);
    this.#log("comfy_restarts", { reason: reason.split("\n", 1)[0] });
    await this.#closeComfy();
    this.#broke = new AbortController();
    this.#stuckPrompt = undefined;
    await this.#start();
    return this.#livingComfy();
  }

  /** Ends a ComfyUI that does not end its prompt; one that is not ours can only be waited for. */
  async #letGo(comfy: ComfySession, promptId: string | undefined): Promise<void> {
    const { timings } = this.#options.settings;
    if (comfy.server.folders === null && promptId !== undefined) {
      const isFree = await stopPrompt(comfy, promptId, timings.hangMs, this.#log);
      if (!isFree) throw new Error("the attached ComfyUI does not let go of a prompt");
    }
    await this.#closeComfy();
  }

  #runJob(lease: Lease, comfy: ComfySession, before: Before | null): RunningJob {
    const { settings, paths } = this.#options;
    this.#jobs += 1;
    const job: RunningJob = runJob({
      lease,
      calls: this.#calls,
      comfy,
      releases: this.#releases,
      settings,
      spool: paths.spool,
      log: this.#log,
      hurry: this.#hurry.signal,
      drain: this.#drain.signal,
      before,
      emptied: this.#left.emptied,
      onChange: () => this.#change(),
      nextPoll: () => {
        // Now and then the replica stops to look after its disk, however much work there is.
        const isPause = this.#jobs % JOBS_WITHOUT_PAUSE === 0;
        const isLast = this.#drain.signal.aborted || comfy.server.died.aborted || this.#broke.signal.aborted;
        if (isLast || isPause || this.#isAsking || this.#carries !== null || this.#carried !== null) return {};
        const atWork = this.#hand.filter((other) => other !== job && !other.isFree).length;
        if (atWork > (settings.leaseAhead ? 1 : 0)) return {};
        this.#carries = job;
        // A lease that is still held would have to be listed in the poll.
        const wait = this.#hand.length === 1 ? { next_wait_ms: settings.timings.pollWaitMs } : {};
        return { next_poll_id: this.#pollId, ...wait };
      },
    });
    return job;
  }

  /** @returns null when there is no work, or the wait was cut short: the replica drains, or ComfyUI died */
  async #poll(pollId: string, signal: AbortSignal): Promise<Lease | null> {
    const { settings, wanted } = this.#options;
    const startedAt = performance.now();
    try {
      const leases = this.#hand.map(({ lease: { lease_id, token } }) => ({ lease_id, token }));
      // It tries one release at a time, and keeps the errand while it asks for jobs.
      const errand = this.#beside === null ? { verifies: true } : { verifies: false, preparing: this.#beside.id };
      const poll = { poll_id: pollId, leases, ...errand, wait_ms: settings.timings.pollWaitMs };
      const answer = await this.#calls.pollReplica(wanted.replica_id, poll, signal);
      if (answer.stop) this.drain();
      if (answer.verify != null) this.#asked = { id: pollId, release: answer.verify.release };
      for (const job of this.#hand) if (answer.ended.includes(job.lease.lease_id)) job.revoke();
      if (answer.lease === null && this.#asked === null && performance.now() - startedAt < IDLE_ANSWER_MS) {
        await this.#changedOr(IDLE_ANSWER_MS, signal);
      }
      return answer.lease;
    } catch (error) {
      if (signal.aborted) return null;
      // The endpoint does not know this replica any more.
      if (!isGone(error)) throw error;
      this.#log("replica_unknown", { error: messageOf(error) });
      this.drain();
      return null;
    }
  }

  async #giveBack(lease: Lease, reason: string): Promise<void> {
    const { timings } = this.#options.settings;
    await this.#calls.giveBack(lease, reason, AbortSignal.timeout(timings.callMs)).catch((error: unknown) => {
      this.#log("lease_not_given_back", { leaseId: lease.lease_id, error: messageOf(error) });
    });
  }

  /** One that came when the replica had stopped to ask. */
  #giveBackSoon(lease: Lease): void {
    const giving = this.#giveBack(lease, "the replica takes no job now");
    this.#givenBack = Promise.all([this.#givenBack, giving]).then(() => undefined);
  }

  async #tidy(comfy: ComfySession, bytesMax: number): Promise<void> {
    // A preview may be among the files that are still being sent.
    if (this.#hand.length > 0) return;
    try {
      if (await keepTempSmall(comfy, bytesMax, this.#drain.signal)) this.#log("temp_emptied");
    } catch (error) {
      this.#log("temp_not_emptied", { error: messageOf(error) });
    }
  }

  /** @throws when a job could fill the disk; the pod then knows why this machine takes none */
  async #refuseFullDisk(): Promise<void> {
    const { settings, paths } = this.#options;
    if ((await freeBytes(paths.root)) >= settings.freeBytesMin) return;
    if (this.#comfy !== null) await this.#tidy(this.#comfy, 0);
    const free = await freeBytes(paths.root);
    if (free >= settings.freeBytesMin) return;
    const [have, need] = [free, settings.freeBytesMin].map((bytes) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`);
    throw new Error(`free disk space is ${have}, below the ${need} that a job may need`);
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

/** After this, the ComfyUI at hand takes no other prompt. */
function needsRestart(error: unknown): boolean {
  return error instanceof PromptStuck || (error instanceof JobFailure && error.comfy === "restart");
}
