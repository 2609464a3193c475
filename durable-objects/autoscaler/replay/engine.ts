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
/** Where billing goes on to the end: seconds without any job's end, beyond the week that batch jobs may be told to wait. */
const STUCK_S_MAX = 8 * 86_400;
/** And so long after the last job: what has not stopped by then stays for good. */
const STOPS_WITHIN_S = 86_400;

/** Called once per instant at which anything happened or a look was asked for; acts through the fleet's methods. */
export interface FleetPolicy {
  decide(fleet: Fleet): void;
  /** For policies that follow single events. */
  readonly listener?: FleetListener;
}

/** Instants that are replayed in one go: a tenth of a second of work, or less. */
const INSTANTS_IN_ONE_GO = 2_000;

/**
 * One run of one policy over one trace.
 * @throws RangeError when the policy asks to look again at a time that is not in the future
 */
export function replay(arrivals: Arrivals, policy: FleetPolicy, options: ReplayOptions): ReplayResult {
  return finished(replayInParts(arrivals, policy, options));
}

/** The same in parts, for who must do something else in between: each yields how much is done, 0 to 1. */
export function* replayInParts(
  arrivals: Arrivals,
  policy: FleetPolicy,
  options: ReplayOptions,
): Generator<number, ReplayResult> {
  const fleet = new Fleet(arrivals, options, policy.listener);
  const isOver = options.billsToEnd === true ? isStopped : isPastHorizon;
  fleet.step(0);
  policy.decide(fleet);
  for (let instant = 1; ; instant += 1) {
    const at = fleet.nextAt();
    if (isOver(fleet, at, options)) break;
    fleet.step(at);
    policy.decide(fleet);
    if (instant % INSTANTS_IN_ONE_GO === 0) yield Math.min(1, at / options.horizonS);
  }
  return fleet.result();
}

/** Nothing counts after the horizon but how long they wait who came before it. @param at when something happens next */
function isPastHorizon(fleet: Fleet, at: number, { horizonS }: ReplayOptions): boolean {
  return at > horizonS + AFTER_HORIZON_S_MAX || (at > horizonS && fleet.done());
}

/** The jobs are done, or never will be, and so are the replicas. @param at when something happens next */
function isStopped(fleet: Fleet, at: number, { horizonS }: ReplayOptions): boolean {
  const lastS = Math.max(horizonS, fleet.lastEndS);
  if (at <= lastS || fleet.busy > 0) return false;
  if (!fleet.done()) return at > lastS + STUCK_S_MAX;
  fleet.close();
  return fleet.replicas === 0 || at > lastS + STOPS_WITHIN_S;
}

/** What comes of all parts. */
export function finished<Result>(parts: Generator<unknown, Result>): Result {
  for (;;) {
    const { done, value } = parts.next();
    if (done === true) return value;
  }
}
