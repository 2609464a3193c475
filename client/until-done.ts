import { PilotlightError } from "#client/pilotlight-error";
import { pause } from "#client/retry";
import type { CallOptions } from "#client/transport";

export interface WaitOptions<Thing> extends CallOptions {
  /** Gives up after this, ms; what was waited for goes on. */
  readonly timeoutMs?: number | undefined;
  /** Called with each state that was read, the last one included. */
  readonly onProgress?: ((now: Thing) => void) | undefined;
}

/** The first looks come quickly, because small things are soon done. */
const PAUSE_MS = 250;
const PAUSE_MS_MAX = 5_000;

/**
 * Asks again and again, with growing pauses.
 * @param say one line about a state, for the error
 * @throws PilotlightError `wait_timeout`; what `ask` throws
 */
export async function untilDone<Thing>(
  ask: () => Promise<Thing>,
  isDone: (now: Thing) => boolean,
  say: (now: Thing) => string,
  { timeoutMs = Number.POSITIVE_INFINITY, onProgress, signal }: WaitOptions<Thing>,
): Promise<Thing> {
  const startedAt = performance.now();
  for (let round = 0; ; round += 1) {
    const now = await ask();
    onProgress?.(now);
    if (isDone(now)) return now;
    const leftMs = timeoutMs - (performance.now() - startedAt);
    if (leftMs <= 0) {
      throw new PilotlightError({
        code: "wait_timeout",
        status: 200,
        detail: `${say(now)} after ${timeoutMs} ms; it goes on`,
      });
    }
    await pause(Math.min(PAUSE_MS * 1.5 ** Math.min(round, 20), PAUSE_MS_MAX, leftMs), signal);
  }
}
