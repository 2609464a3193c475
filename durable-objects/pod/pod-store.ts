import type { GpuMatch } from "#contract/gpu-types";
import type { EndpointId, NodeId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import { DEFAULT_POD_SETTINGS, type PodSettings, type ReplicaState } from "#contract/replica";
import type { NodeHistory } from "#durable-objects/replicas/place";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  stored,
  storedOrNull,
  text,
  textOrNull,
} from "#durable-objects/sql/database";

export interface PodRecord {
  readonly podId: PodId;
  readonly workspaceId: WorkspaceId;
  readonly settings: PodSettings;
  /** Types of card of the workspace's own. */
  readonly ownTypes: readonly GpuMatch[];
  /** Of the settings; 0 before any were told. */
  readonly version: number;
  /** It is deleted: what is left says goodbye to its endpoints. */
  readonly removed: boolean;
}

/** A replica on its slot. */
export interface SlotRecord {
  readonly id: ReplicaId;
  readonly endpointId: EndpointId;
  readonly nodeId: NodeId;
  readonly slot: number;
  readonly state: ReplicaState;
  /** On its way out; never taken back. */
  readonly draining: boolean;
  /** The node has said that it has it. */
  readonly reported: boolean;
  readonly placedAt: number;
  readonly readyAt: number | null;
}

/** What was on a slot of a node that was given up. */
export type LostReplica = Pick<SlotRecord, "id" | "endpointId" | "nodeId" | "slot" | "placedAt" | "readyAt">;

/** What an endpoint is told beside its replicas. */
export interface Terms {
  readonly floor: number;
  readonly idleTimeoutMs: number | null;
}

export interface DemandRecord {
  readonly endpointId: EndpointId;
  readonly version: number;
  /** Where its replicas may run; empty: anywhere. */
  readonly regions: readonly string[];
  readonly build: string | null;
  readonly models: readonly string[];
  readonly trials: readonly (string | null)[];
  readonly wanted: number;
  readonly needed: number;
  readonly warm: number;
  readonly calls: boolean;
  /** Since when it waits for a turn, less the time in which it needed none here, Unix ms. */
  readonly since: number;
  /** Since when it has had fewer replicas here than it wants, whatever the reason, Unix ms; null: it has them. */
  readonly lackingSince: number | null;
  /** When its need of any replica began or, if it has none now, ended; 0: it never had one. */
  readonly usedAt: number;
  /** The terms that it was told last; null before the first answer. */
  readonly told: Terms | null;
}

/** News of a replica's end, until its endpoint has taken note. */
export interface Farewell {
  readonly replicaId: ReplicaId;
  readonly endpointId: EndpointId;
  readonly reason: string;
  /** Nobody said so: its node was not heard of. */
  readonly silent: boolean;
  /** When that was last heard of, Unix ms; null: it said so itself, or nobody knows. */
  readonly heardAt: number | null;
  readonly tries: number;
  readonly dueAt: number;
}

/** The pod's tables beside its nodes, all small: slots are machines. */
export class PodStore {
  readonly #db: SqlDatabase;
  /** All of them are read in each turn, several times, so they are kept until one is written. */
  #replicas: readonly SlotRecord[] | null = null;
  #demands: readonly DemandRecord[] | null = null;
  #histories: ReadonlyMap<EndpointId, ReadonlyMap<NodeId, NodeHistory>> | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** A turn was undone: what was read in it may never have been. */
  forget(): void {
    this.#replicas = null;
    this.#demands = null;
    this.#histories = null;
  }

  pod(): PodRecord | null {
    const [row] = this.#db.exec("SELECT * FROM pod WHERE id = 1");
    if (row === undefined) return null;
    const told = storedOrNull<{ settings: PodSettings; ownTypes: GpuMatch[] }>(row, "settings");
    return {
      podId: text(row, "pod_id") as PodId,
      workspaceId: text(row, "workspace_id") as WorkspaceId,
      settings: { ...DEFAULT_POD_SETTINGS, ...told?.settings },
      ownTypes: told?.ownTypes ?? [],
      version: integer(row, "settings_version"),
      removed: integer(row, "removed") === 1,
    };
  }

  insertPod(podId: PodId, workspaceId: WorkspaceId): void {
    this.#db.exec("INSERT INTO pod (id, pod_id, workspace_id) VALUES (1, ?, ?)", podId, workspaceId);
  }

  updatePod({ settings, ownTypes, version, removed }: PodRecord): void {
    this.#db.exec(
      "UPDATE pod SET settings = ?, settings_version = ?, removed = ? WHERE id = 1",
      JSON.stringify({ settings, ownTypes }),
      version,
      removed ? 1 : 0,
    );
  }

  /** When nodes were last given time because the object had been away; 0 before the first time. */
  wokeAt(): number {
    const [row] = this.#db.exec("SELECT woke_at FROM pod WHERE id = 1");
    return row === undefined ? 0 : integer(row, "woke_at");
  }

  putWokeAt(at: number): void {
    this.#db.exec("UPDATE pod SET woke_at = ? WHERE id = 1", at);
  }

  replicas(): readonly SlotRecord[] {
    this.#replicas ??= this.#db.exec("SELECT * FROM replicas ORDER BY node_id, slot").map(slotOf);
    return this.#replicas;
  }

  replicasOn(nodeId: NodeId): readonly SlotRecord[] {
    return this.replicas().filter((replica) => replica.nodeId === nodeId);
  }

  replica(id: ReplicaId): SlotRecord | null {
    return this.replicas().find((replica) => replica.id === id) ?? null;
  }

  /** @throws when another replica holds the slot: the UNIQUE index is the last word */
  insertReplica(replica: SlotRecord): void {
    this.#replicas = null;
    this.#db.exec(
      `INSERT INTO replicas (id, endpoint_id, node_id, slot, state, draining, reported, placed_at, ready_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      replica.id,
      replica.endpointId,
      replica.nodeId,
      replica.slot,
      replica.state,
      replica.draining ? 1 : 0,
      replica.reported ? 1 : 0,
      replica.placedAt,
      replica.readyAt,
    );
  }

  updateReplica(replica: SlotRecord): void {
    this.#replicas = null;
    this.#db.exec(
      "UPDATE replicas SET state = ?, draining = ?, reported = ?, ready_at = ? WHERE id = ?",
      replica.state,
      replica.draining ? 1 : 0,
      replica.reported ? 1 : 0,
      replica.readyAt,
      replica.id,
    );
  }

  deleteReplica(id: ReplicaId): void {
    this.#replicas = null;
    this.#db.exec("DELETE FROM replicas WHERE id = ?", id);
  }

  putLost({ id, endpointId, nodeId, slot, placedAt, readyAt }: LostReplica): void {
    this.#db.exec(
      "INSERT OR REPLACE INTO lost (id, endpoint_id, node_id, slot, placed_at, ready_at) VALUES (?, ?, ?, ?, ?, ?)",
      id,
      endpointId,
      nodeId,
      slot,
      placedAt,
      readyAt,
    );
  }

  /** What ran on the node when it was given up; empty once it has come back. */
  lostOn(nodeId: NodeId): LostReplica[] {
    return this.#db.exec("SELECT * FROM lost WHERE node_id = ? ORDER BY id", nodeId).map(lostOf);
  }

  lost(id: ReplicaId): LostReplica | null {
    const [row] = this.#db.exec("SELECT * FROM lost WHERE id = ?", id);
    return row === undefined ? null : lostOf(row);
  }

  forgetLostOn(nodeId: NodeId): void {
    this.#db.exec("DELETE FROM lost WHERE node_id = ?", nodeId);
  }

  demands(): readonly DemandRecord[] {
    this.#demands ??= this.#db.exec("SELECT * FROM demands ORDER BY endpoint_id").map(demandOf);
    return this.#demands;
  }

  demand(endpointId: EndpointId): DemandRecord | null {
    return this.demands().find((demand) => demand.endpointId === endpointId) ?? null;
  }

  putDemand(demand: DemandRecord): void {
    this.#demands = null;
    this.#db.exec(
      `INSERT OR REPLACE INTO demands (endpoint_id, version, regions, build, models, trials, wanted, needed, warm,
         calls, since, lacking_since, used_at, told)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      demand.endpointId,
      demand.version,
      JSON.stringify(demand.regions),
      demand.build,
      JSON.stringify(demand.models),
      JSON.stringify(demand.trials),
      demand.wanted,
      demand.needed,
      demand.warm,
      demand.calls ? 1 : 0,
      demand.since,
      demand.lackingSince,
      demand.usedAt,
      demand.told === null ? null : JSON.stringify(demand.told),
    );
  }

  putLackingSince(endpointId: EndpointId, at: number | null): void {
    this.#demands = null;
    this.#db.exec("UPDATE demands SET lacking_since = ? WHERE endpoint_id = ?", at, endpointId);
  }

  /** What the endpoint wanted, and how it fared here. */
  deleteDemand(endpointId: EndpointId): void {
    this.#demands = null;
    this.#histories = null;
    this.#db.exec("DELETE FROM demands WHERE endpoint_id = ?", endpointId);
    this.#db.exec("DELETE FROM histories WHERE endpoint_id = ?", endpointId);
  }

  history(endpointId: EndpointId, nodeId: NodeId): NodeHistory | null {
    return this.histories().get(endpointId)?.get(nodeId) ?? null;
  }

  /** What is known of every endpoint that has run on any node. */
  histories(): ReadonlyMap<EndpointId, ReadonlyMap<NodeId, NodeHistory>> {
    this.#histories ??= this.#readHistories();
    return this.#histories;
  }

  #readHistories(): Map<EndpointId, Map<NodeId, NodeHistory>> {
    const all = new Map<EndpointId, Map<NodeId, NodeHistory>>();
    for (const row of this.#db.exec("SELECT * FROM histories")) {
      const endpointId = text(row, "endpoint_id") as EndpointId;
      const byNode = all.get(endpointId) ?? new Map<NodeId, NodeHistory>();
      all.set(endpointId, byNode.set(text(row, "node_id") as NodeId, historyOf(row)));
    }
    return all;
  }

  /** Nothing is known any more of who has run on the node. */
  forgetNode(nodeId: NodeId): void {
    this.#histories = null;
    this.#db.exec("DELETE FROM histories WHERE node_id = ?", nodeId);
    this.forgetLostOn(nodeId);
  }

  /** The node's crashes are forgotten; where it ran well is not. */
  forgiveNode(nodeId: NodeId): void {
    this.#histories = null;
    this.#db.exec("UPDATE histories SET failures = 0, backoff_until = 0 WHERE node_id = ?", nodeId);
  }

  putHistory(endpointId: EndpointId, nodeId: NodeId, history: NodeHistory): void {
    this.#histories = null;
    this.#db.exec(
      `INSERT OR REPLACE INTO histories (endpoint_id, node_id, last_ready_at, failures, backoff_until, crashed_at, last_error)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      endpointId,
      nodeId,
      history.lastReadyAt,
      history.failures,
      history.backoffUntil,
      history.crashedAt,
      history.lastError,
    );
  }

  /** The endpoint's crashes are forgotten, on every node. */
  forgiveEndpoint(endpointId: EndpointId): void {
    this.#histories = null;
    this.#db.exec(
      "UPDATE histories SET failures = 0, backoff_until = 0 WHERE endpoint_id = ? AND failures > 0",
      endpointId,
    );
  }

  nextBackoffEnd(after: number): number | null {
    let next: number | null = null;
    for (const byNode of this.histories().values()) {
      for (const { backoffUntil } of byNode.values()) {
        if (backoffUntil > after && (next === null || backoffUntil < next)) next = backoffUntil;
      }
    }
    return next;
  }

  putFarewell(farewell: Farewell): void {
    this.#db.exec(
      `INSERT OR REPLACE INTO farewells (replica_id, endpoint_id, reason, silent, heard_at, tries, due_at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      farewell.replicaId,
      farewell.endpointId,
      farewell.reason,
      farewell.silent ? 1 : 0,
      farewell.heardAt,
      farewell.tries,
      farewell.dueAt,
    );
  }

  farewellsDue(now: number): Farewell[] {
    return this.#db.exec("SELECT * FROM farewells WHERE due_at <= ? ORDER BY due_at, replica_id", now).map((row) => ({
      replicaId: text(row, "replica_id") as ReplicaId,
      endpointId: text(row, "endpoint_id") as EndpointId,
      reason: text(row, "reason"),
      silent: integer(row, "silent") === 1,
      heardAt: integerOrNull(row, "heard_at"),
      tries: integer(row, "tries"),
      dueAt: integer(row, "due_at"),
    }));
  }

  nextFarewell(): number | null {
    const [row] = this.#db.exec("SELECT min(due_at) AS due FROM farewells");
    return row === undefined ? null : integerOrNull(row, "due");
  }

  deleteFarewell(replicaId: ReplicaId): void {
    this.#db.exec("DELETE FROM farewells WHERE replica_id = ?", replicaId);
  }
}

function slotOf(row: SqlRow): SlotRecord {
  return {
    id: text(row, "id") as ReplicaId,
    endpointId: text(row, "endpoint_id") as EndpointId,
    nodeId: text(row, "node_id") as NodeId,
    slot: integer(row, "slot"),
    state: text(row, "state") as ReplicaState,
    draining: integer(row, "draining") === 1,
    reported: integer(row, "reported") === 1,
    placedAt: integer(row, "placed_at"),
    readyAt: integerOrNull(row, "ready_at"),
  };
}

function lostOf(row: SqlRow): LostReplica {
  return {
    id: text(row, "id") as ReplicaId,
    endpointId: text(row, "endpoint_id") as EndpointId,
    nodeId: text(row, "node_id") as NodeId,
    slot: integer(row, "slot"),
    placedAt: integer(row, "placed_at"),
    readyAt: integerOrNull(row, "ready_at"),
  };
}

function demandOf(row: SqlRow): DemandRecord {
  return {
    endpointId: text(row, "endpoint_id") as EndpointId,
    version: integer(row, "version"),
    regions: stored<string[]>(row, "regions"),
    build: textOrNull(row, "build"),
    models: stored<string[]>(row, "models"),
    trials: stored<(string | null)[]>(row, "trials"),
    wanted: integer(row, "wanted"),
    needed: integer(row, "needed"),
    warm: integer(row, "warm"),
    calls: integer(row, "calls") === 1,
    since: integer(row, "since"),
    lackingSince: integerOrNull(row, "lacking_since"),
    usedAt: integer(row, "used_at"),
    told: storedOrNull<Terms>(row, "told"),
  };
}

function historyOf(row: SqlRow): NodeHistory {
  return {
    lastReadyAt: integer(row, "last_ready_at"),
    failures: integer(row, "failures"),
    backoffUntil: integer(row, "backoff_until"),
    crashedAt: integer(row, "crashed_at"),
    lastError: textOrNull(row, "last_error"),
  };
}
