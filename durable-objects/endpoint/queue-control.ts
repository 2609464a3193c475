/** What keeps the queue from starting jobs: somebody has paused it, or a limit is reached. */
import type { Pause } from "#durable-objects/endpoint/control-store";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { coldStartMs, type PoolScaling } from "#durable-objects/endpoint/scaling";
import { isExhausted, nextUtcDay, usedTodayMs } from "#durable-objects/queue/daily-budget";
import { mostAtWork } from "#durable-objects/queue/start-rate";

/** A start and a job are taken to last so long before any has. */
const COLD_START_MS_BEFORE = 30_000;
const SERVICE_MS_BEFORE = 10_000;
/** A job that has outlasted others does not end at once: it is taken to need this part of a usual one. */
const REST_MIN = 0.25;
/** Waiting jobs that are looked at where the starts of a minute are bounded: ten for each replica there can be. */
const SOON_MAX = 1_000;
/** How many of them there are is counted anew no more often than this while nothing happens. */
const SOON_AGAIN_MS = 1_000;

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

/** Waiting jobs that are worth a replica now. */
export interface SoonStarts {
  /** From the head of the queue, whichever lane they are of. */
  readonly jobs: number;
  /** When there may be more by time alone, Unix ms; null: all that wait are among them. */
  readonly moreAt: number | null;
}

/**
 * How many of the waiting jobs can use a replica that is started now, or that idles: with a bound on the starts of a minute, as
 * many as may be at work at once within one start from now. Who may begin only later needs none yet.
 */
export function soonStarting(state: EndpointState, known: PoolScaling, now: number): SoonStarts {
  if (startsAreStopped(state)) return { jobs: 0, moreAt: null };
  const max = state.config?.settings.starts_per_minute_max ?? null;
  if (max === null || rateHold(state, now, state.queuedTotal) === null)
    return { jobs: state.queuedTotal, moreAt: null };
  const bootMs = coldStartMs(known) ?? COLD_START_MS_BEFORE;
  const serviceMs = known.serviceMs ?? SERVICE_MS_BEFORE;
  const window = state.stats.starts(now);
  const startsAt: number[] = [];
  let next = window.startAt(max, 1, now);
  while (next <= now + bootMs && startsAt.length < Math.min(state.queuedTotal, SOON_MAX)) {
    startsAt.push(next);
    next = window.startAt(max, startsAt.length + 1, now);
  }
  const endsAt = Array.from(state.running.values(), ({ beganAt }) => {
    const rest = (beganAt ?? now) + serviceMs - now;
    return now + Math.max(rest, serviceMs * REST_MIN);
  });
  const jobs = Math.max(0, mostAtWork({ startsAt, endsAt, serviceMs }) - endsAt.length);
  return { jobs, moreAt: startsAt.length < state.queuedTotal ? Math.max(now + SOON_AGAIN_MS, next - bootMs) : null };
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
