import type { FleetPolicy } from "../engine.ts";
import type { Fleet } from "../fleet.ts";
import { stopIdle } from "./per-request.ts";

/**
 * RunPod's queue delay: a replica more for each request that has waited too long and for which none is starting yet. The
 * delay counts from zero replicas as well.
 */
export function queueDelay(options: { readonly delayS: number; readonly idleS: number }): FleetPolicy {
  const { delayS, idleS } = options;
  return {
    decide: (fleet) => {
      const overdue = waitingSince(fleet, fleet.nowS - delayS);
      if (overdue > fleet.booting) fleet.launch(overdue - fleet.booting);
      if (overdue < fleet.waiting) fleet.lookAgainAt(laterThan(fleet, fleet.waitingSinceS(overdue) + delayS));
      stopIdle(fleet, idleS, 0);
    },
  };
}

/** How many of the waiting requests arrived at or before a time. */
function waitingSince(fleet: Fleet, atS: number): number {
  let low = 0;
  let high = fleet.waiting;
  while (low < high) {
    const middle = (low + high) >> 1;
    // A hair is added because the time of a look is a rounded sum.
    if (fleet.waitingSinceS(middle) <= atS + 1e-6) low = middle + 1;
    else high = middle;
  }
  return low;
}

function laterThan(fleet: Fleet, atS: number): number {
  return Math.max(atS, fleet.nowS + 1e-6);
}
