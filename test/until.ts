/** Waits for something to become true, looking again and again until a deadline. */
const DEADLINE_MS = 60_000;
const LOOK_EVERY_MS = 25;

/**
 * @param look gives a value, or undefined (or throws) while it is not there yet
 * @returns the value
 * @throws Error after the deadline, with what was waited for and the last failure
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
  deadlineMs: number = DEADLINE_MS,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`Waited ${deadlineMs} ms in vain: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
