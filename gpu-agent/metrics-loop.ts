/** Sends the node's figures, at the pace that the server asks for. */
import { METRICS_UNWATCHED_MS, METRICS_WATCHED_MS } from "#contract/limits";
import type { NodeMetrics } from "#contract/replica";
import { pause } from "./control/backoff.ts";
import { type Log, messageOf } from "./log.ts";

export interface MetricsLoopOptions {
  readonly measure: () => Promise<NodeMetrics>;
  /** One try. @returns ms until the next figures are due; null when there is no session to send under */
  readonly send: (metrics: NodeMetrics) => Promise<number | null>;
  readonly log: Log;
}

/** Nobody waits for figures, so what fails is not repeated: newer ones come soon. */
export class MetricsLoop {
  readonly #options: MetricsLoopOptions;
  #everyMs = METRICS_UNWATCHED_MS;
  #hurry = new AbortController();
  #hasFailed = false;
  /** Somebody has asked for a pace while figures were on their way: their answer may be older. */
  #isAsked = false;

  constructor(options: MetricsLoopOptions) {
    this.#options = options;
  }

  /** The answer to a poll has said that somebody looks. */
  paceAsked(everyMs: number): void {
    const isFaster = everyMs < this.#everyMs;
    this.#everyMs = clamp(everyMs);
    this.#isAsked = true;
    if (isFaster) this.#hurry.abort(new Error("somebody looks"));
  }

  /** Goes on until the signal. */
  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const startedAt = performance.now();
      await this.#once();
      // Listened to only now: who looked meanwhile is answered by the pace alone.
      this.#hurry = new AbortController();
      const tookMs = performance.now() - startedAt;
      const waitMs = Math.max(METRICS_WATCHED_MS / 4, this.#everyMs - tookMs);
      await pause(waitMs, AbortSignal.any([stop, this.#hurry.signal])).catch(() => undefined);
    }
  }

  async #once(): Promise<void> {
    const { measure, send, log } = this.#options;
    try {
      const figures = await measure();
      this.#isAsked = false;
      const pace = clamp((await send(figures)) ?? METRICS_UNWATCHED_MS);
      this.#everyMs = this.#isAsked ? Math.min(pace, this.#everyMs) : pace;
      this.#hasFailed = false;
    } catch (error) {
      this.#everyMs = METRICS_UNWATCHED_MS;
      // Said once: while the server is away it would be said for ever.
      if (!this.#hasFailed) log("metrics_not_sent", { error: messageOf(error) });
      this.#hasFailed = true;
    }
  }
}

/** A server that asks for more, or for hardly any, is not followed. */
function clamp(everyMs: number): number {
  return Math.min(METRICS_UNWATCHED_MS, Math.max(METRICS_WATCHED_MS, everyMs));
}
