import type * as z from "zod";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import type { ApiKey, Me, NewApiKey } from "#contract/access";
import { createKey, getHealth, getMe, listKeys, revokeKey } from "#contract/api/access";

export type Health = AnswerOf<typeof getHealth>;
type KeyPage = AnswerOf<typeof listKeys>;

/** API keys. */
export class Keys {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Makes a key; its text is in this answer and in no later one. */
  create(key: z.input<typeof NewApiKey>, options: CallOptions = {}): Promise<ApiKey> {
    return this.#transport.call(createKey, { body: key, ...options });
  }

  /** All keys of the workspace, page by page. */
  async *list(options: CallOptions = {}): AsyncGenerator<ApiKey, void, void> {
    let cursor: string | null = null;
    do {
      const query = cursor === null ? {} : { cursor };
      const page: KeyPage = await this.#transport.call(listKeys, { query, ...options });
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor !== null);
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
