/** Moves batch jobs to the interactive lane when their start deadline comes near. */
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import { joined } from "#durable-objects/queue/joining";

/** From the alarm: those whose time has come, so many in a turn at most. */
export function joinInteractive(state: EndpointState, now: number): void {
  if (state.waiting.queued("batch") === 0) return;
  const due = [...state.jobs.joiningBy(now, SWEEP_ROWS_MAX), ...state.jobs.usualJoiningBy(now, SWEEP_ROWS_MAX)];
  for (const job of due) state.moved(job, joined(job));
}

/** When the next one joins: exact, or too early by its priority; null when none waits. */
export function joiningDue(state: EndpointState, now: number): number | null {
  if (state.waiting.queued("batch") === 0) return null;
  const dues = [state.jobs.nextJoining(now), state.jobs.nextUsualJoining(now)].filter((due) => due !== null);
  return dues.length === 0 ? null : Math.min(...dues);
}
