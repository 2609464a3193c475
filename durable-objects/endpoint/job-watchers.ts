import type { JobId } from "#contract/ids";
import { WAIT_S_MAX, WATCHERS_PER_JOB_MAX } from "#contract/limits";
import { refusal } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";

/** Requests that wait for something to happen to a job. */
export class JobWatchers {
  readonly #waiting = new Map<JobId, Set<() => void>>();

  /**
   * Waits for the job's next change, at most `ms`.
   * @returns false, at once, when too many wait for this job already
   */
  async wait(jobId: JobId, ms: number): Promise<boolean> {
    const waiting = this.#waiting.get(jobId) ?? new Set();
    if (waiting.size >= WATCHERS_PER_JOB_MAX) return false;
    this.#waiting.set(jobId, waiting);
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        waiting.delete(done);
        if (waiting.size === 0 && this.#waiting.get(jobId) === waiting) this.#waiting.delete(jobId);
        resolve();
      };
      const timer = setTimeout(done, ms);
      waiting.add(done);
    });
    return true;
  }

  /**
   * Repeats a read until it shows what is waited for, at each change of the job.
   * @param waitMs the longest wait; WAIT_S_MAX bounds it
   */
  async until<T extends object>(
    jobId: JobId,
    waitMs: number,
    read: () => Reply<T>,
    enough: (reply: T) => boolean,
  ): Promise<Reply<T>> {
    const deadline = Date.now() + Math.min(waitMs, WAIT_S_MAX * 1_000);
    for (;;) {
      const reply = read();
      const leftMs = deadline - Date.now();
      if (!reply.ok || enough(reply) || leftMs <= 0) return reply;
      if (!(await this.wait(jobId, leftMs))) {
        return refusal("too_many_watchers", "Too many requests wait for this job at once.", { retryAfterS: 5 });
      }
    }
  }

  changed(jobId: JobId): void {
    for (const done of [...(this.#waiting.get(jobId) ?? [])]) done();
  }
}
