/** An alarm that is late by more than this was lost. */
const ALARM_LOST_MS = 10_000;
/**
 * From one ring of the alarm to the next on average, however much is left to do: five turns a second of a bounded size do
 * a thousand jobs, and leave most of the time to calls (L5). After a quiet second, five rings may follow one another at
 * once, so that single ones come on time.
 */
export const ALARM_PACE_MS = 200;
const ALARM_BURST_MS = 5 * ALARM_PACE_MS;
/** After a turn of the alarm that failed, the shell sets the next one this much later. */
export const ALARM_RETRY_MS = 10_000;

/** When the platform's alarm rings: no later than it must, and not all the time. Times are Unix ms. */
export class AlarmClock {
  /** When it will ring, as far as is known; null when none is set. */
  #armedAt: number | null;
  /** The rings so far, each of which takes its pace, are paid for until then. */
  #ringsUntil = 0;

  /** @param armedAt the alarm that is set already */
  constructor(armedAt: number | null) {
    this.#armedAt = armedAt;
  }

  get armedAt(): number | null {
    return this.#armedAt;
  }

  /** The turn that has set it since was undone. @param armedAt as it was before */
  restore(armedAt: number | null): void {
    this.#armedAt = armedAt;
  }

  /** It rang, early, late or twice: none is set now. */
  rang(): void {
    this.#armedAt = null;
  }

  /** What is due by this ring is done now: it takes its pace. */
  pay(now: number): void {
    this.#ringsUntil = Math.max(this.#ringsUntil, now) + ALARM_PACE_MS;
  }

  /** The turn of a ring failed. Calls until the next one know only what they add themselves: none may put it off. */
  failed(rangAt: number): void {
    this.#armedAt = rangAt + ALARM_RETRY_MS;
  }

  /** @returns when it is to be set so that it rings by `dueAt`, or as soon as it may; null when that is so already */
  arm(dueAt: number, now: number): number | null {
    // Should the clock have stepped back, the pace must not put the alarm off by as much.
    const due = Math.max(dueAt, Math.min(this.#ringsUntil - ALARM_BURST_MS, now + ALARM_PACE_MS));
    const at = Math.max(now + 1, Math.min(due, this.#armedAt ?? Number.POSITIVE_INFINITY));
    if (this.#armedAt !== null && this.#armedAt <= at) return null;
    this.#armedAt = at;
    return at;
  }

  /**
   * An alarm that should have rung long ago was lost. Whatever reaches the object, also a question, sets it again.
   * @returns when it is to be set; null when it was not lost
   */
  armAgain(now: number): number | null {
    if (this.#armedAt === null || this.#armedAt >= now - ALARM_LOST_MS) return null;
    this.#armedAt = now + 1;
    return this.#armedAt;
  }
}
