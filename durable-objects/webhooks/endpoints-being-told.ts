import type { EndpointId } from "#contract/ids";
import type { Interest } from "#durable-objects/webhooks/rpc";

/** A change of the subscriptions is answered when the endpoints have heard of it, or after this. */
const TELL_WAIT_MS = 2_000;

/** Endpoints that are being told of the interest, each on its own: one that does not answer holds up no other. */
export class EndpointsBeingTold {
  readonly #telling = new Map<EndpointId, Promise<void>>();
  readonly #tell: (endpointId: EndpointId, interest: Interest) => Promise<boolean>;
  readonly #told: (endpointId: EndpointId, interest: Interest, heard: boolean) => void;

  /**
   * @param tell calls the endpoint; whether it has heard, never a throw
   * @param told notes what came of it; it may begin to tell the same endpoint again
   */
  constructor(
    tell: (endpointId: EndpointId, interest: Interest) => Promise<boolean>,
    told: (endpointId: EndpointId, interest: Interest, heard: boolean) => void,
  ) {
    this.#tell = tell;
    this.#told = told;
  }

  ids(): EndpointId[] {
    return [...this.#telling.keys()];
  }

  /** @returns when it was told, or did not answer */
  begin(endpointId: EndpointId, interest: Interest): Promise<void> {
    // Not before it is noted that this one is being told.
    const telling = Promise.resolve().then(async () => {
      const heard = await this.#tell(endpointId, interest);
      this.#telling.delete(endpointId);
      this.#told(endpointId, interest, heard);
    });
    this.#telling.set(endpointId, telling);
    return telling;
  }

  /** Waits until all have been told, but not for one that does not answer. */
  soon(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, TELL_WAIT_MS);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      void this.#all().then(done, done);
    });
  }

  async #all(): Promise<void> {
    while (this.#telling.size > 0) await Promise.all(this.#telling.values());
  }
}
