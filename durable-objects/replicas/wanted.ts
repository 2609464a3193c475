/** How many replicas an endpoint wants: as many as it has work for, within its bounds. */
import type { EndpointSettings } from "#contract/endpoint";

export interface DemandInput {
  readonly settings: Pick<EndpointSettings, "min_replicas" | "max_replicas">;
  readonly removed: boolean;
  readonly queued: number;
  readonly running: number;
}

export interface DemandNumbers {
  /** Replicas there is work for, the warm floor included: only what is beyond may be reclaimed for others. */
  readonly needed: number;
  /**
   * Replicas to start up to. Idle ones beyond it are kept until they are let go by name; were they counted here, each
   * one that went would be replaced by another that idles.
   */
  readonly wanted: number;
}

/** @returns whole numbers, 0 ≤ needed ≤ wanted ≤ max_replicas */
export function demandNumbers(input: DemandInput): DemandNumbers {
  if (input.removed) return { needed: 0, wanted: 0 };
  const { min_replicas, max_replicas } = input.settings;
  const needed = Math.min(max_replicas, Math.max(min_replicas, input.queued + input.running));
  return { needed, wanted: needed };
}
