import type { NodeId, PodId, ReplicaId } from "#contract/ids";
import type { ReplicaState } from "#contract/replica";
import { ReplicaAccounts } from "#durable-objects/endpoint/replica-accounts";
import type { ReplicaRecord, StateChange } from "#durable-objects/replicas/replica-record";
import { integer, integerOrNull, type SqlDatabase, stored, text, textOrNull } from "#durable-objects/sql/database";

/** How it is stored that there is no name, where NULL means that nothing is known. */
const NO_NAME = "";

export interface ReplicaStoreOptions {
  /** Unix ms. */
  readonly now: () => number;
  /** Whether a replica has a job on its GPU. */
  readonly works: (id: ReplicaId) => boolean;
  /** Of replicas whose row is older than pods by the several. */
  readonly firstPod: () => PodId;
}

/**
 * The endpoint's replicas, read once and then kept in memory, because every match and every count needs them; the rows
 * are what survives a restart. Jobs do not write here: `busy` follows from the leases.
 */
export class ReplicaStore {
  readonly #db: SqlDatabase;
  readonly #options: ReplicaStoreOptions;
  readonly accounts: ReplicaAccounts;
  #all: Map<ReplicaId, ReplicaRecord> | null = null;
  #changes = 0;

  constructor(db: SqlDatabase, options: ReplicaStoreOptions) {
    this.#db = db;
    this.#options = options;
    this.accounts = new ReplicaAccounts(db, options.works);
  }

  /** How often any of them has changed since this object woke. */
  get changes(): number {
    return this.#changes;
  }

  /** Drops what is in memory, after a transaction was undone. */
  forget(): void {
    this.#all = null;
    this.accounts.forget();
  }

  get(id: ReplicaId): ReplicaRecord | null {
    return this.#load().get(id) ?? null;
  }

  all(): ReplicaRecord[] {
    return [...this.#load().values()];
  }

  put(replica: ReplicaRecord): void {
    this.#changes += 1;
    this.#load().set(replica.id, replica);
    const account = this.accounts.put(replica, this.#options.now());
    this.#db.exec(
      `INSERT OR REPLACE INTO replicas
         (id, node_id, state, release, error, draining, started_at, changes, phases, gpu_type, pod_id, build,
          replaced_since, in_place_of, account, slots_on_card)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      replica.id,
      replica.nodeId,
      replica.state,
      replica.release,
      replica.error,
      replica.draining ? 1 : 0,
      replica.startedAt,
      JSON.stringify(replica.changes),
      JSON.stringify(replica.phases),
      orUnknown(replica.gpuType),
      replica.podId,
      orUnknown(replica.build),
      replica.replacedSince,
      replica.inPlaceOf,
      account,
      replica.slotsOnCard,
    );
  }

  /** The jobs of a replica have changed: what its time goes to may be another thing now. */
  turned(id: ReplicaId): void {
    const replica = this.#load().get(id);
    if (replica !== undefined && this.accounts.turned(replica, this.#options.now())) this.put(replica);
  }

  delete(id: ReplicaId): void {
    this.#changes += 1;
    this.#load().delete(id);
    this.accounts.drop(id);
    this.#db.exec("DELETE FROM replicas WHERE id = ?", id);
  }

  #load(): Map<ReplicaId, ReplicaRecord> {
    if (this.#all !== null) return this.#all;
    const rows = this.#db.exec("SELECT * FROM replicas ORDER BY id");
    const all = new Map<ReplicaId, ReplicaRecord>();
    for (const row of rows) {
      const id = text(row, "id") as ReplicaId;
      all.set(id, {
        id,
        nodeId: text(row, "node_id") as NodeId,
        podId: (textOrNull(row, "pod_id") as PodId | null) ?? this.#options.firstPod(),
        gpuType: ifKnown(textOrNull(row, "gpu_type")),
        slotsOnCard: integer(row, "slots_on_card"),
        build: ifKnown(textOrNull(row, "build")),
        state: text(row, "state") as ReplicaState,
        release: integer(row, "release"),
        error: textOrNull(row, "error"),
        draining: integer(row, "draining") === 1,
        replacedSince: integerOrNull(row, "replaced_since"),
        inPlaceOf: textOrNull(row, "in_place_of") as ReplicaId | null,
        startedAt: integer(row, "started_at"),
        changes: stored<StateChange[]>(row, "changes"),
        phases: stored<{ phase: string; ms: number }[]>(row, "phases"),
      });
    }
    this.#all = all;
    const now = this.#options.now();
    for (const row of rows) {
      const replica = all.get(text(row, "id") as ReplicaId);
      if (replica !== undefined) this.accounts.takeUp(replica, textOrNull(row, "account"), now);
    }
    return all;
  }
}

/** A name as it is stored: NULL where nobody knows it, '' where there is none. */
function orUnknown(name: string | null | undefined): string | null {
  return name === undefined ? null : (name ?? NO_NAME);
}

function ifKnown(stored: string | null): string | null | undefined {
  if (stored === null) return undefined;
  return stored === NO_NAME ? null : stored;
}
