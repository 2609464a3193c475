import type { PollOrder } from "#contract/agent";
import type { EndpointId, NodeId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { Gpu, ReplicaState } from "#contract/replica";
import type { NodeHistory } from "#durable-objects/replicas/place";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  stored,
  text,
  textOrNull,
} from "#durable-objects/sql/database";

export interface NodeRecord {
  readonly id: NodeId;
  readonly name: string;
  /** As its owner calls it; null when he does not. */
  readonly region: string | null;
  readonly agentVersion: string;
  readonly comfyui: string;
  readonly gpus: readonly Gpu[];
  readonly slots: number;
  readonly draining: boolean;
  readonly online: boolean;
  readonly joinedAt: number;
  /** Written now and then; the object's memory knows better. */
  readonly seenAt: number;
  /** The latest poll, as of when this was written. */
  readonly order: PollOrder | null;
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

export interface DemandRecord {
  readonly endpointId: EndpointId;
  readonly version: number;
  /** Where its replicas may run; empty: anywhere. */
  readonly regions: readonly string[];
  readonly wanted: number;
  readonly needed: number;
  readonly since: number;
}

/** News of a replica's end, until its endpoint has taken note. */
export interface Farewell {
  readonly replicaId: ReplicaId;
  readonly endpointId: EndpointId;
  readonly reason: string;
  /** Nobody said so: its node was not heard of. */
  readonly silent: boolean;
  readonly tries: number;
  readonly dueAt: number;
}

/** The pod's tables, all small: nodes and slots are machines. */
export class PodStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  pod(): { podId: PodId; workspaceId: WorkspaceId } | null {
    const [row] = this.#db.exec("SELECT pod_id, workspace_id FROM pod WHERE id = 1");
    if (row === undefined) return null;
    return { podId: text(row, "pod_id") as PodId, workspaceId: text(row, "workspace_id") as WorkspaceId };
  }

  putPod(podId: PodId, workspaceId: WorkspaceId): void {
    this.#db.exec("INSERT OR REPLACE INTO pod (id, pod_id, workspace_id) VALUES (1, ?, ?)", podId, workspaceId);
  }

  /** When nodes were last given time because the object had been away; 0 before the first time. */
  wokeAt(): number {
    const [row] = this.#db.exec("SELECT woke_at FROM pod WHERE id = 1");
    return row === undefined ? 0 : integer(row, "woke_at");
  }

  putWokeAt(at: number): void {
    this.#db.exec("UPDATE pod SET woke_at = ? WHERE id = 1", at);
  }

  nodes(): NodeRecord[] {
    return this.#db.exec("SELECT * FROM nodes ORDER BY id").map(nodeOf);
  }

  node(id: NodeId): NodeRecord | null {
    const [row] = this.#db.exec("SELECT * FROM nodes WHERE id = ?", id);
    return row === undefined ? null : nodeOf(row);
  }

  putNode(node: NodeRecord): void {
    this.#db.exec(
      `INSERT OR REPLACE INTO nodes (id, name, region, agent_version, comfyui, gpus, slots, draining, online,
         joined_at, seen_at, poll_start, poll_seq)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      node.id,
      node.name,
      node.region,
      node.agentVersion,
      node.comfyui,
      JSON.stringify(node.gpus),
      node.slots,
      node.draining ? 1 : 0,
      node.online ? 1 : 0,
      node.joinedAt,
      node.seenAt,
      node.order?.start ?? null,
      node.order?.seq ?? null,
    );
  }

  deleteNode(id: NodeId): void {
    this.#db.exec("DELETE FROM histories WHERE node_id = ?", id);
    this.#db.exec("DELETE FROM nodes WHERE id = ?", id);
  }

  replicas(): SlotRecord[] {
    return this.#db.exec("SELECT * FROM replicas ORDER BY node_id, slot").map(slotOf);
  }

  replicasOn(nodeId: NodeId): SlotRecord[] {
    return this.#db.exec("SELECT * FROM replicas WHERE node_id = ? ORDER BY slot", nodeId).map(slotOf);
  }

  replica(id: ReplicaId): SlotRecord | null {
    const [row] = this.#db.exec("SELECT * FROM replicas WHERE id = ?", id);
    return row === undefined ? null : slotOf(row);
  }

  /** @throws when another replica holds the slot: the UNIQUE index is the last word */
  insertReplica(replica: SlotRecord): void {
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
    this.#db.exec("DELETE FROM replicas WHERE id = ?", id);
  }

  demands(): DemandRecord[] {
    return this.#db.exec("SELECT * FROM demands ORDER BY endpoint_id").map(demandOf);
  }

  demand(endpointId: EndpointId): DemandRecord | null {
    const [row] = this.#db.exec("SELECT * FROM demands WHERE endpoint_id = ?", endpointId);
    return row === undefined ? null : demandOf(row);
  }

  putDemand(demand: DemandRecord): void {
    this.#db.exec(
      "INSERT OR REPLACE INTO demands (endpoint_id, version, regions, wanted, needed, since) VALUES (?, ?, ?, ?, ?, ?)",
      demand.endpointId,
      demand.version,
      JSON.stringify(demand.regions),
      demand.wanted,
      demand.needed,
      demand.since,
    );
  }

  history(endpointId: EndpointId, nodeId: NodeId): NodeHistory | null {
    const [row] = this.#db.exec("SELECT * FROM histories WHERE endpoint_id = ? AND node_id = ?", endpointId, nodeId);
    if (row === undefined) return null;
    return {
      lastReadyAt: integer(row, "last_ready_at"),
      failures: integer(row, "failures"),
      backoffUntil: integer(row, "backoff_until"),
      crashedAt: integer(row, "crashed_at"),
      lastError: textOrNull(row, "last_error"),
    };
  }

  putHistory(endpointId: EndpointId, nodeId: NodeId, history: NodeHistory): void {
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

  nextBackoffEnd(after: number): number | null {
    const [row] = this.#db.exec("SELECT min(backoff_until) AS due FROM histories WHERE backoff_until > ?", after);
    return row === undefined ? null : integerOrNull(row, "due");
  }

  putFarewell(farewell: Farewell): void {
    this.#db.exec(
      "INSERT OR REPLACE INTO farewells (replica_id, endpoint_id, reason, silent, tries, due_at) VALUES (?, ?, ?, ?, ?, ?)",
      farewell.replicaId,
      farewell.endpointId,
      farewell.reason,
      farewell.silent ? 1 : 0,
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

function nodeOf(row: SqlRow): NodeRecord {
  return {
    id: text(row, "id") as NodeId,
    name: text(row, "name"),
    region: textOrNull(row, "region"),
    agentVersion: text(row, "agent_version"),
    comfyui: text(row, "comfyui"),
    gpus: stored<Gpu[]>(row, "gpus"),
    slots: integer(row, "slots"),
    draining: integer(row, "draining") === 1,
    online: integer(row, "online") === 1,
    joinedAt: integer(row, "joined_at"),
    seenAt: integer(row, "seen_at"),
    order: row.poll_start === null ? null : { start: integer(row, "poll_start"), seq: integer(row, "poll_seq") },
  };
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

function demandOf(row: SqlRow): DemandRecord {
  return {
    endpointId: text(row, "endpoint_id") as EndpointId,
    version: integer(row, "version"),
    regions: stored<string[]>(row, "regions"),
    wanted: integer(row, "wanted"),
    needed: integer(row, "needed"),
    since: integer(row, "since"),
  };
}
