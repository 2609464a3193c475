import { PredictiveScaler } from "./predictive.ts";
import { QueueDelayScaler } from "./queue-delay.ts";
import { RequestCountScaler } from "./request-count.ts";
import type { Scaler, ScalerSettings } from "./scaler.ts";

/**
 * @param saved what the same policy's `save` gave last; null or anything else: it starts to learn afresh
 */
export function makeScaler(policy: ScalerSettings["policy"], saved: string | null): Scaler {
  switch (policy) {
    case "predictive":
      return new PredictiveScaler(saved);
    case "queue_delay":
      return new QueueDelayScaler();
    case "request_count":
      return new RequestCountScaler();
    default:
      throw new Error(`unhandled: ${JSON.stringify(policy satisfies never)}`);
  }
}
