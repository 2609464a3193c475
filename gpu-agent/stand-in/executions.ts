/** When the latest prompts ran, by this process's own clock: for those who measure how long the worker idles. */

/** As many are kept. */
const KEPT_MAX = 1_000;

/** Times in ms of one clock that only goes forward. */
export interface Execution {
  readonly prompt_id: string;
  readonly started_at: number;
  readonly ended_at: number;
}

export class Executions {
  readonly #list: Execution[] = [];

  add(execution: Execution): void {
    this.#list.push(execution);
    if (this.#list.length > KEPT_MAX) this.#list.shift();
  }

  /** Oldest first. */
  list(): readonly Execution[] {
    return this.#list;
  }
}
