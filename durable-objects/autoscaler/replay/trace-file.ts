/** Reading a trace of arrivals as people have it: from this program, a log, a database or a published data set. */
import { type Arrival, TRACE_JOBS_MAX, TRACE_S_MAX } from "./arrivals.ts";

export interface TraceFile {
  /** The rows of each endpoint by its id, in the order of the file; all under "0" where it has no such column. */
  readonly byEndpoint: Map<string, Arrival[]>;
  /** Second 0 in Unix ms; null where times count from nobody knows when. */
  readonly startMs: number | null;
}

interface Columns {
  readonly time: number;
  readonly timeUnit: Unit;
  readonly service: number;
  readonly serviceUnit: Unit;
  readonly endpoint: number;
  readonly lane: number;
  /** Lines before the first job: 1 where there is a header. */
  readonly header: 0 | 1;
  readonly separator: string;
}

/** Seconds that one of it is. */
type Unit = 1 | 0.001;

const TIMES = ["t", "time", "timestamp", "at", "arrival", "arrived_at", "arrival_time", "created_at"];
const SERVICES = ["service_s", "service", "duration_s", "duration", "service_time", "execution_time"];
const TIMES_MS = ["t_ms", "time_ms", "timestamp_ms", "arrival_ms"];
const SERVICES_MS = ["service_ms", "duration_ms"];
const SEPARATORS = [",", ";", "\t"];
/** A number above this is no time from a beginning but one since 1970: in seconds, or above the second bound in ms. */
const UNIX_S_MIN = 1e8;
const UNIX_MS_MIN = 1e11;
const DATE_TIME =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?)\s*(Z|[+-][0-9]{2}:?[0-9]{2})?)?$/i;

/**
 * Reads a trace: a job per line. A header names the columns: `t` and `service_s`, or what logs call them, optionally
 * `endpoint` and `lane`; without a header they come in this order. Times are seconds from a beginning, Unix seconds or ms, or
 * ISO; the latter two count from the earliest of them. Rows may be in any order.
 * @param serviceS what a job takes that does not say; null: each has to
 * @throws RangeError that names the line and the column when something is missing, is no number, or is too much
 */
export function readTrace(text: string, serviceS: number | null = null): TraceFile {
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  if (lines.length > TRACE_JOBS_MAX + 2) throw new RangeError(`it has more than ${TRACE_JOBS_MAX} jobs`);
  const first = lines.findIndex((line) => line.trim() !== "");
  if (first < 0) return { byEndpoint: new Map(), startMs: null };
  const columns = columnsOf(lines[first] ?? "", first + 1, serviceS !== null);
  const rows: { endpoint: string; at: number; serviceS: number; lane: "interactive" | "batch"; line: number }[] = [];
  let isAbsolute: boolean | null = null;
  let earliest = Number.POSITIVE_INFINITY;
  for (let index = first + columns.header; index < lines.length; index += 1) {
    const text = (lines[index] ?? "").trim();
    if (text === "") continue;
    const line = index + 1;
    const cells = cellsOf(text, columns.separator);
    const { at, isDate } = timeIn(cells[columns.time], line, columns.timeUnit);
    isAbsolute ??= isDate;
    if (isAbsolute !== isDate) throw new RangeError(`line ${line}: t is of another kind than in the lines before`);
    const row = {
      endpoint: columns.endpoint < 0 ? "0" : (cells[columns.endpoint] ?? ""),
      at,
      serviceS: serviceIn(cells[columns.service], line, columns.serviceUnit, serviceS),
      lane: columns.lane < 0 ? ("interactive" as const) : laneIn(cells[columns.lane], line),
      line,
    };
    if (row.endpoint === "") throw new RangeError(`line ${line}: endpoint is empty`);
    earliest = Math.min(earliest, at);
    rows.push(row);
  }
  const startS = isAbsolute === true ? earliest : 0;
  const byEndpoint = new Map<string, Arrival[]>();
  for (const { endpoint, at, serviceS, lane, line } of rows) {
    // Times since 1970 have more digits than a difference of them can mean.
    const t = isAbsolute === true ? Math.round((at - startS) * 1e6) / 1e6 : at;
    if (t > TRACE_S_MAX) {
      const hint = isAbsolute === true ? " after the first job" : "; a column t_ms is read as ms";
      throw new RangeError(`line ${line}: t is ${t} s${hint}, more than ${TRACE_S_MAX} s`);
    }
    const known = byEndpoint.get(endpoint);
    if (known === undefined) byEndpoint.set(endpoint, [{ t, serviceS, lane }]);
    else known.push({ t, serviceS, lane });
  }
  return { byEndpoint, startMs: isAbsolute === true ? Math.round(startS * 1_000) : null };
}

/** The rows of each endpoint of a trace, see {@link readTrace}. */
export function parseTrace(text: string): Map<string, Arrival[]> {
  return readTrace(text).byEndpoint;
}

function columnsOf(text: string, line: number, hasService: boolean): Columns {
  const trimmed = text.trim();
  const separator = SEPARATORS.find((each) => trimmed.includes(each)) ?? ",";
  const cells = cellsOf(trimmed, separator);
  if (isTime(cells[0])) {
    const [service, endpoint, lane] = [1, 2, 3].map((at) => (at < cells.length ? at : -1));
    if (service === undefined || endpoint === undefined || lane === undefined) throw new Error("there are three");
    if (service < 0 && !hasService)
      throw new RangeError(`line ${line}: a second column must say how long the job takes`);
    return { time: 0, timeUnit: 1, service, serviceUnit: 1, endpoint, lane, header: 0, separator };
  }
  const names = cells.map((name) => name.toLowerCase());
  const find = (wanted: readonly string[]) => wanted.map((name) => names.indexOf(name)).find((at) => at >= 0) ?? -1;
  const [timeS, serviceS] = [find(TIMES), find(SERVICES)];
  const [time, service] = [timeS < 0 ? find(TIMES_MS) : timeS, serviceS < 0 ? find(SERVICES_MS) : serviceS];
  if (time < 0 || (service < 0 && !hasService)) {
    const has = names.length > 0 ? `, not ${names.join(", ")}` : "";
    throw new RangeError(`line ${line}: the header must name the columns t and service_s${has}`);
  }
  return {
    time,
    timeUnit: timeS < 0 ? 0.001 : 1,
    service,
    serviceUnit: serviceS < 0 ? 0.001 : 1,
    endpoint: names.indexOf("endpoint"),
    lane: names.indexOf("lane"),
    header: 1,
    separator,
  };
}

function cellsOf(line: string, separator: string): string[] {
  return line.split(separator).map((cell) =>
    cell
      .trim()
      .replace(/^"(.*)"$/, "$1")
      .trim(),
  );
}

function isTime(cell: string | undefined): boolean {
  return cell !== undefined && cell !== "" && (Number.isFinite(Number(cell)) || DATE_TIME.test(cell));
}

/** @returns seconds, and whether they are a date's: since 1970 */
function timeIn(cell: string | undefined, line: number, unit: Unit): { readonly at: number; readonly isDate: boolean } {
  const date = DATE_TIME.exec(cell ?? "");
  if (date !== null) {
    const [, day, time = "00:00", zone = "Z"] = date;
    const at = Date.parse(`${day}T${time.replace(",", ".")}${zone.toUpperCase()}`);
    if (!Number.isNaN(at)) return { at: at / 1_000, isDate: true };
  }
  const value = numberIn(cell, line, "t");
  if (value >= UNIX_MS_MIN) return { at: value / 1_000, isDate: true };
  if (unit === 1 && value >= UNIX_S_MIN) return { at: value, isDate: true };
  return { at: value * unit, isDate: false };
}

function serviceIn(cell: string | undefined, line: number, unit: Unit, usual: number | null): number {
  if (usual !== null && (cell === undefined || cell === "")) return usual;
  const value = numberIn(cell, line, "service_s") * unit;
  if (value > TRACE_S_MAX) throw new RangeError(`line ${line}: service_s is ${value} s, more than ${TRACE_S_MAX} s`);
  return value;
}

function laneIn(cell: string | undefined, line: number): "interactive" | "batch" {
  if (cell === "interactive" || cell === "batch") return cell;
  throw new RangeError(`line ${line}: lane must be interactive or batch, not "${cell ?? ""}"`);
}

function numberIn(cell: string | undefined, line: number, name: string): number {
  const value = cell === undefined || cell === "" ? Number.NaN : Number(cell);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new RangeError(`line ${line}: ${name} must be a number, 0 or more, not "${cell ?? ""}"`);
}
