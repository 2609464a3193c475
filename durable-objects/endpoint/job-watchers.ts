import type { JobId } from "#contract/ids";
import { WATCHERS_PER_JOB_MAX } from "#contract/limits";

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

  changed(jobId: JobId): void {
    for (const done of [...(this.#waiting.get(jobId) ?? [])]) done();
  }
}
