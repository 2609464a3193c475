import type { ScalingPolicy } from "#contract/endpoint";
import { SCALING_DECISIONS_KEPT } from "#contract/limits";
import type { ReserveMemory } from "#durable-objects/autoscaler/batch-reserve";
import type { Hold } from "#durable-objects/autoscaler/warm-floor";
import type { PoolName } from "#durable-objects/replicas/pods-and-lanes";
import { integer, integerOrNull, type SqlDatabase, stored, text } from "#durable-objects/sql/database";

/** What is measured beside what the policy learns, for `why` and for the lanes. */
export interface ScalingFigures {
  /** How long the latest starts took, ms, newest last. */
  readonly boots: readonly number[];
  /** How long a job holds a replica, ms, a mean in which older ones count less; null before the first. */
  readonly serviceMs: number | null;
  readonly reserve: ReserveMemory;
  /** When a pod last took back a replica that idled; rows of an earlier time do not say. */
  readonly takenBackAt?: number | null;
}

export interface StoredScaler {
  readonly pool: PoolName;
  readonly policy: ScalingPolicy;
  /** As the policy saved it. */
  readonly memory: string;
  readonly figures: ScalingFigures;
}

export interface StoredDecision {
  readonly number: number;
  readonly at: number;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

/** What survives a restart of all that scaling knows. */
export class ScalingStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** The one saved last first: that of a group which is there no longer is older. */
  scalers(): StoredScaler[] {
    return this.#db.exec("SELECT * FROM scalers ORDER BY saved_at DESC").map((row) => ({
      pool: text(row, "pool") as PoolName,
      policy: text(row, "policy") as ScalingPolicy,
      memory: text(row, "memory"),
      figures: stored<ScalingFigures>(row, "figures"),
    }));
  }

  putScaler({ pool, policy, memory, figures }: StoredScaler, now: number): void {
    this.#db.exec(
      "INSERT OR REPLACE INTO scalers (pool, policy, memory, figures, saved_at) VALUES (?, ?, ?, ?, ?)",
      pool,
      policy,
      memory,
      JSON.stringify(figures),
      now,
    );
  }

  readHold(): Hold | null {
    const [row] = this.#db.exec("SELECT warm_replicas, warm_until FROM progress WHERE id = 1");
    const replicas = row === undefined ? null : integerOrNull(row, "warm_replicas");
    return row === undefined || replicas === null ? null : { replicas, until: integer(row, "warm_until") };
  }

  putHold(hold: Hold | null): void {
    this.#db.exec(
      "UPDATE progress SET warm_replicas = ?, warm_until = ? WHERE id = 1",
      hold?.replicas ?? null,
      hold?.until ?? null,
    );
  }

  /** Newest first. */
  decisions(limit: number): StoredDecision[] {
    return this.#db.exec("SELECT * FROM scaling_decisions ORDER BY number DESC LIMIT ?", limit).map((row) => ({
      number: integer(row, "number"),
      at: integer(row, "at"),
      from: integer(row, "replicas_from"),
      to: integer(row, "replicas_to"),
      reason: text(row, "reason"),
    }));
  }

  /** Adds a decision; the oldest goes when there are too many. */
  addDecision(decision: StoredDecision): void {
    const { number, at, from, to, reason } = decision;
    this.#db.exec(
      "INSERT INTO scaling_decisions (number, at, replicas_from, replicas_to, reason) VALUES (?, ?, ?, ?, ?)",
      number,
      at,
      from,
      to,
      reason,
    );
    this.#db.exec("DELETE FROM scaling_decisions WHERE number <= ?", number - SCALING_DECISIONS_KEPT);
  }
}
