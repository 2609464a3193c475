/** Whether a job is tried again, and when. */
import { DETERMINISTIC_ERRORS, type JobErrorCode } from "#contract/job";
import { RETRY_DELAY_MS, RETRY_DELAY_MS_MAX } from "#contract/limits";

/**
 * Leases a job may get back unfinished without losing an attempt (the agent shuts down, the answer reached nobody).
 * Bounded, because a job that kills every agent before its first message looks the same.
 */
export const FREE_HANDBACKS_MAX = 10;
/** After a failure another node is preferred for this long once the job is ready again; then any node will do. */
export const AVOID_NODE_MS = 5_000;

/**
 * Time until the next try: uniform between nothing and a bound that doubles with each failure (full jitter), so that
 * jobs that failed together do not come back together. Its mean starts at RETRY_DELAY_MS.
 * @param failures tries that failed so far, at least 1
 * @param jitter uniform in [0, 1)
 */
export function retryDelayMs(failures: number, jitter: number): number {
  const bound = Math.min(RETRY_DELAY_MS_MAX, 2 * RETRY_DELAY_MS * 2 ** Math.min(failures - 1, 20));
  return Math.floor(jitter * bound);
}

export function isRetryable(code: JobErrorCode): boolean {
  return !DETERMINISTIC_ERRORS.includes(code);
}
