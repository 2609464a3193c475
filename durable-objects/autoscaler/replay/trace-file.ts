/** Reading a trace of arrivals as people have it: from this program, a log, a database or a published data set. */
import { type Arrival, TRACE_JOBS_MAX, TRACE_S_MAX } from "./arrivals.ts";

export interface TraceFile {
  /** The rows of each endpoint by its id, in the order of the file; all under "0" where it has no such column. */
  readonly byEndpoint: Map<string, Arrival[]>;
  /** Second 0 in Unix ms; null where times count from nobody knows when. */
  readonly startMs: number | null;
  /** The name of the column that says which endpoint; null where nothing does, or there is no header. */
  readonly endpointColumn: string | null;
  /** Names of columns that say nothing here, in their order. */
  readonly unused: readonly string[];
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
  /** None without a header. */
  readonly names: readonly string[];
  /** Cells that a line may have, empty ones at its end left out. */
  readonly width: number;
}

/** What the columns are called where there is no header, in their order. */
const ORDER = ["t", "service_s", "endpoint", "lane"];

/** Seconds that one of it is. */
type Unit = 1 | 0.001;

const TIMES = [
  ...[
    "t",
    "time",
    "timestamp",
    "at",
    "arrival",
    "arrived_at",
    "arrival_time",
    "created_at",
    "submitted_at",
    "datetime",
  ],
  ...["ts", "t_s", "time_s", "timestamp_s", "arrival_s"],
];
const SERVICES = ["service_s", "service", "duration_s", "duration", "service_time", "execution_time", "execution_s"];
const TIMES_MS = ["t_ms", "time_ms", "timestamp_ms", "arrival_ms"];
const SERVICES_MS = ["service_ms", "duration_ms"];
/** What logs call an endpoint. They are taken for one where there is just one of them, and no column of the name itself. */
const ENDPOINTS = ["endpoint_id", "endpoint_name", "model", "model_id", "model_name", "app", "app_id", "function"];
const SEPARATORS = [",", ";", "\t"];
/** What to do with a trace that is too much. */
export const IN_PARTS = "replay a part of it, such as its busiest weeks";
/** So many columns of a header are named in a refusal, and so much of each: a file that is none may be one long line. */
const NAMES_SHOWN_MAX = 12;
const NAME_LENGTH_SHOWN_MAX = 30;
/** A number above this is no time from a beginning but one since 1970, in seconds. */
const UNIX_S_MIN = 1e8;
/** And above these, in parts of a second: so many make one. What tracing tools write is in micro- or nanoseconds. */
const UNIX_PARTS = [
  { from: 1e17, perS: 1e9 },
  { from: 1e14, perS: 1e6 },
  { from: 1e11, perS: 1e3 },
];
/** What else `Number` understands, such as 0x10, is nobody's way to write seconds. */
const PLAIN_NUMBER = /^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?$/i;
const DATE_TIME =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?)\s*(?:Z|UTC|GMT|([+-][0-9]{2})(?::?([0-9]{2}))?)?)?$/i;

/**
 * Reads a trace: a job per line. A header names the columns: `t` and `service_s`, or what logs call them, optionally
 * `endpoint` and `lane`; without a header they come in this order. Times are seconds from a beginning, Unix time (s, ms, µs or
 * ns), or ISO; the latter two count from the earliest of them. Rows may be in any order; lines that begin with # are left out.
 * A line has no more cells than the header, or the first line where there is none; empty ones at its end do not count.
 * @param serviceS what a job takes that does not say; null: each has to
 * @throws RangeError that names the line and the column when something is missing, is no number, or is too much
 */
export function readTrace(text: string, serviceS: number | null = null): TraceFile {
  const plain = text.replace(/^\uFEFF/, "");
  // Old spreadsheets end lines with a carriage return alone.
  const lines = plain.split(plain.includes("\n") ? "\n" : "\r");
  if (lines.length > TRACE_JOBS_MAX + 2) throw new RangeError(`it has more than ${TRACE_JOBS_MAX} jobs: ${IN_PARTS}`);
  const first = lines.findIndex((line) => !isSkipped(line.trim()));
  if (first < 0) return { byEndpoint: new Map(), startMs: null, endpointColumn: null, unused: [] };
  const columns = columnsOf(lines[first] ?? "", first + 1, serviceS !== null);
  const rows: { endpoint: string; at: number; serviceS: number; lane: "interactive" | "batch"; line: number }[] = [];
  let isAbsolute: boolean | null = null;
  let earliest = Number.POSITIVE_INFINITY;
  for (let index = first + columns.header; index < lines.length; index += 1) {
    const text = lines[index] ?? "";
    if (isSkipped(text.trim())) continue;
    const line = index + 1;
    const cells = cellsOf(text, columns.separator, line);
    checkCells(cells, columns, line, serviceS !== null);
    const { at, isDate } = timeIn(decimal(cells[columns.time], columns), line, columns.timeUnit);
    isAbsolute ??= isDate;
    if (isAbsolute !== isDate) throw new RangeError(`line ${line}: t is of another kind than in the lines before`);
    const row = {
      endpoint: columns.endpoint < 0 ? "0" : (cells[columns.endpoint] ?? ""),
      at,
      serviceS: serviceIn(decimal(cells[columns.service], columns), line, columns.serviceUnit, serviceS),
      lane: columns.lane < 0 ? ("interactive" as const) : laneIn(cells[columns.lane], line),
      line,
    };
    if (row.endpoint === "") {
      throw new RangeError(`line ${line}: ${columns.names[columns.endpoint] ?? "endpoint"} is empty`);
    }
    earliest = Math.min(earliest, at);
    rows.push(row);
  }
  const startS = isAbsolute === true ? earliest : 0;
  const byEndpoint = new Map<string, Arrival[]>();
  for (const { endpoint, at, serviceS, lane, line } of rows) {
    // Times since 1970 have more digits than a difference of them can mean.
    const t = isAbsolute === true ? Math.round((at - startS) * 1e6) / 1e6 : at;
    if (t > TRACE_S_MAX) {
      const [from, hint] =
        isAbsolute === true ? [" after the first job", `: ${IN_PARTS}`] : ["", "; a column t_ms is read as ms"];
      throw new RangeError(`line ${line}: t is ${t} s${from}, more than ${TRACE_S_MAX} s${hint}`);
    }
    const known = byEndpoint.get(endpoint);
    if (known === undefined) byEndpoint.set(endpoint, [{ t, serviceS, lane }]);
    else known.push({ t, serviceS, lane });
  }
  const { names, time, service, endpoint, lane } = columns;
  return {
    byEndpoint,
    startMs: isAbsolute === true ? Math.round(startS * 1_000) : null,
    endpointColumn: names[endpoint] ?? null,
    unused: names.filter((name, at) => name !== "" && ![time, service, endpoint, lane].includes(at)),
  };
}

/** The rows of each endpoint of a trace, see {@link readTrace}. */
export function parseTrace(text: string): Map<string, Arrival[]> {
  return readTrace(text).byEndpoint;
}

function columnsOf(text: string, line: number, hasService: boolean): Columns {
  const separator = separatorOf(text.trim());
  const cells = cellsOf(text, separator, line);
  if (isTime(decimal(cells[0], { separator }))) {
    // Whether the first job says how long it takes is no matter of how many columns there are.
    const width = Math.max(filled(cells), Math.min(cells.length, 2));
    if (width > ORDER.length) {
      const most = `and without a header there are ${ORDER.length} at most: ${ORDER.join(", ")}`;
      throw new RangeError(`line ${line}: it has ${cellCount(width)}, ${most}`);
    }
    const [service, endpoint, lane] = [1, 2, 3].map((at) => (at < width ? at : -1));
    if (service === undefined || endpoint === undefined || lane === undefined) throw new Error("there are three");
    if (service < 0 && !hasService)
      throw new RangeError(`line ${line}: a second column must say how long the job takes`);
    return { time: 0, timeUnit: 1, service, serviceUnit: 1, endpoint, lane, header: 0, separator, names: [], width };
  }
  const names = cells.map((name) => name.toLowerCase());
  const find = (wanted: readonly string[]) => wanted.map((name) => names.indexOf(name)).find((at) => at >= 0) ?? -1;
  const [timeS, serviceS] = [find(TIMES), find(SERVICES)];
  const [time, service] = [timeS < 0 ? find(TIMES_MS) : timeS, serviceS < 0 ? find(SERVICES_MS) : serviceS];
  if (time < 0 || (service < 0 && !hasService)) {
    throw new RangeError(`line ${line}: the header must name the columns t and service_s, not ${shownNames(names)}`);
  }
  return {
    time,
    timeUnit: timeS < 0 ? 0.001 : 1,
    service,
    serviceUnit: serviceS < 0 ? 0.001 : 1,
    endpoint: endpointIn(names),
    lane: names.indexOf("lane"),
    header: 1,
    separator,
    names,
    width: filled(names),
  };
}

/** How many cells there are, empty ones at the end left out: a separator there is how some programs end a line. */
function filled(cells: readonly string[]): number {
  return cells.findLastIndex((cell) => cell !== "") + 1;
}

/**
 * A line with a cell too many has its numbers in the wrong columns, and would be read as other numbers.
 * @throws RangeError also where the line ends before a column that has to say something
 */
function checkCells(cells: readonly string[], columns: Columns, line: number, hasService: boolean): void {
  const { separator, width, names, header, time, service, endpoint, lane } = columns;
  const [count, before] = [filled(cells), header === 1 ? "the header" : "the first line"];
  if (count > width) {
    const hint =
      separator === ","
        ? "numbers take a decimal point or the columns ; between them, and text with a comma takes quotes"
        : "text with what separates columns takes quotes";
    throw new RangeError(`line ${line}: it has ${cellCount(count)}, ${before} has ${width}: ${hint}`);
  }
  const needed = [time, ...(hasService ? [] : [service]), endpoint, lane];
  const missing = needed.find((at) => at >= cells.length);
  if (missing === undefined) return;
  const name = names[missing] ?? ORDER[missing] ?? "";
  throw new RangeError(`line ${line}: it has ${cellCount(cells.length)}, ${before} has ${width}: ${name} is missing`);
}

function cellCount(count: number): string {
  return count === 1 ? "1 cell" : `${count} cells`;
}

/** Where the column of the endpoints is; -1 where none is, or several may be. */
function endpointIn(names: readonly string[]): number {
  const own = names.indexOf("endpoint");
  const others = names.flatMap((name, at) => (ENDPOINTS.includes(name) ? [at] : []));
  return own < 0 && others.length === 1 ? (others[0] ?? -1) : own;
}

/** What separates the columns: in a line without a header, a comma may be in the numbers that semicolons separate. */
function separatorOf(line: string): string {
  const inNumbers = line.replaceAll(/([0-9]),(?=[0-9])/g, "$1");
  const outside = inNumbers.includes(";") || inNumbers.includes("\t") ? inNumbers : line;
  return SEPARATORS.find((each) => outside.includes(each)) ?? ",";
}

/** The first names, without what a terminal would obey. */
export function shownNames(names: readonly string[]): string {
  const few = names.slice(0, NAMES_SHOWN_MAX).map((name) => {
    const plain = name.replaceAll(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, "?");
    return plain.length > NAME_LENGTH_SHOWN_MAX ? `${plain.slice(0, NAME_LENGTH_SHOWN_MAX)}…` : plain;
  });
  return few.join(", ") + (names.length > few.length ? ", …" : "");
}

function isSkipped(line: string): boolean {
  return line === "" || line.startsWith("#");
}

/** The cells of a line, blanks around them left out. In double quotes they may hold the separator, and a quote as two. */
function cellsOf(text: string, separator: string, line: number): string[] {
  if (!text.includes('"')) return text.split(separator).map((cell) => cell.trim());
  const cells: string[] = [];
  let cell = "";
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text.charAt(at);
    if (sign === '"' && isQuoted && text.charAt(at + 1) === '"') {
      cell += sign;
      at += 1;
    } else if (sign === '"' && (isQuoted || cell.trim() === "")) isQuoted = !isQuoted;
    else if (sign === separator && !isQuoted) {
      cells.push(cell.trim());
      cell = "";
    } else cell += sign;
  }
  if (isQuoted) throw new RangeError(`line ${line}: a quote is not closed; a cell must not go on in the next line`);
  return [...cells, cell.trim()];
}

/** Where semicolons or tabs separate, a comma is how half of Europe writes a decimal point. */
function decimal(cell: string | undefined, { separator }: Pick<Columns, "separator">): string | undefined {
  return separator === "," ? cell : cell?.replace(/^([0-9]+),([0-9]+)$/, "$1.$2");
}

function isTime(cell: string | undefined): boolean {
  return cell !== undefined && (PLAIN_NUMBER.test(cell) || DATE_TIME.test(cell));
}

/** @returns seconds, and whether they are a date's: since 1970 */
function timeIn(cell: string | undefined, line: number, unit: Unit): { readonly at: number; readonly isDate: boolean } {
  const date = DATE_TIME.exec(cell ?? "");
  if (date !== null) {
    // A zone of whole hours (+00) is how PostgreSQL writes it, UTC behind a blank how BigQuery does.
    const [, day, time = "00:00", hours, minutes = "00"] = date;
    const zone = hours === undefined ? "Z" : `${hours}:${minutes}`;
    const at = Date.parse(`${day}T${time.replace(",", ".")}${zone}`);
    if (isDay(day) && !Number.isNaN(at)) return { at: at / 1_000, isDate: true };
  }
  const value = numberIn(cell, line, "t", "a number, 0 or more, or a time like 2026-01-05T08:00:00Z");
  const parts = UNIX_PARTS.find(({ from }) => value >= from);
  if (parts !== undefined) return { at: value / parts.perS, isDate: true };
  if (unit === 1 && value >= UNIX_S_MIN) return { at: value, isDate: true };
  return { at: value * unit, isDate: false };
}

/** Whether a month has that day: `Date.parse` takes the 30th of February for one in March. */
function isDay(day: string | undefined): boolean {
  const at = Date.parse(`${day}T00:00Z`);
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(`${day}T`);
}

function serviceIn(cell: string | undefined, line: number, unit: Unit, usual: number | null): number {
  if (usual !== null && (cell === undefined || cell === "")) return usual;
  const value = numberIn(cell, line, "service_s") * unit;
  if (value > TRACE_S_MAX) throw new RangeError(`line ${line}: service_s is ${value} s, more than ${TRACE_S_MAX} s`);
  return value;
}

function laneIn(cell: string | undefined, line: number): "interactive" | "batch" {
  const lane = cell?.toLowerCase();
  if (lane === "interactive" || lane === "batch") return lane;
  throw new RangeError(`line ${line}: lane must be interactive or batch, not "${cell ?? ""}"`);
}

function numberIn(cell: string | undefined, line: number, name: string, what = "a number, 0 or more"): number {
  const value = cell !== undefined && PLAIN_NUMBER.test(cell) ? Number(cell) : Number.NaN;
  if (Number.isFinite(value) && value >= 0) return value;
  throw new RangeError(`line ${line}: ${name} must be ${what}, not "${cell ?? ""}"`);
}
