import type { NodeId, ReplicaId } from "#contract/ids";
import type { ReplicaState } from "#contract/replica";
import type { ReplicaRecord, StateChange } from "#durable-objects/replicas/replica-record";
import { integer, type SqlDatabase, stored, text, textOrNull } from "#durable-objects/sql/database";

/** How a card without a name is stored, where NULL means that nothing is known. */
const NO_NAME = "";

/**
 * The endpoint's replicas, read once and then kept in memory, because every match and every count needs them; the rows
 * are what survives a restart. Jobs do not write here: `busy` follows from the leases.
 */
export class ReplicaStore {
  readonly #db: SqlDatabase;
  #all: Map<ReplicaId, ReplicaRecord> | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#all = null;
  }

  get(id: ReplicaId): ReplicaRecord | null {
    return this.#load().get(id) ?? null;
  }

  all(): ReplicaRecord[] {
    return [...this.#load().values()];
  }

  put(replica: ReplicaRecord): void {
    this.#load().set(replica.id, replica);
    this.#db.exec(
      `INSERT OR REPLACE INTO replicas (id, node_id, state, release, error, draining, started_at, changes, phases, gpu_type)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      replica.id,
      replica.nodeId,
      replica.state,
      replica.release,
      replica.error,
      replica.draining ? 1 : 0,
      replica.startedAt,
      JSON.stringify(replica.changes),
      JSON.stringify(replica.phases),
      replica.gpuType === undefined ? null : (replica.gpuType ?? NO_NAME),
    );
  }

  delete(id: ReplicaId): void {
    this.#load().delete(id);
    this.#db.exec("DELETE FROM replicas WHERE id = ?", id);
  }

  #load(): Map<ReplicaId, ReplicaRecord> {
    this.#all ??= new Map(
      this.#db.exec("SELECT * FROM replicas ORDER BY id").map((row) => {
        const id = text(row, "id") as ReplicaId;
        return [
          id,
          {
            id,
            nodeId: text(row, "node_id") as NodeId,
            gpuType: gpuTypeOf(textOrNull(row, "gpu_type")),
            state: text(row, "state") as ReplicaState,
            release: integer(row, "release"),
            error: textOrNull(row, "error"),
            draining: integer(row, "draining") === 1,
            startedAt: integer(row, "started_at"),
            changes: stored<StateChange[]>(row, "changes"),
            phases: stored<{ phase: string; ms: number }[]>(row, "phases"),
          },
        ];
      }),
    );
    return this.#all;
  }
}

function gpuTypeOf(stored: string | null): string | null | undefined {
  if (stored === null) return undefined;
  return stored === NO_NAME ? null : stored;
}
