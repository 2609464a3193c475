/**
 * The jobs that a replica has leases for. One at a time is ComfyUI's; beside it there are at most two more: one that is
 * held ahead, and one before it whose outputs still go up.
 */
import type { Lease } from "#contract/agent";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { LeftByReleases } from "./left-by-releases.ts";
import { type Before, type JobEnd, type NextPoll, type RunJobOptions, type RunningJob, runJob } from "./run-job.ts";

/** Jobs that follow each other without a look at the free disk space. */
const JOBS_WITHOUT_PAUSE = 50;

export interface JobsInHandOptions
  extends Pick<RunJobOptions, "calls" | "releases" | "settings" | "spool" | "log" | "hurry" | "drain"> {
  /** Asked when a job is about to end: how the next lease may come with the answer, or after it. */
  readonly nextPoll: (job: RunningJob, comfy: ComfySession) => NextPoll;
  /** A job is in hand no longer. */
  readonly onEnd: (job: RunningJob, comfy: ComfySession, end: JobEnd) => void;
}

export class JobsInHand {
  readonly #options: JobsInHandOptions;
  /** In the order in which they run: those before the last may still send outputs. */
  readonly #jobs: RunningJob[] = [];
  readonly #left: LeftByReleases;
  /** How many have been taken in hand so far. */
  #begun = 0;
  /** When the jobs, or how far they are, last changed. */
  #changedAt = 0;
  #wake: () => void = () => undefined;
  /** Resolves when the jobs that have ended left nothing behind. */
  #cleaned: Promise<void> = Promise.resolve();

  constructor(options: JobsInHandOptions) {
    this.#options = options;
    this.#left = new LeftByReleases(this.#jobs, options.log);
  }

  /** In the order in which they run, as they are at the moment. */
  get jobs(): readonly RunningJob[] {
    return this.#jobs;
  }

  /** Now and then the replica stops to look after its disk, however much work there is. */
  get isPauseDue(): boolean {
    return this.#begun % JOBS_WITHOUT_PAUSE === 0;
  }

  /** For how long the jobs, and how far they are, have not changed, ms. */
  get unchangedMs(): number {
    return performance.now() - this.#changedAt;
  }

  /** Resolves when the jobs so far left nothing behind in ComfyUI. */
  get cleaned(): Promise<void> {
    return this.#cleaned;
  }

  /** Takes a job in hand: it runs at once, or when what it waits for is over. */
  begin(lease: Lease, comfy: ComfySession): void {
    const job = this.#run(lease, comfy, this.#beforeOf(lease, comfy));
    this.#jobs.push(job);
    this.#cleaned = Promise.all([this.#cleaned, job.cleaned]).then(() => undefined);
    void job.end.then((end) => this.#ended(job, comfy, end));
    this.#change();
  }

  /** Gives back the leases of the jobs that ComfyUI has not ended: they begin again elsewhere. */
  giveBackUnfinished(reason: string): void {
    for (const job of this.#jobs) if (!job.isFree) job.giveBack(reason);
  }

  /** Resolves when all of them have ended. */
  async ended(): Promise<void> {
    while (this.#jobs.length > 0) await Promise.all(this.#jobs.map((job) => job.end));
  }

  /** Resolves when the jobs, or how far they are, change next, after `ms`, or when the signal fires. */
  async changedOr(ms: number, signal: AbortSignal): Promise<void> {
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

  /** A ComfyUI with empty folders is started. @param release that it is made ready for; null: it is not known */
  comfyBegan(release: number | null): void {
    this.#left.began(release);
  }

  /**
   * A release runs next in the ComfyUI at hand: what another one left there goes first.
   * @returns resolves when it is gone, and never rejects; null: nothing is in the way
   */
  releaseIsNext(release: number, comfy: ComfySession): Promise<void> | null {
    return this.#left.goFor(release, comfy, this.#cleaned);
  }

  /** What the job of a lease waits for; null: nothing. */
  #beforeOf(lease: Lease, comfy: ComfySession): Before | null {
    const emptied = this.releaseIsNext(lease.release, comfy);
    if (emptied !== null) return { free: emptied, isAlone: true };
    const last = this.#jobs.findLast((job) => !job.isFree);
    // What waits for the folders to be emptied is not to be overtaken.
    return last === undefined ? null : { free: last.free, isAlone: !last.hasBegun };
  }

  #run(lease: Lease, comfy: ComfySession, before: Before | null): RunningJob {
    this.#begun += 1;
    const job: RunningJob = runJob({
      ...this.#options,
      lease,
      comfy,
      before,
      emptied: this.#left.emptied,
      onChange: () => this.#change(),
      nextPoll: () => this.#options.nextPoll(job, comfy),
    });
    return job;
  }

  #ended(job: RunningJob, comfy: ComfySession, end: JobEnd): void {
    this.#jobs.splice(this.#jobs.indexOf(job), 1);
    this.#options.onEnd(job, comfy, end);
    this.#change();
  }

  #change(): void {
    this.#changedAt = performance.now();
    this.#wake();
  }
}
