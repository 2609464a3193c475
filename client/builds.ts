import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  type Build,
  type BuildSummary,
  createBuild,
  deleteBuild,
  getBuild,
  getStandalone,
  listBuilds,
} from "#contract/api/builds";
import type { BuildManifest, StandaloneRelease } from "#contract/build";

export type BuildPage = AnswerOf<typeof listBuilds>;

/** Builds: what releases need on a GPU, named by their digests. */
export class Builds {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Registers a build; the same one again is the same. */
  create(manifest: BuildManifest, options: CreateOptions = {}): Promise<Build> {
    return this.#transport.call(createBuild, { body: manifest, ...options });
  }

  get(digest: string, options: CallOptions = {}): Promise<Build> {
    return this.#transport.call(getBuild, { params: { digest }, ...options });
  }

  /** Deletes a build that no release uses. */
  delete(digest: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(deleteBuild, { params: { digest }, ...options });
  }

  /** One page, newest first. */
  page(query: PageOf = {}, options: CallOptions = {}): Promise<BuildPage> {
    return this.#transport.call(listBuilds, { query, ...options });
  }

  /** All builds of the workspace, page by page. */
  list(options: CallOptions = {}): AsyncGenerator<BuildSummary, void, void> {
    return allPages((cursor) => this.page({ cursor }, options));
  }

  /** A release with its build, as one document. */
  standalone(endpoint: string, number: number, options: CallOptions = {}): Promise<StandaloneRelease> {
    return this.#transport.call(getStandalone, { params: { endpoint, number }, ...options });
  }
}
