/** Kubernetes' horizontal pod autoscaler (HPA), alone and behind KEDA, which adds zero replicas to it. */
import type { FleetPolicy } from "../engine.ts";
import type { Fleet } from "../fleet.ts";
import { concurrency, nextTick, scaleTo } from "./rival.ts";
import { SlidingMaximum } from "./ticked-average.ts";

const SYNC_S = 15;
const TOLERANCE = 0.1;
const UP_PODS = 4;
const UP_FACTOR = 2;
const DOWN_STABLE_S = 300;

/** One sync of the HPA: requests per replica in, replicas out, no fewer than the highest wish of the last 300 s. */
function sync(fleet: Fleet, wishes: SlidingMaximum, target: number): void {
  const current = Math.max(1, fleet.replicas);
  const ratio = concurrency(fleet) / target / current;
  const wish = Math.abs(ratio - 1) <= TOLERANCE ? current : Math.ceil(current * ratio);
  const most = Math.max(current + UP_PODS, current * UP_FACTOR);
  scaleTo(fleet, Math.max(1, Math.min(wishes.note(fleet.nowS, wish), most)));
}

/** The HPA on requests per replica; it never goes below one. */
export function kubernetes(options: { readonly target?: number } = {}): FleetPolicy {
  const { target = 1 } = options;
  const wishes = new SlidingMaximum(DOWN_STABLE_S);
  let syncAtS = 0;
  return {
    decide: (fleet) => {
      if (fleet.replicas === 0) fleet.launch(1);
      if (fleet.nowS >= syncAtS) {
        sync(fleet, wishes, target);
        syncAtS = nextTick(fleet.nowS, SYNC_S);
      }
      // Where one replica is idle, only an arrival can change anything.
      if (concurrency(fleet) > 0 || fleet.replicas > 1) fleet.lookAgainAt(syncAtS);
    },
  };
}

export interface KedaOptions {
  /** Default 30. */
  readonly pollS?: number;
  /** Default 300. */
  readonly cooldownS?: number;
  /** Requests per replica, running ones included; default 1. */
  readonly target?: number;
}

/** KEDA on the length of the queue: its poll starts the first replica, the HPA the others, its cooldown stops the last. */
export function keda(options: KedaOptions = {}): FleetPolicy {
  const { pollS = 30, cooldownS = 300, target = 1 } = options;
  let wishes = new SlidingMaximum(DOWN_STABLE_S);
  let activeS = 0;
  let pollAtS = 0;
  let syncAtS = 0;
  return {
    decide: (fleet) => {
      const isActive = concurrency(fleet) > 0;
      if (fleet.replicas === 0 && !isActive) return;
      // Ticks that fell into a time without anything to do are made up for by looking at the next one.
      if (fleet.nowS - pollAtS > pollS) pollAtS = nextTick(fleet.nowS, pollS);
      if (fleet.nowS - syncAtS > SYNC_S) syncAtS = nextTick(fleet.nowS, SYNC_S);
      const polls = fleet.nowS >= pollAtS;
      const syncs = fleet.nowS >= syncAtS;
      // The metrics server asks for the queue's length at every sync, which KEDA takes for a poll.
      if (isActive && (polls || syncs)) activeS = fleet.nowS;
      if (polls) {
        if (isActive && fleet.replicas === 0) {
          wishes = new SlidingMaximum(DOWN_STABLE_S);
          fleet.launch(1);
        }
        if (!isActive && fleet.nowS - activeS >= cooldownS) scaleTo(fleet, 0);
        pollAtS = nextTick(fleet.nowS, pollS);
      }
      if (syncs) {
        if (fleet.replicas > 0) sync(fleet, wishes, target);
        syncAtS = nextTick(fleet.nowS, SYNC_S);
      }
      fleet.lookAgainAt(fleet.replicas === 0 ? pollAtS : Math.min(pollAtS, syncAtS));
    },
  };
}
