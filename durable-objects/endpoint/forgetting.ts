/** What an endpoint forgets of its past: records whose time is over, and earlier ones where storage is short. */
import { JOB_RETENTION_DAYS } from "#contract/limits";
import { forgetBatch } from "#durable-objects/endpoint/batches";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";

const JOB_RETENTION_MS = JOB_RETENTION_DAYS * 86_400_000;

/** Deletes the oldest records that may go, so many in one turn. None goes before its outputs have. */
export function forgetOldJobs(state: EndpointState, now: number): void {
  const endedBy = state.storedBytes.look(now) === "ample" ? now - JOB_RETENTION_MS : now;
  for (const id of state.history.endedBy(endedBy, state.configs.readPurgeMark(), SWEEP_ROWS_MAX)) {
    const deleted = state.jobs.delete(id);
    if (deleted === null) continue;
    if (deleted.dead) state.tallies.deadLeft(1);
    if (deleted.batchId !== null) forgetBatch(state, deleted.batchId);
  }
}

/** When the next record may go; null: there is none. */
export function forgetDue(state: EndpointState, now: number): number | null {
  const oldest = state.history.firstEndedUpTo(state.configs.readPurgeMark());
  if (oldest === null) return null;
  return state.storedBytes.fill(now) === "ample" ? oldest + JOB_RETENTION_MS : now + 1;
}
