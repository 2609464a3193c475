import { PilotlightError } from "#client/pilotlight-error";

/** The first pause is up to this long, each further one twice as long. */
const PAUSE_MS = 250;
const PAUSE_MS_MAX = 8_000;
/** A server that asks for more patience than this gets its answer passed on instead. */
const RETRY_AFTER_S_MAX = 60;

export interface RetryPolicy {
  /** After this many ms without success the last error is thrown. */
  readonly forMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Errors worth another try; those marked retryable when left out. */
  readonly isRetryable?: (error: PilotlightError) => boolean;
  /** Told before each pause. */
  readonly onRetry?: ((error: PilotlightError) => void) | undefined;
}

/**
 * Calls until it succeeds, fails for good, or time is up. Pauses grow with full jitter; a Retry-After is honoured.
 * @throws what the last call threw, or the signal's reason
 */
export async function retrying<T>(policy: RetryPolicy, call: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  for (let attempt = 0; ; attempt += 1) {
    policy.signal?.throwIfAborted();
    try {
      return await call();
    } catch (error) {
      policy.signal?.throwIfAborted();
      if (!(error instanceof PilotlightError)) throw error;
      const again = policy.isRetryable ?? ((failure) => failure.retryable);
      if (!again(error) || (error.retryAfterS ?? 0) > RETRY_AFTER_S_MAX) throw error;
      const pauseMs = Math.max((error.retryAfterS ?? 0) * 1_000, pauseBefore(attempt));
      if (performance.now() - startedAt + pauseMs > policy.forMs) throw error;
      policy.onRetry?.(error);
      await pause(pauseMs, policy.signal);
    }
  }
}

/** Ms to wait before try `attempt + 1`; attempt counts from 0. */
export function pauseBefore(attempt: number): number {
  return Math.min(PAUSE_MS * 2 ** Math.min(attempt, 20), PAUSE_MS_MAX) * (0.5 + Math.random() / 2);
}

/** Waits; ends at once with the signal's reason when it is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
