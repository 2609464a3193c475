import { AlarmClock } from "#durable-objects/endpoint/alarm-clock";
import type { Outcome } from "#durable-objects/endpoint/call-group";
import { planDemand } from "#durable-objects/endpoint/demand";
import type { EndpointEffect, EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { advanceReplacements } from "#durable-objects/endpoint/replacement";
import { decideScaling } from "#durable-objects/endpoint/scaling-decide";
import type { World } from "#durable-objects/sql/database";
import type { LateWrites } from "#durable-objects/sql/late-writes";

/** One call into a machine at once and, its commit done, what it asks of the outside. */
export type Turn<Machine> = <T>(work: (machine: Machine) => T) => T;

/** Undoes calls that were done in common. */
const ONE_THREW = new Error("a call of the group threw");

/**
 * The turns of an endpoint: each is one transaction that is done or undone whole, with what the state remembers and asks of
 * the outside. What follows from any change, the demand and the alarm, is seen to at its end.
 */
export class Turns {
  readonly #db: LateWrites;
  readonly #world: World;
  readonly #state: EndpointState;
  readonly #alarm: AlarmClock;
  /** A group runs its calls in its own transaction: no call is undone alone. */
  #isInCommon = false;

  /**
   * @param state derived from `db`
   * @param armedAt the alarm that is set already, Unix ms
   */
  constructor(db: LateWrites, world: World, state: EndpointState, armedAt: number | null) {
    this.#db = db;
    this.#world = world;
    this.#state = state;
    this.#alarm = new AlarmClock(armedAt);
  }

  /** What must happen outside, now that the changes are committed; empties the list. */
  takeEffects(): EndpointEffect[] {
    this.#armAgain();
    const effects = this.#state.effects;
    this.#state.effects = [];
    return effects;
  }

  /**
   * One transaction, or a part of its group's. Afterwards the demand is told if it changed, and the alarm rings no later
   * than it must.
   * @throws what it failed with: then nothing of it is remembered
   */
  mutate<T>(work: (now: number) => T): T {
    const now = this.#world.now();
    this.#state.dueAt = null;
    if (this.#isInCommon) {
      const value = work(now);
      this.#db.settle();
      this.#arm(now);
      return value;
    }
    const earlier = this.#state.effects;
    const waiters = new Map(this.#state.waiters);
    this.#state.effects = [];
    let result: T;
    try {
      result = this.#db.transaction(() => {
        const value = work(now);
        this.#settle(now);
        return value;
      });
    } catch (error) {
      this.#state.forget(waiters);
      this.#state.effects = earlier;
      throw error;
    }
    this.#state.effects = [...earlier, ...this.#state.effects];
    this.#arm(now);
    return result;
  }

  /**
   * The alarm rang, early, late or twice.
   * @param work does what is due
   * @throws when the turn is undone: the shell then sets the alarm ALARM_RETRY_MS from now
   */
  ring(work: (now: number) => void): void {
    this.#alarm.rang();
    if (this.#state.config === null) return;
    const rangAt = this.#world.now();
    this.#alarm.pay(rangAt);
    try {
      this.mutate(work);
    } catch (error) {
      this.#alarm.failed(rangAt);
      throw error;
    }
  }

  /**
   * Several calls as one commit. Each is undone alone when it throws; refusals are results like any other.
   * @param works each may be done a second time, after the first was undone
   * @throws when the commit fails: then none of the calls has happened, and nothing of them is remembered (G1)
   */
  group<Machine>(
    works: readonly ((machine: Machine) => unknown)[],
    machine: Machine,
  ): readonly Outcome<EndpointEffect>[] {
    const outcomes = () => works.map((work) => this.#outcomeOf(work, machine));
    if (works.length === 1) return outcomes();
    return this.#inCommon(works, machine) ?? this.#commit(outcomes);
  }

  /**
   * The calls without a savepoint each, which costs as much as a statement or two and is of use to a call that throws:
   * hardly any does. What follows from them is seen to once, behind the last one.
   * @returns null when one of them threw. Then all are undone, to be done again, each with a savepoint of its own
   */
  #inCommon<Machine>(
    works: readonly ((machine: Machine) => unknown)[],
    machine: Machine,
  ): readonly Outcome<EndpointEffect>[] | null {
    this.#isInCommon = true;
    try {
      return this.#commit(() => {
        const outcomes = works.map((work) => this.#done(work, machine));
        const { effects } = this.#done(() => this.mutate((now) => this.#settle(now)), machine);
        const last = outcomes.at(-1);
        if (last !== undefined) outcomes.splice(-1, 1, { ...last, effects: [...last.effects, ...effects] });
        return outcomes;
      });
    } catch (error) {
      if (error === ONE_THREW) return null;
      throw error;
    } finally {
      this.#isInCommon = false;
    }
  }

  /** @throws ONE_THREW */
  #done<Machine>(
    work: (machine: Machine) => unknown,
    machine: Machine,
  ): Outcome<EndpointEffect> & { readonly ok: true } {
    const outcome = this.#outcomeOf(work, machine);
    if (!outcome.ok) throw ONE_THREW;
    return outcome;
  }

  /** One transaction around several calls. @throws what it failed with: then nothing of them is remembered */
  #commit<T>(run: () => T): T {
    const state = this.#state;
    const effects = [...state.effects];
    const waiters = new Map(state.waiters);
    const { armedAt } = this.#alarm;
    try {
      return this.#db.transaction(run);
    } catch (error) {
      state.forget(waiters);
      state.effects = effects;
      this.#alarm.restore(armedAt);
      throw error;
    }
  }

  #outcomeOf<Machine>(work: (machine: Machine) => unknown, machine: Machine): Outcome<EndpointEffect> {
    const mark = this.#state.effects.length;
    try {
      const result = work(machine);
      this.#armAgain();
      return { ok: true, result, effects: this.#state.effects.splice(mark) };
    } catch (error) {
      return { ok: false, error, effects: this.#state.effects.splice(mark) };
    }
  }

  /** What follows from the turn: which replicas go, how many are worth having now, and what the pods are told of it. */
  #settle(now: number): void {
    advanceReplacements(this.#state, now);
    decideScaling(this.#state, now);
    planDemand(this.#state, now);
  }

  #arm(now: number): void {
    const at = this.#state.dueAt === null ? null : this.#alarm.arm(this.#state.dueAt, now);
    if (at !== null) this.#state.effect({ type: "arm", at });
  }

  #armAgain(): void {
    const at = this.#alarm.armAgain(this.#world.now());
    if (at !== null) this.#state.effect({ type: "arm", at });
  }
}
