/** One replica: a ComfyUI on a slot that takes one endpoint's jobs, one at a time, until it is told to stop. */
import type { HeldReplica, Lease, ReleaseForAgent, WantedReplica } from "#contract/agent";
import type { ReplicaState } from "#contract/replica";
import type { ReleaseHosts } from "./builds/release-hosts.ts";
import { tryRelease } from "./builds/try-release.ts";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { lastWords } from "./comfy/spawn-host.ts";
import { ComfyAtHand, type StartListener } from "./comfy-at-hand.ts";
import type { AgentCalls } from "./control/agent-calls.ts";
import { isGone } from "./control/control-error.ts";
import { ReplicaSocket } from "./control/replica-socket.ts";
import { DiskRoom } from "./disk-room.ts";
import type { Errand } from "./errand.ts";
import { Errands, type TryingReplica } from "./errands.ts";
import { JobsInHand } from "./jobs-in-hand.ts";
import { type Log, messageOf, withFields } from "./log.ts";
import { PhaseClock } from "./phase-clock.ts";
import { logMissingClasses, proveReady } from "./prove-ready.ts";
import { hasEnded } from "./reconcile.ts";
import { redact } from "./redact.ts";
import { ReleaseCache } from "./release-cache.ts";
import { type Given, ReplicaLeases } from "./replica-leases.ts";
import { ReplicaReporter } from "./replica-report.ts";
import type { JobEnd, RunningJob } from "./run-job.ts";
import type { AgentSettings } from "./settings.ts";
import type { StatePaths } from "./state-directory.ts";

/** ComfyUI failing this often without a finished job in between is the machine's trouble, not the jobs'. */
const RESTARTS_MAX = 3;
const ERROR_LENGTH_MAX = 4_000;

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
  /** Grows with every sign that its start goes on. */
  #progress = 0;
  /** The endpoint's, as the answer to its last report says. */
  #release: number | null = null;
  /** The release that has run here since the start. */
  #proven: number | null = null;
  readonly #comfy: ComfyAtHand;
  readonly #disk: DiskRoom;
  readonly #hand: JobsInHand;
  readonly #leases: ReplicaLeases;
  readonly #errands: Errands;
  /** Times ComfyUI failed since the last finished job. */
  #failures = 0;
  /** Resolves when it has ended and said so. Never rejects. */
  readonly ended: Promise<void>;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    const { replica_id: replicaId, slot, endpoint_id: endpointId } = options.wanted;
    this.#log = withFields(options.log, { replicaId, endpointId, slot });
    this.#socket = new ReplicaSocket({
      connect: () => options.calls.client.webSocket(`replicas/${replicaId}/socket`),
      timings: options.settings.timings,
      log: this.#log,
      onUnwanted: (lease) => this.#leases.giveBackSoon(lease),
    });
    this.#calls = options.calls.over(this.#socket);
    this.#releases = new ReleaseCache((release, signal) => options.calls.release(replicaId, release, signal));
    this.#reporter = new ReplicaReporter({
      send: (report, signal) => options.calls.reportReplica(replicaId, report, signal),
      standing: () => ({
        state: this.#state,
        error: this.#error,
        phases: this.#phases.times,
        build: this.#comfy.build,
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
    this.#comfy = new ComfyAtHand({
      slot,
      hosts: options.hosts,
      timings: options.settings.timings,
      log: this.#log,
      cleaned: () => this.#hand.cleaned,
    });
    this.#disk = new DiskRoom({
      root: options.paths.root,
      freeBytesMin: options.settings.freeBytesMin,
      log: this.#log,
      signal: this.#drain.signal,
      isSending: () => this.#hand.jobs.length > 0,
    });
    this.#hand = new JobsInHand({
      calls: this.#calls,
      releases: this.#releases,
      settings: options.settings,
      spool: options.paths.spool,
      log: this.#log,
      hurry: this.#hurry.signal,
      drain: this.#drain.signal,
      nextPoll: (job, comfy) => {
        const isLast = this.#drain.signal.aborted || comfy.server.died.aborted || this.#comfy.broke.aborted;
        return isLast ? {} : this.#leases.nextPoll(job);
      },
      onEnd: (job, comfy, end) => this.#jobEnded(job, comfy, end),
    });
    this.#leases = new ReplicaLeases({
      replicaId,
      calls: this.#calls,
      settings: options.settings,
      log: this.#log,
      hand: this.#hand,
      preparing: () => this.#errands.preparing,
      onStop: () => this.drain(),
    });
    this.#errands = new Errands({
      replicaId,
      replica: this.#tryingReplica(),
      calls: options.calls,
      hosts: options.hosts,
      releases: this.#releases,
      log: this.#log,
      redacted: (text) => this.#redacted(text),
      drain: this.#drain.signal,
      hurry: this.#hurry.signal,
    });
    this.ended = this.#run();
  }

  get held(): HeldReplica {
    const { replica_id, slot } = this.#options.wanted;
    const error = this.#error === null ? {} : { error: this.#error };
    return { replica_id, slot, state: this.#state, progress: this.#progress, ...error };
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
        const died = this.#comfy.session?.server.died;
        this.#error = this.#redacted(lastWords(died?.aborted === true ? died.reason : error));
        this.#log("replica_crashed", { error: this.#error.split("\n", 1)[0] });
      }
    }
    this.#socket.forgoPolls();
    await this.#errands.drop();
    await this.#hand.ended();
    await this.#leases.giveBackCarried("the replica stops");
    this.#phases.begin("stopping");
    await this.#comfy.close();
    await this.#leases.givenBack;
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
    const signal = errand === null ? this.#drain.signal : AbortSignal.any([this.#drain.signal, errand.stopped]);
    this.#proven = null;
    this.#phases.begin("preparing");
    this.#log("replica_state", { state: "preparing" });
    this.#enter("preparing");
    await this.#disk.refuseFull(this.#comfy.session);
    const release = await this.#wantedRelease(number);
    this.#hand.comfyBegan(release?.release ?? null);
    const comfy = await this.#comfy.start(release, this.#startListener(), signal);
    if (errand !== null && release !== null) await this.#try(comfy, release, errand, signal);
    else await this.#prove(comfy, release);
    this.#phases.end();
    this.#reporter.doing(null);
    // The endpoint must know the replica before it polls.
    this.#enter("ready");
    await this.#reporter.settled;
    this.#socket.open();
    await this.#checkClasses(comfy);
  }

  #startListener(): StartListener {
    return {
      onStep: (step) => this.#part(step === "models" ? "weights" : step),
      onDoing: (doing) => {
        // Bytes of a model came, even if not so many that the words are others.
        this.#progress += 1;
        this.#reporter.doing(doing);
      },
      onLine: (line) => this.#line(line),
      onPhase: (phase) => {
        this.#phases.begin(phase === "booting" ? "boot" : phase);
        this.#reporter.doing(phase === "booting" ? "starting ComfyUI" : null);
        this.#enter(phase);
      },
    };
  }

  /** Shows that it can be ready. @throws when it is no use */
  async #prove(comfy: ComfySession, release: ReleaseForAgent | null): Promise<void> {
    const isProven = await proveReady({
      ...this.#trial(comfy, this.#drain.signal),
      release,
      onPart: (part, doing) => this.#part(part, doing),
    });
    if (isProven && release !== null) this.#proven = release.release;
  }

  /** Shows more than a start asks for, in the ComfyUI at hand. @throws what the errand failed of */
  #try(comfy: ComfySession, release: ReleaseForAgent, errand: Errand, signal: AbortSignal): Promise<void> {
    errand.enter("verifying");
    return tryRelease({
      ...this.#trial(comfy, signal),
      release,
      onPart: (part) => this.#part(part, `trying release ${release.release}`),
      onLine: (line) => this.#line(line),
    });
  }

  /** What a run without a job needs. */
  #trial(session: ComfySession, signal: AbortSignal) {
    const { timings } = this.#options.settings;
    return { session, timings, signal, log: this.#log, redacted: (text: string) => this.#redacted(text) };
  }

  /** A line for the replica's own log, and for that of the release that it tries. */
  #line(text: string): void {
    this.#progress += 1;
    this.#reporter.line(text);
    this.#errands.line(text);
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

  /** A part of the present state begins, and what came before it has its time. */
  #part(name: string, doing: string | null = null): void {
    this.#progress += 1;
    this.#phases.begin(name);
    this.#reporter.doing(doing);
    void this.#reporter.now();
  }

  async #checkClasses(comfy: ComfySession): Promise<void> {
    const { signal } = this.#drain;
    if (this.#release === null || signal.aborted) return;
    await logMissingClasses(comfy, this.#releases, this.#release, this.#log, signal);
  }

  /** Until it drains. */
  async #takeJobs(): Promise<void> {
    while (!this.#drain.signal.aborted) {
      const comfy = await this.#livingComfy();
      if (this.#errands.prepared?.aborted === true) {
        await this.#errands.goOn(comfy);
        continue;
      }
      if (this.#hasNothingInHand) {
        await this.#disk.tidy(comfy);
        await this.#disk.refuseFull(comfy);
      }
      const { lease, errand } = await this.#nextLease(comfy);
      if (errand !== null && lease === null) await this.#errands.begin(errand, comfy);
      if (lease === null) continue;
      if (await this.#canRun(lease)) {
        this.#enter("busy");
        this.#hand.begin(lease, comfy);
      } else await this.#changeBuild(lease);
    }
    // Whatever comes now goes back at once, while the job in hand is finished.
    this.#socket.forgoPolls();
  }

  /** @returns nothing when something comes first: the replica drains, ComfyUI died, a job has ended, a build is made */
  #nextLease(comfy: ComfySession): Promise<Given> {
    const { prepared } = this.#errands;
    const signals = [this.#drain.signal, comfy.server.died, this.#comfy.broke];
    return this.#leases.next(AbortSignal.any(prepared === null ? signals : [...signals, prepared]));
  }

  get #hasNothingInHand(): boolean {
    return this.#hand.jobs.length === 0 && !this.#leases.hasCarried;
  }

  /** Whether the ComfyUI at hand has the build that the job's release needs. */
  async #canRun(lease: Lease): Promise<boolean> {
    const build = this.#comfy.build ?? null;
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
    await this.#leases.giveBack(lease, "its release needs another build, which is being prepared");
    await this.#hand.ended();
    await this.#leases.givenBack;
    await this.#comfy.close();
    await this.#start(lease.release);
  }

  #tryingReplica(): TryingReplica {
    const buildAtHand = () => this.#comfy.build ?? null;
    return {
      get build() {
        return buildAtHand();
      },
      doing: (text) => this.#reporter.doing(text),
      line: (text) => this.#line(text),
      tryHere: async (number, errand, comfy, signal) => {
        const release = await this.#releases.get(number, signal);
        this.#phases.begin("errand");
        await this.#hand.releaseIsNext(number, comfy);
        await this.#try(comfy, release, errand, signal);
      },
      handBack: (reason) => this.#handBack(reason),
      becomeTrial: async (number, errand) => {
        await this.#comfy.close();
        await this.#start(number, errand);
      },
      becomeItself: async () => {
        await this.#comfy.close();
        await this.#start();
      },
      breakComfy: () => this.#comfy.break(),
      tried: () => {
        this.#phases.end();
        this.#reporter.doing(null);
      },
    };
  }

  #jobEnded(job: RunningJob, comfy: ComfySession, end: JobEnd): void {
    if (end.outcome === "succeeded") this.#failures = 0;
    this.#leases.jobEnded(job, end.next);
    if (end.comfy === "restart") {
      // It is restarted: what has not sent anything to keep yet begins again elsewhere.
      this.#hand.giveBackUnfinished("ComfyUI has to be restarted");
      this.#comfy.breakAfterJob(comfy, end.stuckPrompt);
    }
    if (this.#hasNothingInHand) this.#enter("ready");
  }

  /** Resolves when no job and no lease is in hand any more, nor will come until the socket is asked again. */
  async #handBack(reason: string): Promise<void> {
    // Whatever comes now would wait for another ComfyUI, which other replicas need not.
    this.#socket.takeBackPolls();
    // A new ComfyUI empties its folders: files that are still being sent come first.
    await this.#hand.ended();
    await this.#leases.giveBackCarried(reason);
    await this.#leases.givenBack;
  }

  /** The ComfyUI at hand, or a new one when it has died. @throws when it dies again and again */
  async #livingComfy(): Promise<ComfySession> {
    const comfy = this.#comfy.session;
    const isBroken = this.#comfy.broke.aborted;
    if (comfy !== null && !comfy.server.died.aborted && !isBroken) return comfy;
    const died = comfy?.server.died;
    const reason = died?.aborted === true ? lastWords(died.reason) : "it hangs";
    await this.#handBack("ComfyUI died before the job began");
    if (comfy !== null && isBroken) await this.#comfy.closeBroken(comfy);
    this.#failures += 1;
    if (this.#failures > RESTARTS_MAX) throw new Error(`ComfyUI fails again and again: ${reason}`);
    this.#log("comfy_restarts", { reason: reason.split("\n", 1)[0] });
    await this.#comfy.close();
    this.#comfy.forgetBreak();
    await this.#start();
    return this.#livingComfy();
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
