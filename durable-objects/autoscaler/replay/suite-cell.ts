/** One cell of the suite: one trace under one start time, with every rival, our policy at every knob, and the bounds. */
import type { Scaler, ScalerSettings } from "../scaler.ts";
import { type Arrivals, arrivalsOf } from "./arrivals.ts";
import { boundAtWait, leastCost, type PricedCost, slottedDemand, zeroWaitBound } from "./bounds.ts";
import { percentile } from "./figures.ts";
import { type MeasuredRun, measureRun } from "./measured-run.ts";
import type { ReplayOptions } from "./options.ts";
import { allRivals } from "./rivals/sweep.ts";
import { scalerPolicy } from "./scaler-policy.ts";
import { seededChance } from "./seeded-chance.ts";
import type { SuiteCase } from "./suite-cases.ts";

/** The suite's values of waiting, and the settings between which the cheapest that is fast enough is looked for. */
export const WAIT_VALUES = [1, 10, 100] as const;
export const KNOB_GRID: readonly number[] = Array.from({ length: 22 }, (_, step) => 10 ** ((step - 5) / 5));
/** The other form of the same knob: p95 targets, among which one that is as fast as a rival is looked for as well. */
export const KNOB_TARGETS_S: readonly number[] = Array.from({ length: 22 }, (_, step) => 2 ** (step / 4));
/** Rivals whose bills are compared at no more waiting than theirs. */
export const COMPARED_RIVALS = [
  "knative",
  "runpod-request-count",
  "runpod-queue-delay",
  "modal",
  "modal-buffer",
  "keda",
  "ray-serve",
  "fal",
  "timer-300",
  "timer-600",
] as const;
/** Bills are compared with the clairvoyant's at a mean wait of no more than this. */
export const QUICK_MEAN_S = 2;
/** Between the setting of the grid that is as fast as asked and the one before it, no closer than so: a 6 % step. */
const GRID_FINEST = 1.07;
export const BOOTS_S = [8, 30, 90] as const;
/** The start time under which p95 targets and lanes are tried. */
export const BOOT_S_OF_EXTRAS = 30;
export const P95_TARGETS_S = [10, 20] as const;
export const REPLICAS_MAX_OF_SUITE = 64;

const BATCH_SHARE = 0.3;
const BATCH_DEADLINE_S = 3_600;
const BATCH_WAIT_VALUE = 10;
const BATCH_SEED = 7;
/** Prices of waiting at which the bound is computed, in GPU-seconds for a second that an average job waits. */
const BOUND_PRICES: readonly number[] = Array.from({ length: 15 }, (_, step) => 10 ** (step / 4 - 1));

export interface NamedRun {
  readonly name: string;
  readonly run: MeasuredRun;
}

export interface KnobRun {
  readonly waitValue: number;
  readonly run: MeasuredRun;
}

export interface TargetRun {
  readonly targetS: number;
  readonly run: MeasuredRun;
}

/** Batch jobs beside interactive ones. */
export interface LanesFigures {
  readonly missed: number;
  /** GPU-seconds with both lanes, of the interactive jobs alone, of all jobs as interactive ones. */
  readonly gpuS: number;
  readonly interactiveOnlyGpuS: number;
  readonly allInteractiveGpuS: number;
  readonly batchWorkS: number;
  readonly p95S: number;
  readonly interactiveOnlyP95S: number;
}

/** What deciding costs. */
export interface DecisionFigures {
  readonly decisions: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** The longest that anything learned was, as text. */
  readonly stateBytes: number;
}

export interface CellResult {
  readonly caseName: string;
  readonly bootS: number;
  readonly jobs: number;
  readonly workS: number;
  readonly isLong: boolean;
  readonly zeroWaitGpuS: number;
  readonly priced: readonly PricedCost[];
  readonly rivals: readonly NamedRun[];
  /** At KNOB_GRID, and between its settings where a rival is just matched; ascending. */
  readonly ours: readonly KnobRun[];
  /** At KNOB_TARGETS_S. */
  readonly targets: readonly TargetRun[];
  /** Where bootS is BOOT_S_OF_EXTRAS, else none. */
  readonly p95: readonly TargetRun[];
  readonly lanes: LanesFigures | null;
  readonly decisions: DecisionFigures | null;
}

export interface CellOptions {
  readonly newScaler: () => Scaler;
  /** Ms; what decisions take is measured with it. */
  readonly clock: () => number;
  /** Told of each step that is done, of `stepsOfCell`. */
  readonly onStep?: (what: string) => void;
}

/** Steps a cell reports. */
export function stepsOfCell(bootS: number): number {
  return (
    allRivals.length +
    KNOB_GRID.length +
    COMPARED_RIVALS.length +
    1 +
    KNOB_TARGETS_S.length +
    BOUND_PRICES.length +
    (bootS === BOOT_S_OF_EXTRAS ? P95_TARGETS_S.length + 3 : 0)
  );
}

/** Settings of a policy in the suite: nothing kept warm, 64 replicas at most. */
export function suiteSettings(waitValue: number, targetP95WaitS: number | null): ScalerSettings {
  return {
    policy: "predictive",
    waitValue,
    targetP95WaitS,
    floor: 0,
    ceiling: REPLICAS_MAX_OF_SUITE,
    idleTimeoutMs: null,
    queueDelayMs: 4_000,
    jobsPerReplica: 1,
    batchTargetWaitMs: BATCH_DEADLINE_S * 1_000,
  };
}

export function runCell(suiteCase: SuiteCase, bootS: number, options: CellOptions): CellResult {
  const { endpoints, horizonS, countFromS } = suiteCase;
  const replayed: ReplayOptions = { horizonS, bootS, countFromS, replicasMax: REPLICAS_MAX_OF_SUITE };
  const step = options.onStep ?? (() => {});
  const ours = (
    arrivals: readonly Arrivals[],
    settings: ScalerSettings,
    more: Partial<ReplayOptions> = {},
    watch = (scaler: Scaler) => scaler,
  ) => measureRun(arrivals, () => scalerPolicy(watch(options.newScaler()), settings), { ...replayed, ...more });

  const priced = boundPoints(endpoints, { bootS, replicasMax: REPLICAS_MAX_OF_SUITE }, step);
  const rivals = allRivals.map(({ name, make }) => {
    const run = measureRun(endpoints, make, { ...replayed, hasLanes: false });
    step(name);
    return { name, run };
  });
  const hasExtras = bootS === BOOT_S_OF_EXTRAS;
  const stopwatch = new Stopwatch(options.clock);
  const grid = KNOB_GRID.map((waitValue) => {
    const isWatched = hasExtras && waitValue === BATCH_WAIT_VALUE;
    const run = ours(
      endpoints,
      suiteSettings(waitValue, null),
      {},
      isWatched ? (scaler) => stopwatch.on(scaler) : undefined,
    );
    step(`predictive, a second worth ${waitValue.toPrecision(2)} GPU-seconds`);
    return { waitValue, run };
  });
  const runAt = (waitValue: number) => ours(endpoints, suiteSettings(waitValue, null));
  const refined = refinedKnob(grid, speedsOf(rivals), runAt, (speed) => step(`predictive, ${speed}`));
  const atTarget = (targetS: number): TargetRun => {
    const run = ours(endpoints, suiteSettings(BATCH_WAIT_VALUE, targetS));
    step(`predictive, p95 of ${targetS.toPrecision(2)} s`);
    return { targetS, run };
  };
  const targets = KNOB_TARGETS_S.map(atTarget);
  const p95 = (hasExtras ? P95_TARGETS_S : []).map(atTarget);
  let workS = 0;
  let jobs = 0;
  for (const { serviceS } of endpoints) {
    workS += serviceS.reduce((sum, service) => sum + service, 0);
    jobs += serviceS.length;
  }
  return {
    caseName: suiteCase.name,
    bootS,
    jobs,
    workS,
    isLong: countFromS === 0,
    zeroWaitGpuS: endpoints.reduce((sum, arrivals) => sum + zeroWaitBound(arrivals, bootS).gpuS, 0),
    priced,
    rivals,
    ours: refined,
    targets,
    p95,
    lanes: hasExtras ? lanesOf(endpoints, ours, step) : null,
    decisions: hasExtras ? stopwatch.figures() : null,
  };
}

/** Whether nobody waits longer than with the other, by p95 and by mean. */
export function isAsFast(run: MeasuredRun, other: MeasuredRun): boolean {
  return run.p95S <= other.p95S && run.meanS <= other.meanS;
}

/** How fast our setting has to be, to be compared at that. */
interface Speed {
  readonly name: string;
  readonly holds: (run: MeasuredRun) => boolean;
}

function speedsOf(rivals: readonly NamedRun[]): Speed[] {
  const asFast = COMPARED_RIVALS.map((name) => {
    const rival = rivals.find((each) => each.name === name)?.run;
    return { name: `as fast as ${name}`, holds: (run: MeasuredRun) => rival !== undefined && isAsFast(run, rival) };
  });
  return [...asFast, { name: `a mean wait of ${QUICK_MEAN_S} s`, holds: ({ meanS }) => meanS <= QUICK_MEAN_S }];
}

/** Looks between two settings of the grid for the one that is just fast enough: from one to the next a bill moves by a fifth. */
function refinedKnob(
  grid: readonly KnobRun[],
  speeds: readonly Speed[],
  runAt: (waitValue: number) => MeasuredRun,
  onSpeed: (name: string) => void,
): KnobRun[] {
  const tried = new Map(grid.map(({ waitValue, run }) => [waitValue.toPrecision(9), { waitValue, run }]));
  for (const { name, holds } of speeds) {
    const known = [...tried.values()].toSorted((a, b) => a.waitValue - b.waitValue);
    const quick = known.filter(({ run }) => holds(run));
    const cheapest = quick.toSorted((a, b) => a.run.gpuS - b.run.gpuS)[0];
    const before = cheapest === undefined ? undefined : known[known.indexOf(cheapest) - 1];
    if (cheapest !== undefined && before !== undefined) {
      let low = before.waitValue;
      let high = cheapest;
      while (high.waitValue / low > GRID_FINEST) {
        const waitValue = Math.sqrt(low * high.waitValue);
        const at = waitValue.toPrecision(9);
        const middle = tried.get(at) ?? { waitValue, run: runAt(waitValue) };
        tried.set(at, middle);
        if (holds(middle.run) && middle.run.gpuS <= high.run.gpuS) high = middle;
        else low = waitValue;
      }
    }
    onSpeed(name);
  }
  return [...tried.values()].toSorted((a, b) => a.waitValue - b.waitValue);
}

/** GPU-seconds over what the clairvoyant pays who lets work wait as long. */
export function overBound(cell: Pick<CellResult, "priced">, run: MeasuredRun): number {
  return run.gpuS / boundAtWait(cell.priced, run.waitingWorkS);
}

/**
 * The bound's points: the endpoints' costs add up at each price.
 * @param options as for the policies, of which each must be allowed no more replicas, and no more of them warm at second 0
 */
export function boundPoints(
  endpoints: readonly Arrivals[],
  { bootS, replicasMax, warm = 0 }: Pick<ReplayOptions, "bootS" | "warm"> & { readonly replicasMax: number },
  step: (what: string) => void = () => {},
): PricedCost[] {
  const work = endpoints.reduce((sum, { serviceS }) => sum + serviceS.reduce((all, service) => all + service, 0), 0);
  const jobs = endpoints.reduce((sum, { serviceS }) => sum + serviceS.length, 0);
  if (jobs === 0 || work === 0) return [];
  const prices = BOUND_PRICES.map((each) => (each * jobs) / work);
  const costs = new Float64Array(prices.length);
  for (const [index, arrivals] of endpoints.entries()) {
    const demand = slottedDemand(arrivals);
    for (const [at, price] of prices.entries()) {
      costs[at] = (costs[at] ?? 0) + leastCost(demand, bootS, price, replicasMax, warm);
      if (index === endpoints.length - 1) step("the clairvoyant");
    }
  }
  // Who may wait for ever starts one replica, where none is warm, and never lets it idle.
  const starts = warm > 0 ? 0 : endpoints.filter(({ atS }) => atS.length > 0).length;
  const unhurried = { price: 0, cost: work + bootS * starts };
  return [unhurried, ...prices.map((price, at) => ({ price, cost: costs[at] ?? 0 }))];
}

type OursRun = (arrivals: readonly Arrivals[], settings: ScalerSettings, more?: Partial<ReplayOptions>) => MeasuredRun;

/** Marks a part of the jobs as batch jobs with a deadline, by a seed, and replays them together and without them. */
function lanesOf(endpoints: readonly Arrivals[], ours: OursRun, step: (what: string) => void): LanesFigures {
  const chance = seededChance(BATCH_SEED);
  const settings = suiteSettings(BATCH_WAIT_VALUE, null);
  let batchWorkS = 0;
  const marked = endpoints.map((arrivals) => {
    const batch = Uint8Array.from(arrivals.atS, () => (chance() < BATCH_SHARE ? 1 : 0));
    batchWorkS += arrivals.serviceS.reduce((sum, service, job) => sum + (batch[job] === 1 ? service : 0), 0);
    return { ...arrivals, batch };
  });
  const interactive = marked.map(({ atS, serviceS, batch }) =>
    arrivalsOf([...atS].flatMap((t, job) => (batch[job] === 1 ? [] : [{ t, serviceS: serviceS[job] ?? 0 }]))),
  );
  const both = ours(marked, settings, { batchDeadlineS: BATCH_DEADLINE_S });
  step("lanes");
  const alone = ours(interactive, settings);
  step("lanes");
  const asOne = ours(endpoints, settings);
  step("lanes");
  return {
    missed: both.batchMissed,
    gpuS: both.gpuS,
    interactiveOnlyGpuS: alone.gpuS,
    allInteractiveGpuS: asOne.gpuS,
    batchWorkS,
    p95S: both.p95S,
    interactiveOnlyP95S: alone.p95S,
  };
}

/** How often a scaler's memory is measured: writing it takes longer than a decision. */
const STATE_EVERY = 1_000;

/** Measures every decision of the scalers put on it. */
class Stopwatch {
  readonly #clock: () => number;
  readonly #tookUs: number[] = [];
  #stateBytes = 0;

  constructor(clock: () => number) {
    this.#clock = clock;
  }

  on(scaler: Scaler): Scaler {
    return {
      note: (event) => scaler.note(event),
      decide: (settings, observation) => {
        const from = this.#clock();
        const decision = scaler.decide(settings, observation);
        this.#tookUs.push((this.#clock() - from) * 1_000);
        if (this.#tookUs.length % STATE_EVERY === 0) this.#measureState(scaler);
        return decision;
      },
      save: () => scaler.save(),
    };
  }

  figures(): DecisionFigures {
    const took = Float64Array.from(this.#tookUs).sort();
    return {
      decisions: took.length,
      p50Us: percentile(took, 0.5),
      p99Us: percentile(took, 0.99),
      stateBytes: this.#stateBytes,
    };
  }

  #measureState(scaler: Scaler): void {
    this.#stateBytes = Math.max(this.#stateBytes, new TextEncoder().encode(scaler.save()).length);
  }
}
