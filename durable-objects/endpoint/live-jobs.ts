import type { LeaseProgress } from "#contract/agent";
import type { JobId } from "#contract/ids";
import type { JobProgress } from "#contract/job";
import type { RunningJob } from "#durable-objects/queue/job-record";

type Preview = NonNullable<LeaseProgress["preview"]>;

/** What is known of a running job beyond its row; lost with the object's memory, by design. */
export interface LiveJob {
  /** End of the lease, often later than the row's: not every renewal is written. */
  readonly until: number;
  /** When the row was last written. */
  readonly writtenAt: number;
  readonly progress: JobProgress | null;
  readonly preview: Preview | null;
  /** Grows with every progress or preview. */
  readonly version: number;
}

const UNHEARD: LiveJob = { until: 0, writtenAt: 0, progress: null, preview: null, version: 0 };

/** Progress, previews and renewals, which come too often to be written each time. */
export class LiveJobs {
  readonly #jobs = new Map<JobId, LiveJob>();
  #version = 0;

  get(id: JobId): LiveJob {
    return this.#jobs.get(id) ?? UNHEARD;
  }

  set(id: JobId, live: LiveJob): void {
    this.#jobs.set(id, live);
  }

  forget(id: JobId): void {
    this.#jobs.delete(id);
  }

  /** The job with its lease as long as it really is. */
  renewed(job: RunningJob): RunningJob {
    const { until } = this.get(job.id);
    return until > job.lease.until ? { ...job, lease: { ...job.lease, until } } : job;
  }

  /** A version above every earlier one, also above those from before a restart, because it starts from the clock. */
  nextVersion(now: number): number {
    this.#version = Math.max(this.#version + 1, now);
    return this.#version;
  }
}
