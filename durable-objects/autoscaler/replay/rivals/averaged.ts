/** Systems that follow the average concurrency with a delay in each direction: Baseten, Ray Serve, Fireworks, Cloud Run. */
import type { FleetPolicy } from "../engine.ts";
import { concurrency, scaleTo } from "./rival.ts";
import { SlidingMaximum, TickedAverage } from "./ticked-average.ts";

export interface AveragedOptions {
  /** Over which the concurrency is averaged. */
  readonly windowS: number;
  /** Requests per replica. */
  readonly target: number;
  /** More replicas must have been wished for so long without a break. */
  readonly upDelayS: number;
  /** Fewer replicas must have been wished for so long without a break. */
  readonly downDelayS: number;
  /** How often it looks; default 2. */
  readonly tickS?: number;
  /** From one replica to none only after so long without a request; default downDelayS. */
  readonly zeroAfterS?: number;
}

export function averaged(options: AveragedOptions): FleetPolicy {
  const { windowS, target, upDelayS, downDelayS, tickS = 2, zeroAfterS = downDelayS } = options;
  const measured = new TickedAverage(tickS, windowS);
  const highs = new SlidingMaximum(downDelayS);
  let usedS = 0;
  let moreSinceS: number | null = null;
  return {
    decide: (fleet) => {
      if (concurrency(fleet) > 0) usedS = fleet.nowS;
      if (measured.follow(fleet)) {
        const wish = Math.ceil(measured.over(windowS) / target - 1e-9);
        moreSinceS = wish > fleet.replicas ? (moreSinceS ?? fleet.nowS) : null;
        const high = highs.note(fleet.nowS, wish);
        const mayRise = moreSinceS !== null && fleet.nowS - moreSinceS >= upDelayS;
        if (fleet.replicas > 0 && mayRise) scaleTo(fleet, wish);
        else if (high < fleet.replicas) {
          const isUnused = fleet.nowS - usedS >= zeroAfterS;
          scaleTo(fleet, high === 0 && !isUnused ? 1 : high);
        }
      }
      // The first request does not wait for any average.
      if (fleet.replicas === 0 && fleet.waiting > 0) fleet.launch(1);
      if (fleet.replicas > 0) fleet.lookAgainAt(measured.nextTickS);
    },
  };
}
