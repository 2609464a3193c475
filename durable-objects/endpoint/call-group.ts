/** A call that waits for its group. */
interface Call<Machine> {
  readonly work: (machine: Machine) => unknown;
  readonly settled: (result: unknown) => void;
  readonly failed: (error: unknown) => void;
}

/** What became of a call, before anybody hears of it, and what it asks of the outside. */
export type Outcome<Effect> = { readonly effects: readonly Effect[] } & (
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: unknown }
);

/** Runs all of them as one commit, each as if alone: one that throws undoes itself only. Throws when the commit failed. */
export type RunGroup<Machine, Effect> = (
  works: readonly ((machine: Machine) => unknown)[],
) => readonly Outcome<Effect>[];

/**
 * Lets calls that arrive together share one commit. A call that comes while nothing is going on runs at once, so an object
 * with one caller adds no wait; those that come before `later` has rung run together then. Where the last ones came
 * together, the next is not the only one either: it waits for the others as well.
 */
export class CallGroup<Machine, Effect> {
  readonly #run: RunGroup<Machine, Effect>;
  readonly #perform: (effect: Effect) => void;
  readonly #later: (ring: () => void) => void;
  #waiting: Call<Machine>[] = [];
  #isGathering = false;
  /** The last commit was of several calls. */
  #cameTogether = false;

  /**
   * @param perform does what a call asks of the outside, after the commit
   * @param later rings once, after whatever has arrived by now
   */
  constructor(run: RunGroup<Machine, Effect>, perform: (effect: Effect) => void, later: (ring: () => void) => void) {
    this.#run = run;
    this.#perform = perform;
    this.#later = later;
  }

  /**
   * Runs a call, now or with the next group.
   * @param settle makes the answer from the result: after the commit, the effects of the calls before and its own, and
   *   before those of the next call
   * @throws what the call threw, or what the commit failed with
   */
  enter<Result, Answer>(
    work: (machine: Machine) => Result,
    settle: (result: Result) => Answer,
  ): Promise<Awaited<Answer>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        work,
        settled: (result) => resolve(settle(result as Result) as Awaited<Answer>),
        failed: reject,
      });
      if (this.#isGathering) return;
      this.#isGathering = true;
      if (!this.#cameTogether) this.#flush();
      this.#later(this.#ring);
    });
  }

  readonly #ring = (): void => {
    if (this.#waiting.length === 0) {
      this.#isGathering = false;
      return;
    }
    // First the group, so that the next one gathers until this one's commit is on the disk.
    this.#flush();
    this.#later(this.#ring);
  };

  #flush(): void {
    const calls = this.#waiting;
    this.#waiting = [];
    this.#cameTogether = calls.length > 1;
    let outcomes: readonly Outcome<Effect>[];
    try {
      outcomes = this.#run(calls.map(({ work }) => work));
    } catch (error) {
      for (const { failed } of calls) failed(error);
      return;
    }
    calls.forEach((call, at) => {
      const outcome = outcomes[at];
      try {
        if (outcome === undefined) throw new Error("a call was left out of its group");
        for (const effect of outcome.effects) this.#perform(effect);
        if (!outcome.ok) throw outcome.error;
        call.settled(outcome.result);
      } catch (error) {
        call.failed(error);
      }
    });
  }
}
