/** GPU time of attempts within one UTC day, by the server's clock. */

const DAY_MS = 86_400_000;

/** GPU time of the attempts that have ended, on one day. */
export interface DaySpend {
  /** Days since 1970, UTC. */
  readonly day: number;
  readonly ms: number;
}

export function utcDay(at: number): number {
  return Math.floor(at / DAY_MS);
}

/** When the next UTC day begins. */
export function nextUtcDay(at: number): number {
  return (utcDay(at) + 1) * DAY_MS;
}

/** How much of [from, to] lies on that day, ms. */
export function msOnDay(day: number, from: number, to: number): number {
  return Math.max(0, Math.min(to, (day + 1) * DAY_MS) - Math.max(from, day * DAY_MS));
}

/** The day's account after an attempt that lasted from `from` to `to`; a new day begins with an empty one. */
export function spentMore(spend: DaySpend, from: number, to: number): DaySpend {
  const day = Math.max(spend.day, utcDay(to));
  return { day, ms: (day === spend.day ? spend.ms : 0) + msOnDay(day, from, to) };
}

/**
 * GPU time used today.
 * @param runningSince when the leases of the attempts that run now were granted
 */
export function usedTodayMs(spend: DaySpend, runningSince: readonly number[], now: number): number {
  const today = utcDay(now);
  const ended = spend.day === today ? spend.ms : 0;
  return runningSince.reduce((sum, since) => sum + msOnDay(today, since, now), ended);
}

/** Whether nothing more may start today. @param maxS GPU-seconds of a day; null: no bound */
export function isExhausted(maxS: number | null, usedMs: number): boolean {
  return maxS !== null && usedMs >= maxS * 1_000;
}
