/** A comparison of policies for a terminal: a table, bars of the bill, a plane of cost and waiting, replicas over time. */
import type { Compared, Comparison } from "#cli/simulate/compare";
import {
  type BillUnit,
  comparisonTable,
  gpuTime,
  isWhole,
  markOf,
  seconds,
  unitOf,
} from "#cli/simulate/comparison-table";
import { textTable } from "#cli/text-table";

const BAR_WIDTH = 40;
const PLANE_WIDTH = 56;
const PLANE_HEIGHT = 12;
/** Bars of one column each over time. */
const TIME_WIDTH = 64;
const LEVELS = " ▁▂▃▄▅▆▇█";

export function comparisonText({ trace, bootS, zeroWaitGpuS, endS, compared }: Comparison): string[] {
  const unit = unitOf(compared);
  const { header, rows, notes } = comparisonTable(compared);
  const endpoints = trace.endpoints.length === 1 ? "" : ` on ${trace.endpoints.length} endpoints`;
  return [
    `${trace.name}: ${trace.jobs} jobs${endpoints} in ${span(trace.horizonS)}, ${gpuTime(trace.workS, unit)} ${unit.name} of work, starts of ${bootS} s`,
    `Somebody who knew every arrival could let nobody wait for ${gpuTime(zeroWaitGpuS, unit)} ${unit.name}.`,
    "",
    ...textTable(header, rows),
    ...notes,
    "",
    ...billBars(compared, unit),
    "",
    ...plane(compared, unit),
    "",
    ...overTime(compared, endS),
  ];
}

/** What each bill is made of. */
function billBars(compared: readonly Compared[], unit: BillUnit): string[] {
  const most = Math.max(...compared.map(({ run }) => run.gpuS), 1);
  const width = Math.max(...compared.map(({ contender }) => contender.title.length));
  return [
    `${"".padEnd(width)}  █ running  ▒ idle  ░ starting`,
    ...compared.map((each) => {
      const { contender, run } = each;
      const title = contender.title.padEnd(width);
      if (!isWhole(each)) return `${title}  ${run.unserved} jobs never ran`;
      const columns = (gpuS: number) => Math.round((gpuS / most) * BAR_WIDTH);
      const running = columns(run.busyS);
      const idle = columns(run.gpuS - run.bootS) - running;
      const starting = columns(run.gpuS) - running - idle;
      const bar = "█".repeat(running) + "▒".repeat(Math.max(0, idle)) + "░".repeat(Math.max(0, starting));
      return `${title}  ${bar} ${gpuTime(run.gpuS, unit)}`;
    }),
  ];
}

/** Each policy that ran every job a letter: to the right it costs more, further up callers wait longer. */
function plane(compared: readonly Compared[], unit: BillUnit): string[] {
  const isBatch = compared.every(({ run }) => run.jobs === 0);
  const meanOf = ({ run }: Compared) => (isBatch ? run.batchMeanS : run.meanS);
  const whole = compared.filter(isWhole);
  const mostGpuS = Math.max(...whole.map(({ run }) => run.gpuS), 1);
  const mostWaitS = Math.max(...whole.map(meanOf), 0.001);
  const grid = Array.from({ length: PLANE_HEIGHT }, () => Array.from({ length: PLANE_WIDTH }, () => " "));
  for (const [index, each] of compared.entries()) {
    if (!isWhole(each)) continue;
    const column = Math.round((each.run.gpuS / mostGpuS) * (PLANE_WIDTH - 1));
    const row = PLANE_HEIGHT - 1 - Math.round((meanOf(each) / mostWaitS) * (PLANE_HEIGHT - 1));
    const line = grid[row];
    if (line === undefined) continue;
    // A place that is taken has room beside it, as far as the line goes.
    let free = column;
    while (free < PLANE_WIDTH - 1 && line[free] !== " ") free += 1;
    line[free] = markOf(index);
  }
  const labels = grid.map((_, row) => (row === 0 ? seconds(mostWaitS) : row === PLANE_HEIGHT - 1 ? "0 s" : ""));
  const width = Math.max(...labels.map((label) => label.length), "mean wait".length);
  const right = `${gpuTime(mostGpuS, unit)} ${unit.name}`;
  return [
    isBatch ? "mean wait of batch jobs" : "mean wait",
    ...grid.map((line, row) => `${(labels[row] ?? "").padStart(width)} │${line.join("")}`),
    `${"".padStart(width)} └${"─".repeat(PLANE_WIDTH)}`,
    `${"".padStart(width)}  0${right.padStart(PLANE_WIDTH - 1)}`,
  ];
}

function overTime(compared: readonly Compared[], endS: number): string[] {
  const width = Math.max(...compared.map(({ contender }) => contender.title.length));
  const line = (values: Float64Array, ownEndS: number): string => {
    const parts = (values.length * endS) / ownEndS;
    const columns = Array.from({ length: TIME_WIDTH }, (_, column) => columnOf(values, parts, column));
    const most = Math.max(...columns);
    const bars = columns.map((value) => LEVELS[most === 0 ? 0 : Math.ceil((value / most) * (LEVELS.length - 1))] ?? "");
    return `${bars.join("")} up to ${most}`;
  };
  return [
    `Over ${span(endS)}, the most at once, each line by its own scale: replicas, and below them jobs that wait`,
    ...compared.flatMap(({ contender, series }) => [
      `${contender.title.padEnd(width)}  ${line(series.replicas, series.endS)}`,
      `${"".padEnd(width)}  ${line(series.waiting, series.endS)}`,
    ]),
  ];
}

/** The most of one column's time; 0 after the last part. @param parts of the whole time, of which the values may have fewer */
function columnOf(values: Float64Array, parts: number, column: number): number {
  const from = Math.floor((column * parts) / TIME_WIDTH);
  const to = Math.max(from + 1, Math.floor(((column + 1) * parts) / TIME_WIDTH));
  return values.slice(from, to).reduce((most, value) => Math.max(most, value), 0);
}

/** A stretch of a trace: hours, and days where there are some. */
function span(lengthS: number): string {
  return lengthS > 2 * 86_400 ? `${(lengthS / 86_400).toFixed(1)} days` : `${(lengthS / 3_600).toFixed(1)} h`;
}
