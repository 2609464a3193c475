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

/** Replicas that the schedule keeps warm when the trace begins. */
export function floorAtStart(settings: Pick<ScalerSettings, "floor" | "ceiling">, schedule: WarmSchedule): number {
  return floorIn(settings, schedule, 0).replicas;
}

/** A scaler under settings whose floor follows the schedule; it is looked at whenever the floor changes. */
export function scheduledPolicy(scaler: Scaler, settings: ScalerSettings, schedule: WarmSchedule): FleetPolicy {
  const { startMs } = schedule;
  let now = settings;
  let untilS: number | null = 0;
  const settingsAt = (nowS: number): ScalerSettings => {
    if (untilS !== null && nowS >= untilS) {
      const { replicas, until } = floorIn(settings, schedule, nowS);
      now = { ...settings, floor: replicas };
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

/** @returns `until` in Unix ms: when it changes next, null when it does not */
function floorIn(
  { floor, ceiling }: Pick<ScalerSettings, "floor" | "ceiling">,
  { windows, startMs }: WarmSchedule,
  nowS: number,
): { readonly replicas: number; readonly until: number | null } {
  const input = { minReplicas: floor, schedule: windows, hold: null };
  const { replicas, until } = floorAt(input, startMs + nowS * 1_000);
  return { replicas: Math.min(replicas, ceiling), until };
}
