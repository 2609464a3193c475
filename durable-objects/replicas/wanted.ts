/** How many replicas an endpoint wants: as many as it has work for, within its bounds; idle ones stay for a while. */
import type { EndpointSettings } from "#contract/endpoint";

export interface DemandInput {
  readonly settings: Pick<EndpointSettings, "min_replicas" | "max_replicas">;
  readonly removed: boolean;
  readonly queued: number;
  readonly running: number;
  /** Replicas that start or work and are not on their way out. */
  readonly capacity: number;
}

export interface DemandNumbers {
  /** Replicas there is work for, the warm floor included: only what is beyond may be reclaimed for others. */
  readonly needed: number;
  /** Replicas to have now: the needed ones and the idle ones kept for a while. */
  readonly wanted: number;
}

/** @returns whole numbers, 0 ≤ needed ≤ wanted; wanted exceeds max_replicas only while there are that many */
export function demandNumbers(input: DemandInput): DemandNumbers {
  if (input.removed) return { needed: 0, wanted: 0 };
  const { min_replicas, max_replicas } = input.settings;
  const needed = Math.min(max_replicas, Math.max(min_replicas, input.queued + input.running));
  return { needed, wanted: Math.max(needed, input.capacity) };
}
