import { IDLE_TIMEOUT_S_DEFAULT } from "#contract/limits";
import { batchNeed, interactiveBusy } from "./batch-need.ts";
import { idleFor, NO_MORE_ALLOWED } from "./reasons.ts";
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
      if (stops.letGo.length > 0) return idleFor(timeoutMs);
      const load = `${jobs} jobs at ${perReplica} per replica`;
      if (needed > settings.ceiling) return `${load}, and ${NO_MORE_ALLOWED}`;
      if (wanted <= replicas.length) return `enough for ${load}`;
      if (needed < settings.floor) return `the warm floor is ${settings.floor}`;
      return batch.replicas > 0 ? `${load}, and ${batch.replicas} more for batch jobs that waited long enough` : load;
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
