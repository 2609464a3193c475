import type * as z from "zod";
import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  getEndpointSchema,
  listEndpoints,
  patchEndpoint,
} from "#contract/api/endpoints";
import { listReplicas } from "#contract/api/replicas";
import type { Endpoint, EndpointPatch, EndpointSchema, NewEndpoint } from "#contract/endpoint";
import type { Replica } from "#contract/replica";

export type EndpointPage = AnswerOf<typeof listEndpoints>;

/** Endpoints: made of workflows, called by slug or id. */
export class Endpoints {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Makes an endpoint. */
  create(endpoint: z.input<typeof NewEndpoint>, options: CreateOptions = {}): Promise<Endpoint> {
    return this.#transport.call(createEndpoint, { body: endpoint, ...options });
  }

  get(endpoint: string, options: CallOptions = {}): Promise<Endpoint> {
    return this.#transport.call(getEndpoint, { params: { endpoint }, ...options });
  }

  /** Changes settings; with `workflow`, makes and activates a new release, and is not retried after a lost answer. */
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

  /** Those that run, and those that crashed within the hour. */
  async replicas(endpoint: string, options: CallOptions = {}): Promise<Replica[]> {
    return (await this.#transport.call(listReplicas, { params: { endpoint }, ...options })).data;
  }

  /** One page, by slug. */
  page(query: PageOf = {}, options: CallOptions = {}): Promise<EndpointPage> {
    return this.#transport.call(listEndpoints, { query, ...options });
  }

  /** All endpoints, page by page. */
  list(options: CallOptions = {}): AsyncGenerator<Endpoint, void, void> {
    return allPages((cursor) => this.page({ cursor }, options));
  }
}
