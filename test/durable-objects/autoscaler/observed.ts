import type { ScalerObservation, ScalerReplica, ScalerSettings } from "#durable-objects/autoscaler/scaler";

export const START = Date.UTC(2026, 2, 1);

export const SETTINGS: ScalerSettings = {
  policy: "predictive",
  waitValue: 10,
  targetP95WaitS: null,
  floor: 0,
  ceiling: 64,
  idleTimeoutMs: null,
  queueDelayMs: 4_000,
  jobsPerReplica: 1,
  batchTargetWaitMs: 3_600_000,
};

export function replica(index: number, state: ScalerReplica["state"], since: number): ScalerReplica {
  return { id: `r${index}`, state, since, lane: state === "busy" ? "interactive" : null };
}

/** What a policy sees; of the waiting jobs only as many as a policy is shown. */
export function observed(seen: Partial<ScalerObservation> & { readonly now: number }): ScalerObservation {
  const waiting = seen.waiting ?? [];
  return {
    batchWaiting: 0,
    batchOldestAt: null,
    replicas: [],
    ...seen,
    waiting: waiting.slice(0, 256),
    waitingTotal: waiting.length,
  };
}
