import type { FleetPolicy } from "../engine.ts";
import { scaleTo } from "./rival.ts";
import { TickedAverage } from "./ticked-average.ts";

export interface KnativeOptions {
  /** Default 60. */
  readonly stableS?: number;
  /** Concurrency per replica: 70 % of the one request that a replica takes. Default 0.7. */
  readonly target?: number;
  /** The last replica stays so long after the wish for none. Default 30. */
  readonly graceS?: number;
}

const TICK_S = 2;
const PANIC_PART = 0.1;
const PANIC_THRESHOLD = 2;
const UP_RATE_MAX = 1_000;
const DOWN_RATE_MAX = 2;

/**
 * Knative's pod autoscaler (KPA), as `pkg/autoscaler/scaling/autoscaler.go` computes it: a stable window and a panic
 * window of a tenth of it, the higher of both while panicking, no shrinking until a stable window after the last alarm.
 */
export function knative(options: KnativeOptions = {}): FleetPolicy {
  const { stableS = 60, target = 0.7, graceS = 30 } = options;
  const panicS = Math.max(stableS * PANIC_PART, TICK_S);
  const measured = new TickedAverage(TICK_S, stableS);
  let alarmS: number | null = null;
  let panicMost = 0;
  let noneWantedS: number | null = null;

  const wantedNow = (nowS: number, ready: number): number => {
    const pods = Math.max(1, ready);
    const most = Math.ceil(UP_RATE_MAX * pods);
    const fewest = Math.floor(pods / DOWN_RATE_MAX);
    const panicRaw = Math.ceil(measured.over(panicS) / target);
    const stable = clamp(Math.ceil(measured.over(stableS) / target), fewest, most);
    if (panicRaw / pods >= PANIC_THRESHOLD) alarmS = nowS;
    else if (alarmS !== null && alarmS + stableS < nowS) {
      alarmS = null;
      panicMost = 0;
    }
    if (alarmS === null) return stable;
    panicMost = Math.max(panicMost, stable, clamp(panicRaw, fewest, most));
    return panicMost;
  };

  return {
    decide: (fleet) => {
      const hasTicked = measured.follow(fleet);
      // Once it is at zero only the activator starts anything.
      if (hasTicked && fleet.replicas > 0) {
        const wanted = wantedNow(fleet.nowS, fleet.busy + fleet.idle);
        noneWantedS = wanted > 0 ? null : (noneWantedS ?? fleet.nowS);
        const isOver = noneWantedS !== null && noneWantedS + graceS <= fleet.nowS;
        scaleTo(fleet, isOver ? 0 : Math.max(1, wanted));
      }
      // The activator holds the first request and has the autoscaler look at once.
      if (fleet.replicas === 0 && fleet.waiting > 0) fleet.launch(1);
      if (fleet.replicas > 0) fleet.lookAgainAt(measured.nextTickS);
    },
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
