/**
 * What a replica tells its endpoint of itself: at once when it enters another state, and every other second while what it
 * is at changes or lines of its log are there. Reports go one after the other; a lost one is sent again.
 */
import type { ReplicaReport, ReplicaReportAnswer } from "#contract/agent";
import { LOG_LINES_PER_REPORT_MAX } from "#contract/limits";
import type { ReplicaState } from "#contract/replica";
import type { PhaseTime } from "./phase-clock.ts";
import { ReportLog } from "./report-log.ts";

/** A person who looks on wants to see that it goes on; each report is a request. */
export const REPORT_EVERY_MS = 2_000;
const DOING_LENGTH_MAX = 300;

/** How the replica stands. */
export interface Standing {
  readonly state: ReplicaState;
  readonly error: string | null;
  readonly phases: readonly PhaseTime[];
  /** The build its ComfyUI is of; null: what its machine's owner installed. undefined: it has none yet. */
  readonly build: string | null | undefined;
  /** The release that has run here since the start; null: none has. */
  readonly proven?: number | null;
}

export interface ReplicaReporterOptions {
  /** Persists until the report is answered; the signal ends it. */
  readonly send: (report: ReplicaReport, signal: AbortSignal) => Promise<ReplicaReportAnswer>;
  /** Read when a report leaves. */
  readonly standing: () => Standing;
  /** Takes out of text what must not leave the machine. */
  readonly redacted: (text: string) => string;
  readonly onAnswer: (answer: ReplicaReportAnswer) => void;
  readonly onRefused: (error: unknown) => void;
  /** Reports no longer matter, but for the last one. */
  readonly hurry: AbortSignal;
  /** How long the last report may hold up the end of the replica, ms. */
  readonly lastMs: number;
}

export class ReplicaReporter {
  readonly #options: ReplicaReporterOptions;
  readonly #log: ReportLog;
  /** The replica has ended: what is still on its way is outdated. */
  readonly #outdated = new AbortController();
  #doing: string | null = null;
  #sent: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  #sentAt = Number.NEGATIVE_INFINITY;
  /** The last report that was answered, without its lines. */
  #answered = "";
  #answeredState: ReplicaState = "preparing";

  constructor(options: ReplicaReporterOptions) {
    this.#options = options;
    this.#log = new ReportLog(options.redacted);
  }

  /** What it is at, in words; null: nothing to speak of. */
  doing(text: string | null): void {
    const doing = text === null ? null : this.#options.redacted(text).slice(0, DOING_LENGTH_MAX);
    if (doing === this.#doing) return;
    this.#doing = doing;
    this.#soon();
  }

  /** A line of its log. Prompts and callers' inputs are no part of it. */
  line(text: string): void {
    this.#log.add(text);
    this.#soon();
  }

  /** Sends how it stands, after what was sent before. @returns resolves when it is answered, or given up */
  now(): Promise<void> {
    const signal = AbortSignal.any([this.#options.hurry, this.#outdated.signal]);
    return this.#after(() => this.#send(this.#options.standing(), signal));
  }

  /** Resolves when the reports so far are answered, or given up. */
  get settled(): Promise<void> {
    return this.#sent;
  }

  /** The last report, with all lines before it. */
  end(): Promise<void> {
    this.#outdated.abort(new Error("the replica has ended"));
    this.#doing = null;
    return this.#after(async () => {
      const signal = AbortSignal.timeout(this.#options.lastMs);
      const standing = this.#options.standing();
      while (this.#log.pending > LOG_LINES_PER_REPORT_MAX && !signal.aborted) {
        const { pending } = this.#log;
        // Nobody looks for more behind a report that says that it has ended.
        await this.#send({ ...standing, state: this.#answeredState, error: null }, signal);
        if (this.#log.pending >= pending) break;
      }
      await this.#send(standing, signal);
      this.#stopTimer();
    });
  }

  #after(send: () => Promise<void>): Promise<void> {
    this.#stopTimer();
    this.#sent = this.#sent.then(send);
    return this.#sent;
  }

  #soon(): void {
    if (this.#timer !== null || this.#outdated.signal.aborted) return;
    const waitMs = Math.max(0, this.#sentAt + REPORT_EVERY_MS - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.now();
    }, waitMs);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Never rejects. */
  async #send({ state, error, phases, build, proven }: Standing, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const message: ReplicaReport = {
      // Between two jobs there is nothing to tell: the endpoint knows its leases.
      state: state === "busy" ? "ready" : state,
      phases: [...phases],
      ...(error === null ? {} : { error }),
      ...(build === undefined ? {} : { build }),
      ...(proven == null ? {} : { proven }),
      ...(this.#doing === null ? {} : { doing: this.#doing }),
    };
    const text = JSON.stringify(message);
    const { from, lines } = this.#log.batch();
    if (text === this.#answered && lines.length === 0) return;
    this.#sentAt = performance.now();
    try {
      const log = lines.length === 0 ? {} : { log: [...lines], log_from: from };
      const answer = await this.#options.send({ ...message, ...log }, signal);
      this.#answered = text;
      this.#answeredState = message.state;
      this.#log.answered(answer.log_next ?? from + lines.length);
      if (this.#log.pending > 0) this.#soon();
      this.#options.onAnswer(answer);
    } catch (problem) {
      if (!signal.aborted) this.#options.onRefused(problem);
    }
  }
}
