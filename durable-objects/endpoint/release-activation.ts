import { tellActivation } from "#durable-objects/endpoint/catalog-activation";
import type { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { Turn } from "#durable-objects/endpoint/turns";

/** Tells the catalog that a release which was waited for is the active one now. What fails is repeated by the alarm. */
export class ReleaseActivation {
  readonly #turn: Turn<Pick<EndpointCore, "readyWish" | "catalogTold">>;
  readonly #catalog: D1Database;
  readonly #endpoint: string | undefined;
  #underWay: Promise<void> | null = null;

  /** @param endpoint its name, for the log */
  constructor(
    turn: Turn<Pick<EndpointCore, "readyWish" | "catalogTold">>,
    catalog: D1Database,
    endpoint: string | undefined,
  ) {
    this.#turn = turn;
    this.#catalog = catalog;
    this.#endpoint = endpoint;
  }

  /** Ends when the catalog has been told; null: it is not being told of anything. */
  get underWay(): Promise<void> | null {
    return this.#underWay;
  }

  /** Begins to tell it, unless that is under way. Never throws. */
  start(): Promise<void> {
    this.#underWay ??= this.#tell().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  async #tell(): Promise<void> {
    const ready = this.#turn((core) => core.readyWish());
    if (ready === null) return;
    try {
      const held = await tellActivation(this.#catalog, ready.endpointId, ready.wish, Date.now());
      this.#turn((core) => core.catalogTold(ready.wish, held));
    } catch (error) {
      console.error(JSON.stringify({ event: "release_not_activated", endpoint: this.#endpoint, error: String(error) }));
    }
  }
}
