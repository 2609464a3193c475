/** When a message is tried again. */
import { WEBHOOK_RETRY_DELAYS_S } from "#contract/limits";

/** The first try and its repetitions. */
export const TRIES_MAX = WEBHOOK_RETRY_DELAYS_S.length + 1;
/** Each delay varies by so much, so that what failed together does not come back together. */
const JITTER = 0.2;

/**
 * How long after a failed try the next one comes.
 * @param tries failed so far, from 1
 * @param jitter uniform in [0, 1)
 * @returns ms; null when that was the last try
 */
export function retryDelayMs(tries: number, jitter: number): number | null {
  const seconds = WEBHOOK_RETRY_DELAYS_S[tries - 1];
  return seconds === undefined ? null : varied(seconds, jitter);
}

/** The same delay, a little shorter or longer. @returns ms */
export function varied(seconds: number, jitter: number): number {
  return Math.round(seconds * 1_000 * (1 - JITTER + 2 * JITTER * jitter));
}
