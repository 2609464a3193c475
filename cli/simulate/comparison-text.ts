/** A comparison of policies for a terminal: a table, bars of the bill, a plane of cost and waiting, replicas over time. */
import type { Compared, Comparison } from "#cli/simulate/compare";
import { duration, textTable } from "#cli/text-table";

const BAR_WIDTH = 40;
const PLANE_WIDTH = 56;
const PLANE_HEIGHT = 12;
/** Bars of one column each over time. */
const TIME_WIDTH = 64;
const LEVELS = " ▁▂▃▄▅▆▇█";
const MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function comparisonText({ trace, bootS, zeroWaitGpuS, compared }: Comparison): string[] {
  const endpoints = trace.endpoints.length === 1 ? "" : ` on ${trace.endpoints.length} endpoints`;
  return [
    `${trace.name}: ${trace.jobs} jobs${endpoints} in ${span(trace.horizonS)}, ${hours(trace.workS)} GPU-hours of work, starts of ${bootS} s`,
    `Somebody who knew every arrival could let nobody wait for ${hours(zeroWaitGpuS)} GPU-hours.`,
    "",
    ...comparisonTable(compared),
    "",
    ...billBars(compared),
    "",
    ...plane(compared),
    "",
    ...overTime(compared, trace.horizonS),
  ];
}

function comparisonTable(compared: readonly Compared[]): string[] {
  const hasCost = compared.some(({ cost }) => cost !== null);
  const hasBound = compared.some(({ overBound }) => overBound !== null);
  const header = [
    "",
    "policy",
    "gpu-h",
    ...(hasCost ? ["cost"] : []),
    "busy",
    "p50",
    "p95",
    "p99",
    "mean",
    "cold",
    "starts",
    "most",
    ...(hasBound ? ["x bound"] : []),
  ];
  const rows = compared.map(({ contender, run, cost, overBound }, index) => [
    markOf(index),
    contender.title,
    hours(run.gpuS),
    ...(hasCost ? [cost === null ? "" : `$${cost.toFixed(2)}`] : []),
    share(run.busyS, run.gpuS),
    seconds(run.p50S),
    seconds(run.p95S),
    seconds(run.p99S),
    seconds(run.meanS),
    share(run.coldShare, 1),
    String(run.launches),
    String(run.peak),
    ...(hasBound ? [overBound === null ? "" : overBound.toFixed(2)] : []),
  ]);
  const unserved = compared.filter(({ run }) => run.unserved > 0);
  return [
    ...textTable(header, rows),
    ...unserved.map(({ contender, run }) => `${contender.title}: ${run.unserved} jobs never ran`),
  ];
}

/** What each bill is made of. */
function billBars(compared: readonly Compared[]): string[] {
  const most = Math.max(...compared.map(({ run }) => run.gpuS), 1);
  const width = Math.max(...compared.map(({ contender }) => contender.title.length));
  return [
    `${"".padEnd(width)}  █ running  ▒ idle  ░ starting`,
    ...compared.map(({ contender, run }) => {
      const columns = (gpuS: number) => Math.round((gpuS / most) * BAR_WIDTH);
      const running = columns(run.busyS);
      const idle = columns(run.gpuS - run.bootS) - running;
      const starting = columns(run.gpuS) - running - idle;
      const bar = "█".repeat(running) + "▒".repeat(Math.max(0, idle)) + "░".repeat(Math.max(0, starting));
      return `${contender.title.padEnd(width)}  ${bar} ${hours(run.gpuS)}`;
    }),
  ];
}

/** Each policy a letter: to the right it costs more, further up callers wait longer. */
function plane(compared: readonly Compared[]): string[] {
  const mostGpuS = Math.max(...compared.map(({ run }) => run.gpuS), 1);
  const mostWaitS = Math.max(...compared.map(({ run }) => run.meanS), 0.001);
  const grid = Array.from({ length: PLANE_HEIGHT }, () => Array.from({ length: PLANE_WIDTH }, () => " "));
  for (const [index, { run }] of compared.entries()) {
    const column = Math.round((run.gpuS / mostGpuS) * (PLANE_WIDTH - 1));
    const row = PLANE_HEIGHT - 1 - Math.round((run.meanS / mostWaitS) * (PLANE_HEIGHT - 1));
    const line = grid[row];
    if (line === undefined) continue;
    // A place that is taken has room beside it, as far as the line goes.
    let free = column;
    while (free < PLANE_WIDTH - 1 && line[free] !== " ") free += 1;
    line[free] = markOf(index);
  }
  const labels = grid.map((_, row) => (row === 0 ? seconds(mostWaitS) : row === PLANE_HEIGHT - 1 ? "0 s" : ""));
  const width = Math.max(...labels.map((label) => label.length), "mean wait".length);
  const right = `${hours(mostGpuS)} GPU-hours`;
  return [
    "mean wait",
    ...grid.map((line, row) => `${(labels[row] ?? "").padStart(width)} │${line.join("")}`),
    `${"".padStart(width)} └${"─".repeat(PLANE_WIDTH)}`,
    `${"".padStart(width)}  0${right.padStart(PLANE_WIDTH - 1)}`,
  ];
}

function overTime(compared: readonly Compared[], horizonS: number): string[] {
  const width = Math.max(...compared.map(({ contender }) => contender.title.length));
  const line = (values: Float64Array): string => {
    const columns = Array.from({ length: TIME_WIDTH }, (_, column) => columnOf(values, column));
    const most = Math.max(...columns);
    const bars = columns.map((value) => LEVELS[most === 0 ? 0 : Math.ceil((value / most) * (LEVELS.length - 1))] ?? "");
    return `${bars.join("")} up to ${most < 10 ? most.toFixed(1) : Math.round(most)}`;
  };
  return [
    `Over ${span(horizonS)}, each line by its own scale: replicas, and below them jobs that wait`,
    ...compared.flatMap(({ contender, series }) => [
      `${contender.title.padEnd(width)}  ${line(series.replicas)}`,
      `${"".padEnd(width)}  ${line(series.waiting)}`,
    ]),
  ];
}

function columnOf(values: Float64Array, column: number): number {
  const from = Math.floor((column * values.length) / TIME_WIDTH);
  const to = Math.max(from + 1, Math.floor(((column + 1) * values.length) / TIME_WIDTH));
  let most = 0;
  for (let at = from; at < to; at += 1) most = Math.max(most, values[at] ?? 0);
  return most;
}

export function markOf(index: number): string {
  return MARKS[index] ?? "*";
}

export function hours(gpuS: number): string {
  const value = gpuS / 3_600;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
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

/** A stretch of a trace: hours, and days where there are some. */
function span(lengthS: number): string {
  return lengthS > 2 * 86_400 ? `${(lengthS / 86_400).toFixed(1)} days` : `${(lengthS / 3_600).toFixed(1)} h`;
}
