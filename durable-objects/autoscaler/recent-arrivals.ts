/** The last arrivals, numbered from the first ever; what waits in a shadow is everything from one number on. */
export const RECENT_ARRIVALS_MAX = 512;

export class RecentArrivals {
  readonly #at = new Float64Array(RECENT_ARRIVALS_MAX);
  readonly #serviceS = new Float64Array(RECENT_ARRIVALS_MAX);
  /** Number of the oldest one kept, and one past the newest. */
  first = 0;
  end = 0;

  add(at: number, serviceS: number): void {
    const place = this.end % RECENT_ARRIVALS_MAX;
    this.#at[place] = at;
    this.#serviceS[place] = serviceS;
    this.end += 1;
    if (this.end - this.first > RECENT_ARRIVALS_MAX) this.first = this.end - RECENT_ARRIVALS_MAX;
  }

  at(number: number): number {
    return this.#at[number % RECENT_ARRIVALS_MAX] ?? 0;
  }

  serviceS(number: number): number {
    return this.#serviceS[number % RECENT_ARRIVALS_MAX] ?? 0;
  }

  /** Seconds between the oldest and the newest one kept: who was dropped has waited about so long. */
  spanS(): number {
    return this.end === this.first ? 0 : this.at(this.end - 1) - this.at(this.first);
  }
}
