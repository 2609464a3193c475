/** Which idle replicas go because they have been idle for too long, and when the next one would. */
import type { ScalerObservation, ScalerReplica } from "./scaler.ts";

/**
 * A clock that is back by less than this was put right a little, or a moment is told late: what seems to lie ahead is now.
 * By more, it was ahead before and nobody knows how long ago that was.
 */
export const SET_BACK_MS_MIN = 10_000;

export interface TimedStops {
  readonly letGo: readonly string[];
  /** When the next one is due; null when none is. */
  readonly dueAt: number | null;
}

/**
 * @param timeoutMs idle time after which a replica stops
 * @param spare no more than so many stop: what is above the floor and above what is needed
 */
export function timedStops(observation: ScalerObservation, timeoutMs: number, spare: number): TimedStops {
  const letGo: string[] = [];
  for (const replica of longestIdleFirst(observation.replicas)) {
    if (letGo.length >= spare) break;
    if (idleMs(replica, observation.now) < timeoutMs) return { letGo, dueAt: replica.since + timeoutMs };
    letGo.push(replica.id);
  }
  return { letGo, dueAt: null };
}

/** For how long it has been idle; Infinity where the clock was set back meanwhile, or it would stay until that is made up. */
export function idleMs({ since }: ScalerReplica, now: number): number {
  return since - now >= SET_BACK_MS_MIN ? Number.POSITIVE_INFINITY : Math.max(0, now - since);
}

export function longestIdleFirst(replicas: readonly ScalerReplica[]): ScalerReplica[] {
  return replicas.filter(({ state }) => state === "idle").toSorted((a, b) => a.since - b.since);
}

export function latestStartedFirst(replicas: readonly ScalerReplica[]): ScalerReplica[] {
  return replicas.filter(({ state }) => state === "starting").toSorted((a, b) => b.since - a.since);
}

/** The earlier of two times of which either may be missing. */
export function earlier(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}
