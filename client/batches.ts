import type * as z from "zod";
import { readJsonLines } from "#client/json-lines";
import { PilotlightError } from "#client/pilotlight-error";
import { pause, pauseBefore } from "#client/retry";
import { type CallOptions, type CreateOptions, networkError, reasonOf, type Transport } from "#client/transport";
import { untilDone, type WaitOptions } from "#client/until-done";
import { cancelBatch, createBatch, getBatch, getBatchResults } from "#contract/api/batches";
import { type Batch, BatchResult, type NewBatch } from "#contract/batch";

/** Many jobs in one request. */
export class Batches {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Submits a list of inputs, or a sweep: all of its jobs are taken or none is. */
  submit(endpoint: string, batch: z.input<typeof NewBatch>, options: CreateOptions = {}): Promise<Batch> {
    return this.#transport.call(createBatch, { params: { endpoint }, body: batch, ...options });
  }

  get(batch: string, options: CallOptions = {}): Promise<Batch> {
    return this.#transport.call(getBatch, { params: { batch }, ...options });
  }

  /** Cancels every job of the batch that has not ended. */
  cancel(batch: string, options: CallOptions = {}): Promise<Batch> {
    return this.#transport.call(cancelBatch, { params: { batch }, repeatable: true, ...options });
  }

  /**
   * Waits until every job has ended, in whatever state.
   * @throws PilotlightError `wait_timeout` when they have not within `timeoutMs`; they go on
   */
  wait(batch: string, options: WaitOptions<Batch> = {}): Promise<Batch> {
    return untilDone(
      () => this.get(batch, { signal: options.signal }),
      (now) => now.state === "done",
      (now) => `${batch} has ended ${Math.floor(now.progress * now.total)} of ${now.total} jobs`,
      options,
    );
  }

  /**
   * One result for each job, in the order of the request; `state` tells which have ended. A connection that breaks is
   * opened again, for as long as the client retries, and no result comes twice.
   */
  async *results(batch: string, options: CallOptions = {}): AsyncGenerator<BatchResult, void, void> {
    let seen = 0;
    let failures = 0;
    let failedSince: number | null = null;
    for (;;) {
      try {
        for await (const result of this.#read(batch, options)) {
          if (result.index < seen) continue;
          seen = result.index + 1;
          failures = 0;
          failedSince = null;
          yield result;
        }
        return;
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!(error instanceof PilotlightError) || !error.retryable) throw error;
        failedSince ??= performance.now();
        if (performance.now() - failedSince > this.#transport.retryForMs) throw error;
        await pause(pauseBefore(failures), options.signal);
        failures += 1;
      }
    }
  }

  async *#read(batch: string, options: CallOptions): AsyncGenerator<BatchResult, void, void> {
    const headers = { accept: "application/x-ndjson" };
    const response = await this.#transport.open(getBatchResults, { params: { batch }, headers, ...options });
    if (response.body === null) return;
    const lines = readJsonLines(response.body);
    try {
      for (;;) {
        let line: Awaited<ReturnType<typeof lines.next>>;
        try {
          line = await lines.next();
        } catch (cause) {
          throw networkError(`The results broke off: ${reasonOf(cause)}`, cause);
        }
        if (line.done === true) return;
        const result = BatchResult.safeParse(line.value);
        if (!result.success) {
          const detail = "A line of the results is not of the form this client knows";
          throw new PilotlightError({ code: "invalid_answer", status: 200, detail, cause: result.error });
        }
        yield result.data;
      }
    } finally {
      await lines.return();
    }
  }
}
