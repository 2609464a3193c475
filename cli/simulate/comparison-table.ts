/** The figures of a comparison side by side, as the terminal and the picture show them. */
import type { Compared } from "#cli/simulate/compare";
import { duration } from "#cli/text-table";

export interface ComparisonTable {
  readonly header: readonly string[];
  /** One for each policy, in their order. */
  readonly rows: readonly (readonly string[])[];
  /** What the rows do not say for themselves. */
  readonly notes: readonly string[];
}

/** GPU time is in one unit throughout a comparison: in hours, or in seconds where no bill has one. */
export interface BillUnit {
  readonly column: "gpu-h" | "gpu-s";
  readonly name: "GPU-hours" | "GPU-seconds";
  /** GPU-seconds that one of it is. */
  readonly gpuS: number;
}

const HOURS: BillUnit = { column: "gpu-h", name: "GPU-hours", gpuS: 3_600 };
const SECONDS: BillUnit = { column: "gpu-s", name: "GPU-seconds", gpuS: 1 };
const MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function unitOf(compared: readonly Compared[]): BillUnit {
  return compared.every(({ run }) => run.gpuS < HOURS.gpuS) ? SECONDS : HOURS;
}

/** GPU time in a unit, with three digits or more. */
export function gpuTime(gpuS: number, unit: BillUnit): string {
  return digits(gpuS / unit.gpuS);
}

/** Whether every job ran, so that the bill can be held against others. */
export function isWhole({ run }: Compared): boolean {
  return run.unserved === 0;
}

export function comparisonTable(compared: readonly Compared[]): ComparisonTable {
  const unit = unitOf(compared);
  const hasCost = compared.some(({ cost }) => cost !== null);
  const hasBound = compared.some(({ overBound }) => overBound !== null);
  const hasInteractive = compared.some(({ run }) => run.jobs > 0);
  const hasBatch = compared.some(({ run }) => run.batchJobs > 0);
  const broken = compared.filter((each) => !isWhole(each));
  const header = [
    "",
    "policy",
    unit.column,
    ...(hasCost ? ["cost"] : []),
    "busy",
    ...(hasInteractive ? ["p50", "p95", "p99", "mean", "cold"] : []),
    ...(hasBatch ? ["batch p95", "batch mean", "missed"] : []),
    ...(broken.length > 0 ? ["never ran"] : []),
    "starts",
    "most",
    ...(hasBound ? ["x bound"] : []),
  ];
  const rows = compared.map((each, index) => {
    const { contender, run, cost, overBound, peak } = each;
    /** A bill for less than all the work is none that could be compared. */
    const bill = (text: string) => (isWhole(each) ? text : `(${text})`);
    return [
      markOf(index),
      contender.title,
      bill(gpuTime(run.gpuS, unit)),
      ...(hasCost ? [cost === null ? "" : bill(dollars(cost))] : []),
      share(run.busyS, run.gpuS),
      ...(hasInteractive ? [...[run.p50S, run.p95S, run.p99S, run.meanS].map(seconds), share(run.coldShare, 1)] : []),
      ...(hasBatch ? [seconds(run.batchP95S), seconds(run.batchMeanS), String(run.batchMissed)] : []),
      ...(broken.length > 0 ? [isWhole(each) ? "" : String(run.unserved)] : []),
      String(run.launches),
      String(peak),
      ...(hasBound ? [overBound === null ? "-" : overBound.toFixed(2)] : []),
    ];
  });
  const notes = broken.map(({ contender, run }) => {
    const batch = run.batchUnserved > 0 ? `, ${run.batchUnserved} of them batch jobs` : "";
    return `${contender.title}: ${run.unserved} jobs NEVER RAN${batch}; its bill in brackets is for the others alone`;
  });
  return { header, rows, notes };
}

/** A letter for each policy. */
export function markOf(index: number): string {
  return MARKS[index] ?? "*";
}

export function seconds(value: number): string {
  return value >= 1_000
    ? duration(value * 1_000)
    : value >= 100
      ? `${value.toFixed(0)} s`
      : `${value.toFixed(value >= 10 ? 1 : 2)} s`;
}

export function share(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(part / whole < 0.1 ? 1 : 0)} %`;
}

/** As many decimals as money has, and more where they would be noughts. */
function dollars(cost: number): string {
  return `$${cost === 0 || cost >= 1 ? cost.toFixed(2) : Number(cost.toPrecision(3))}`;
}

function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value >= 1 ? value.toFixed(2) : String(Number(value.toPrecision(3)));
}
