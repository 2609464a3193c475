import type { ReplicaId } from "#contract/ids";
import type { ReplicaStore } from "#durable-objects/endpoint/replica-store";

/** Ended replicas that are remembered: an older message about one is on its way for seconds at most. */
const ENDED_REMEMBERED = 1_000;

/**
 * When replicas were heard of, were there, had work or ended. It lives in memory only and outlives a turn that was undone:
 * that somebody has spoken stays true. Times are Unix ms.
 */
export class ReplicaPresence {
  readonly #replicas: ReplicaStore;
  /** Before that, nothing is remembered. */
  readonly #wokeAt: number;
  readonly #seenAt = new Map<ReplicaId, number>();
  readonly #aliveAt = new Map<ReplicaId, number>();
  readonly #usedAt = new Map<ReplicaId, number>();
  readonly #ended = new Map<ReplicaId, number | null>();
  readonly #returnedAt = new Map<ReplicaId, number>();

  constructor(replicas: ReplicaStore, wokeAt: number) {
    this.#replicas = replicas;
    this.#wokeAt = wokeAt;
  }

  /** The replica was heard of. */
  seen(replicaId: ReplicaId, now: number): void {
    this.#seenAt.set(replicaId, now);
  }

  /** Its connection was there until now, whatever it said last. */
  alive(replicaId: ReplicaId, now: number): void {
    this.#aliveAt.set(replicaId, now);
  }

  /** Until when it is known to have lived; null when nothing was heard of it since this object woke. */
  aliveUntil(replicaId: ReplicaId): number | null {
    const at = Math.max(this.#aliveAt.get(replicaId) ?? 0, this.#seenAt.get(replicaId) ?? 0);
    return at === 0 ? null : at;
  }

  seenAt(replicaId: ReplicaId): number {
    return this.#seenAt.get(replicaId) ?? this.#wokeAt;
  }

  /** The replica has, or had, work: from now on it may begin to idle. */
  used(replicaId: ReplicaId, now: number): void {
    this.#usedAt.set(replicaId, now);
  }

  /** When the replica last had work or, without any since this object woke, began to wait for it. */
  usedAt(replicaId: ReplicaId): number {
    const known = this.#usedAt.get(replicaId);
    if (known !== undefined) return known;
    const ready = this.#replicas.get(replicaId)?.changes.findLast((change) => change.state === "ready")?.at ?? 0;
    return Math.max(this.#wokeAt, ready);
  }

  /**
   * The replica is no more, whatever older messages still on their way say.
   * @param now null: it is so for good; else its pod alone says so, now, and may take it back
   */
  ended(replicaId: ReplicaId, now: number | null): void {
    if (this.#ended.get(replicaId) !== null) this.#ended.set(replicaId, now);
    const [oldest] = this.#ended.keys();
    if (oldest !== undefined && this.#ended.size > ENDED_REMEMBERED) this.#ended.delete(oldest);
  }

  /** Whether it has ended, for all that a pod says which was asked at that time. */
  hasEnded(replicaId: ReplicaId, askedAt: number): boolean {
    const endedAt = this.#ended.get(replicaId);
    return endedAt !== undefined && (endedAt === null || endedAt >= askedAt);
  }

  /** It was taken for ended and is there. */
  returned(replicaId: ReplicaId, now: number): void {
    this.#ended.delete(replicaId);
    this.#returnedAt.set(replicaId, now);
  }

  /** When it was last found to be there after all; 0: it was never taken for ended since this object woke. */
  returnedAt(replicaId: ReplicaId): number {
    return this.#returnedAt.get(replicaId) ?? 0;
  }

  forget(replicaId: ReplicaId): void {
    this.#seenAt.delete(replicaId);
    this.#usedAt.delete(replicaId);
    this.#returnedAt.delete(replicaId);
  }
}
