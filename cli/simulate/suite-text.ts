/** The suite for a terminal: every trace with rivals and bounds, scores against the hull, savings, goals. */
import { seconds, share } from "#cli/simulate/comparison-table";
import { textTable } from "#cli/text-table";
import { type MeasuredRun, scoreOf } from "#durable-objects/autoscaler/replay/measured-run";
import { knownRivals } from "#durable-objects/autoscaler/replay/rivals/known";
import { allRivals } from "#durable-objects/autoscaler/replay/rivals/sweep";
import { type CellResult, overBound, WAIT_VALUES } from "#durable-objects/autoscaler/replay/suite-cell";
import { geometricMean, goalsOf, hullOf, savingsOver } from "#durable-objects/autoscaler/replay/suite-goals";

const SAVED_OVER = [
  "knative",
  "keda",
  "runpod-request-count",
  "runpod-queue-delay",
  "modal",
  "modal-buffer",
  "fal",
  "baseten",
  "ray-serve",
  "timer-300",
  "timer-600",
  "hybrid-histogram-10",
];

export function suiteText(cells: readonly CellResult[]): string[] {
  return [
    ...cells.flatMap((cell) => [...cellText(cell), ""]),
    `GPU-seconds + w x seconds waited, over the best of ${allRivals.length} known settings, picked afterwards for each cell`,
    "",
    ...hullText(cells),
    "",
    "GPU-seconds saved (%) at no more waiting, p95 and mean, than each default; - where no setting is as fast",
    "",
    ...savingsText(cells),
    "",
    ...goalsText(cells),
  ];
}

function cellText(cell: CellResult): string[] {
  const row = (title: string, run: MeasuredRun): string[] => [
    title,
    hours(run.gpuS),
    share(run.busyS, run.gpuS),
    seconds(run.p50S),
    seconds(run.p95S),
    seconds(run.p99S),
    seconds(run.meanS),
    share(run.coldShare, 1),
    cell.workS === 0 ? "-" : overBound(cell, run).toFixed(2),
  ];
  const titles = new Map(knownRivals.map(({ name, title }) => [name, title]));
  const known = cell.rivals.flatMap(({ name, run }) => {
    const title = titles.get(name);
    return title === undefined ? [] : [row(title, run)];
  });
  const ours = cell.ours
    .filter(({ waitValue }) => WAIT_VALUES.some((each) => each === waitValue))
    .map(({ waitValue, run }) => row(`predictive, wait value ${waitValue}`, run));
  const targets = cell.p95.map(({ targetS, run }) => row(`predictive, p95 ${targetS} s`, run));
  return [
    `${cell.caseName}, starts of ${cell.bootS} s: ${cell.jobs} jobs, ${hours(cell.workS)} GPU-hours of work, nobody waits for ${hours(cell.zeroWaitGpuS)}`,
    ...textTable(
      ["policy", "gpu-h", "busy", "p50", "p95", "p99", "mean", "cold", "x bound"],
      [...known, ...ours, ...targets],
    ),
  ];
}

function hullText(cells: readonly CellResult[]): string[] {
  const hull = hullOf(cells);
  const rows = cells.map((cell) => {
    const own = hull.filter(({ caseName, bootS }) => caseName === cell.caseName && bootS === cell.bootS);
    return [cell.caseName, `${cell.bootS} s`, ...own.flatMap(({ ratio, bestName }) => [ratio.toFixed(3), bestName])];
  });
  const means = WAIT_VALUES.flatMap((waitValue) => {
    const ratios = hull.filter((cell) => cell.waitValue === waitValue).map(({ ratio }) => ratio);
    return [geometricMean(ratios).toFixed(3), "geometric mean"];
  });
  return textTable(
    ["trace", "starts", ...WAIT_VALUES.flatMap((waitValue) => [`w ${waitValue}`, "best known"])],
    [...rows, ["all", "", ...means]],
  );
}

function savingsText(cells: readonly CellResult[]): string[] {
  const columns = SAVED_OVER.map((name) => savingsOver(cells, name));
  const rows = cells.map(({ caseName, bootS }, row) => [
    caseName,
    `${bootS} s`,
    ...columns.map((savings) => {
      const saved = savings[row]?.saved ?? null;
      return saved === null ? "-" : String(Math.round(100 * saved));
    }),
  ]);
  return textTable(["trace", "starts", ...SAVED_OVER], rows);
}

function goalsText(cells: readonly CellResult[]): string[] {
  const word = (met: boolean | null) => (met === null ? "not measured" : met ? "met" : "MISSED");
  const traces = [...new Set(cells.map(({ caseName }) => caseName))];
  return [
    `Goals; figures of several traces are in this order: ${traces.join(", ")}`,
    "",
    ...goalsOf(cells).flatMap(({ id, title, target, measured, met }) => [
      `${id.padEnd(4)} ${word(met)}: ${title}`,
      ...(target === "" ? [] : [`     target   ${target}`]),
      ...(measured === "" ? [] : [`     measured ${measured}`]),
    ]),
  ];
}

/** GPU-seconds in hours. */
function hours(gpuS: number): string {
  const value = gpuS / 3_600;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** The suite for programs: the rivals as shipped, and the best of all for each score. */
export function suiteData(cells: readonly CellResult[]): Record<string, unknown> {
  const names = new Set(knownRivals.map(({ name }) => name));
  return {
    goals: goalsOf(cells),
    hull: hullOf(cells),
    cells: cells.map((cell) => ({
      ...cell,
      rivals: cell.rivals
        .filter(({ name }) => names.has(name))
        .map(({ name, run }) => ({ name, ...run, over_bound: overBound(cell, run) })),
      ours: cell.ours.map(({ waitValue, run }) => ({
        wait_value: waitValue,
        score: scoreOf(run, waitValue),
        ...run,
        over_bound: overBound(cell, run),
      })),
    })),
  };
}
