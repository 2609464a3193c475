import type { PodId, ReplicaId } from "#contract/ids";
import type { Shortage } from "#durable-objects/replicas/place";
import { integer, integerOrNull, type SqlDatabase, stored, storedOrNull, text } from "#durable-objects/sql/database";

/** Why a pod had fewer replicas than were asked for, or could not have more where some are missing, as it last said. */
export interface StoredShortage {
  readonly code: Shortage;
  /** The last error of replicas that keep crashing. */
  readonly error: string | null;
  readonly at: number;
  /** Replicas that may be started there once others have left; left out in rows from before it was kept. */
  readonly held?: number | undefined;
}

/** What was last asked of a pod, how far it has been heard, and what the pod said. */
export interface StoredDemand {
  readonly podId: PodId;
  readonly version: number;
  readonly wanted: number;
  readonly needed: number;
  readonly drain: readonly ReplicaId[];
  /** Types of card on which a new release is to be tried there. */
  readonly trials: readonly (string | null)[];
  /** When `wanted` last grew: the beginning of the placement that a job may wait for. */
  readonly raisedAt: number;
  readonly acknowledged: number;
  readonly tries: number;
  /** When to send it (again); null when the pod has answered this version. */
  readonly dueAt: number | null;
  /** null before the first answer, and when nothing was missing. */
  readonly shortage: StoredShortage | null;
  /** Replicas of the pod's own warm floor that fall to this endpoint. */
  readonly floor: number;
  /** No replica idles longer there than this; null: as the endpoint's settings say. */
  readonly idleTimeoutMs: number | null;
}

/** The demands, one for each pod, read once and then kept in memory. */
export class DemandStore {
  readonly #db: SqlDatabase;
  #all: Map<PodId, StoredDemand> | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#all = null;
  }

  get(podId: PodId): StoredDemand | null {
    return this.#load().get(podId) ?? null;
  }

  all(): StoredDemand[] {
    return [...this.#load().values()];
  }

  put(demand: StoredDemand): void {
    this.#load().set(demand.podId, demand);
    this.#db.exec(
      `INSERT OR REPLACE INTO demands (pod_id, version, wanted, needed, drain, trials, raised_at, acknowledged, tries,
         due_at, shortage, floor, idle_timeout_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      demand.podId,
      demand.version,
      demand.wanted,
      demand.needed,
      JSON.stringify(demand.drain),
      JSON.stringify(demand.trials),
      demand.raisedAt,
      demand.acknowledged,
      demand.tries,
      demand.dueAt,
      demand.shortage === null ? null : JSON.stringify(demand.shortage),
      demand.floor,
      demand.idleTimeoutMs,
    );
  }

  delete(podId: PodId): void {
    this.#load().delete(podId);
    this.#db.exec("DELETE FROM demands WHERE pod_id = ?", podId);
  }

  #load(): Map<PodId, StoredDemand> {
    this.#all ??= new Map(
      this.#db.exec("SELECT * FROM demands ORDER BY pod_id").map((row) => {
        const podId = text(row, "pod_id") as PodId;
        return [
          podId,
          {
            podId,
            version: integer(row, "version"),
            wanted: integer(row, "wanted"),
            needed: integer(row, "needed"),
            drain: stored<ReplicaId[]>(row, "drain"),
            trials: stored<(string | null)[]>(row, "trials"),
            raisedAt: integer(row, "raised_at"),
            acknowledged: integer(row, "acknowledged"),
            tries: integer(row, "tries"),
            dueAt: integerOrNull(row, "due_at"),
            shortage: storedOrNull<StoredShortage>(row, "shortage"),
            floor: integer(row, "floor"),
            idleTimeoutMs: integerOrNull(row, "idle_timeout_ms"),
          },
        ];
      }),
    );
    return this.#all;
  }
}
