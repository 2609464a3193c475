/** Which idle replicas go because they have been idle for too long, and when the next one would. */
import type { ScalerObservation, ScalerReplica } from "./scaler.ts";

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
    const dueAt = replica.since + timeoutMs;
    if (dueAt > observation.now) return { letGo, dueAt };
    letGo.push(replica.id);
  }
  return { letGo, dueAt: null };
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
