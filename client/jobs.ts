import type * as z from "zod";
import { type JobStreamEvent, watchJob } from "#client/job-events";
import { PilotlightError } from "#client/pilotlight-error";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import { cancelJob, createJob, getJob, listJobs } from "#contract/api/jobs";
import { isTerminal, type Job, type JobState, type NewJob } from "#contract/job";
import { WAIT_S_MAX } from "#contract/limits";

export interface SubmitOptions extends CallOptions {
  /** A fresh one is drawn when left out. Send the same one to repeat a submit of which the answer got lost. */
  readonly idempotencyKey?: string | undefined;
  /** Seconds the server holds its answer for the job's end, at most 60. */
  readonly waitS?: number | undefined;
}

export interface JobQuery {
  readonly endpoint?: string | undefined;
  readonly state?: JobState | undefined;
  readonly tag?: string | undefined;
  readonly cursor?: string | undefined;
  /** Jobs of one page, at most 100. */
  readonly limit?: number | undefined;
}

export type JobPage = AnswerOf<typeof listJobs>;

/** Jobs: one call of an endpoint each. */
export class Jobs {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Submits a job. Retried on lost answers, 429 and 503 under one Idempotency-Key, so that it becomes one job.
   * @returns the job as accepted, or ended when `waitS` was long enough
   */
  submit(endpoint: string, job: z.input<typeof NewJob>, options: SubmitOptions = {}): Promise<Job> {
    const headers: Record<string, string> = { "idempotency-key": options.idempotencyKey ?? crypto.randomUUID() };
    if (options.waitS !== undefined) headers.prefer = `wait=${waitOf(options.waitS)}`;
    return this.#transport.call(createJob, {
      params: { endpoint },
      headers,
      body: job,
      repeatable: true,
      heldMs: (options.waitS ?? 0) * 1_000,
      signal: options.signal,
    });
  }

  get(job: string, options: CallOptions & { readonly waitS?: number } = {}): Promise<Job> {
    return this.#transport.call(getJob, {
      params: { job },
      headers: options.waitS === undefined ? {} : { prefer: `wait=${waitOf(options.waitS)}` },
      heldMs: (options.waitS ?? 0) * 1_000,
      signal: options.signal,
    });
  }

  /**
   * Waits until the job has ended, in whatever state.
   * @throws PilotlightError `wait_timeout` when it has not within `timeoutMs`; the job goes on
   */
  async wait(job: string, options: CallOptions & { readonly timeoutMs?: number } = {}): Promise<Job> {
    const startedAt = performance.now();
    const timeoutMs = options.timeoutMs ?? Number.POSITIVE_INFINITY;
    for (;;) {
      const leftMs = timeoutMs - (performance.now() - startedAt);
      const waitS = Math.min(Math.max(Math.ceil(leftMs / 1_000), 1), WAIT_S_MAX);
      const now = await this.get(job, { waitS, signal: options.signal });
      if (isTerminal(now.state)) return now;
      if (performance.now() - startedAt >= timeoutMs) {
        throw new PilotlightError({
          code: "wait_timeout",
          status: 200,
          detail: `${job} is still ${now.state} after ${timeoutMs} ms; it goes on`,
        });
      }
    }
  }

  /** The job's events from the first (or from after `afterSeq`) to its end, across lost connections, each number once. */
  events(
    job: string,
    options: CallOptions & { readonly afterSeq?: number } = {},
  ): AsyncGenerator<JobStreamEvent, void, void> {
    return watchJob(this.#transport, job, options);
  }

  /** Cancels; answers the job as it is afterwards, which may be succeeded when it was quicker. */
  cancel(job: string, options: CallOptions = {}): Promise<Job> {
    return this.#transport.call(cancelJob, { params: { job }, repeatable: true, ...options });
  }

  /** One page, newest first. */
  page(query: JobQuery = {}, options: CallOptions = {}): Promise<JobPage> {
    return this.#transport.call(listJobs, { query: query as z.input<typeof listJobs.query>, ...options });
  }

  /** Jobs, newest first, page by page. */
  async *list(query: JobQuery = {}, options: CallOptions = {}): AsyncGenerator<Job, void, void> {
    let cursor: string | null | undefined = query.cursor;
    do {
      const page: JobPage = await this.page({ ...query, cursor: cursor ?? undefined }, options);
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }
}

function waitOf(seconds: number): number {
  if (!(seconds >= 0)) throw new RangeError("waitS is a number of seconds, 0 or more");
  return Math.min(Math.round(seconds), WAIT_S_MAX);
}
