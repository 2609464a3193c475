/**
 * Keeps one lease alive: a beat at a steady pace whatever ComfyUI does, sooner when there is progress to tell.
 * One beat is under way at a time, and the newest progress wins over older.
 */
import type { LeaseProgress } from "#contract/agent";
import type { JobProgress, RunningPhase } from "#contract/job";
import { type Log, messageOf } from "../log.ts";
import type { AgentCalls, LeaseProof } from "./agent-calls.ts";
import { pause } from "./backoff.ts";
import { isGone } from "./control-error.ts";

/** Reasons that nobody reads; one that is made for each job would come with a stack of calls. */
const HURRY = new Error("there is news");
const STOPPED = new Error("the lease is over");

export type LeaseEnd = "canceled" | "lost";
export type Preview = NonNullable<LeaseProgress["preview"]>;

export interface LeaseKeeperOptions {
  readonly calls: AgentCalls;
  readonly lease: LeaseProof;
  readonly renewMs: number;
  readonly progressMs: number;
  readonly log: Log;
  /** Called once, when the server says that the lease is over. Not called after `settle` or `stop`. */
  readonly onEnd: (end: LeaseEnd) => void;
}

export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stopped = new AbortController();
  #phase: RunningPhase = "assigned";
  #progress: JobProgress | undefined;
  #preview: Preview | undefined;
  #news = true;
  #settled = false;
  #wake: () => void = () => undefined;
  /** Ends the pause after a beat. */
  #hurry = new AbortController();

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  /**
   * Sends the first beat at once, which confirms the lease, and goes on until `stop` or the end of the lease.
   * @returns resolves when nothing more will be sent
   */
  start(): Promise<void> {
    return this.#beats();
  }

  phase(phase: RunningPhase): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    this.#tell();
  }

  /** The GPU is free: the server hears it now, because it may have another job. */
  uploads(): void {
    this.phase("uploading");
    this.#hurry.abort(HURRY);
  }

  progress(progress: JobProgress): void {
    this.#progress = progress;
    this.#tell();
  }

  preview(preview: Preview): void {
    this.#preview = preview;
    this.#tell();
  }

  /** Fires when nothing more will be sent. */
  get stopped(): AbortSignal {
    return this.#stopped.signal;
  }

  /** The final report is on its way: its answer decides now, whatever a beat that crosses it hears. */
  settle(): void {
    this.#settled = true;
  }

  stop(): void {
    this.#settled = true;
    this.#stopped.abort(STOPPED);
    this.#wake();
  }

  #tell(): void {
    this.#news = true;
    this.#wake();
  }

  async #beats(): Promise<void> {
    const { renewMs, progressMs } = this.#options;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const startedAt = performance.now();
      const renewed = await this.#beat();
      if (signal.aborted) return;
      // A beat that failed is tried again soon: the lease runs on meanwhile.
      const dueMs = renewed ? renewMs : Math.min(renewMs, 1_000);
      await pause(Math.min(progressMs, dueMs), AbortSignal.any([signal, this.#hurry.signal])).catch(() => undefined);
      await this.#newsOr(dueMs - (performance.now() - startedAt));
    }
  }

  /** Resolves when there is something to tell, or after `ms`. */
  async #newsOr(ms: number): Promise<void> {
    if (this.#news || ms <= 0 || this.#stopped.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => undefined;
  }

  async #beat(): Promise<boolean> {
    const { calls, lease, renewMs, log } = this.#options;
    const preview = this.#preview;
    this.#preview = undefined;
    this.#news = false;
    if (this.#hurry.signal.aborted) this.#hurry = new AbortController();
    const message: LeaseProgress = {
      phase: this.#phase,
      ...(this.#progress === undefined ? {} : { progress: this.#progress }),
      ...(preview === undefined ? {} : { preview }),
    };
    try {
      const answer = await calls.progress(lease, message, Math.max(renewMs, 1_000), this.#stopped.signal);
      if (answer.cancel) this.#end("canceled");
      return true;
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      if (isGone(error)) this.#end("lost");
      else log("lease_renewal_failed", { error: messageOf(error) });
      return false;
    }
  }

  #end(end: LeaseEnd): void {
    if (this.#settled) return;
    this.stop();
    this.#options.onEnd(end);
  }
}
