/** How many jobs came and ended lately, without a look into the tables. */
import type { TerminalState } from "#contract/job";

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
const BUCKETS = 60;

/** Counts over the last 60 buckets of time, the present one included. */
class Ring {
  readonly #widthMs: number;
  readonly #counts = new Array<number>(BUCKETS).fill(0);
  readonly #numbers = new Array<number>(BUCKETS).fill(-1);

  constructor(widthMs: number) {
    this.#widthMs = widthMs;
  }

  add(at: number, count: number): void {
    const number = Math.floor(at / this.#widthMs);
    const slot = number % BUCKETS;
    const known = this.#numbers[slot] ?? -1;
    // Something older than what the bucket holds by now no longer counts.
    if (known > number) return;
    this.#counts[slot] = (known === number ? (this.#counts[slot] ?? 0) : 0) + count;
    this.#numbers[slot] = number;
  }

  total(now: number): number {
    const last = Math.floor(now / this.#widthMs);
    return this.#numbers.reduce(
      (sum, number, slot) => (number > last - BUCKETS && number <= last ? sum + (this.#counts[slot] ?? 0) : sum),
      0,
    );
  }
}

export type FinishedCounts = Readonly<Record<TerminalState, number>>;

/** The last minute to the second, the last hour to the minute. */
export class EventRates {
  readonly #arrived = new Ring(SECOND_MS);
  readonly #minute = rings(SECOND_MS);
  readonly #hour = rings(MINUTE_MS);

  arrived(at: number, count = 1): void {
    this.#arrived.add(at, count);
  }

  finished(state: TerminalState, at: number, count = 1): void {
    this.#minute[state].add(at, count);
    this.#hour[state].add(at, count);
  }

  arrivedLastMinute(now: number): number {
    return this.#arrived.total(now);
  }

  finishedLastMinute(now: number): FinishedCounts {
    return totals(this.#minute, now);
  }

  finishedLastHour(now: number): FinishedCounts {
    return totals(this.#hour, now);
  }
}

function rings(widthMs: number): Readonly<Record<TerminalState, Ring>> {
  return {
    succeeded: new Ring(widthMs),
    failed: new Ring(widthMs),
    canceled: new Ring(widthMs),
    expired: new Ring(widthMs),
  };
}

function totals(of: Readonly<Record<TerminalState, Ring>>, now: number): FinishedCounts {
  return {
    succeeded: of.succeeded.total(now),
    failed: of.failed.total(now),
    canceled: of.canceled.total(now),
    expired: of.expired.total(now),
  };
}

/** So many of the latest runs tell how long one takes. */
const SERVICE_TIMES_KEPT = 100;

/** How long the latest successful runs took. */
export class ServiceTimes {
  #times: number[];
  #median: number | null | undefined = undefined;

  /** @param times ms, newest last */
  constructor(times: readonly number[]) {
    this.#times = times.slice(-SERVICE_TIMES_KEPT);
  }

  add(ms: number): void {
    this.#times = [...this.#times.slice(1 - SERVICE_TIMES_KEPT), ms];
    this.#median = undefined;
  }

  /** The lower median, ms; null when nothing has succeeded yet. */
  median(): number | null {
    if (this.#median === undefined) {
      const sorted = this.#times.toSorted((a, b) => a - b);
      this.#median = sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
    }
    return this.#median;
  }
}
