import type * as z from "zod";
import { followEvents } from "#client/follow-events";
import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  activateRelease,
  createRelease,
  diffReleases,
  getRelease,
  getReleaseLogs,
  listReleases,
  rollbackRelease,
  setCanary,
} from "#contract/api/releases";
import type { NewCanary } from "#contract/canary";
import type { Endpoint, NewRelease } from "#contract/endpoint";
import type { EndpointRelease, ReleaseDiff } from "#contract/release";
import { ReleaseLogLine } from "#contract/verification";

export type ReleasePage = AnswerOf<typeof listReleases>;

/** Of calls that change which release runs. */
export interface ForceOptions extends CallOptions {
  /** At once, whether or not the release has run on a GPU. */
  readonly force?: boolean | undefined;
}

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

  /** The log of trying the release on the machines: its lines so far, and those that come until the try is over. */
  async *logs(
    endpoint: string,
    number: number,
    options: CallOptions & { readonly after?: number } = {},
  ): AsyncGenerator<ReleaseLogLine, void, void> {
    const events = followEvents(this.#transport, {
      route: getReleaseLogs,
      params: { endpoint, number },
      of: `release ${number} of ${endpoint}`,
      afterSeq: options.after ?? 0,
      isLast: (type) => type === "end",
      signal: options.signal,
    });
    for await (const { type, data } of events) if (type === "line") yield ReleaseLogLine.parse(data);
  }

  /**
   * New jobs run on it: from now on, or as soon as it is ready (the answer's `pending`).
   * @param options `force`: from now on in any case
   */
  activate(endpoint: string, number: number, options: ForceOptions = {}): Promise<Endpoint> {
    const { force = false, ...call } = options;
    const input = { params: { endpoint, number }, body: { force }, repeatable: true, ...call };
    return this.#transport.call(activateRelease, input);
  }

  /** Lets a part of the new jobs run on it; `weight` 0 ends that. */
  canary(
    endpoint: string,
    number: number,
    canary: z.input<typeof NewCanary> & { force?: boolean },
    options: CallOptions = {},
  ): Promise<Endpoint> {
    return this.#transport.call(setCanary, { params: { endpoint, number }, body: canary, ...options });
  }

  /** Activates the release that was active before. @param from refused unless this one is active */
  rollback(endpoint: string, from?: number, options: CreateOptions & ForceOptions = {}): Promise<Endpoint> {
    const { force, ...call } = options;
    const body = { ...(from === undefined ? {} : { from }), ...(force === true ? { force } : {}) };
    return this.#transport.call(rollbackRelease, { params: { endpoint }, body, ...call });
  }
}
