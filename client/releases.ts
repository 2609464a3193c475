import type * as z from "zod";
import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  activateRelease,
  createRelease,
  diffReleases,
  getRelease,
  listReleases,
  rollbackRelease,
  setCanary,
} from "#contract/api/releases";
import type { NewCanary } from "#contract/canary";
import type { Endpoint, NewRelease } from "#contract/endpoint";
import type { EndpointRelease, ReleaseDiff } from "#contract/release";

export type ReleasePage = AnswerOf<typeof listReleases>;

/** Releases of endpoints, by number: the versions that were deployed. */
export class Releases {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** @param query `graph`: with the workflow as it runs */
  get(
    endpoint: string,
    number: number,
    { graph = false }: { graph?: boolean } = {},
    options: CallOptions = {},
  ): Promise<EndpointRelease> {
    const query = { graph: graph ? "true" : "false" } as const;
    return this.#transport.call(getRelease, { params: { endpoint, number }, query, ...options });
  }

  /** Makes a release, and activates it unless `activate` is false; the release that says the same already, where there is one. */
  create(endpoint: string, release: z.input<typeof NewRelease>, options: CreateOptions = {}): Promise<EndpointRelease> {
    return this.#transport.call(createRelease, { params: { endpoint }, body: release, ...options });
  }

  /** One page, newest first. */
  page(endpoint: string, query: PageOf = {}, options: CallOptions = {}): Promise<ReleasePage> {
    return this.#transport.call(listReleases, { params: { endpoint }, query, ...options });
  }

  /** All of an endpoint's releases, page by page. */
  list(endpoint: string, options: CallOptions = {}): AsyncGenerator<EndpointRelease, void, void> {
    return allPages((cursor) => this.page(endpoint, { cursor }, options));
  }

  /** What `number` changes against `from`, or against the active release. */
  diff(endpoint: string, number: number, from?: number, options: CallOptions = {}): Promise<ReleaseDiff> {
    return this.#transport.call(diffReleases, { params: { endpoint, number }, query: { from }, ...options });
  }

  /** New jobs run on it from now on. */
  activate(endpoint: string, number: number, options: CallOptions = {}): Promise<Endpoint> {
    return this.#transport.call(activateRelease, { params: { endpoint, number }, repeatable: true, ...options });
  }

  /** Lets a part of the new jobs run on it; `weight` 0 ends that. */
  canary(
    endpoint: string,
    number: number,
    canary: z.input<typeof NewCanary>,
    options: CallOptions = {},
  ): Promise<Endpoint> {
    return this.#transport.call(setCanary, { params: { endpoint, number }, body: canary, ...options });
  }

  /** Activates the release that was active before. @param from refused unless this one is active */
  rollback(endpoint: string, from?: number, options: CreateOptions = {}): Promise<Endpoint> {
    const body = from === undefined ? {} : { from };
    return this.#transport.call(rollbackRelease, { params: { endpoint }, body, ...options });
  }
}
