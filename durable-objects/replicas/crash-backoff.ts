/** How long a node that keeps crashing an endpoint's replicas is left alone. */

/** A replica that dies within this time of getting ready, or before, has failed fast. */
export const FAST_FAILURE_MS = 60_000;
/** After so many fast failures in a row other nodes come first. */
export const FAST_FAILURES_MAX = 3;
const BACKOFF_MS = 5_000;
const BACKOFF_MS_MAX = 10 * 60_000;

/** What is known of one endpoint on one node. */
export interface CrashHistory {
  /** Fast failures in a row. */
  readonly failures: number;
  /** Nothing is placed before this. */
  readonly until: number;
}

/** Whether the replica has got ready and lived for long enough that an end of it is no fast failure. */
export function livedLong(readyAt: number | null, now: number): boolean {
  return readyAt !== null && now - readyAt >= FAST_FAILURE_MS;
}

/**
 * The history after a crash.
 * @param readyAt when the replica got ready, null when it never did
 */
export function afterCrash(history: CrashHistory, readyAt: number | null, now: number): CrashHistory {
  const failures = livedLong(readyAt, now) ? 1 : history.failures + 1;
  return { failures, until: now + Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(failures - 1, 20)) };
}
