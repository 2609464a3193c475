import type { JobId, LeaseId, ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { RunningJob } from "#durable-objects/queue/job-record";

/** The living lease of a running job, as far as matching needs it. */
export interface RunningNote {
  readonly leaseId: LeaseId;
  readonly replicaId: ReplicaId;
  readonly lane: Lane;
  /** Since when it uses the replica; null while it is held ahead. */
  readonly beganAt: number | null;
  /** Its outputs go up: the replica can work on another job. */
  readonly isUploading: boolean;
}

/** The running jobs in memory, and how many each replica holds: every match asks for that. */
export class RunningJobs {
  readonly #notes = new Map<JobId, RunningNote>();
  readonly #held = new Map<ReplicaId, number>();
  readonly #uploading = new Map<ReplicaId, number>();
  readonly #lanes: Record<Lane, number> = { interactive: 0, batch: 0 };

  constructor(jobs: readonly RunningJob[]) {
    for (const job of jobs) this.add(job);
  }

  get notes(): ReadonlyMap<JobId, RunningNote> {
    return this.#notes;
  }

  held(replicaId: ReplicaId): number {
    return this.#held.get(replicaId) ?? 0;
  }

  /** Jobs that it executes, or is about to. */
  atWork(replicaId: ReplicaId): number {
    return this.held(replicaId) - (this.#uploading.get(replicaId) ?? 0);
  }

  /** Running jobs of a lane. */
  inLane(lane: Lane): number {
    return this.#lanes[lane];
  }

  add(job: RunningJob): void {
    const { id, replicaId, grantedAt } = job.lease;
    const beganAt = job.leases.at(-1)?.beganAt;
    this.remove(job.id);
    const isUploading = job.phase === "uploading";
    this.#notes.set(job.id, {
      leaseId: id,
      replicaId,
      lane: job.lane,
      beganAt: beganAt === undefined ? grantedAt : beganAt,
      isUploading,
    });
    count(this.#held, replicaId, 1);
    this.#lanes[job.lane] += 1;
    if (isUploading) count(this.#uploading, replicaId, 1);
  }

  remove(jobId: JobId): void {
    const note = this.#notes.get(jobId);
    if (note === undefined) return;
    this.#notes.delete(jobId);
    count(this.#held, note.replicaId, -1);
    this.#lanes[note.lane] -= 1;
    if (note.isUploading) count(this.#uploading, note.replicaId, -1);
  }
}

/** Nothing is kept of those that have none. */
function count(counts: Map<ReplicaId, number>, id: ReplicaId, more: 1 | -1): void {
  const next = (counts.get(id) ?? 0) + more;
  if (next === 0) counts.delete(id);
  else counts.set(id, next);
}
