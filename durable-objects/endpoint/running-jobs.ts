import type { JobId, LeaseId, ReplicaId } from "#contract/ids";
import type { RunningJob } from "#durable-objects/queue/job-record";

/** The living lease of a running job, as far as matching needs it. */
export interface RunningNote {
  readonly leaseId: LeaseId;
  readonly replicaId: ReplicaId;
  readonly grantedAt: number;
}

/** The running jobs in memory, and how many each replica holds: every match asks for that. */
export class RunningJobs {
  readonly #notes = new Map<JobId, RunningNote>();
  readonly #held = new Map<ReplicaId, number>();

  constructor(jobs: readonly RunningJob[]) {
    for (const job of jobs) this.add(job);
  }

  get notes(): ReadonlyMap<JobId, RunningNote> {
    return this.#notes;
  }

  held(replicaId: ReplicaId): number {
    return this.#held.get(replicaId) ?? 0;
  }

  add(job: RunningJob): void {
    const { id, replicaId, grantedAt } = job.lease;
    this.remove(job.id);
    this.#notes.set(job.id, { leaseId: id, replicaId, grantedAt });
    this.#held.set(replicaId, this.held(replicaId) + 1);
  }

  remove(jobId: JobId): void {
    const note = this.#notes.get(jobId);
    if (note === undefined) return;
    this.#notes.delete(jobId);
    const held = this.held(note.replicaId) - 1;
    if (held === 0) this.#held.delete(note.replicaId);
    else this.#held.set(note.replicaId, held);
  }
}
