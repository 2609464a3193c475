/** How a destination is spared, and others from it: what it has failed of late decides how much it may be asked. */
import { WEBHOOK_DISABLE_AFTER_MS, WEBHOOK_RETRY_DELAYS_S } from "#contract/limits";
import type { Outcome } from "#durable-objects/outbox/outcome";
import { varied } from "#durable-objects/outbox/schedule";

/** So many failures in a row and only one message at a time is tried, at the schedule's pace. */
export const FAILURES_TO_OPEN = 5;
/** Messages on their way to one destination at once. */
export const IN_FLIGHT_MAX = 2;
/** A destination that is back must not wait for a whole day to be found so. */
const PROBE_DELAY_S_MAX = 1_800;

/** What is known of a destination; one that never failed is not known. */
export interface DestinationHealth {
  /** In a row, up to now. */
  readonly failures: number;
  /** Unix ms of the first failure since its last success. */
  readonly failingSince: number | null;
  /** Nothing is tried before this, Unix ms. */
  readonly closedUntil: number;
}

export const HEALTHY: DestinationHealth = { failures: 0, failingSince: null, closedUntil: 0 };

/** How many messages may be on their way to it at once. */
export function inFlightMax(health: DestinationHealth): number {
  return health.failures >= FAILURES_TO_OPEN ? 1 : IN_FLIGHT_MAX;
}

/**
 * The destination after a try.
 * @param now Unix ms
 * @param jitter uniform in [0, 1)
 */
export function afterTry(health: DestinationHealth, outcome: Outcome, now: number, jitter: number): DestinationHealth {
  if (outcome.type === "delivered") return HEALTHY;
  // A try that began before the breaker opened says nothing new.
  const isLate = health.failures >= FAILURES_TO_OPEN && health.closedUntil > now;
  const failures = isLate ? health.failures : health.failures + 1;
  const beyond = failures - FAILURES_TO_OPEN;
  const seconds = Math.min(WEBHOOK_RETRY_DELAYS_S[beyond] ?? PROBE_DELAY_S_MAX, PROBE_DELAY_S_MAX);
  const probeAt = beyond < 0 || isLate ? 0 : now + varied(seconds, jitter);
  const throttledUntil = outcome.type === "failed" && outcome.throttled ? now + outcome.notBeforeMs : 0;
  return {
    failures,
    failingSince: health.failingSince ?? now,
    closedUntil: Math.max(health.closedUntil, probeAt, throttledUntil),
  };
}

/** It has failed for so long that it is given up. */
export function isGivenUp({ failingSince }: DestinationHealth, now: number): boolean {
  return failingSince !== null && now - failingSince >= WEBHOOK_DISABLE_AFTER_MS;
}

/** Somebody says that it works again, or asks for a try now: it is believed, but its first failure is not forgotten. */
export function askedAgain(health: DestinationHealth): DestinationHealth {
  return { ...health, closedUntil: 0 };
}
