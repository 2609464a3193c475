import type { ReplicaId } from "#contract/ids";
import type { QueuedJob } from "#durable-objects/queue/job-record";

/**
 * What became of each replica's last offer of work, as far as this object has seen it since it woke: somebody spoke under
 * the lease, or nobody did. Only a preference hangs on it.
 */
export class LastOffers {
  readonly #taken = new Map<ReplicaId, boolean>();

  /** Somebody spoke under a lease of it. */
  taken(id: ReplicaId): void {
    this.#taken.set(id, true);
  }

  /** The lease was over before anybody spoke under it. */
  lapsed(id: ReplicaId): void {
    this.#taken.set(id, false);
  }

  forget(id: ReplicaId): void {
    this.#taken.delete(id);
  }

  /** It took its last offer. */
  isSure(id: ReplicaId): boolean {
    return this.#taken.get(id) === true;
  }

  /** Its last offer reached nobody. */
  isMute(id: ReplicaId): boolean {
    return this.#taken.get(id) === false;
  }
}

/** When a waiting job's last offer turned out to have reached nobody, Unix ms; null when it did not. */
export function lapsedAt({ leases }: Pick<QueuedJob, "leases">): number | null {
  const last = leases.at(-1);
  return last !== undefined && last.outcome === "lost" && !last.heard ? last.endedAt : null;
}
