import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import type { Call, Command, Outcome } from "#cli/command";
import { CliError } from "#cli/errors";
import { fileReason } from "#cli/file-reason";
import { progressBar } from "#cli/progress-bar";
import { type Comparison, compare } from "#cli/simulate/compare";
import { comparisonSvg } from "#cli/simulate/comparison-svg";
import { comparisonText } from "#cli/simulate/comparison-text";
import { contendersOf, POLICIES_DEFAULT } from "#cli/simulate/contenders";
import { checkPlotFile, writePlotFile } from "#cli/simulate/plot-file";
import { contenderOptions, numberOf, priceOf } from "#cli/simulate/simulate-options";
import {
  isTraceName,
  readTraceFile,
  type SimulatedTrace,
  simulatedTrace,
  traceOfHistory,
} from "#cli/simulate/simulated-trace";
import { runSuite } from "#cli/simulate/suite-run";
import { suiteData, suiteText } from "#cli/simulate/suite-text";
import { textTable } from "#cli/text-table";
import { timeOf } from "#cli/times";
import { DEFAULT_SETTINGS, type EndpointSettings, ScalingPolicy } from "#contract/endpoint";
import { EXPIRES_IN_S_DEFAULT, EXPIRES_IN_S_MAX, REPLICAS_MAX } from "#contract/limits";
import { TRACE_S_MAX } from "#durable-objects/autoscaler/replay/arrivals";
import { knownRivals } from "#durable-objects/autoscaler/replay/rivals/known";
import { type SuiteCase, suiteCasesOf } from "#durable-objects/autoscaler/replay/suite-cases";

const COLD_START_S_DEFAULT = 30;
const COLD_START_S_MAX = 3_600;
/** Above this most starts are short and a few are endless, which is no spread but two kinds of machines. */
const COLD_START_CV_MAX = 3;
const SINCE_DEFAULT = "7d";
const CONTENDERS_MAX = 40;
/** Parts of the plot over time: a little less than its pixels. */
const SERIES_PARTS = 480;
const THREADS_MAX = 64;
const TRACES_HINT = "--traces takes a folder with traces in it.";
/** Where traces are looked for, the first that has any: beside the work, or shared by several checkouts. */
const TRACE_FOLDERS = ["traces", "../traces", "../shared/traces"];

export const simulate: Command = {
  path: ["simulate"],
  summary: "Replay arrivals against scaling policies: cost, waiting and cold starts side by side, without any GPU",
  examples: [
    "pilotlight simulate --trace examples/arrivals.csv --gpu rtx-4090",
    "pilotlight simulate --from-history text-to-image --since 14d --cold-start 45 --wait-value 1,10,100",
    "pilotlight simulate --trace arrivals.csv --policy predictive,knative,timer-300 --price 0.59 --plot plan.svg",
    "pilotlight simulate --suite --traces traces --jobs 2",
  ],
  positionals: [],
  options: {
    trace: { type: "string", multiple: true },
    "from-history": { type: "string" },
    since: { type: "string" },
    "one-endpoint": { type: "boolean" },
    service: { type: "string" },
    policy: { type: "string" },
    "cold-start": { type: "string" },
    "cold-start-cv": { type: "string" },
    "wait-value": { type: "string" },
    "target-p95": { type: "string" },
    min: { type: "string" },
    max: { type: "string" },
    "idle-timeout": { type: "string" },
    "queue-delay": { type: "string" },
    "jobs-per-replica": { type: "string" },
    "batch-target-wait": { type: "string" },
    "batch-deadline": { type: "string" },
    price: { type: "string" },
    gpu: { type: "string" },
    bound: { type: "boolean" },
    plot: { type: "string" },
    suite: { type: "boolean" },
    traces: { type: "string" },
    jobs: { type: "string" },
  },
  optionHelp: {
    trace:
      "CSV with the columns t (seconds, Unix time or ISO) and service_s (seconds), perhaps endpoint and lane; gzipped or not, - reads standard input; may be repeated",
    "from-history": "the jobs an endpoint has had, against its own settings",
    since: `with --from-history: submitted at or after: 1h, 2d … ago, or an ISO time; ${SINCE_DEFAULT} when left out`,
    "one-endpoint": "all jobs of a trace on one endpoint, not each of its endpoints for itself",
    service: "with --trace: seconds that a job takes whose line does not say",
    policy: `separated by commas; ${POLICIES_DEFAULT.join(",")} when left out; \`--policy list\` names them all`,
    "cold-start": `seconds from the start of a replica to its first job; what the endpoint has measured, or ${COLD_START_S_DEFAULT}, when left out`,
    "cold-start-cv": "how much starts differ: standard deviation over mean, 0 when left out",
    "wait-value": "GPU-seconds a second of a caller's waiting is worth, for predictive; several separated by commas",
    "target-p95": "seconds that 95 of 100 interactive jobs may wait; instead of --wait-value",
    min: "replicas kept warm, from before the trace begins; several separated by commas",
    max: `replicas at most; ${REPLICAS_MAX} when left out`,
    "idle-timeout":
      "seconds after which an idle replica stops, or auto (none is the same): learned by predictive, 60 for the others",
    "queue-delay": "for queue_delay: seconds of waiting that start another replica",
    "jobs-per-replica": "for request_count",
    "batch-target-wait": "seconds batch jobs may wait for replicas that are there anyway",
    "batch-deadline": `seconds until a batch job must have begun; ${EXPIRES_IN_S_DEFAULT} when left out`,
    price: "dollars for an hour of a GPU",
    gpu: "a GPU type, for its price: rtx-4090, l40s, h100-80 …",
    bound: "the distance to somebody who knew every arrival; takes up to a minute",
    plot: "write the comparison to this file, as SVG: its name ends in .svg",
    suite: "predictive under many conditions against all known rivals, bounds and goals; takes minutes",
    traces: "with --suite: a folder of traces (traces, ../traces or ../shared/traces)",
    jobs: "with --suite: threads; as many as there are processors when left out",
  },
  forPeople: true,
  run: async (call) => {
    if (call.text("policy") === "list") return policyList();
    return call.flag("suite") ? suiteOutcome(call) : comparisonOutcome(call);
  },
};

function policyList(): Outcome {
  const own = ScalingPolicy.options.map((name) => [name, "a policy of an endpoint here"]);
  const others = knownRivals.map(({ name, title }) => [name, title]);
  const rows = [...own, ...others, ["timer-<seconds>", "any idle time"], ["fixed-<replicas>", "any number, always"]];
  return {
    data: { policies: rows.map(([name, title]) => ({ name, title })) },
    ids: rows.map(([name]) => name ?? ""),
    text: textTable(["policy", "what it is"], rows),
  };
}

async function comparisonOutcome(call: Call): Promise<Outcome> {
  for (const option of ["traces", "jobs"]) {
    if (call.text(option) !== undefined) throw new CliError("usage", `--${option} goes with --suite`);
  }
  const given = numberOf(call, "cold-start", 0, COLD_START_S_MAX);
  const { traces, settings, coldStartS } = await chosenTraces(call);
  const bootS = given ?? coldStartS ?? COLD_START_S_DEFAULT;
  const endpoint = call.text("from-history");
  if (endpoint !== undefined) call.output.note(coldStartNote(endpoint, given, coldStartS));
  const options = contenderOptions(call, settings, traces[0]?.startMs ?? null);
  const contenders = contendersOf(options);
  if (contenders.length > CONTENDERS_MAX) {
    throw new CliError("usage", `${contenders.length} policies are too many: at most ${CONTENDERS_MAX}`);
  }
  if (options.schedule !== null && contenders.some(({ isOurs }) => !isOurs)) {
    call.output.note("other systems keep the warm floor of --min or the settings, but not the warm schedule");
  }
  const plot = call.text("plot");
  if (plot !== undefined && traces.length > 1) throw new CliError("usage", "--plot takes one trace");
  if (plot !== undefined) await checkPlotFile(call.workingDirectory, plot);
  const pricePerHour = priceOf(call);
  const comparisons: Comparison[] = [];
  let said = "";
  for (const trace of traces) {
    comparisons.push(
      await compare(trace, contenders, {
        bootS,
        bootCv: numberOf(call, "cold-start-cv", 0, COLD_START_CV_MAX) ?? 0,
        replicasMax: options.settings.ceiling,
        warm: Math.min(...options.floors),
        batchDeadlineS: numberOf(call, "batch-deadline", 1, EXPIRES_IN_S_MAX) ?? EXPIRES_IN_S_DEFAULT,
        pricePerHour,
        withBound: call.flag("bound"),
        parts: SERIES_PARTS,
        onStep: async (what, done) => {
          const phase = `${trace.name}: ${what}`;
          const line = `${phase} … ${Math.floor(done * 100)} %`;
          if (line !== said) call.output.progress(line, phase);
          said = line;
          // In between an interrupt gets its turn.
          await new Promise((resolve) => setImmediate(resolve));
          call.interrupts.signal.throwIfAborted();
        },
      }),
    );
  }
  const [first] = comparisons;
  if (plot !== undefined && first !== undefined) await writePlotFile(call.workingDirectory, plot, comparisonSvg(first));
  return {
    data: { comparisons: comparisons.map(comparisonData) },
    text: [
      ...comparisons.flatMap((comparison, index) => [...(index === 0 ? [] : [""]), ...comparisonText(comparison)]),
      ...(plot === undefined ? [] : ["", `Plotted in ${plot}`]),
    ],
  };
}

/** How long starts take in the replay of an endpoint's past, and who says so: the waits and the bill hang on it. */
function coldStartNote(endpoint: string, given: number | undefined, measuredS: number | null): string {
  const measured = `${endpoint} has measured ${measuredS === null ? "none" : `${measuredS} s`}`;
  if (given !== undefined) return `starts take ${given} s, as --cold-start says; ${measured}`;
  if (measuredS !== null) return `starts take ${measuredS} s: ${measured}`;
  return `starts take ${COLD_START_S_DEFAULT} s, which is a guess: ${measured}; --cold-start says how long they take`;
}

interface Chosen {
  readonly traces: readonly SimulatedTrace[];
  readonly settings: EndpointSettings;
  /** What starts took there; null where nobody knows. */
  readonly coldStartS: number | null;
}

/** Where the arrivals come from, and the settings they are tried against. */
async function chosenTraces(call: Call): Promise<Chosen> {
  const paths = call.texts("trace");
  const endpoint = call.text("from-history");
  if (paths.length > 0 === (endpoint !== undefined)) {
    throw new CliError("usage", "Give --trace (a file, may be repeated) or --from-history (an endpoint)");
  }
  const since = call.text("since");
  if (endpoint === undefined) {
    if (since !== undefined) throw new CliError("usage", "--since goes with --from-history");
    const serviceS = numberOf(call, "service", 0, TRACE_S_MAX);
    const traces: SimulatedTrace[] = [];
    for (const path of paths) {
      const file = await readTraceFile(call, path, serviceS);
      traces.push(simulatedTrace(path, file, call.flag("one-endpoint")));
    }
    return { traces, settings: { ...DEFAULT_SETTINGS, max_replicas: REPLICAS_MAX }, coldStartS: null };
  }
  if (call.text("service") !== undefined) throw new CliError("usage", "--service goes with --trace");
  const from = timeOf(since ?? SINCE_DEFAULT, "since", Date.now());
  const client = await call.connect();
  const { signal } = call.interrupts;
  const { slug, settings } = await client.endpoints.get(endpoint, { signal });
  const { cold_start_s } = await client.scaling.get(slug, { limit: 1 }, { signal });
  return { traces: [await traceOfHistory(call, client, slug, from)], settings, coldStartS: cold_start_s };
}

function comparisonData({ trace, bootS, zeroWaitGpuS, endS, compared }: Comparison): Record<string, unknown> {
  return {
    trace: { name: trace.name, endpoints: trace.endpoints.length, jobs: trace.jobs, work_s: trace.workS },
    horizon_s: trace.horizonS,
    billed_until_s: endS,
    cold_start_s: bootS,
    zero_wait_gpu_s: zeroWaitGpuS,
    policies: compared.map(({ contender, run, cost, overBound, peak }) => ({
      name: contender.name,
      title: contender.title,
      gpu_s: run.gpuS,
      cost,
      busy_s: run.busyS,
      starting_s: run.bootS,
      idle_s: run.gpuS - run.busyS - run.bootS,
      wait_p50_s: run.jobs === 0 ? null : run.p50S,
      wait_p95_s: run.jobs === 0 ? null : run.p95S,
      wait_p99_s: run.jobs === 0 ? null : run.p99S,
      wait_mean_s: run.jobs === 0 ? null : run.meanS,
      cold_share: run.jobs === 0 ? null : run.coldShare,
      starts: run.launches,
      replicas_most: peak,
      jobs_never_run: run.unserved,
      batch:
        run.batchJobs === 0
          ? null
          : {
              jobs: run.batchJobs,
              wait_p95_s: run.batchP95S,
              wait_mean_s: run.batchMeanS,
              missed: run.batchMissed,
              never_run: run.batchUnserved,
            },
      over_bound: overBound,
    })),
  };
}

async function suiteOutcome(call: Call): Promise<Outcome> {
  const allowed = new Set(["suite", "traces", "jobs"]);
  const isGiven = (option: string) =>
    call.flag(option) || call.text(option) !== undefined || call.texts(option).length > 0;
  const other = Object.keys(simulate.options).find((option) => !allowed.has(option) && isGiven(option));
  if (other !== undefined) throw new CliError("usage", `--suite has its own conditions and takes no --${other}`);
  const folder = call.text("traces") ?? (await usualFolder(call));
  const cases = [];
  for (const path of await traceFiles(call, folder)) {
    const file = await readTraceFile(call, path);
    const ofTrace = suiteCasesOf(simulatedTrace(path, file, true).name, file.byEndpoint);
    for (const each of ofTrace) checkCounted(path, each);
    cases.push(...ofTrace);
  }
  const threads = call.integer("jobs", 1, THREADS_MAX) ?? Math.min(availableParallelism(), THREADS_MAX);
  const cells = await runSuite(cases, {
    threads,
    signal: call.interrupts.signal,
    onProgress: (fraction, what) => {
      const percent = `${Math.floor(fraction * 100)} %`.padStart(5);
      call.output.progress(`${progressBar(fraction)} ${percent}  ${what}`, `${Math.floor(fraction * 10) * 10} %`);
    },
  });
  return { data: suiteData(cells), text: suiteText(cells) };
}

/** @throws CliError when nobody's wait would count: every goal would be met by doing nothing */
function checkCounted(path: string, { countFromS, endpoints }: SuiteCase): void {
  const isCounted = endpoints.some(({ atS, batch }) => atS.some((at, job) => at >= countFromS && batch?.[job] !== 1));
  if (isCounted) return;
  const from =
    countFromS === 0 ? "" : ` after the first ${countFromS} s, from which on waits count in a trace so short`;
  throw new CliError(
    "usage",
    `${path}: it has no interactive job${from}`,
    "The suite is about interactive waits; --trace replays any.",
  );
}

/** The folder of traces where none is named. @throws CliError when there is none */
async function usualFolder(call: Call): Promise<string> {
  for (const folder of TRACE_FOLDERS) {
    const names = await readdir(resolve(call.workingDirectory, folder)).catch(() => []);
    if (names.some(isTraceName)) return folder;
  }
  const looked = TRACE_FOLDERS.join(", ");
  throw new CliError("usage", `--suite takes its traces from a folder: --traces <folder>; there are none in ${looked}`);
}

/** @throws CliError when the folder cannot be read or holds none */
async function traceFiles(call: Call, folder: string): Promise<string[]> {
  try {
    const names = (await readdir(resolve(call.workingDirectory, folder))).filter(isTraceName).sort();
    if (names.length > 0) return names.map((name) => join(folder, name));
  } catch (cause) {
    throw new CliError("file_unreadable", `${folder} cannot be read: ${fileReason(cause)}`, TRACES_HINT, { cause });
  }
  throw new CliError("file_unreadable", `${folder} holds no .csv file`, TRACES_HINT);
}
