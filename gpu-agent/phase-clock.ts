/** How long each phase took, by the monotonic clock: shown to people, never used to decide. */

export interface PhaseTime {
  readonly phase: string;
  readonly ms: number;
}

export class PhaseClock {
  readonly #done: PhaseTime[] = [];
  #phase: string | null = null;
  #since = 0;

  /** Ends the present phase and begins another. */
  begin(phase: string): void {
    this.end();
    this.#phase = phase;
    this.#since = performance.now();
  }

  end(): void {
    if (this.#phase !== null) this.#done.push({ phase: this.#phase, ms: Math.round(performance.now() - this.#since) });
    this.#phase = null;
  }

  /** The phases that have ended, oldest first; at most 20, as many as a report may carry. */
  get times(): PhaseTime[] {
    return this.#done.slice(-20);
  }
}
