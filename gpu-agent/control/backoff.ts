/** How long to wait before the next try, and the waiting itself. */
import { setTimeout as sleep } from "node:timers/promises";

export interface BackoffBounds {
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

/**
 * Full jitter: a uniform share of a bound that doubles with each try, so that many agents do not come back at once.
 * @param tries failed tries so far, 1 or more
 * @param chance uniform in [0, 1)
 * @param retryAfterMs the least wait the server asked for
 */
export function backoffMs(tries: number, chance: number, bounds: BackoffBounds, retryAfterMs = 0): number {
  const bound = Math.min(bounds.retryMaxMs, bounds.retryBaseMs * 2 ** Math.min(tries - 1, 30));
  return Math.max(retryAfterMs, Math.round(chance * bound));
}

/** Waits for a promise, but not longer than `ms`. @returns whether it settled in time; its outcome is left to others */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), ms);
  const settled = promise.then(
    () => true,
    () => true,
  );
  const result = await Promise.race([settled, late]);
  clearTimeout(timer);
  return result;
}

/** Waits. @throws the signal's reason when it fires first */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
