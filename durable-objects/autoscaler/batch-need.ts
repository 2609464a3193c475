/** What batch jobs may ask for: nothing of their own until the oldest has waited for as long as it may. */
import type { ScalerObservation, ScalerSettings } from "./scaler.ts";

export interface BatchNeed {
  /** Replicas to have for batch jobs beside those that interactive jobs use; 0 while they can still wait. */
  readonly replicas: number;
  /** When that may change by time alone; null: it cannot. */
  readonly dueAt: number | null;
}

/** @param jobsPerReplica how many waiting batch jobs deserve a replica */
export function batchNeed(
  settings: ScalerSettings,
  { now, batchWaiting, batchOldestAt }: ScalerObservation,
  jobsPerReplica: number,
): BatchNeed {
  if (batchWaiting === 0 || batchOldestAt === null) return { replicas: 0, dueAt: null };
  const dueAt = batchOldestAt + settings.batchTargetWaitMs;
  if (dueAt > now) return { replicas: 0, dueAt };
  return { replicas: Math.max(1, Math.ceil(batchWaiting / Math.max(1, jobsPerReplica))), dueAt: null };
}

/** Replicas that work on interactive jobs. */
export function interactiveBusy({ replicas }: ScalerObservation): number {
  return replicas.filter(({ state, lane }) => state === "busy" && lane !== "batch").length;
}
