/** One decision of the predictive policy, from what is learned and what is there; the same for an endpoint and its shadows. */
import { type Outlook, startsWorth } from "./boot-ahead.ts";
import type { DemandModel } from "./demand-model.ts";
import type { Variant } from "./variants.ts";

/**
 * GPU-seconds that it is worth, whatever the wait value, to spare somebody a second of waiting longer than a whole start:
 * with a replica of their own they would not have. These waits make up the worst twentieth where waiting is cheap.
 */
const OVERLONG_VALUE = 10;

/** What is there. */
export interface Situation {
  now: number;
  busy: number;
  booting: number;
  idle: number;
  /** Of the idle ones, those idle for less than the variant's timer. */
  idleYoung: number;
  queued: number;
  /** Seconds until free: first of the busy replicas, then of the booting ones. */
  readonly freeInS: Float64Array;
  /** Seconds that queued jobs have waited, the oldest first. */
  readonly waitedS: Float64Array;
  floor: number;
  ceiling: number;
  /** How long a start takes; longer than usual while one that is under way has taken longer already. */
  bootS: number;
}

/** What waiting is worth. */
export interface Worth {
  /** GPU-seconds per second of waiting. */
  readonly waitValue: number;
  /** Waits up to here cost nothing, seconds. */
  readonly freeWaitS: number;
  /** The same two where a start is considered. */
  readonly startWaitValue: number;
  readonly startFreeWaitS: number;
}

/** Replicas worth keeping; idle ones beyond them may go. */
export function replicasKept(model: DemandModel, variant: Variant, at: Situation): number {
  return Math.max(
    at.floor,
    variant.gaps ? model.levelKept(at.now) : 0,
    model.levelStaffed(at.now, variant.windowIndex),
    variant.clock ? model.levelExpected(at.now) : 0,
    variant.timerS > 0 ? at.busy + at.booting + at.idleYoung : 0,
  );
}

/** Until when a level is worth keeping if nothing happens; -Infinity where it is not. */
export function levelUntil(model: DemandModel, variant: Variant, level: number, now: number): number {
  return Math.max(
    variant.gaps ? model.keptUntil(level) : Number.NEGATIVE_INFINITY,
    model.staffedUntil(level, variant.windowIndex),
    variant.clock ? model.expectedUntil(level, now) : Number.NEGATIVE_INFINITY,
  );
}

/** When more than so many replicas are to be started though nothing happens; Infinity: never. */
export function startsFrom(model: DemandModel, variant: Variant, replicas: number, now: number): number {
  return variant.clock ? model.expectedFrom(replicas, now) : Number.POSITIVE_INFINITY;
}

/** Replicas to start. */
export function replicasStarted(model: DemandModel, variant: Variant, at: Situation, worth: Worth): number {
  const replicas = at.busy + at.booting + at.idle;
  const due = variant.clock ? model.levelDue(at.now) : 0;
  const steady = Math.max(at.floor, due, model.levelStaffed(at.now, variant.windowIndex)) - replicas;
  const most = at.ceiling - replicas;
  let ahead = 0;
  if (most > 0 && (at.queued > 0 || (at.idle === 0 && at.busy > 0))) {
    ahead = startsWorth(outlook(model, at, worth), worth.startWaitValue, variant.caution * at.bootS, most);
  }
  return Math.max(0, Math.min(most, Math.max(ahead, steady)));
}

/** Whether one more would be started for those who wait, were it allowed. */
export function isStartWorth(model: DemandModel, variant: Variant, at: Situation, worth: Worth): boolean {
  return startsWorth(outlook(model, at, worth), worth.startWaitValue, variant.caution * at.bootS, 1) > 0;
}

export function outlook(model: DemandModel, at: Situation, worth: Worth): Outlook {
  const atWork = at.busy + at.booting;
  at.freeInS.fill(0, atWork, atWork + at.idle);
  return {
    freeInS: at.freeInS,
    replicas: Math.min(atWork + at.idle, at.freeInS.length),
    queued: at.queued,
    waitedS: at.waitedS,
    jobsPerS: model.jobsPerS(at.now),
    serviceS: model.serviceS,
    bootS: at.bootS,
    horizonS: at.bootS,
    freeWaitS: worth.startFreeWaitS,
    overlongWeight: OVERLONG_VALUE / worth.startWaitValue,
  };
}
