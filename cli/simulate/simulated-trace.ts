/** Arrivals from files and from an endpoint's own past. */
import { basename } from "node:path";
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { readLocalFile } from "#cli/input-values";
import type { Pilotlight } from "#client/pilotlight";
import { PAGE_SIZE_MAX } from "#contract/limits";
import { type Arrival, type Arrivals, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { arrivalsFromJobs, type PastAttempt, type PastJob } from "#durable-objects/autoscaler/replay/job-history";
import { horizonOf } from "#durable-objects/autoscaler/replay/suite-cases";
import { IN_PARTS, readTrace, type TraceFile } from "#durable-objects/autoscaler/replay/trace-file";

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
/** Jobs that are asked for; each hundred is a request. */
const HISTORY_JOBS_MAX = 100_000;

/**
 * The rows of a trace file by endpoint.
 * @param serviceS seconds of a job that does not say how long it takes; undefined: each has to
 * @throws CliError `file_unreadable`
 */
export async function readTraceFile(path: string, workingDirectory: string, serviceS?: number): Promise<TraceFile> {
  const bytes = await readLocalFile(
    path,
    workingDirectory,
    TRACE_BYTES_MAX,
    `Leave out columns that it does not need, or ${IN_PARTS}.`,
  );
  try {
    const trace = readTrace(textOf(bytes), serviceS ?? null);
    if (trace.byEndpoint.size === 0) throw new RangeError("it holds no jobs");
    return trace;
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const hint =
      "A trace is CSV with the columns t and service_s, in seconds, and perhaps endpoint and lane. Where it does not say how long jobs take, --service does.";
    throw new CliError("file_unreadable", `${path}: ${cause.message}`, hint, { cause });
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
    name: basename(path).replace(/\.csv$/, ""),
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
