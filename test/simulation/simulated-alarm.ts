import type { Simulation } from "./simulation.ts";
import { promise } from "./violation.ts";

/** The platform runs an alarm again after its process died. */
const PLATFORM_RETRY_MS = 2_000;
/** More rings than this within ten seconds, after the faults have stopped, are a circle (L5): even one at the pace of five a second. */
const RINGS_MAX = 35;

/** What became of a ring: the object did its work, died over it, or failed and set itself another. */
export type Woken = "done" | "died" | "failed";

/** The object's one alarm as the platform keeps it: early, late, doubled or lost, as the faults say. */
export class SimulatedAlarm {
  readonly #world: Simulation;
  /** The object's clock, Unix ms. */
  readonly #clock: () => number;
  readonly #wake: () => Woken;
  #at: number | null = null;
  #last: { readonly at: number; readonly setAt: number } | null = null;
  /** A plan that is older than the newest one is void. */
  #plan = 0;
  /** When it rang lately, true time. */
  #rings: number[] = [];

  constructor(world: Simulation, clock: () => number, wake: () => Woken) {
    this.#world = world;
    this.#clock = clock;
    this.#wake = wake;
  }

  /** When it will ring, by the object's clock; null when none is set, or it got lost. */
  get at(): number | null {
    return this.#at;
  }

  /** What the object set last, as far as it can know. */
  get last(): { readonly at: number; readonly setAt: number } | null {
    return this.#last;
  }

  set(at: number): void {
    const now = this.#clock();
    promise("L6", at > now, () => `the alarm is set for ${at - now} ms from now`);
    this.#at = at;
    this.#last = { at, setAt: now };
    this.planAnew();
  }

  /** The object wakes: what the platform holds is all it knows. */
  remember(): void {
    this.#last = this.#at === null ? null : { at: this.#at, setAt: this.#clock() };
  }

  /** Nothing is left to ring for. */
  clear(): void {
    this.#at = null;
  }

  /** It was set, or the clock by which it rings has jumped. */
  planAnew(): void {
    if (this.#at === null) return;
    const { dice, faults } = this.#world;
    let ms = this.#at - this.#clock();
    if (dice.chance(faults.alarmEarly)) {
      this.#world.hit("alarm early", null);
      ms -= dice.int(1, 20_000);
    } else if (dice.chance(faults.alarmLate)) {
      this.#world.hit("alarm late", null);
      ms += dice.int(100, 90_000);
    }
    this.#ringIn(ms);
  }

  #ringIn(ms: number): void {
    this.#plan += 1;
    const plan = this.#plan;
    this.#world.agenda.in(ms, () => {
      if (plan === this.#plan && this.#at !== null) this.#ring(this.#at);
    });
  }

  #ring(at: number): void {
    const { agenda, dice, faults } = this.#world;
    this.#at = null;
    if (dice.chance(faults.alarmNever)) {
      this.#world.hit("alarm lost", null);
      this.#world.trace.add(`${this.#clock()} the alarm is lost`);
      return;
    }
    this.#handOut(at);
    if (dice.chance(faults.alarmTwice)) {
      this.#world.hit("alarm twice", null);
      agenda.in(dice.int(1, 50), () => this.#handOut(at));
    }
  }

  /** The latest ring had something to do: those of a circle have not. */
  worked(): void {
    this.#rings.pop();
  }

  #handOut(at: number): void {
    const { agenda, healed } = this.#world;
    this.#rings = [...this.#rings.filter((ring) => ring > agenda.now - 10_000), agenda.now];
    promise("L5", this.#rings.length <= RINGS_MAX || !healed, () => "the alarm rings in a circle");
    this.#last = null;
    if (this.#wake() !== "died" || this.#at !== null) return;
    this.#at = at;
    this.#ringIn(PLATFORM_RETRY_MS);
  }
}
