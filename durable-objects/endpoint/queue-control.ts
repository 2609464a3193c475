/** What keeps the queue from starting jobs: somebody has paused it, or a limit is reached. */
import type { Pause } from "#durable-objects/endpoint/control-store";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isExhausted, nextUtcDay, usedTodayMs } from "#durable-objects/queue/daily-budget";

/** Starts nothing from now on; jobs that run go on. Pausing again changes the reason, not since when. */
export function pause(state: EndpointState, wish: Omit<Pause, "since">, now: number): void {
  const { reason, refuseNew } = wish;
  const paused = { since: state.pause?.since ?? now, reason, refuseNew };
  state.controls.putPause(paused);
  state.pause = paused;
}

export function resume(state: EndpointState): void {
  if (state.pause === null) return;
  state.controls.putPause(null);
  state.pause = null;
}

/** The day's GPU time, once it is used up; null while there is some left, or no bound. */
export function budgetHold(
  state: EndpointState,
  now: number,
): { readonly maxS: number; readonly until: number } | null {
  const maxS = state.config?.settings.gpu_seconds_per_day_max ?? null;
  if (maxS === null) return null;
  const runningSince = Array.from(state.running.values(), ({ beganAt }) => beganAt).filter((since) => since !== null);
  return isExhausted(maxS, usedTodayMs(state.stats.spend(now), runningSince, now))
    ? { maxS, until: nextUtcDay(now) }
    : null;
}

/**
 * The minute's starts, once there have been as many as may be; null while one more may start, or without a bound.
 * @param place of the attempt in question, 1 is the next one
 */
export function rateHold(
  state: EndpointState,
  now: number,
  place = 1,
): { readonly max: number; readonly until: number } | null {
  const max = state.config?.settings.starts_per_minute_max ?? null;
  if (max === null) return null;
  const until = state.stats.starts(now).startAt(max, place, now);
  return until > now ? { max, until } : null;
}

/** Nothing starts until somebody acts or the day ends: replicas for what waits would only idle. */
export function startsAreStopped(state: EndpointState): boolean {
  return state.pause !== null || budgetHold(state, state.world.now()) !== null;
}

/** Whether no attempt may start now. When that will change by itself, the alarm is told when. */
export function holdsStarts(state: EndpointState, now: number): boolean {
  if (state.pause !== null) return true;
  const until = budgetHold(state, now)?.until ?? rateHold(state, now)?.until ?? null;
  if (until !== null) state.due(until);
  return until !== null;
}

/** When what is held now may start; null when nothing is held, or only somebody can change that. */
export function holdsUntil(state: EndpointState, now: number): number | null {
  if (state.pause !== null || state.queuedTotal === 0) return null;
  return budgetHold(state, now)?.until ?? rateHold(state, now)?.until ?? null;
}
