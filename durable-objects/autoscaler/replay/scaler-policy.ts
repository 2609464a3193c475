/** Lets a `Scaler`, as an endpoint uses it, drive the fleet of a replay. */
import type { Lane } from "#contract/job";
import {
  type Scaler,
  type ScalerDecision,
  type ScalerReplica,
  type ScalerSettings,
  WAITING_SEEN_MAX,
} from "../scaler.ts";
import type { FleetPolicy } from "./engine.ts";
import type { Fleet, FleetListener } from "./fleet.ts";

/** Second 0 of every trace on the scaler's clock, in Unix ms: a policy that mistakes durations for times shows. */
const START_MS = Date.UTC(2026, 0, 1);

export interface SeenDecision {
  readonly atS: number;
  readonly replicas: number;
  readonly decision: ScalerDecision;
}

/**
 * @param settings what the scaler is told, the same throughout or by the second
 * @param see called with each decision, for those who print them
 * @returns a policy for `replay`, which throws when the scaler lets go a busy replica or one that is not there
 */
export function scalerPolicy(
  scaler: Scaler,
  settings: ScalerSettings | ((nowS: number) => ScalerSettings),
  see?: (seen: SeenDecision) => void,
): FleetPolicy {
  const settingsAt = typeof settings === "function" ? settings : () => settings;
  return {
    listener: noteTo(scaler),
    decide(fleet) {
      const decision = scaler.decide(settingsAt(fleet.nowS), observe(fleet));
      see?.({ atS: fleet.nowS, replicas: fleet.replicas, decision });
      for (const id of decision.letGo) {
        const slot = slotOf(id);
        if (replicaId(fleet, slot) !== id) throw new RangeError(`let go of ${id}, which is not there`);
        fleet.stop(slot);
      }
      fleet.launch(Math.max(0, decision.wanted - fleet.replicas));
      if (decision.lookAgainAt !== null) fleet.lookAgainAt((Math.ceil(decision.lookAgainAt) - START_MS) / 1000);
    },
  };
}

function noteTo(scaler: Scaler): FleetListener {
  return {
    onArrived: (job, fleet) => scaler.note({ type: "arrived", at: clockMs(fleet.nowS), lane: laneOf(fleet, job) }),
    onStarted: (job, _slot, cold, fleet) =>
      scaler.note({
        type: "started",
        at: clockMs(fleet.nowS),
        lane: laneOf(fleet, job),
        waitedMs: clockMs(fleet.nowS) - clockMs(fleet.arrivedS(job)),
        cold,
      }),
    onFinished: (job, slot, fleet) =>
      scaler.note({
        type: "finished",
        at: clockMs(fleet.nowS),
        lane: laneOf(fleet, job),
        busyMs: clockMs(fleet.nowS) - clockMs(fleet.startedS(slot)),
      }),
    onBooted: (slot, fleet) =>
      scaler.note({
        type: "booted",
        at: clockMs(fleet.nowS),
        bootMs: clockMs(fleet.nowS) - clockMs(fleet.launchedS(slot)),
      }),
  };
}

function observe(fleet: Fleet) {
  const waiting: number[] = [];
  for (let position = 0; position < Math.min(fleet.waiting, WAITING_SEEN_MAX); position++) {
    waiting.push(clockMs(fleet.waitingSinceS(position)));
  }
  const replicas: ScalerReplica[] = [];
  const put = (slot: number, state: ScalerReplica["state"], lane: Lane | null) =>
    replicas.push({ id: replicaId(fleet, slot), state, since: clockMs(fleet.sinceS(slot)), lane });
  for (const slot of fleet.bootingSlots) put(slot, "starting", null);
  for (const slot of fleet.idleSlots) put(slot, "idle", null);
  for (const slot of fleet.busySlots) put(slot, "busy", laneOf(fleet, fleet.jobOf(slot)));
  const batchOldestAtS = fleet.batchOldestAtS;
  return {
    now: clockMs(fleet.nowS),
    waiting,
    waitingTotal: fleet.waiting,
    batchWaiting: fleet.batchWaiting,
    batchOldestAt: Number.isNaN(batchOldestAtS) ? null : clockMs(batchOldestAtS),
    replicas,
  };
}

function clockMs(seconds: number): number {
  return START_MS + Math.round(seconds * 1000);
}

function laneOf(fleet: Fleet, job: number): Lane {
  return fleet.isBatch(job) ? "batch" : "interactive";
}

function replicaId(fleet: Fleet, slot: number): string {
  return `${slot}.${fleet.generation(slot)}`;
}

function slotOf(id: string): number {
  return Number.parseInt(id, 10);
}
