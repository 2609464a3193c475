/** The warm floor over the time of a replay, as a weekly schedule has it. */
import type { WarmWindow } from "#contract/endpoint";
import type { FleetPolicy } from "#durable-objects/autoscaler/replay/engine";
import { scalerPolicy } from "#durable-objects/autoscaler/replay/scaler-policy";
import type { Scaler, ScalerSettings } from "#durable-objects/autoscaler/scaler";
import { floorAt } from "#durable-objects/autoscaler/warm-floor";

export interface WarmSchedule {
  readonly windows: readonly WarmWindow[];
  /** Second 0 of the trace in Unix ms: what weekday and time it was. */
  readonly startMs: number;
}

/** A scaler under settings whose floor follows the schedule; it is looked at whenever the floor changes. */
export function scheduledPolicy(scaler: Scaler, settings: ScalerSettings, schedule: WarmSchedule): FleetPolicy {
  const { windows, startMs } = schedule;
  let now = settings;
  let untilS: number | null = 0;
  const settingsAt = (nowS: number): ScalerSettings => {
    if (untilS !== null && nowS >= untilS) {
      const input = { minReplicas: settings.floor, schedule: windows, hold: null };
      const { replicas, until } = floorAt(input, startMs + nowS * 1_000);
      now = { ...settings, floor: Math.min(replicas, settings.ceiling) };
      // A change within this very millisecond is seen in the next one.
      untilS = until === null ? null : Math.max((until - startMs) / 1_000, nowS + 0.001);
    }
    return now;
  };
  const policy = scalerPolicy(scaler, settingsAt);
  return {
    ...policy,
    decide: (fleet) => {
      policy.decide(fleet);
      settingsAt(fleet.nowS);
      if (untilS !== null) fleet.lookAgainAt(untilS);
    },
  };
}
