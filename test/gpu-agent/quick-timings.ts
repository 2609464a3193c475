/** Patience for tests: as short as a busy machine of two cores allows. */
import { Timings } from "#gpu-agent/settings";

export function quickTimings(more: Partial<Timings> = {}): Timings {
  return Timings.parse({
    pollWaitMs: 2_000,
    pollStallMs: 5_000,
    retryBaseMs: 20,
    retryMaxMs: 200,
    leaseRenewMs: 500,
    progressMs: 50,
    warmUpMs: 2_000,
    historyPollMs: 200,
    queuePollMs: 200,
    socketSilentMs: 1_000,
    socketOpenMs: 5_000,
    hangMs: 20_000,
    interruptMs: 5_000,
    stopMs: 5_000,
    unreachableMs: 5_000,
    drainMs: 30_000,
    ...more,
  });
}

/** A log that keeps its lines. */
export function keptLog(): {
  log: (event: string, fields?: object) => void;
  lines: { event: string; fields: object }[];
} {
  const lines: { event: string; fields: object }[] = [];
  return { log: (event, fields = {}) => void lines.push({ event, fields }), lines };
}

/** Waits for something to come true. @throws after a deadline that only a broken program meets */
export async function comesTrue(what: string, isTrue: () => boolean, deadlineMs = 60_000): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
