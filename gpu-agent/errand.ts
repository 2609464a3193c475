/**
 * What a replica tells its endpoint while it tries a release that is to take another one's place: how far it is, the lines
 * of its log, and at the end what came of it. A sign of life goes out every few seconds; a lost message is sent again.
 */
import type { VerificationReport, VerificationReportAnswer } from "#contract/agent";
import { LOG_LINES_PER_REPORT_MAX } from "#contract/limits";
import { ReportLog } from "./report-log.ts";

/** The server gives the errand to somebody else after a minute of silence. */
const BEAT_MS = 5_000;
/** A person follows the lines; each report is a request. */
const LINES_EVERY_MS = 1_000;

export type ErrandEnd =
  | { readonly state: "ready" }
  /** `final`: the same would come of it again; else the machine had trouble of its own. */
  | { readonly state: "failed"; readonly error: string; readonly final: boolean };

export interface ErrandOptions {
  /** The poll that was answered with it. */
  readonly id: string;
  readonly release: number;
  /** Persists until the report is answered; the signal ends it. */
  readonly send: (report: VerificationReport, signal: AbortSignal) => Promise<VerificationReportAnswer>;
  /** Takes out of text what must not leave the machine. */
  readonly redacted: (text: string) => string;
  readonly onRefused: (error: unknown) => void;
  /** Nothing is sent any more: the replica drains, and whoever gave the errand takes it back. */
  readonly signal: AbortSignal;
}

export class Errand {
  readonly #options: ErrandOptions;
  readonly #log: ReportLog;
  readonly #stop = new AbortController();
  #state: "building" | "verifying" = "building";
  #sent: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  #isOver = false;

  constructor(options: ErrandOptions) {
    this.#options = options;
    this.#log = new ReportLog(options.redacted);
    this.#beatIn(BEAT_MS);
  }

  /** Fires when nobody waits for the release any more. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** It is further than before. */
  enter(state: "building" | "verifying"): void {
    if (this.#state === state || this.#isOver) return;
    this.#state = state;
    this.#beatIn(0);
  }

  /** A line of its log. Prompts and callers' inputs are no part of it. */
  line(text: string): void {
    this.#log.add(text);
    this.#beatIn(LINES_EVERY_MS);
  }

  /** Says what came of it, after all lines. @returns resolves when that is answered, or given up */
  async end(end: ErrandEnd): Promise<void> {
    if (this.#isOver) return;
    this.close();
    await this.#sent;
    const { signal } = this.#options;
    while (this.#log.pending > LOG_LINES_PER_REPORT_MAX && !signal.aborted) {
      const { pending } = this.#log;
      await this.#send({ state: this.#state });
      if (this.#log.pending >= pending) break;
    }
    await this.#send(end);
  }

  /** Says nothing more: whoever gave it will notice. */
  close(): void {
    this.#isOver = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** The next report leaves after `ms` at the latest. */
  #beatIn(ms: number): void {
    if (this.#isOver) return;
    if (this.#timer !== null && ms >= LINES_EVERY_MS && this.#log.pending > 1) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#sent = this.#sent.then(() => this.#send({ state: this.#state }));
      this.#beatIn(BEAT_MS);
    }, ms);
  }

  /** Never rejects. */
  async #send(standing: ErrandEnd | { readonly state: "building" | "verifying" }): Promise<void> {
    const { id, release, signal } = this.#options;
    if (signal.aborted) return;
    const { from, lines } = this.#log.batch();
    const log = lines.length === 0 ? {} : { log: [...lines], log_from: from };
    try {
      const answer = await this.#options.send({ errand: id, release, ...standing, ...log }, signal);
      this.#log.answered(answer.log_next);
      if (answer.stop) this.#stop.abort(new Error("nobody waits for the release any more"));
    } catch (error) {
      if (signal.aborted) return;
      this.#options.onRefused(error);
      this.#stop.abort(error);
    }
  }
}
