import type * as z from "zod";
import { allPages } from "#client/paging";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import type { ApiKey, Me, NewApiKey } from "#contract/access";
import { createKey, getHealth, getMe, listKeys, revokeKey } from "#contract/api/access";

export type Health = AnswerOf<typeof getHealth>;

/** API keys. */
export class Keys {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Makes a key; its text is in this answer and in no later one. */
  create(key: z.input<typeof NewApiKey>, options: CreateOptions = {}): Promise<ApiKey> {
    return this.#transport.call(createKey, { body: key, ...options });
  }

  /** All keys of the workspace, page by page. */
  list(options: CallOptions = {}): AsyncGenerator<ApiKey, void, void> {
    return allPages((cursor) => this.#transport.call(listKeys, { query: { cursor }, ...options }));
  }

  revoke(key: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(revokeKey, { params: { key }, ...options });
  }
}

/** Who the token is. */
export function me(transport: Transport, options: CallOptions = {}): Promise<z.infer<typeof Me>> {
  return transport.call(getMe, options);
}

/** Whether the service answers; needs no token. */
export function health(transport: Transport, options: CallOptions = {}): Promise<Health> {
  return transport.call(getHealth, options);
}
