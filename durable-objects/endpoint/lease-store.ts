import type * as z from "zod";
import type { PhaseTimes } from "#contract/agent";
import type { JobId, LeaseId, NodeId, ReplicaId } from "#contract/ids";
import type { BootStretch, LeaseOutcome, LeaseRecord } from "#durable-objects/queue/lease";
import { integer, integerOrNull, type SqlDatabase, stored, text, textOrNull } from "#durable-objects/sql/database";

/** Leases, living and over: two writes for each, its grant and its end. */
export class LeaseStore {
  readonly #db: SqlDatabase;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  insert(lease: LeaseRecord): void {
    this.#db.exec(
      `INSERT INTO leases (id, job_id, token, replica_id, node_id, poll_id, attempt, granted_at, phases, boot)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      lease.id,
      lease.jobId,
      lease.token,
      lease.replicaId,
      lease.nodeId,
      lease.pollId,
      lease.attempt,
      lease.grantedAt,
      JSON.stringify(lease.phases),
      JSON.stringify(lease.boot),
    );
  }

  /** A lease ends once: a second end changes nothing. */
  end(id: LeaseId, outcome: LeaseOutcome, phases: z.infer<typeof PhaseTimes>, at: number): void {
    this.#db.exec(
      "UPDATE leases SET ended_at = ?, outcome = ?, phases = ? WHERE id = ? AND outcome IS NULL",
      at,
      outcome,
      JSON.stringify(phases),
      id,
    );
  }

  get(id: LeaseId): LeaseRecord | null {
    const [row] = this.#db.exec("SELECT * FROM leases WHERE id = ?", id);
    if (row === undefined) return null;
    return {
      id: text(row, "id") as LeaseId,
      jobId: text(row, "job_id") as JobId,
      token: text(row, "token"),
      replicaId: text(row, "replica_id") as ReplicaId,
      nodeId: text(row, "node_id") as NodeId,
      pollId: text(row, "poll_id"),
      attempt: integer(row, "attempt"),
      grantedAt: integer(row, "granted_at"),
      endedAt: integerOrNull(row, "ended_at"),
      outcome: textOrNull(row, "outcome") as LeaseOutcome | null,
      phases: stored<z.infer<typeof PhaseTimes>>(row, "phases"),
      boot: stored<BootStretch[]>(row, "boot"),
    };
  }

  delete(id: LeaseId): void {
    this.#db.exec("DELETE FROM leases WHERE id = ?", id);
  }
}
