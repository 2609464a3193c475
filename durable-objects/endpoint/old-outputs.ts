import type { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { Turn } from "#durable-objects/endpoint/turns";

/** Ended jobs whose outputs are deleted between two commits. */
const PURGE_JOBS = 50;
/** Names R2 takes in one delete. */
const DELETE_KEYS_MAX = 1_000;

/** Deletes outputs whose retention is over, in the order in which their jobs ended. What fails, the alarm repeats. */
export class OldOutputs {
  readonly #turn: Turn<Pick<EndpointCore, "outputsDue" | "jobPrefix" | "outputsDeleted">>;
  readonly #store: R2Bucket;
  readonly #endpoint: string | undefined;
  #isDeleting = false;

  /** @param endpoint its name, for the log */
  constructor(
    turn: Turn<Pick<EndpointCore, "outputsDue" | "jobPrefix" | "outputsDeleted">>,
    store: R2Bucket,
    endpoint: string | undefined,
  ) {
    this.#turn = turn;
    this.#store = store;
    this.#endpoint = endpoint;
  }

  /** Deletes until none is due, unless that is under way. Never throws. */
  async delete(): Promise<void> {
    if (this.#isDeleting) return;
    this.#isDeleting = true;
    try {
      let more = true;
      while (more) more = await this.#deleteSome();
    } catch (error) {
      console.error(JSON.stringify({ event: "outputs_not_deleted", endpoint: this.#endpoint, error: String(error) }));
    } finally {
      this.#isDeleting = false;
    }
  }

  /** @returns whether there were any */
  async #deleteSome(): Promise<boolean> {
    const ended = this.#turn((core) => core.outputsDue(PURGE_JOBS));
    const last = ended.at(-1);
    if (last === undefined) return false;
    const keys: string[] = [];
    for (const job of ended) {
      if (job.keys === null) keys.push(...(await this.#keysUnder(this.#turn((core) => core.jobPrefix(job.jobId)))));
      else keys.push(...job.keys);
    }
    for (let at = 0; at < keys.length; at += DELETE_KEYS_MAX) {
      await this.#store.delete(keys.slice(at, at + DELETE_KEYS_MAX));
    }
    this.#turn((core) => core.outputsDeleted({ finishedAt: last.finishedAt, jobId: last.jobId }));
    return true;
  }

  async #keysUnder(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.#store.list({ prefix, ...(cursor === undefined ? {} : { cursor }) });
      keys.push(...page.objects.map(({ key }) => key));
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor !== undefined);
    return keys;
  }
}
