/** Moves batch jobs to the interactive ones when their start deadline comes near. */
import type { Lane } from "#contract/job";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import type { JoiningStore } from "#durable-objects/endpoint/joining-store";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { hasJoined, joined, joinsAt, laneOfJoined, UNJOINED_RANK_MIN } from "#durable-objects/queue/joining";

/**
 * When the next batch job joins. Storage is asked only when that moment has come, or nobody knows it: behind many other
 * jobs with deadlines, finding the first batch job takes as long as looking at them.
 */
export class JoinWatch {
  readonly #store: JoiningStore;
  /** null: none waits; undefined: it must be read. */
  #due: number | null | undefined = undefined;
  /** Batch jobs of a lower rank have joined already. */
  #rankMin = Number.MIN_SAFE_INTEGER;

  constructor(store: JoiningStore) {
    this.#store = store;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#due = undefined;
  }

  /** @param lane where jobs wait that have joined: as pods change, those in the batch lane may have to move on from there */
  joinIn(lane: Lane): void {
    this.#rankMin = lane === "batch" ? UNJOINED_RANK_MIN : Number.MIN_SAFE_INTEGER;
    this.#due = undefined;
  }

  /** A job waits, anew or again or in another lane. */
  queued(job: QueuedJob): void {
    if (job.lane !== "batch" || job.startedAt !== null || hasJoined(job) || this.#due === undefined) return;
    this.#due = Math.min(this.#due ?? Number.POSITIVE_INFINITY, joinsAt(job));
  }

  /** Exact, or too early: by a job's priority, or because the job does not wait any more. null when none waits. */
  nextDue(now: number): number | null {
    if (this.#due === undefined) {
      const dues = [
        this.#store.nextJoining(now, this.#rankMin),
        this.#store.nextUsualJoining(now, this.#rankMin),
      ].filter((due) => due !== null);
      this.#due = dues.length === 0 ? null : Math.min(...dues);
    }
    return this.#due;
  }

  /** Those whose time has come, at most about so many; the caller moves them. */
  take(now: number, limit: number): QueuedJob[] {
    const due = this.nextDue(now);
    if (due === null || due > now) return [];
    this.#due = undefined;
    return [
      ...this.#store.joiningBy(now, this.#rankMin, limit),
      ...this.#store.usualJoiningBy(now, this.#rankMin, limit),
    ];
  }
}

/** From the alarm. What is more than a turn may touch follows in the next one. */
export function joinInteractive(state: EndpointState, now: number): void {
  const lane = laneOfJoined(state.config?.pods ?? []);
  for (const job of state.joining.take(now, SWEEP_ROWS_MAX)) state.moved(job, joined(job, lane));
}
