import { IDLE_TIMEOUT_S_DEFAULT } from "#contract/limits";
import { batchNeed, interactiveBusy } from "./batch-need.ts";
import type { Scaler, ScalerDecision, ScalerEvent, ScalerObservation, ScalerSettings } from "./scaler.ts";
import { earlier, timedStops } from "./timed-stops.ts";

/** One replica for so many jobs that wait or run; idle ones stop after a while. Remembers nothing. */
export class RequestCountScaler implements Scaler {
  note(_event: ScalerEvent): void {}

  decide(settings: ScalerSettings, observation: ScalerObservation): ScalerDecision {
    const { replicas, waitingTotal } = observation;
    const perReplica = Math.max(1, settings.jobsPerReplica);
    const batch = batchNeed(settings, observation, perReplica);
    const jobs = waitingTotal + interactiveBusy(observation);
    const needed = Math.ceil(jobs / perReplica) + batch.replicas;
    const bounded = Math.min(settings.ceiling, Math.max(settings.floor, needed));
    const timeoutMs = settings.idleTimeoutMs ?? IDLE_TIMEOUT_S_DEFAULT * 1000;
    const stops = timedStops(observation, timeoutMs, replicas.length - bounded);
    const left = replicas.length - stops.letGo.length;
    const wanted = Math.min(settings.ceiling, Math.max(left, bounded));
    const reason = (): string => {
      if (stops.letGo.length > 0) return `${replicas.length} -> ${left}: idle for ${timeoutMs / 1000} s`;
      if (wanted <= replicas.length) return `${replicas.length}: enough for ${jobs} jobs at ${perReplica} per replica`;
      if (needed < settings.floor) return `${replicas.length} -> ${wanted}: the warm floor is ${settings.floor}`;
      const forBatch = batch.replicas > 0 ? `, and ${batch.replicas} more for batch jobs that waited long enough` : "";
      return `${replicas.length} -> ${wanted}: ${jobs} jobs at ${perReplica} per replica${forBatch}`;
    };
    return {
      wanted,
      letGo: stops.letGo,
      reason: reason(),
      lookAgainAt: earlier(stops.dueAt, batch.dueAt),
    };
  }

  save(): string {
    return "{}";
  }
}
