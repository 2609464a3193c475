import { IDLE_TIMEOUT_S_DEFAULT } from "#contract/limits";
import { batchNeed, interactiveBusy } from "./batch-need.ts";
import { idleFor, NO_MORE_ALLOWED } from "./reasons.ts";
import type { Scaler, ScalerDecision, ScalerEvent, ScalerObservation, ScalerSettings } from "./scaler.ts";
import { earlier, timedStops } from "./timed-stops.ts";

/** Batch jobs that deserve a replica once the oldest has waited long enough; the rest follow on it. */
const BATCH_JOBS_PER_REPLICA = 16;

/** A replica for every job that has waited for longer than the threshold; idle ones stop after a while. Remembers nothing. */
export class QueueDelayScaler implements Scaler {
  note(_event: ScalerEvent): void {}

  decide(settings: ScalerSettings, observation: ScalerObservation): ScalerDecision {
    const { now, replicas, waiting, waitingTotal } = observation;
    const delayMs = settings.queueDelayMs;
    const seenLate = waiting.filter((since) => now - since >= delayMs).length;
    // Where more wait than are seen, and all of those seen are late, the others may be late as well.
    const late = seenLate < waiting.length ? seenLate : waitingTotal;
    const firstOnTime = waiting.find((since) => now - since < delayMs);
    const batch = batchNeed(settings, observation, BATCH_JOBS_PER_REPLICA);
    const busy = interactiveBusy(observation);
    const needed = busy + late + batch.replicas;
    const bounded = Math.min(settings.ceiling, Math.max(settings.floor, needed));
    const timeoutMs = settings.idleTimeoutMs ?? IDLE_TIMEOUT_S_DEFAULT * 1000;
    const stops = timedStops(observation, timeoutMs, replicas.length - bounded);
    const left = replicas.length - stops.letGo.length;
    const wanted = Math.min(settings.ceiling, Math.max(left, bounded));
    const lateAt = firstOnTime === undefined ? null : firstOnTime + delayMs;
    const reason = (): string => {
      if (stops.letGo.length > 0) return idleFor(timeoutMs);
      const seconds = `${delayMs / 1000} s or more`;
      const load =
        late > seenLate
          ? `${late} jobs, the first ${seenLate} of which wait ${seconds}`
          : `${late} jobs that wait ${seconds}`;
      if (needed > settings.ceiling) return `${load}, and ${NO_MORE_ALLOWED}`;
      if (wanted <= replicas.length) return `enough for ${load}`;
      if (needed < settings.floor) return `the warm floor is ${settings.floor}`;
      return batch.replicas > 0 ? `${load}, and ${batch.replicas} more for batch jobs that waited long enough` : load;
    };
    return {
      wanted,
      letGo: stops.letGo,
      reason: reason(),
      lookAgainAt: earlier(stops.dueAt, earlier(batch.dueAt, lateAt)),
    };
  }

  save(): string {
    return "{}";
  }
}
