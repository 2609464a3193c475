import type { JobId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { LANES } from "#durable-objects/endpoint/job-rows";
import { type Deadline, type JobStore, type Place, USUAL_WAIT_MS } from "#durable-objects/endpoint/job-store";
import { DueHeap } from "#durable-objects/queue/due-heap";
import type { QueuedJob } from "#durable-objects/queue/job-record";
import { expire } from "#durable-objects/queue/transition";

/** Rows one turn touches at most, so that a long backlog cannot stall the object; the rest follows 1 ms later. */
export const SWEEP_ROWS_MAX = 500;
/**
 * So many jobs are remembered one by one, about 10 MB of them. When more than that stand within their last nine minutes,
 * some end as late as that; none of them starts meanwhile.
 */
const REMEMBERED_MAX = 100_000;

/** Sorts after every id. */
const LAST_ID = "~" as JobId;

/** How far a lane has been looked through for jobs whose time is over. */
interface LaneScan {
  /** Every ready job up to this place has been looked at; null before the first look. */
  seenUpTo: Place | null;
  /** Before this, no job beyond that place can be overdue. */
  nextAt: number;
}

/**
 * Finds the waiting jobs whose start deadline has passed, without an index entry for most of them. A job that may wait the
 * usual time is overdue no earlier than that time after its rank, because rank <= createdAt: so the overdue ones stand
 * in the first part of their lane, but for batch jobs that joined the interactive ones, which are remembered. Each job of
 * that part is looked at once. One that is not overdue yet, or comes back into the part later, is remembered with its
 * deadline. Everything here can be forgotten: the next look finds it again.
 */
export class ExpiryWatch {
  readonly #jobs: JobStore;
  readonly #rememberedMax: number;
  #lanes: Record<Lane, LaneScan> = unseen();
  #remembered = new DueHeap<JobId>();
  /** Before this, no job with a deadline of its own is overdue; null when it must be read. */
  #ownDue: number | null = null;

  constructor(jobs: JobStore, rememberedMax = REMEMBERED_MAX) {
    this.#jobs = jobs;
    this.#rememberedMax = rememberedMax;
  }

  /** How many jobs are remembered, for those who measure. */
  get remembered(): number {
    return this.#remembered.size;
  }

  forget(): void {
    this.#lanes = unseen();
    this.#remembered = new DueHeap();
    this.#ownDue = null;
  }

  /** A job waits, anew or again or at another place. */
  queued(job: QueuedJob): void {
    if (!isUsual(job)) {
      if (job.startedAt === null && this.#ownDue !== null) this.#ownDue = Math.min(this.#ownDue, job.expiresAt);
      return;
    }
    const scan = this.#lanes[job.lane];
    if (
      job.availableAt !== null ||
      job.rank > job.createdAt ||
      (scan.seenUpTo !== null && !isAfter(job, scan.seenUpTo))
    ) {
      this.#remembered.push(job.expiresAt, job.id);
    } else scan.nextAt = Math.min(scan.nextAt, job.rank + USUAL_WAIT_MS);
  }

  /** When to look again: exact or too early, never too late, unless more are due than are remembered. */
  nextDue(): number | null {
    const due = Math.min(
      ...(this.#hasRoom() ? LANES.map((lane) => this.#lanes[lane].nextAt) : []),
      this.#remembered.nextDue() ?? Number.POSITIVE_INFINITY,
      this.#nextOwnDue(),
    );
    return Number.isFinite(due) ? due : null;
  }

  /** Jobs that are overdue and have a deadline of their own, at most `limit`; the caller ends them. */
  overdueOwn(now: number, limit: number): QueuedJob[] {
    if (this.#nextOwnDue() > now) return [];
    this.#ownDue = null;
    return this.#jobs.expiredBy(now, limit);
  }

  #nextOwnDue(): number {
    this.#ownDue ??= this.#jobs.firstExpiry() ?? Number.POSITIVE_INFINITY;
    return this.#ownDue;
  }

  /** Other jobs that are overdue, at most about `limit`; each is handed out once unless it is still queued and told again. */
  overdue(now: number, limit: number): JobId[] {
    for (const lane of LANES) {
      if (this.#lanes[lane].nextAt <= now && this.#hasRoom()) this.#look(lane, now, limit);
    }
    return this.#remembered.take(now, limit);
  }

  #hasRoom(): boolean {
    return this.#remembered.size < this.#rememberedMax;
  }

  #look(lane: Lane, now: number, limit: number): void {
    const scan = this.#lanes[lane];
    if (scan.seenUpTo === null) {
      const elsewhere = [...this.#jobs.delayedDeadlines(), ...this.#jobs.joinedDeadlines()];
      for (const job of elsewhere) if (isUsual(job)) this.#remembered.push(job.expiresAt, job.id);
    }
    const rankMax = now - USUAL_WAIT_MS;
    const rows = this.#jobs.readyUpTo(lane, scan.seenUpTo, rankMax, limit);
    for (const row of rows) if (isUsual(row)) this.#remembered.push(row.expiresAt, row.id);
    const last = rows.at(-1);
    if (rows.length === limit && last !== undefined) {
      scan.seenUpTo = { rank: last.rank, id: last.id };
      return;
    }
    scan.seenUpTo = { rank: rankMax, id: LAST_ID };
    const next = this.#jobs.readyRankAfter(lane, rankMax);
    scan.nextAt = next === null ? Number.POSITIVE_INFINITY : next + USUAL_WAIT_MS;
  }
}

function unseen(): Record<Lane, LaneScan> {
  return { interactive: { seenUpTo: null, nextAt: 0 }, batch: { seenUpTo: null, nextAt: 0 } };
}

/** Whether the job can expire and has no entry in the index of unusual deadlines. */
function isUsual(job: Deadline): boolean {
  return job.startedAt === null && job.expiresAt === job.createdAt + USUAL_WAIT_MS;
}

function isAfter(place: Place, other: Place): boolean {
  return place.rank > other.rank || (place.rank === other.rank && place.id > other.id);
}

/** Ends the waiting jobs whose start deadline has passed; also before a match, because the alarm may be late. */
export function expireQueued(state: EndpointState, now: number): void {
  for (const job of state.expiry.overdueOwn(now, SWEEP_ROWS_MAX)) state.moved(job, expire(job, now));
  for (const id of state.expiry.overdue(now, SWEEP_ROWS_MAX)) {
    const job = state.jobs.get(id);
    if (job?.state === "queued" && job.startedAt === null && job.expiresAt <= now) state.moved(job, expire(job, now));
  }
}
