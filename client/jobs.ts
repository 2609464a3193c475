import type * as z from "zod";
import { type JobStreamEvent, watchJob } from "#client/job-events";
import { allPages } from "#client/paging";
import { PilotlightError } from "#client/pilotlight-error";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallInput, CallOptions, CreateOptions, Transport } from "#client/transport";
import { cancelJob, createJob, getJob, JOB_HEADER, listJobs } from "#contract/api/jobs";
import { getJobWhy, patchJob, retryJob } from "#contract/api/queue";
import {
  isTerminal,
  type Job,
  type JobErrorCode,
  type JobPatch,
  type JobState,
  type JobWhy,
  type Lane,
  type NewJob,
} from "#contract/job";
import { WAIT_S_MAX } from "#contract/limits";

export interface SubmitOptions extends CreateOptions {
  /** Seconds the server holds its answer for the job's end, at most 60. */
  readonly waitS?: number | undefined;
}

/** What a call for an output itself is answered with. */
export type OutputAnswer =
  /** `response` is the file, its body unread; a body that breaks off is had again from `outputs.download`. */
  | { readonly type: "output"; readonly jobId: string; readonly contentType: string; readonly response: Response }
  /** It has not ended, has not succeeded, or has no output of such a type. */
  | { readonly type: "job"; readonly job: Job };

/** All filters given must hold; times are ISO, `created_after` inclusive, `created_before` exclusive. */
export interface JobQuery extends PageOf {
  readonly endpoint?: string | undefined;
  readonly state?: JobState | undefined;
  readonly lane?: Lane | undefined;
  readonly tag?: string | undefined;
  readonly key_id?: string | undefined;
  readonly batch?: string | undefined;
  readonly error_code?: JobErrorCode | undefined;
  readonly created_after?: string | undefined;
  readonly created_before?: string | undefined;
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
    return this.#transport.call(createJob, submitInput(endpoint, job, options, {}));
  }

  /**
   * Submits a job and waits for its output: one request, answered with the file itself when the job succeeds within
   * `waitS` (60 when left out). Retried as a submit is.
   * @param accept as in the header: `image/png`, `video/*`, `image/webp, image/*;q=0.5`; the first output liked best
   */
  async submitForOutput(
    endpoint: string,
    job: z.input<typeof NewJob>,
    accept: string,
    options: SubmitOptions = {},
  ): Promise<OutputAnswer> {
    const waiting = { ...options, waitS: options.waitS ?? WAIT_S_MAX };
    const response = await this.#transport.open(createJob, submitInput(endpoint, job, waiting, { accept }));
    const jobId = response.headers.get(JOB_HEADER);
    if (jobId === null) return { type: "job", job: await this.#transport.read(createJob, response) };
    return { type: "output", jobId, contentType: response.headers.get("content-type") ?? "", response };
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

  /** Runs an ended job again, as a new job with the same inputs and the active release. */
  retry(job: string, options: CreateOptions = {}): Promise<Job> {
    return this.#transport.call(retryJob, { params: { job }, ...options });
  }

  /** Changes the lane or priority of a waiting job, or moves it to the front. */
  patch(job: string, patch: z.input<typeof JobPatch>, options: CallOptions = {}): Promise<Job> {
    return this.#transport.call(patchJob, { params: { job }, body: patch, repeatable: true, ...options });
  }

  /** Why a job has not started. */
  why(job: string, options: CallOptions = {}): Promise<JobWhy> {
    return this.#transport.call(getJobWhy, { params: { job }, ...options });
  }

  /** One page, newest first. It may be short, even empty, while there are more: go on while next_cursor is not null. */
  page(query: JobQuery = {}, options: CallOptions = {}): Promise<JobPage> {
    return this.#transport.call(listJobs, { query: query as z.input<typeof listJobs.query>, ...options });
  }

  /** Jobs, newest first, page by page. */
  list(query: JobQuery = {}, options: CallOptions = {}): AsyncGenerator<Job, void, void> {
    return allPages((cursor) => this.page({ ...query, cursor }, options), query.cursor);
  }
}

function submitInput(
  endpoint: string,
  job: z.input<typeof NewJob>,
  options: SubmitOptions,
  headers: Readonly<Record<string, string>>,
): CallInput<typeof createJob> {
  return {
    params: { endpoint },
    headers: options.waitS === undefined ? headers : { ...headers, prefer: `wait=${waitOf(options.waitS)}` },
    body: job,
    heldMs: (options.waitS ?? 0) * 1_000,
    signal: options.signal,
    idempotencyKey: options.idempotencyKey,
  };
}

function waitOf(seconds: number): number {
  if (!(seconds >= 0)) throw new RangeError("waitS is a number of seconds, 0 or more");
  return Math.min(Math.round(seconds), WAIT_S_MAX);
}
