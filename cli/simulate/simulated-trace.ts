/** Arrivals from files and from an endpoint's own past. */
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { readLocalFile } from "#cli/input-values";
import type { Pilotlight } from "#client/pilotlight";
import { PAGE_SIZE_MAX } from "#contract/limits";
import { type Arrival, type Arrivals, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { arrivalsFromJobs, type PastAttempt, type PastJob } from "#durable-objects/autoscaler/replay/job-history";
import { horizonOf } from "#durable-objects/autoscaler/replay/suite-cases";
import { IN_PARTS, readTrace, shownNames, type TraceFile } from "#durable-objects/autoscaler/replay/trace-file";

export interface SimulatedTrace {
  readonly name: string;
  /** Of each endpoint, which scales for itself. */
  readonly endpoints: readonly Arrivals[];
  /** Seconds that are billed: to the end of the last arrival's hour. */
  readonly horizonS: number;
  readonly jobs: number;
  /** GPU-seconds of the jobs themselves. */
  readonly workS: number;
  /** Its second 0 in Unix ms; null where a file does not say. */
  readonly startMs: number | null;
}

/** Largest trace file: TRACE_JOBS_MAX lines of common length. */
const TRACE_BYTES_MAX = 64_000_000;
const TOO_LARGE = `Leave out columns that it does not need, or ${IN_PARTS}.`;
/** Jobs that are asked for; each hundred is a request. */
const HISTORY_JOBS_MAX = 100_000;

/** Whether a file of this name in a folder of traces is one. */
export function isTraceName(name: string): boolean {
  return /\.csv(?:\.gz)?$/.test(name);
}

/**
 * The rows of a trace file by endpoint.
 * @param path `-` is standard input
 * @param serviceS seconds of a job that does not say how long it takes; undefined: each has to
 * @throws CliError `file_unreadable`
 */
export async function readTraceFile(call: Call, path: string, serviceS?: number): Promise<TraceFile> {
  const bytes =
    path === "-"
      ? await call.readStdin()
      : await readLocalFile(path, call.workingDirectory, TRACE_BYTES_MAX, TOO_LARGE);
  try {
    const trace = readTrace(textOf(unzipped(bytes)), serviceS ?? null);
    if (trace.byEndpoint.size === 0) throw new RangeError("it holds no jobs");
    noteColumns(call, path, trace);
    return trace;
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const hint =
      "A trace is CSV with the columns t and service_s, in seconds, and perhaps endpoint and lane. Where it does not say how long jobs take, --service does.";
    throw new CliError("file_unreadable", `${nameOf(path)}: ${cause.message}`, hint, { cause });
  }
}

/** What somebody who has not read how columns are named would not expect. */
function noteColumns(call: Call, path: string, { byEndpoint, endpointColumn, unused }: TraceFile): void {
  if (endpointColumn !== null && endpointColumn !== "endpoint") {
    call.output.note(`${nameOf(path)}: ${endpointColumn} is taken for the endpoint: there are ${byEndpoint.size}`);
  }
  if (unused.length > 0) call.output.note(`${nameOf(path)}: these columns are not used: ${shownNames(unused)}`);
}

function nameOf(path: string): string {
  return path === "-" ? "standard input" : path;
}

/** @throws RangeError when it is no whole gzip file, or too large */
function unzipped(bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: TRACE_BYTES_MAX });
  } catch (cause) {
    const isLarge = cause instanceof Error && "code" in cause && cause.code === "ERR_BUFFER_TOO_LARGE";
    throw new RangeError(
      isLarge ? `unpacked it has more than ${TRACE_BYTES_MAX} bytes: ${IN_PARTS}` : "it is gzip that breaks off",
      {
        cause,
      },
    );
  }
}

/** Spreadsheets' Unicode text and what older PowerShell redirects to a file are UTF-16, which their first bytes say. */
function textOf(bytes: Uint8Array): string {
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}

/** @param isOneEndpoint all jobs on one endpoint, whatever the trace says */
export function simulatedTrace(
  path: string,
  {
    byEndpoint,
    startMs,
  }: { readonly byEndpoint: ReadonlyMap<string, readonly Arrival[]>; readonly startMs: number | null },
  isOneEndpoint: boolean,
): SimulatedTrace {
  const rows = [...byEndpoint.values()];
  const endpoints = isOneEndpoint ? [arrivalsOf(rows.flat())] : rows.map(arrivalsOf);
  const sumOf = (each: (arrivals: Arrivals) => number) => endpoints.reduce((sum, arrivals) => sum + each(arrivals), 0);
  return {
    name: basename(nameOf(path)).replace(/\.csv(?:\.gz)?$/, ""),
    endpoints,
    horizonS: horizonOf(endpoints),
    jobs: sumOf(({ atS }) => atS.length),
    startMs,
    workS: sumOf(({ serviceS }) => serviceS.reduce((sum, service) => sum + service, 0)),
  };
}

/**
 * The jobs that an endpoint has had since a time, each with the time that usage says it held replicas.
 * @param since ISO
 * @throws CliError `usage` when none of them has run
 */
export async function traceOfHistory(
  call: Call,
  client: Pilotlight,
  endpoint: string,
  since: string,
): Promise<SimulatedTrace> {
  const jobs: PastJob[] = [];
  const { signal } = call.interrupts;
  const query = { endpoint, created_after: since, limit: PAGE_SIZE_MAX };
  for await (const { id, created_at, finished_at, lane } of client.jobs.list(query, { signal })) {
    jobs.push({ id, created_at, finished_at, lane });
    if (jobs.length % PAGE_SIZE_MAX === 0) call.output.progress(`${jobs.length} jobs read`, "reading jobs");
    if (jobs.length >= HISTORY_JOBS_MAX) {
      call.output.note(`only the newest ${HISTORY_JOBS_MAX} jobs are replayed; --since chooses fewer`);
      break;
    }
  }
  // The newest come first: usage of those before the last of them would be read for nothing.
  const used = { endpoint, since: jobs.at(-1)?.created_at ?? since, limit: PAGE_SIZE_MAX };
  const attempts: PastAttempt[] = [];
  for await (const { job_id, ms } of client.usage.list(used, { signal })) {
    attempts.push({ job_id, ms });
    if (attempts.length % PAGE_SIZE_MAX === 0)
      call.output.progress(`${attempts.length} attempts read`, "reading usage");
  }
  const history = arrivalsFromJobs(jobs, attempts);
  if (history.skipped > 0) call.output.note(`${history.skipped} jobs have not run or not ended and are left out`);
  if (history.arrivals.length === 0) {
    throw new CliError("usage", `No job of ${endpoint} has run since ${since}`, "--since goes further back.");
  }
  const startMs = history.firstAt === null ? null : Date.parse(history.firstAt);
  return simulatedTrace(endpoint, { byEndpoint: new Map([[endpoint, history.arrivals]]), startMs }, false);
}
