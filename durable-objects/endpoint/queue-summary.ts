import { type Refusal, refusal } from "#contract/problems";
import type { QueueSummary } from "#contract/queue";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { listed } from "#durable-objects/endpoint/replica-views";
import { iso } from "#durable-objects/endpoint/shown-job";
import { etaOf } from "#durable-objects/endpoint/why";

/** Running jobs that are listed. */
const IN_FLIGHT_MAX = 200;

/** How the queue stands, from what is remembered: no count of waiting jobs. */
export function queueSummary(state: EndpointState, now: number): { ok: true; summary: QueueSummary } | Refusal {
  const { config, pause, queued } = state;
  const { rates, services, dead } = state.tallies;
  if (config === null) return refusal("endpoint_not_found", "There is no such endpoint.");
  const oldest = state.waiting.oldestCreatedAt();
  return {
    ok: true,
    summary: {
      endpoint_id: config.endpointId,
      paused: pause === null ? null : { since: iso(pause.since), reason: pause.reason, refuse_new: pause.refuseNew },
      queued: { ...queued },
      retrying: state.stats.retrying,
      running: state.running.size,
      dead,
      oldest_wait_ms: oldest === null ? null : Math.max(0, now - oldest),
      eta_ms: etaOf(state, queued.interactive + 1, null, now),
      in_flight: inFlight(state),
      replicas: listed(state, "current", now),
      arrived_last_minute: rates.arrivedLastMinute(now),
      finished_last_minute: { ...rates.finishedLastMinute(now) },
      finished_last_hour: { ...rates.finishedLastHour(now) },
      service_ms_p50: services.median(),
      storage: storageOf(state, now),
    },
  };
}

function storageOf({ storedBytes }: EndpointState, now: number): QueueSummary["storage"] {
  const state = storedBytes.fill(now);
  return { bytes: storedBytes.bytes, bytes_max: storedBytes.bytesMax, state };
}

function inFlight(state: EndpointState): QueueSummary["in_flight"] {
  const ids = [...state.running.keys()].slice(0, IN_FLIGHT_MAX);
  return ids.flatMap((id) => {
    const job = state.jobs.get(id);
    if (job?.state !== "running") return [];
    return [
      {
        job_id: job.id,
        attempt: job.attempt,
        phase: job.phase,
        replica_id: job.lease.replicaId,
        node_id: job.lease.nodeId,
        assigned_at: iso(job.lease.grantedAt),
        progress: state.live.get(job.id).progress ?? state.jobs.progress(job.id),
      },
    ];
  });
}
