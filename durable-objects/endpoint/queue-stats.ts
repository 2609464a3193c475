import type { EndpointSettings } from "#contract/endpoint";
import type { ControlStore } from "#durable-objects/endpoint/control-store";
import type { JobQueries } from "#durable-objects/endpoint/job-queries";
import { type DaySpend, spentMore, utcDay } from "#durable-objects/queue/daily-budget";
import type { JobRecord } from "#durable-objects/queue/job-record";
import { START_WINDOW_MS, StartWindow } from "#durable-objects/queue/start-rate";

/**
 * What the queue's limits are measured by: each is read from the tables when it is first asked for, and kept with every
 * change from then on. All of it can be dropped at any time.
 */
export class QueueStats {
  readonly #queries: JobQueries;
  readonly #store: ControlStore;
  #retrying: number | null = null;
  #starts: StartWindow | null = null;
  #spend: DaySpend | null = null;

  constructor(queries: JobQueries, store: ControlStore) {
    this.#queries = queries;
    this.#store = store;
  }

  forget(): void {
    this.#retrying = null;
    this.#starts = null;
    this.#spend = null;
  }

  /** Waiting jobs that have had a lease. */
  get retrying(): number {
    this.#retrying ??= this.#queries.retryingCount();
    return this.#retrying;
  }

  /** The attempts that started within the last minute. */
  starts(now: number): StartWindow {
    this.#starts ??= new StartWindow(this.#queries.grantedSince(now - START_WINDOW_MS));
    return this.#starts;
  }

  /** GPU time of the attempts that ended on the latest day on which one did, or today. */
  spend(now: number): DaySpend {
    this.#spend ??= this.#store.readSpend() ?? this.#countSpend(now);
    return this.#spend;
  }

  #countSpend(now: number): DaySpend {
    const day = utcDay(now);
    return { day, ms: this.#queries.spentOn(day) };
  }

  /** A living job has been written in its next state. */
  moved(before: JobRecord, after: JobRecord, settings: EndpointSettings): void {
    if (this.#retrying !== null) this.#retrying += Number(isRetrying(after)) - Number(isRetrying(before));
    if (after.state === "running") this.#starts?.add(after.lease.grantedAt);
    if (before.state === "running") this.#account(after, settings);
  }

  /** The settings have changed. What is not kept any more would be wrong later on. */
  configured(settings: EndpointSettings): void {
    if (settings.starts_per_minute_max === null) this.#starts = null;
    if (settings.gpu_seconds_per_day_max !== null || this.#store.readSpend() === null) return;
    this.#spend = null;
    this.#store.putSpend(null);
  }

  /** The last lease of the job is over: its GPU time belongs to the day's account, if one is kept. */
  #account(after: JobRecord, settings: EndpointSettings): void {
    const lease = after.leases.at(-1);
    const counts = lease !== undefined && lease.endedAt !== null && lease.heard;
    if (settings.gpu_seconds_per_day_max === null || !counts) return;
    const known = this.#spend ?? this.#store.readSpend();
    // Counted from the tables, the lease is among them already.
    const beganAt = lease.beganAt ?? lease.grantedAt;
    this.#spend = known === null ? this.#countSpend(lease.endedAt) : spentMore(known, beganAt, lease.endedAt);
    this.#store.putSpend(this.#spend);
  }
}

/** Whether it waits for another try. */
export function isRetrying(job: JobRecord): boolean {
  return job.state === "queued" && job.leases.length > 0;
}
