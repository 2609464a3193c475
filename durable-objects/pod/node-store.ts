import type { PollOrder } from "#contract/agent";
import type { NodeId } from "#contract/ids";
import type { Gpu, NodeInventory } from "#contract/replica";
import { FULL_TRUST, type NodeTrust } from "#durable-objects/replicas/trust";
import {
  integer,
  integerOrNull,
  type SqlDatabase,
  type SqlRow,
  type SqlValue,
  stored,
  storedOrNull,
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
  readonly slotsPerGpu: number;
  /** Its agent says that it is on its way out. */
  readonly draining: boolean;
  /** An operator has said: nothing new. */
  readonly cordoned: boolean;
  /** An operator has said: nothing new, and what runs goes. */
  readonly drainAsked: boolean;
  readonly online: boolean;
  readonly joinedAt: number;
  /** Written now and then; the object's memory knows better. */
  readonly seenAt: number;
  /** Since when it has had no poll open, once that was noted: an object that is thrown out of memory must know it. */
  readonly quietAt: number | null;
  /** The latest poll, as of when this was written. */
  readonly order: PollOrder | null;
  readonly trust: NodeTrust;
}

/** What it runs must go: its agent or an operator has said so. */
export function isLeaving(node: NodeRecord): boolean {
  return node.draining || node.drainAsked;
}

/** The nodes' tables. All nodes are read in each turn, several times, so they are kept until one is written. */
export class NodeStore {
  readonly #db: SqlDatabase;
  #all: readonly NodeRecord[] | null = null;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** A turn was undone: what was read in it may never have been. */
  forget(): void {
    this.#all = null;
  }

  all(): readonly NodeRecord[] {
    this.#all ??= this.#db.exec("SELECT * FROM nodes ORDER BY id").map(nodeOf);
    return this.#all;
  }

  get(id: NodeId): NodeRecord | null {
    return this.all().find((node) => node.id === id) ?? null;
  }

  #write(sql: string, ...bindings: SqlValue[]): void {
    this.#all = null;
    this.#db.exec(sql, ...bindings);
  }

  insert(node: NodeRecord): void {
    this.#write(
      `INSERT INTO nodes (id, name, region, agent_version, comfyui, gpus, slots, slots_per_gpu, draining, online,
         joined_at, seen_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      node.id,
      node.name,
      node.region,
      node.agentVersion,
      node.comfyui,
      JSON.stringify(node.gpus),
      node.slots,
      node.slotsPerGpu,
      node.draining ? 1 : 0,
      node.online ? 1 : 0,
      node.joinedAt,
      node.seenAt,
    );
  }

  /** What the node states of itself, and that it was heard. */
  putStated(node: NodeRecord): void {
    this.#write(
      `UPDATE nodes SET name = ?, agent_version = ?, region = ?, comfyui = ?, gpus = ?, slots = ?, slots_per_gpu = ?, draining = ?, online = ?,
         seen_at = ?, quiet_at = ?, poll_start = ?, poll_seq = ? WHERE id = ?`,
      node.name,
      node.agentVersion,
      node.region,
      node.comfyui,
      JSON.stringify(node.gpus),
      node.slots,
      node.slotsPerGpu,
      node.draining ? 1 : 0,
      node.online ? 1 : 0,
      node.seenAt,
      node.quietAt,
      node.order?.start ?? null,
      node.order?.seq ?? null,
      node.id,
    );
  }

  /** Since when it has been quiet; null: it is not known to be. @param seenAt when its last poll came */
  putQuiet(id: NodeId, seenAt: number, quietAt: number | null): void {
    this.#write("UPDATE nodes SET seen_at = ?, quiet_at = ? WHERE id = ?", seenAt, quietAt, id);
  }

  /** What an operator says of it. */
  putAsked(node: NodeRecord): void {
    this.#write(
      "UPDATE nodes SET cordoned = ?, drain_asked = ? WHERE id = ?",
      node.cordoned ? 1 : 0,
      node.drainAsked ? 1 : 0,
      node.id,
    );
  }

  putTrust(id: NodeId, trust: NodeTrust): void {
    this.#write("UPDATE nodes SET trust = ? WHERE id = ?", JSON.stringify(trust), id);
  }

  delete(id: NodeId): void {
    this.#write("DELETE FROM inventories WHERE node_id = ?", id);
    this.#write("DELETE FROM nodes WHERE id = ?", id);
  }

  inventory(id: NodeId): NodeInventory | null {
    const [row] = this.#db.exec("SELECT inventory FROM inventories WHERE node_id = ?", id);
    return row === undefined ? null : stored<NodeInventory>(row, "inventory");
  }

  putInventory(id: NodeId, inventory: NodeInventory): void {
    this.#db.exec(
      "INSERT OR REPLACE INTO inventories (node_id, inventory) VALUES (?, ?)",
      id,
      JSON.stringify(inventory),
    );
  }
}

function nodeOf(row: SqlRow): NodeRecord {
  const start = integerOrNull(row, "poll_start");
  return {
    id: text(row, "id") as NodeId,
    name: text(row, "name"),
    region: textOrNull(row, "region"),
    agentVersion: text(row, "agent_version"),
    comfyui: text(row, "comfyui"),
    gpus: stored<Gpu[]>(row, "gpus"),
    slots: integer(row, "slots"),
    slotsPerGpu: integer(row, "slots_per_gpu"),
    draining: integer(row, "draining") === 1,
    cordoned: integer(row, "cordoned") === 1,
    drainAsked: integer(row, "drain_asked") === 1,
    online: integer(row, "online") === 1,
    joinedAt: integer(row, "joined_at"),
    seenAt: integer(row, "seen_at"),
    quietAt: integerOrNull(row, "quiet_at"),
    order: start === null ? null : { start, seq: integer(row, "poll_seq") },
    trust: { ...FULL_TRUST, ...storedOrNull<Partial<NodeTrust>>(row, "trust") },
  };
}
