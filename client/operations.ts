import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import { untilDone, type WaitOptions } from "#client/until-done";
import { cancelOperation, getOperation, listOperations } from "#contract/api/queue";
import type { Operation } from "#contract/queue";

export type OperationPage = AnswerOf<typeof listOperations>;

/** Operations on many jobs, which go on by themselves. */
export class Operations {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get(operation: string, options: CallOptions = {}): Promise<Operation> {
    return this.#transport.call(getOperation, { params: { operation }, ...options });
  }

  /** Stops it; what it has done stays done. */
  cancel(operation: string, options: CallOptions = {}): Promise<Operation> {
    return this.#transport.call(cancelOperation, { params: { operation }, repeatable: true, ...options });
  }

  /** One page of an endpoint's operations, newest first. */
  page(endpoint: string, query: PageOf = {}, options: CallOptions = {}): Promise<OperationPage> {
    return this.#transport.call(listOperations, { params: { endpoint }, query, ...options });
  }

  /** All of an endpoint's operations, page by page. */
  list(endpoint: string, query: PageOf = {}, options: CallOptions = {}): AsyncGenerator<Operation, void, void> {
    return allPages((cursor) => this.page(endpoint, { ...query, cursor }, options), query.cursor);
  }

  /**
   * Waits until it is done or canceled.
   * @throws PilotlightError `wait_timeout` when it is not within `timeoutMs`; it goes on
   */
  wait(operation: string, options: WaitOptions<Operation> = {}): Promise<Operation> {
    return untilDone(
      () => this.get(operation, { signal: options.signal }),
      (now) => now.state !== "running",
      (now) => `${operation} has changed ${now.changed} jobs`,
      options,
    );
  }
}
