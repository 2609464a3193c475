import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { expire } from "#durable-objects/queue/transition";

/** Rows one turn touches at most, so that a long backlog cannot stall the object; the rest follows 1 ms later. */
export const SWEEP_ROWS_MAX = 500;

/** Ends the waiting jobs whose start deadline has passed; also before a match, because the alarm may be late. */
export function expireQueued(state: EndpointState, now: number): void {
  for (const job of state.jobs.expiredBy(now, SWEEP_ROWS_MAX)) state.moved(job, expire(job, now));
}
