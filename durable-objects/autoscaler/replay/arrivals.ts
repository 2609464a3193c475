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

/**
 * Reads a trace: a header line that names the columns `t` and `service_s`, optionally `endpoint` and `lane`.
 * @returns the rows of each endpoint by its id; everything is under "0" where the trace has no such column
 * @throws RangeError that names the line and the column when something is missing, is no number, or is too much
 */
export function parseTrace(text: string): Map<string, Arrival[]> {
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  if (lines.length > TRACE_JOBS_MAX + 2) throw new RangeError(`it has more than ${TRACE_JOBS_MAX} jobs`);
  const header = (lines[0] ?? "").split(",").map((name) => name.trim());
  const column = (name: string) => header.indexOf(name);
  const [tAt, serviceAt, endpointAt, laneAt] = [column("t"), column("service_s"), column("endpoint"), column("lane")];
  if (tAt < 0 || serviceAt < 0) throw new RangeError("line 1: the header must name the columns t and service_s");
  const byEndpoint = new Map<string, Arrival[]>();
  for (let index = 1; index < lines.length; index++) {
    const line = (lines[index] ?? "").trim();
    if (line === "") continue;
    const cells = line.split(",");
    const t = numberIn(cells[tAt], index + 1, "t");
    const serviceS = numberIn(cells[serviceAt], index + 1, "service_s");
    const endpoint = endpointAt < 0 ? "0" : (cells[endpointAt] ?? "").trim();
    if (endpoint === "") throw new RangeError(`line ${index + 1}: endpoint is empty`);
    const row: Arrival = { t, serviceS, lane: laneAt < 0 ? "interactive" : laneIn(cells[laneAt], index + 1) };
    const rows = byEndpoint.get(endpoint);
    if (rows === undefined) byEndpoint.set(endpoint, [row]);
    else rows.push(row);
  }
  return byEndpoint;
}

function laneIn(cell: string | undefined, line: number): "interactive" | "batch" {
  const lane = cell?.trim() ?? "";
  if (lane === "interactive" || lane === "batch") return lane;
  throw new RangeError(`line ${line}: lane must be interactive or batch, not "${lane}"`);
}

function numberIn(cell: string | undefined, line: number, name: string): number {
  const value = cell === undefined || cell.trim() === "" ? Number.NaN : Number(cell);
  if (!Number.isFinite(value) || value < 0) {
    throw new RangeError(`line ${line}: ${name} must be a number, 0 or more, not "${cell ?? ""}"`);
  }
  if (value > TRACE_S_MAX) throw new RangeError(`line ${line}: ${name} is ${value} s, more than ${TRACE_S_MAX} s`);
  return value;
}
