/** The replicas of this node, kept to what the pod wants. */
import type { HeldReplica, WantedReplica } from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import { reconcile } from "./reconcile.ts";
import type { Replica } from "./replica.ts";

export class ReplicaSet {
  readonly #start: (wanted: WantedReplica) => Replica;
  readonly #slots: number;
  #draining = false;
  readonly #replicas = new Map<ReplicaId, Replica>();

  constructor(slots: number, start: (wanted: WantedReplica) => Replica) {
    this.#slots = slots;
    this.#start = start;
  }

  get held(): HeldReplica[] {
    return [...this.#replicas.values()].map((replica) => replica.held);
  }

  /** @returns whether there was anything to do */
  apply(wanted: readonly WantedReplica[]): boolean {
    const { start, drain, forget } = reconcile(this.held, wanted, this.#slots);
    for (const id of forget) this.#replicas.delete(id);
    for (const id of drain) this.#replicas.get(id)?.drain();
    // A node that drains starts nothing, whatever an answer from before says.
    if (this.#draining) return drain.length + forget.length > 0;
    for (const each of start) this.#replicas.set(each.replica_id, this.#start(each));
    return start.length + drain.length + forget.length > 0;
  }

  drain(): void {
    this.#draining = true;
    for (const replica of this.#replicas.values()) replica.drain();
  }

  hurry(): void {
    this.#draining = true;
    for (const replica of this.#replicas.values()) replica.hurry();
  }

  /** Resolves when every replica has ended and said so. */
  async ended(): Promise<void> {
    await Promise.all([...this.#replicas.values()].map((replica) => replica.ended));
  }
}
