/** Healing and what comes after it make up the rest of a seed's operations. */
const SHARE_UNDER_FAULTS = 0.75;

/** How many operations one seed spends under faults, so that so many seeds make about so many operations together. */
export function operationsUnderFaults(operations: number, seeds: number): number {
  return Math.max(50, Math.ceil(Math.ceil(operations / seeds) * SHARE_UNDER_FAULTS));
}
