/**
 * Replays a trace against a policy: first come first served, one job per replica, the replica that was busy last is used
 * first, billing from launch to stop with the boot included. Deterministic: chance comes from the seed.
 * Times here are seconds from the start of the trace.
 */
import type { Arrivals } from "./arrivals.ts";
import type { ReplayResult } from "./figures.ts";
import { Fleet, type FleetListener } from "./fleet.ts";
import type { ReplayOptions } from "./options.ts";

/** Seconds after the horizon at which a replay gives up on jobs that a policy never serves. */
const AFTER_HORIZON_S_MAX = 86_400;

/** Called once per instant at which anything happened or a look was asked for; acts through the fleet's methods. */
export interface FleetPolicy {
  decide(fleet: Fleet): void;
  /** For policies that follow single events. */
  readonly listener?: FleetListener;
}

/**
 * One run of one policy over one trace.
 * @throws RangeError when the policy asks to look again at a time that is not in the future
 */
export function replay(arrivals: Arrivals, policy: FleetPolicy, options: ReplayOptions): ReplayResult {
  const fleet = new Fleet(arrivals, options, policy.listener);
  const endS = options.horizonS + AFTER_HORIZON_S_MAX;
  fleet.step(0);
  policy.decide(fleet);
  for (;;) {
    const at = fleet.nextAt();
    if (at > endS || (at > options.horizonS && fleet.done())) break;
    fleet.step(at);
    policy.decide(fleet);
  }
  return fleet.result();
}
