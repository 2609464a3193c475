/** How many attempts may start within a minute, by a window over the latest grants of leases; and what that lets be at work. */

/** A start counts for this long. */
export const START_WINDOW_MS = 60_000;

/** The grants of the last minute, oldest first. It is a memory, not a decision: it can be filled again from the leases. */
export class StartWindow {
  #times: number[];
  #first = 0;

  /** @param times moments of grants, Unix ms, in any order */
  constructor(times: readonly number[]) {
    this.#times = times.toSorted((a, b) => a - b);
  }

  /** An attempt starts. A clock that steps back does not make it older than the one before it. */
  add(at: number): void {
    this.#times.push(Math.max(at, this.#times.at(-1) ?? at));
  }

  /** Starts within the minute up to `now`. */
  count(now: number): number {
    const since = now - START_WINDOW_MS;
    while ((this.#times[this.#first] ?? Number.POSITIVE_INFINITY) <= since) this.#first += 1;
    if (this.#first > 1_000 && this.#first * 2 > this.#times.length) {
      this.#times = this.#times.slice(this.#first);
      this.#first = 0;
    }
    return this.#times.length - this.#first;
  }

  /**
   * When the attempt at a place of the queue may start at the earliest, as far as the bound goes.
   * @param max starts within a minute
   * @param place 1 is the next attempt
   * @returns Unix ms; `now` when nothing holds it
   */
  startAt(max: number, place: number, now: number): number {
    // Each full round of attempts begins a minute after the one before it.
    const round = Math.floor((place - 1) / max);
    const free = max - this.count(now);
    const leaving = place - round * max - free;
    const begins = leaving <= 0 ? now : (this.#times[this.#first + leaving - 1] ?? now) + START_WINDOW_MS;
    return begins + round * START_WINDOW_MS;
  }
}

export interface RateOutlook {
  /** When each waiting job may begin at the earliest, Unix ms, ascending. */
  readonly startsAt: readonly number[];
  /** When each job at work should end, Unix ms, in any order. */
  readonly endsAt: readonly number[];
  /** How long a job takes. */
  readonly serviceMs: number;
}

/**
 * How many jobs are at work at once at most, if each waiting one begins as soon as it may: replicas beyond that would idle.
 * @returns no fewer than are at work now
 */
export function mostAtWork({ startsAt, endsAt, serviceMs }: RateOutlook): number {
  const ends = endsAt.toSorted((a, b) => a - b);
  let most = ends.length;
  let ended = 0;
  let over = 0;
  for (const [index, at] of startsAt.entries()) {
    while ((ends[ended] ?? Number.POSITIVE_INFINITY) <= at) ended += 1;
    while (over < index && (startsAt[over] ?? 0) + serviceMs <= at) over += 1;
    most = Math.max(most, ends.length - ended + index + 1 - over);
  }
  return most;
}
