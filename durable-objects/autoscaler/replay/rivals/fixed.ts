import type { FleetPolicy } from "../engine.ts";

/** So many replicas, always. */
export function fixed(count: number): FleetPolicy {
  return {
    decide: (fleet) => {
      if (fleet.replicas < count) fleet.launch(count - fleet.replicas);
    },
  };
}
