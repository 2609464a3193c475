/** A trace: when jobs arrive, how long each holds a GPU, and in which lane. */
export interface Arrivals {
  /** Seconds from the start of the window, ascending. */
  readonly atS: Float64Array;
  /** Seconds of GPU, cold start and waiting excluded. */
  readonly serviceS: Float64Array;
  /** 1 where the job is of the batch lane; null: all are interactive. */
  readonly batch: Uint8Array | null;
}

/** One row of a trace before it is laid out in columns. */
export interface Arrival {
  readonly t: number;
  readonly serviceS: number;
  readonly lane?: "interactive" | "batch";
}

/**
 * Lays rows out in columns and sorts them by time; rows of the same instant keep their order.
 * @throws RangeError when a time or a service time is negative or not a number
 */
export function arrivalsOf(rows: readonly Arrival[]): Arrivals {
  const sorted = rows.toSorted((a, b) => a.t - b.t);
  const atS = new Float64Array(sorted.length);
  const serviceS = new Float64Array(sorted.length);
  const batch = new Uint8Array(sorted.length);
  let anyBatch = false;
  for (const [index, row] of sorted.entries()) {
    if (!(row.t >= 0) || !(row.serviceS >= 0)) {
      throw new RangeError(`row ${index}: t and serviceS must be 0 or more, not ${row.t} and ${row.serviceS}`);
    }
    atS[index] = row.t;
    serviceS[index] = row.serviceS;
    if (row.lane === "batch") {
      batch[index] = 1;
      anyBatch = true;
    }
  }
  return { atS, serviceS, batch: anyBatch ? batch : null };
}

/** Jobs a trace may hold: a month of one every two seconds, which replays in seconds and fits into memory many times. */
export const TRACE_JOBS_MAX = 1_500_000;
/** Longest trace, and longest job, in seconds: half a year. */
export const TRACE_S_MAX = 15_811_200;
