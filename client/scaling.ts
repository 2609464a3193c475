import type * as z from "zod";
import type { CallOptions, Transport } from "#client/transport";
import { coolEndpoint, getScaling, type Scaling, warmEndpoint } from "#contract/api/scaling";

/** How many replicas endpoints have and want, and keeping some warm by hand. */
export class Scalings {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** @param query how many of the last decisions, at most 500 */
  get(
    endpoint: string,
    query: { readonly limit?: number | undefined } = {},
    options: CallOptions = {},
  ): Promise<Scaling> {
    return this.#transport.call(getScaling, { params: { endpoint }, query, ...options });
  }

  /** Keeps so many replicas warm for so many seconds from now, or until a time, in place of what was asked for before. */
  warm(endpoint: string, wish: z.input<typeof warmEndpoint.body>, options: CallOptions = {}): Promise<Scaling> {
    return this.#transport.call(warmEndpoint, { params: { endpoint }, body: wish, repeatable: true, ...options });
  }

  cool(endpoint: string, options: CallOptions = {}): Promise<Scaling> {
    return this.#transport.call(coolEndpoint, { params: { endpoint }, ...options });
  }
}
