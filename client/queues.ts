import type * as z from "zod";
import { allPages } from "#client/paging";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  createOperation,
  getQueue,
  listDead,
  listQueue,
  pauseQueue,
  purgeQueue,
  redriveDead,
  resumeQueue,
} from "#contract/api/queue";
import type { Job, Lane } from "#contract/job";
import type {
  NewOperation,
  Operation,
  PauseQueue,
  PurgeQueue,
  QueueEntry,
  QueueSummary,
  RedriveDead,
} from "#contract/queue";

export interface PageOf {
  readonly cursor?: string | undefined;
  /** Items of one page, at most 100. */
  readonly limit?: number | undefined;
}

export interface QueueQuery extends PageOf {
  readonly lane?: Lane | undefined;
}

export type QueuePage = AnswerOf<typeof listQueue>;
export type DeadPage = AnswerOf<typeof listDead>;

/** The queues of endpoints: how they stand, who waits, and what is done to many jobs at once. */
export class Queues {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get(endpoint: string, options: CallOptions = {}): Promise<QueueSummary> {
    return this.#transport.call(getQueue, { params: { endpoint }, ...options });
  }

  /** One page of waiting jobs, in the order in which they will start. */
  page(endpoint: string, query: QueueQuery = {}, options: CallOptions = {}): Promise<QueuePage> {
    return this.#transport.call(listQueue, { params: { endpoint }, query, ...options });
  }

  /** All waiting jobs, page by page. */
  list(endpoint: string, query: QueueQuery = {}, options: CallOptions = {}): AsyncGenerator<QueueEntry, void, void> {
    return allPages((cursor) => this.page(endpoint, { ...query, cursor }, options), query.cursor);
  }

  /** Starts no more jobs; accepts new ones unless `refuse_new`. Running jobs go on. */
  pause(endpoint: string, pause: z.input<typeof PauseQueue> = {}, options: CallOptions = {}): Promise<QueueSummary> {
    return this.#transport.call(pauseQueue, { params: { endpoint }, body: pause, repeatable: true, ...options });
  }

  resume(endpoint: string, options: CallOptions = {}): Promise<QueueSummary> {
    return this.#transport.call(resumeQueue, { params: { endpoint }, repeatable: true, ...options });
  }

  /** Cancels the jobs that wait, or empties the dead-letter list. @param purge.confirm the endpoint's slug */
  purge(endpoint: string, purge: z.input<typeof PurgeQueue>, options: CreateOptions = {}): Promise<Operation> {
    return this.#transport.call(purgeQueue, { params: { endpoint }, body: purge, ...options });
  }

  /** One page of the dead letters, newest first. */
  deadPage(endpoint: string, query: PageOf = {}, options: CallOptions = {}): Promise<DeadPage> {
    return this.#transport.call(listDead, { params: { endpoint }, query, ...options });
  }

  /** All dead letters, page by page. */
  dead(endpoint: string, query: PageOf = {}, options: CallOptions = {}): AsyncGenerator<Job, void, void> {
    return allPages((cursor) => this.deadPage(endpoint, { ...query, cursor }, options), query.cursor);
  }

  /** Runs dead letters again, each as a new job. */
  redrive(endpoint: string, redrive: z.input<typeof RedriveDead>, options: CreateOptions = {}): Promise<Operation> {
    return this.#transport.call(redriveDead, { params: { endpoint }, body: redrive, ...options });
  }

  /** Cancels or retries many jobs. */
  operate(endpoint: string, operation: z.input<typeof NewOperation>, options: CreateOptions = {}): Promise<Operation> {
    return this.#transport.call(createOperation, { params: { endpoint }, body: operation, ...options });
  }
}
