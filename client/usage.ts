import type * as z from "zod";
import { allPages } from "#client/paging";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import { listUsage } from "#contract/api/usage";
import type { UsageRow } from "#contract/usage";

/** `since` and `until` are ISO times of jobs' submits, the first inclusive, the second exclusive. */
export type UsageQuery = { readonly [Name in keyof z.output<typeof listUsage.query>]?: string | number | undefined };
export type UsagePage = AnswerOf<typeof listUsage>;

/** What GPUs did, attempt by attempt. */
export class Usage {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** One page, by endpoint and then by job. A job's rows stay together, so it may be a little longer than `limit`. */
  page(query: UsageQuery = {}, options: CallOptions = {}): Promise<UsagePage> {
    return this.#transport.call(listUsage, { query: query as z.input<typeof listUsage.query>, ...options });
  }

  /** All rows, page by page. */
  list(query: UsageQuery = {}, options: CallOptions = {}): AsyncGenerator<UsageRow, void, void> {
    const first = query.cursor === undefined ? undefined : String(query.cursor);
    return allPages((cursor) => this.page({ ...query, cursor }, options), first);
  }
}
