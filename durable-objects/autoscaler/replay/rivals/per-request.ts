/**
 * A replica for each request that waits or runs, or for each few of them, and an idle time after which one stops:
 * RunPod's request count, Modal, fal, AWS Lambda, Beam, and every plain timer.
 */
import type { FleetPolicy } from "../engine.ts";
import type { Fleet } from "../fleet.ts";
import { concurrency } from "./rival.ts";

export interface PerRequestOptions {
  /** A replica stops when it has been idle so long. */
  readonly idleS: number;
  /** Default 1. */
  readonly requestsPerReplica?: number;
  /** Replicas more than that while any request waits or runs; default 0. */
  readonly buffer?: number;
  /** Idle time of a replica that has had no request yet; default idleS. */
  readonly unusedIdleS?: number;
}

export function perRequest(options: PerRequestOptions): FleetPolicy {
  const { idleS, requestsPerReplica = 1, buffer = 0, unusedIdleS = idleS } = options;
  /** Slots whose replica has had no request yet. */
  const unused = new Set<number>();
  return {
    decide: (fleet) => {
      const requests = concurrency(fleet);
      const spare = requests === 0 ? 0 : buffer;
      const wanted = Math.ceil(requests / requestsPerReplica) + spare;
      if (wanted > fleet.replicas) fleet.launch(wanted - fleet.replicas);
      if (unusedIdleS < idleS) stopUnused(fleet, unused, unusedIdleS, spare);
      stopIdle(fleet, idleS, spare);
    },
    listener: {
      onBooted: (slot) => unused.add(slot),
      onStarted: (_, slot) => unused.delete(slot),
    },
  };
}

/**
 * Stops what has been idle so long, and asks to look again when the next one will have been.
 * @param spared so many idle replicas stay whatever their time
 */
export function stopIdle(fleet: Fleet, idleS: number, spared: number): void {
  while (fleet.idle > spared && fleet.replicas > fleet.floor) {
    const oldest = fleet.idleSlots[0];
    if (oldest === undefined) return;
    const until = fleet.sinceS(oldest) + idleS;
    if (until > fleet.nowS) {
      fleet.lookAgainAt(until);
      return;
    }
    fleet.stop(oldest);
  }
}

function stopUnused(fleet: Fleet, unused: Set<number>, unusedIdleS: number, spared: number): void {
  for (const slot of [...unused]) {
    if (fleet.idle <= spared || fleet.replicas <= fleet.floor) return;
    const until = fleet.sinceS(slot) + unusedIdleS;
    if (until > fleet.nowS) fleet.lookAgainAt(until);
    else {
      unused.delete(slot);
      fleet.stop(slot);
    }
  }
}
