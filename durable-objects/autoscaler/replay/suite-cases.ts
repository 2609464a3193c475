import { type Arrival, type Arrivals, arrivalsOf } from "./arrivals.ts";

/** One trace as the suite replays it. */
export interface SuiteCase {
  /** The trace's name; `… fleet` where each of its endpoints scales alone. */
  readonly name: string;
  readonly endpoints: readonly Arrivals[];
  readonly horizonS: number;
  /** Waits count from here on. */
  readonly countFromS: number;
}

const HOUR_S = 3_600;
/** Traces up to this long begin with replicas that no earlier traffic has started: their first minutes do not count. */
const SHORT_TRACE_S = 2 * HOUR_S;
const SHORT_TRACE_COUNTS_FROM_S = 300;

/** Billing ends with the hour in which the last job came. */
export function horizonOf(endpoints: readonly Arrivals[]): number {
  const last = endpoints.reduce((latest, { atS }) => Math.max(latest, atS.at(-1) ?? 0), 0);
  return (Math.floor(last / HOUR_S) + 1) * HOUR_S;
}

/**
 * A trace with all its jobs on one endpoint, and once more with its endpoints each for itself when it has several.
 * @param byEndpoint as `parseTrace` reads it
 */
export function suiteCasesOf(name: string, byEndpoint: ReadonlyMap<string, readonly Arrival[]>): SuiteCase[] {
  const rows = [...byEndpoint.values()];
  const one = caseOf(name, [arrivalsOf(rows.flat())]);
  return rows.length > 1 ? [one, caseOf(`${name} fleet`, rows.map(arrivalsOf))] : [one];
}

function caseOf(name: string, endpoints: readonly Arrivals[]): SuiteCase {
  const horizonS = horizonOf(endpoints);
  return { name, endpoints, horizonS, countFromS: horizonS <= SHORT_TRACE_S ? SHORT_TRACE_COUNTS_FROM_S : 0 };
}
