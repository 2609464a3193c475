/** Moves batch jobs to the interactive lane when their start deadline comes near. */
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import type { JoiningStore } from "#durable-objects/endpoint/joining-store";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { joined, joinsAt } from "#durable-objects/queue/joining";

/**
 * When the next batch job joins. Storage is asked only when that moment has come, or nobody knows it: behind many other
 * jobs with deadlines, finding the first batch job takes as long as looking at them.
 */
export class JoinWatch {
  readonly #store: JoiningStore;
  /** null: none waits; undefined: it must be read. */
  #due: number | null | undefined = undefined;

  constructor(store: JoiningStore) {
    this.#store = store;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#due = undefined;
  }

  /** A job waits, anew or again or in another lane. */
  queued(job: QueuedJob): void {
    if (job.lane !== "batch" || job.startedAt !== null || this.#due === undefined) return;
    this.#due = Math.min(this.#due ?? Number.POSITIVE_INFINITY, joinsAt(job));
  }

  /** Exact, or too early: by a job's priority, or because the job does not wait any more. null when none waits. */
  nextDue(now: number): number | null {
    if (this.#due === undefined) {
      const dues = [this.#store.nextJoining(now), this.#store.nextUsualJoining(now)].filter((due) => due !== null);
      this.#due = dues.length === 0 ? null : Math.min(...dues);
    }
    return this.#due;
  }

  /** Those whose time has come, at most about so many; the caller moves them. */
  take(now: number, limit: number): QueuedJob[] {
    const due = this.nextDue(now);
    if (due === null || due > now) return [];
    this.#due = undefined;
    return [...this.#store.joiningBy(now, limit), ...this.#store.usualJoiningBy(now, limit)];
  }
}

/** From the alarm. What is more than a turn may touch follows in the next one. */
export function joinInteractive(state: EndpointState, now: number): void {
  for (const job of state.joining.take(now, SWEEP_ROWS_MAX)) state.moved(job, joined(job));
}
