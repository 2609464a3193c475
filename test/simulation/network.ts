import type { JobId } from "#contract/ids";
import type { Simulation } from "./simulation.ts";

/** No answer came: the message, its answer or whoever should have answered was lost. */
export const NO_ANSWER = Symbol("no answer");
export type Answer<T> = T | typeof NO_ANSWER;

/** The longest that a message stays under way, ms. */
const UNDER_WAY_MS_MAX = 60_000;

/** Messages between agents, callers, the pod and the object: lost, doubled, late and in any order, as the faults say. */
export class Network {
  readonly #world: Simulation;

  constructor(world: Simulation) {
    this.#world = world;
  }

  /**
   * Sends a request and waits for its answer.
   * @param about the job it is about, for the account of what was hit by which fault
   * @param handle what arrives does this; called again for a duplicate. Answers once, now or later
   * @param done called once: with the first answer that arrives within `timeoutMs`, or with none
   */
  call<T>(
    about: JobId | null,
    handle: (respond: (answer: Answer<T>) => void) => void,
    timeoutMs: number,
    done: (answer: Answer<T>) => void,
  ): void {
    let open = true;
    const finish = (answer: Answer<T>): void => {
      if (!open) return;
      open = false;
      done(answer);
    };
    this.#world.agenda.in(timeoutMs, () => finish(NO_ANSWER));
    this.#leg(about, () => handle((answer) => this.#leg(about, () => finish(answer))));
  }

  /** Sends what asks for no answer. @param arrive called for each copy that arrives */
  send(about: JobId | null, arrive: () => void): void {
    this.#leg(about, arrive);
  }

  #leg(about: JobId | null, arrive: () => void): void {
    const { dice, agenda, faults } = this.#world;
    if (dice.chance(faults.drop)) {
      this.#world.hit("message lost", about);
      return;
    }
    let ms = 1 + Math.floor(dice.float() * 40);
    if (dice.chance(faults.delay)) {
      this.#world.hit("message late", about);
      ms = dice.int(100, UNDER_WAY_MS_MAX);
    }
    agenda.in(ms, arrive);
    if (dice.chance(faults.duplicate)) {
      this.#world.hit("message twice", about);
      agenda.in(ms + dice.int(0, dice.chance(0.5) ? 500 : UNDER_WAY_MS_MAX), arrive);
    }
  }
}
