/** Lets a `Scaler`, as an endpoint uses it, drive the fleet of a replay. */
import type { Lane } from "#contract/job";
import { BatchReserve, keptNow } from "../batch-reserve.ts";
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
  const batch = new BatchLane();
  return {
    listener: noteTo(scaler, batch, settingsAt),
    decide(fleet) {
      const decision = scaler.decide(batch.settingsFor(fleet, settingsAt(fleet.nowS)), observe(fleet));
      see?.({ atS: fleet.nowS, replicas: fleet.replicas, decision });
      for (const id of decision.letGo) {
        const slot = slotOf(id);
        if (replicaId(fleet, slot) !== id) throw new RangeError(`let go of ${id}, which is not there`);
        fleet.stop(slot);
      }
      fleet.launch(Math.max(0, decision.wanted - fleet.replicas));
      if (decision.lookAgainAt !== null) fleet.lookAgainAt(clockS(decision.lookAgainAt));
    },
  };
}

/** What batch jobs leave to interactive ones, and get of their own, as in an endpoint. */
class BatchLane {
  readonly #reserve = new BatchReserve(null);
  #startedAt: number | null = null;

  arrived(job: number, fleet: Fleet): void {
    if (!fleet.hasBatchLane || fleet.isBatch(job)) return;
    const behind = fleet.waiting - fleet.idle;
    const isDelayed = behind > 0 && behind <= fleet.batchBusy;
    this.#reserve.arrived(clockMs(fleet.nowS), fleet.waiting + fleet.interactiveBusy, isDelayed);
  }

  started(job: number, slot: number, fleet: Fleet): void {
    const now = clockMs(fleet.nowS);
    if (fleet.isAtBatch(slot)) this.#startedAt = now;
    else if (fleet.hasBatchLane && !fleet.isBatch(job)) this.#reserve.started(now, now - clockMs(fleet.arrivedS(job)));
  }

  finished(slot: number, fleet: Fleet): void {
    if (fleet.isAtBatch(slot)) this.#reserve.batchEnded(clockMs(fleet.nowS) - clockMs(fleet.startedS(slot)));
  }

  keptFree(fleet: Fleet, settings: ScalerSettings): { readonly replicas: number; readonly fewerAtS: number } {
    const now = clockMs(fleet.nowS);
    const shared = {
      interactiveBusy: fleet.interactiveBusy,
      batchBusy: fleet.batchBusy,
      ready: fleet.idle + fleet.busy,
      capacity: fleet.replicas,
      most: settings.ceiling,
      dueAt: dueAt(fleet, settings),
      startedAt: this.#startedAt,
    };
    const { replicas, fewerAt } = keptNow(this.#reserve, shared, now);
    const at = fleet.idle > replicas ? null : fewerAt();
    return { replicas, fewerAtS: at === null ? Number.POSITIVE_INFINITY : clockS(Math.max(now + 1, at)) };
  }

  /** With the replica that batch jobs make worth having once they have waited for too long. */
  settingsFor(fleet: Fleet, settings: ScalerSettings): ScalerSettings {
    const due = dueAt(fleet, settings);
    if (due === null || due > clockMs(fleet.nowS)) return settings;
    return { ...settings, floor: Math.min(settings.ceiling, Math.max(settings.floor, fleet.interactiveBusy) + 1) };
  }
}

/** When the oldest batch job will have waited for too long, Unix ms; null: none waits. */
function dueAt({ batchOldestAtS }: Fleet, { batchTargetWaitMs }: ScalerSettings): number | null {
  return Number.isNaN(batchOldestAtS) ? null : clockMs(batchOldestAtS) + batchTargetWaitMs;
}

function noteTo(scaler: Scaler, batch: BatchLane, settingsAt: (nowS: number) => ScalerSettings): FleetListener {
  return {
    onArrived: (job, fleet) => {
      batch.arrived(job, fleet);
      scaler.note({ type: "arrived", at: clockMs(fleet.nowS), lane: laneOf(fleet, job) });
    },
    onStarted: (job, slot, cold, fleet) => {
      batch.started(job, slot, fleet);
      scaler.note({
        type: "started",
        at: clockMs(fleet.nowS),
        lane: laneOf(fleet, job),
        waitedMs: clockMs(fleet.nowS) - clockMs(fleet.arrivedS(job)),
        cold,
      });
    },
    onFinished: (job, slot, fleet) => {
      batch.finished(slot, fleet);
      scaler.note({
        type: "finished",
        at: clockMs(fleet.nowS),
        lane: laneOf(fleet, job),
        busyMs: clockMs(fleet.nowS) - clockMs(fleet.startedS(slot)),
      });
    },
    keptFree: (fleet) => batch.keptFree(fleet, settingsAt(fleet.nowS)),
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

/** Seconds from the start, of a time of the scaler's. */
function clockS(ms: number): number {
  return (Math.ceil(ms) - START_MS) / 1000;
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
