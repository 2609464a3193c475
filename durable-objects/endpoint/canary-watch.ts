import type { CanaryResults } from "#contract/canary";
import { PROGRESS_PERSIST_MS } from "#contract/limits";
import {
  type Arm,
  armView,
  type CanaryConfig,
  type CanaryRecord,
  counted,
  NO_JOBS,
  verdict,
} from "#durable-objects/endpoint/canary";
import type { EnqueueRequest } from "#durable-objects/endpoint/rpc";
import type { JobRecord } from "#durable-objects/queue/job-record";
import {
  chance,
  integer,
  integerOrNull,
  type SqlDatabase,
  stored,
  text,
  type World,
} from "#durable-objects/sql/database";

/** The releases of an endpoint between which new jobs are drawn. */
export interface Drawn {
  readonly release: number;
  readonly canary?: CanaryConfig | undefined;
}

/**
 * The endpoint's canary: who gets it, what came of it, and its end. Counts live in memory and are written at most every
 * PROGRESS_PERSIST_MS, with a job's own commit, and when the canary is rolled back: an object that is ended unexpectedly
 * forgets the jobs of the last seconds, and judges by the others.
 */
export class CanaryWatch {
  readonly #db: SqlDatabase;
  /** undefined: not read yet. */
  #record: CanaryRecord | null | undefined;
  #writtenAt = 0;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  /** Drops what is derived from the table. */
  forget(): void {
    this.#record = undefined;
  }

  /** Another canary begins, or none is left. */
  begin(config: CanaryConfig | undefined): void {
    this.#record = config === undefined ? null : { id: config.id, canary: NO_JOBS, active: NO_JOBS, ended: null };
    this.#write();
  }

  /**
   * The release that a new job gets, with the inputs as that release takes them. A request that the Worker read before it
   * heard of the canary, or whose inputs the canary does not take, runs on the release it came for.
   */
  drawn(
    { release, inputs, files, canary: offer }: EnqueueRequest,
    config: Drawn,
    world: World,
  ): Pick<EnqueueRequest, "release" | "inputs" | "files"> {
    const asked = { release, inputs, files };
    const { canary } = config;
    if (canary === undefined || offer?.release !== canary.release || release !== config.release) return asked;
    if (!this.isRunning) return asked;
    return chance(world) < canary.weight ? offer : asked;
  }

  /**
   * A job has ended by itself.
   * @returns why the canary was rolled back by it; null: it was not
   */
  ended(job: JobRecord, config: Drawn): string | null {
    const { canary } = config;
    if (canary === undefined || (job.state !== "succeeded" && job.state !== "failed")) return null;
    const known = this.#known();
    if (known === null || known.ended !== null) return null;
    const arm = job.release === canary.release ? "canary" : job.release === config.release ? "active" : null;
    if (arm === null) return null;
    const after: CanaryRecord = {
      ...known,
      [arm]: counted(known[arm], job.state === "succeeded" ? job.serviceMs : null),
    };
    const reason = verdict(canary, after);
    this.#record = reason === null ? after : { ...after, ended: { at: job.finishedAt, reason } };
    if (reason !== null || Math.abs(job.finishedAt - this.#writtenAt) >= PROGRESS_PERSIST_MS) {
      this.#writtenAt = job.finishedAt;
      this.#write();
    }
    return reason;
  }

  /** Whether new jobs are drawn for it. */
  get isRunning(): boolean {
    return this.#known()?.ended === null;
  }

  /** As callers see it; null without a canary. */
  results(): CanaryResults | null {
    const known = this.#known();
    if (known === null) return null;
    const { ended, canary, active } = known;
    return {
      state: ended === null ? "running" : "rolled_back",
      ended_at: ended === null ? null : new Date(ended.at).toISOString(),
      reason: ended?.reason ?? null,
      canary: armView(canary),
      active: armView(active),
    };
  }

  #known(): CanaryRecord | null {
    if (this.#record === undefined) this.#record = this.#read();
    return this.#record;
  }

  #read(): CanaryRecord | null {
    const [row] = this.#db.exec("SELECT * FROM canary WHERE id = 1");
    if (row === undefined) return null;
    const at = integerOrNull(row, "ended_at");
    return {
      id: integer(row, "canary_id"),
      canary: stored<Arm>(row, "canary"),
      active: stored<Arm>(row, "active"),
      ended: at === null ? null : { at, reason: text(row, "reason") },
    };
  }

  #write(): void {
    const record = this.#record;
    if (record === null || record === undefined) this.#db.exec("DELETE FROM canary");
    else {
      this.#db.exec(
        "INSERT OR REPLACE INTO canary (id, canary_id, canary, active, ended_at, reason) VALUES (1, ?, ?, ?, ?, ?)",
        record.id,
        JSON.stringify(record.canary),
        JSON.stringify(record.active),
        record.ended?.at ?? null,
        record.ended?.reason ?? null,
      );
    }
  }
}
