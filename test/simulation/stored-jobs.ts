/** The one place of the simulator that knows how a job lies in its row. */
import type { JobId } from "#contract/ids";
import { recordOf } from "#durable-objects/endpoint/job-rows";
import type { JobRecord } from "#durable-objects/queue/job-record";
import type { LeaseRecord } from "#durable-objects/queue/lease";
import type { SimulatedDatabase } from "./simulated-database.ts";

/** The job as it is stored; null when there is none. */
export function storedJob(database: SimulatedDatabase, id: string): JobRecord | null {
  const [row] = database.look("SELECT * FROM jobs WHERE id = ?", id);
  return row === undefined ? null : recordOf(row);
}

/** Every job that is stored. */
export function storedJobIds(database: SimulatedDatabase): JobId[] {
  return database.look("SELECT id FROM jobs ORDER BY id").map((row) => String(row.id) as JobId);
}

/** What may never change once a job has ended. */
export function finalPart(job: JobRecord): string {
  const ended = job.state === "queued" || job.state === "running" ? null : job;
  return JSON.stringify([
    job.state,
    job.attempt,
    job.leases,
    job.events,
    ended?.finishedAt,
    ended?.state === "succeeded" ? [ended.outputs, ended.serviceMs] : ended?.error,
  ]);
}

/** The number inside a lease's token. */
export function counterOf(lease: LeaseRecord): number {
  return Number(lease.token.slice(0, lease.token.indexOf(".")));
}
