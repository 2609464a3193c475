import { DEFAULT_SETTINGS, type EndpointSettings } from "#contract/endpoint";
import type { EndpointId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { CanaryConfig } from "#durable-objects/endpoint/canary";
import type { EndpointConfig } from "#durable-objects/endpoint/rpc";
import type { Shortage } from "#durable-objects/replicas/place";
import { integer, integerOrNull, type SqlDatabase, stored, storedOrNull, text } from "#durable-objects/sql/database";

export interface StoredConfig extends EndpointConfig {
  readonly removed: boolean;
}

/** Why the pod had fewer replicas than were asked for, as it last said. */
export interface StoredShortage {
  readonly code: Shortage;
  /** The last error of replicas that keep crashing. */
  readonly error: string | null;
  readonly at: number;
}

/** What was last asked of the pod, and how far it has been heard. */
export interface StoredDemand {
  readonly version: number;
  readonly wanted: number;
  readonly needed: number;
  readonly drain: readonly ReplicaId[];
  /** When `wanted` last grew: the beginning of the placement that a job may wait for. */
  readonly raisedAt: number;
  readonly acknowledged: number;
  readonly tries: number;
  /** When to send it (again); null when the pod has answered this version. */
  readonly dueAt: number | null;
  /** null before the first answer, and when nothing was missing. */
  readonly shortage: StoredShortage | null;
}

/** Ended jobs up to this one, by end and id, have had their outputs deleted. */
export interface PurgeMark {
  readonly finishedAt: number;
  readonly jobId: string;
}

/** The single rows of an endpoint. */
export class ConfigStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  read(): StoredConfig | null {
    const [row] = this.#db.exec("SELECT * FROM config WHERE id = 1");
    if (row === undefined) return null;
    return {
      endpointId: text(row, "endpoint_id") as EndpointId,
      workspaceId: text(row, "workspace_id") as WorkspaceId,
      podId: text(row, "pod_id") as PodId,
      slug: text(row, "slug"),
      release: integer(row, "release"),
      // Settings that came later are not in older rows.
      settings: { ...DEFAULT_SETTINGS, ...stored<Partial<EndpointSettings>>(row, "settings") },
      canary: storedOrNull<CanaryConfig>(row, "canary") ?? undefined,
      removed: integer(row, "removed") === 1,
    };
  }

  put(config: StoredConfig): void {
    this.#db.exec(
      `INSERT OR REPLACE INTO config (id, endpoint_id, workspace_id, pod_id, slug, release, settings, canary, removed)
       VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)`,
      config.endpointId,
      config.workspaceId,
      config.podId,
      config.slug,
      config.release,
      JSON.stringify(config.settings),
      config.canary === undefined ? null : JSON.stringify(config.canary),
      config.removed ? 1 : 0,
    );
    this.#db.exec("INSERT OR IGNORE INTO progress (id) VALUES (1)");
  }

  readDemand(): StoredDemand {
    const [row] = this.#db.exec("SELECT * FROM progress WHERE id = 1");
    if (row === undefined) throw new Error("the endpoint is not configured");
    return {
      version: integer(row, "demand_version"),
      wanted: integer(row, "demand_wanted"),
      needed: integer(row, "demand_needed"),
      drain: stored<ReplicaId[]>(row, "demand_drain"),
      raisedAt: integer(row, "demand_raised_at"),
      acknowledged: integer(row, "demand_acknowledged"),
      tries: integer(row, "demand_tries"),
      dueAt: integerOrNull(row, "demand_due_at"),
      shortage: storedOrNull<StoredShortage>(row, "demand_shortage"),
    };
  }

  putDemand(demand: StoredDemand): void {
    this.#db.exec(
      `UPDATE progress SET demand_version = ?, demand_wanted = ?, demand_needed = ?, demand_drain = ?,
         demand_raised_at = ?, demand_acknowledged = ?, demand_tries = ?, demand_due_at = ?,
         demand_shortage = ? WHERE id = 1`,
      demand.version,
      demand.wanted,
      demand.needed,
      JSON.stringify(demand.drain),
      demand.raisedAt,
      demand.acknowledged,
      demand.tries,
      demand.dueAt,
      demand.shortage === null ? null : JSON.stringify(demand.shortage),
    );
  }

  readCounterReserve(): number {
    const [row] = this.#db.exec("SELECT counter_reserved FROM progress WHERE id = 1");
    return row === undefined ? 0 : integer(row, "counter_reserved");
  }

  reserveCounters(upTo: number): void {
    this.#db.exec("UPDATE progress SET counter_reserved = ? WHERE id = 1", upTo);
  }

  /** When leases were last given time because the object had been away; 0 before the first time. */
  readWokeAt(): number {
    const [row] = this.#db.exec("SELECT woke_at FROM progress WHERE id = 1");
    return row === undefined ? 0 : integer(row, "woke_at");
  }

  putWokeAt(at: number): void {
    this.#db.exec("UPDATE progress SET woke_at = ? WHERE id = 1", at);
  }

  readPurgeMark(): PurgeMark {
    const [row] = this.#db.exec("SELECT purged_finished_at, purged_job_id FROM progress WHERE id = 1");
    if (row === undefined) return { finishedAt: 0, jobId: "" };
    return { finishedAt: integer(row, "purged_finished_at"), jobId: text(row, "purged_job_id") };
  }

  putPurgeMark(mark: PurgeMark): void {
    this.#db.exec(
      "UPDATE progress SET purged_finished_at = ?, purged_job_id = ? WHERE id = 1",
      mark.finishedAt,
      mark.jobId,
    );
  }
}
