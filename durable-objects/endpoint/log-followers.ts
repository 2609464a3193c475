import { WAIT_S_MAX } from "#contract/limits";
import { refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";

/** Requests that follow the releases and replicas of one endpoint at a time; a person or two, and their tools, do. */
const FOLLOWERS_MAX = 100;

/** Who follows the log of a release or a replica. */
export class LogFollowers {
  readonly #waiting = new Set<() => void>();

  /** Something is new of a log, or of what writes it: whoever follows one looks again. */
  changed(): void {
    for (const resolve of this.#waiting) resolve();
  }

  /**
   * Repeats a look at a log until there is a line or nothing more to come, at each change of any that is followed.
   * @param waitMs the longest wait; WAIT_S_MAX bounds it
   */
  async follow<T extends { readonly lines: readonly unknown[]; readonly ended: boolean }>(
    waitMs: number,
    look: () => Reply<T>,
  ): Promise<Reply<T>> {
    const deadline = Date.now() + Math.min(waitMs, WAIT_S_MAX * 1_000);
    for (;;) {
      const reply = look();
      const leftMs = deadline - Date.now();
      if (!reply.ok || reply.lines.length > 0 || reply.ended || leftMs <= 0) return reply;
      if (this.#waiting.size >= FOLLOWERS_MAX) {
        return refusal("too_many_watchers", "Too many requests follow this endpoint's logs.", { retryAfterS: 5 });
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, leftMs);
      this.#waiting.add(resolve);
      await promise;
      this.#waiting.delete(resolve);
      clearTimeout(timer);
    }
  }
}
