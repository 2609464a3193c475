import type * as z from "zod";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import {
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  getEndpointSchema,
  getQueue,
  listEndpoints,
  listReplicas,
  patchEndpoint,
} from "#contract/api/endpoints";
import type { Endpoint, EndpointPatch, EndpointSchema, NewEndpoint } from "#contract/endpoint";
import type { QueueSummary, Replica } from "#contract/replica";

export type EndpointPage = AnswerOf<typeof listEndpoints>;

/** Endpoints: made of workflows, called by slug or id. */
export class Endpoints {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Makes an endpoint. Not retried after a lost answer: look whether the slug exists. */
  create(endpoint: z.input<typeof NewEndpoint>, options: CallOptions = {}): Promise<Endpoint> {
    return this.#transport.call(createEndpoint, { body: endpoint, ...options });
  }

  get(endpoint: string, options: CallOptions = {}): Promise<Endpoint> {
    return this.#transport.call(getEndpoint, { params: { endpoint }, ...options });
  }

  /** Changes settings; with `workflow`, makes and activates a new release. */
  patch(endpoint: string, patch: z.input<typeof EndpointPatch>, options: CallOptions = {}): Promise<Endpoint> {
    const repeatable = patch.workflow === undefined;
    return this.#transport.call(patchEndpoint, { params: { endpoint }, body: patch, repeatable, ...options });
  }

  delete(endpoint: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(deleteEndpoint, { params: { endpoint }, ...options });
  }

  schema(endpoint: string, options: CallOptions = {}): Promise<EndpointSchema> {
    return this.#transport.call(getEndpointSchema, { params: { endpoint }, ...options });
  }

  queue(endpoint: string, options: CallOptions = {}): Promise<QueueSummary> {
    return this.#transport.call(getQueue, { params: { endpoint }, ...options });
  }

  async replicas(endpoint: string, options: CallOptions = {}): Promise<Replica[]> {
    return (await this.#transport.call(listReplicas, { params: { endpoint }, ...options })).data;
  }

  /** One page, by slug. */
  page(query: { cursor?: string; limit?: number } = {}, options: CallOptions = {}): Promise<EndpointPage> {
    return this.#transport.call(listEndpoints, { query, ...options });
  }

  /** All endpoints, page by page. */
  async *list(options: CallOptions = {}): AsyncGenerator<Endpoint, void, void> {
    let cursor: string | null = null;
    do {
      const page: EndpointPage = await this.page(cursor === null ? {} : { cursor }, options);
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }
}
