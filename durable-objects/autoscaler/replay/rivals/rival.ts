import type { FleetPolicy } from "../engine.ts";
import type { Fleet } from "../fleet.ts";

/** A policy of another system, as its documents or its source describe it, under the same rules as ours. */
export interface Rival {
  /** As `pilotlight simulate --policy` takes it. */
  readonly name: string;
  readonly title: string;
  /** A new one, which knows nothing yet; one per endpoint. */
  make(): FleetPolicy;
}

/** Jobs that wait or run: what most systems call concurrency. */
export function concurrency(fleet: Fleet): number {
  return fleet.waiting + fleet.busy;
}

/** Brings the replicas to so many, starting new ones or stopping idle ones, the longest idle first; busy ones stay. */
export function scaleTo(fleet: Fleet, wanted: number): void {
  if (wanted > fleet.replicas) fleet.launch(wanted - fleet.replicas);
  while (wanted < fleet.replicas && fleet.stopLongestIdle());
}

/** The next multiple of a period after now. */
export function nextTick(nowS: number, periodS: number): number {
  const next = (Math.floor(nowS / periodS) + 1) * periodS;
  // A fraction of a period may be rounded down to now itself.
  return next > nowS ? next : next + periodS;
}
