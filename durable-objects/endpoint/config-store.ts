import { DEFAULT_SETTINGS, type EndpointSettings } from "#contract/endpoint";
import type { EndpointId, PodId, WorkspaceId } from "#contract/ids";
import type { CanaryConfig } from "#durable-objects/endpoint/canary";
import type { EndpointConfig, ReleaseNeeds } from "#durable-objects/endpoint/rpc";
import type { PodLanes } from "#durable-objects/replicas/pods-and-lanes";
import { integer, type SqlDatabase, stored, storedOrNull, text } from "#durable-objects/sql/database";

export interface StoredConfig extends EndpointConfig {
  readonly pods: readonly PodLanes[];
  readonly removed: boolean;
}

/** The pods of an endpoint for which none are named but one. */
export function onePod(podId: PodId): readonly PodLanes[] {
  return [{ podId, lanes: ["interactive", "batch"] }];
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
      pods: storedOrNull<PodLanes[]>(row, "pods") ?? onePod(text(row, "pod_id") as PodId),
      needs: storedOrNull<ReleaseNeeds>(row, "needs") ?? undefined,
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
      `INSERT OR REPLACE INTO config (id, endpoint_id, workspace_id, pod_id, pods, needs, slug, release, settings, canary,
         removed)
       VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      config.endpointId,
      config.workspaceId,
      config.podId,
      JSON.stringify(config.pods),
      config.needs === undefined ? null : JSON.stringify(config.needs),
      config.slug,
      config.release,
      JSON.stringify(config.settings),
      config.canary === undefined ? null : JSON.stringify(config.canary),
      config.removed ? 1 : 0,
    );
    this.#db.exec("INSERT OR IGNORE INTO progress (id) VALUES (1)");
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
