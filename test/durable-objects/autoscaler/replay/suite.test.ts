import { describe, expect, it } from "vitest";
import type { MeasuredRun } from "#durable-objects/autoscaler/replay/measured-run";
import { horizonOf, suiteCasesOf } from "#durable-objects/autoscaler/replay/suite-cases";
import {
  type CellResult,
  KNOB_GRID,
  overBound,
  runCell,
  stepsOfCell,
} from "#durable-objects/autoscaler/replay/suite-cell";
import { bestSingle, goalsOf, hullOf, savingsOver } from "#durable-objects/autoscaler/replay/suite-goals";
import { parseTrace } from "#durable-objects/autoscaler/replay/trace-file";
import { perRequestScaler } from "#test/durable-objects/autoscaler/replay/per-request-scaler";

/** Two models, a job of 5 s every 100 s each, for three hours. */
const TRACE = [
  "t,service_s,endpoint",
  ...Array.from({ length: 200 }, (_, index) => `${index * 54},5,${index % 2}`),
].join("\n");

describe("the cases of a trace", () => {
  const cases = suiteCasesOf("two-models", parseTrace(TRACE));

  it("are the trace on one endpoint, and each of its endpoints for itself", () => {
    expect(cases.map(({ name, endpoints }) => [name, endpoints.length])).toEqual([
      ["two-models", 1],
      ["two-models fleet", 2],
    ]);
    expect(suiteCasesOf("one", parseTrace("t,service_s\n1,2\n")).length).toBe(1);
  });

  it("are billed to the end of the hour, and short ones are counted once they are warm", () => {
    expect(cases[0]).toMatchObject({ horizonS: 10_800, countFromS: 0 });
    expect(suiteCasesOf("short", parseTrace("t,service_s\n1,2\n"))[0]).toMatchObject({
      horizonS: 3_600,
      countFromS: 300,
    });
    expect(horizonOf([])).toBe(3_600);
  });
});

describe("a cell", () => {
  let now = 0;
  const steps: string[] = [];
  const [, fleet] = suiteCasesOf("two-models", parseTrace(TRACE));
  if (fleet === undefined) throw new Error("there is no fleet");
  const cell = runCell(fleet, 30, {
    newScaler: () => perRequestScaler(10),
    // Each look at the clock is half a millisecond after the one before.
    clock: () => {
      now += 0.5;
      return now;
    },
    onStep: (what) => steps.push(what),
  });

  it("adds up the endpoints", () => {
    expect([cell.jobs, cell.workS]).toEqual([200, 1_000]);
    expect(cell.zeroWaitGpuS).toBe(2 * (30 + 100 * 5 + 99 * 30));
    const timer10 = cell.rivals.find(({ name }) => name === "timer-10")?.run;
    expect(timer10).toMatchObject({ jobs: 200, gpuS: 200 * 45, p50S: 30, meanS: 30, coldShare: 1, unserved: 0 });
  });

  it("replays our policy at every knob as the endpoint would run it", () => {
    const tried = cell.ours.map(({ waitValue }) => waitValue);
    expect(tried.filter((waitValue) => KNOB_GRID.includes(waitValue))).toEqual(KNOB_GRID);
    expect(tried).toEqual(tried.toSorted((a, b) => a - b));
    expect(cell.ours[0]?.run).toMatchObject({ gpuS: 200 * 45, p95S: 30 });
  });

  it("stays above the clairvoyant", () => {
    for (const { name, run } of cell.rivals) expect(overBound(cell, run), name).toBeGreaterThanOrEqual(1);
    for (const { run } of cell.ours) expect(overBound(cell, run)).toBeGreaterThanOrEqual(1);
  });

  it("lets even the slowest be compared: work and one start are due in any case", () => {
    expect(cell.priced[0]).toEqual({ price: 0, cost: 1_000 + 2 * 30 });
  });

  it("measures decisions and what is remembered", () => {
    expect(cell.decisions).toMatchObject({ p50Us: 500, p99Us: 500 });
    expect(cell.decisions?.decisions).toBeGreaterThan(600);
  });

  it("lets batch jobs run beside interactive ones", () => {
    expect(cell.lanes?.batchWorkS).toBeGreaterThan(200);
    expect(cell.lanes?.gpuS).toBeLessThan(cell.lanes?.allInteractiveGpuS ?? 0);
  });

  it("reports as many steps as it promises", () => {
    expect(steps.length).toBe(stepsOfCell(30));
  });
});

describe("a trace with batch jobs", () => {
  it("is done whole by systems that know none", () => {
    const rows = Array.from({ length: 5 }, (_, job) => `${job * 2_000},5,${job % 2 === 0 ? "batch" : "interactive"}\n`);
    const [mixed] = suiteCasesOf("mixed", parseTrace(`t,service_s,lane\n${rows.join("")}`));
    if (mixed === undefined) throw new Error("there is no case");
    const { rivals } = runCell(mixed, 8, { newScaler: () => perRequestScaler(10), clock: () => 0 });
    expect(rivals.find(({ name }) => name === "timer-10")?.run).toMatchObject({ launches: 5, unserved: 0, jobs: 2 });
  });
});

describe("the knob of a policy that keeps replicas for as many seconds as a second of waiting is worth", () => {
  /** Jobs of 5 s, each so many seconds after the end of the one before; starts take 8 s. */
  const cellOf = (idleS: readonly number[]): CellResult => {
    let t = 0;
    const rows = idleS.map((idle) => {
      t += idle + 5;
      return `${t},5\n`;
    });
    const [one] = suiteCasesOf("one", parseTrace(`t,service_s\n${rows.join("")}`));
    if (one === undefined) throw new Error("there is no case");
    return runCell(one, 8, {
      newScaler: () => {
        const scaler = perRequestScaler(0);
        return {
          ...scaler,
          decide: (settings, observation) => perRequestScaler(settings.waitValue).decide(settings, observation),
        };
      },
      clock: () => 0,
    });
  };
  const triedBetween = (cell: CellResult, low: number, high: number) =>
    cell.ours.filter(({ waitValue }) => waitValue > low && waitValue < high);
  const cheapestOf = (runs: CellResult["ours"]) =>
    Math.min(...runs.filter(({ run }) => run.p95S === 0).map(({ run }) => run.gpuS));

  it("is looked for between the settings of the grid where a rival is just matched", () => {
    const cell = cellOf(Array.from({ length: 99 }, () => 135));
    const onGrid = cell.ours.filter(({ waitValue }) => KNOB_GRID.includes(waitValue));
    expect(cheapestOf(cell.ours)).toBeLessThanOrEqual(cheapestOf(onGrid));
    expect(triedBetween(cell, 101, 158).length).toBeGreaterThan(2);
    expect(triedBetween(cell, 135, 145).length).toBeGreaterThan(0);
  });

  it("and where the mean wait is just what the clairvoyant is compared at", () => {
    const cell = cellOf(Array.from({ length: 200 }, (_, job) => (job % 5 === 0 ? 230 : 130 + (job % 8))));
    const justQuick = triedBetween(cell, 138, 157);
    expect(justQuick.length).toBeGreaterThan(0);
    for (const { run } of justQuick) expect(run.meanS).toBeCloseTo(8 * 0.2, 1);
  });
});

const RUN: MeasuredRun = {
  gpuS: 1_000,
  bootS: 0,
  busyS: 0,
  launches: 1,
  peak: 1,
  jobs: 10,
  p50S: 0,
  p95S: 5,
  p99S: 5,
  meanS: 1,
  totalS: 10,
  coldShare: 0,
  waitingWorkS: 100,
  unserved: 0,
  batchJobs: 0,
  batchP95S: 0,
  batchMeanS: 0,
  batchMissed: 0,
  batchUnserved: 0,
};

/** A cell in which ours costs `gpuS` at every knob, beside rivals that cost 1,000. */
function cellOf(bootS: number, gpuS: number, more: Partial<MeasuredRun> = {}, caseName = "gentd26-train"): CellResult {
  const names = ["knative", "keda", "ray-serve", "fal", "modal", "modal-buffer", "timer-300", "timer-600"];
  const ours = KNOB_GRID.map((waitValue) => ({ waitValue, run: { ...RUN, gpuS, ...more } }));
  const run = { ...RUN, gpuS, ...more };
  return {
    caseName,
    bootS,
    jobs: 10,
    workS: 100,
    isLong: true,
    zeroWaitGpuS: 500,
    priced: [{ price: 1, cost: 600 }],
    rivals: [...names, "runpod-request-count", "runpod-queue-delay"].map((name) => ({ name, run: RUN })),
    ours,
    targets: [],
    p95: bootS === 30 ? [{ targetS: 10, run }] : [],
    lanes:
      bootS === 30
        ? {
            missed: 0,
            gpuS,
            interactiveOnlyGpuS: gpuS - 10,
            allInteractiveGpuS: 1_100,
            batchWorkS: 100,
            p95S: 5,
            interactiveOnlyP95S: 5,
          }
        : null,
    decisions: bootS === 30 ? { decisions: 100, p50Us: 3, p99Us: 20, stateBytes: 9_000 } : null,
  };
}

const verdicts = (...cells: CellResult[]) => Object.fromEntries(goalsOf(cells).map(({ id, met }) => [id, met]));

describe("the goals", () => {
  it("are met by a policy that halves every bill", () => {
    const met = verdicts(cellOf(8, 500), cellOf(30, 500), cellOf(90, 500));
    expect(Object.entries(met).filter(([, is]) => is !== true)).toEqual([]);
  });

  it("are missed by one that costs as much as the others", () => {
    const met = verdicts(cellOf(8, 1_000), cellOf(30, 1_300), cellOf(90, 1_000));
    const missed = Object.keys(met).filter((id) => met[id] === false);
    expect(missed).toEqual(["G1", "G2", "G3", "G4", "G5", "G6", "G3+", "G7", "G8"]);
  });

  it("count no saving for one that is cheap and slow", () => {
    expect(savingsOver([cellOf(30, 100, { p95S: 5.1 })], "knative")[0]?.saved).toBeNull();
    expect(savingsOver([cellOf(30, 100, { meanS: 1.1 })], "knative")[0]?.saved).toBeNull();
    expect(savingsOver([cellOf(30, 100)], "knative")[0]?.saved).toBeCloseTo(0.9, 9);
  });

  it("hold a score against the best rival of the very cell, and against the best of all cells", () => {
    const cell = cellOf(30, 900);
    const rivals = cell.rivals.map(({ name, run }) => ({ name, run: { ...run, gpuS: name === "keda" ? 800 : 1_000 } }));
    const cells = [{ ...cell, rivals }];
    expect(hullOf(cells)[0]).toMatchObject({ bestName: "keda", waitValue: 1, best: 810, ratio: 910 / 810 });
    expect(bestSingle(cells, 1)).toEqual({ name: "keda", rival: 1, ours: 910 / 810 });
  });

  it("take a p95 target for a setting of the knob like any wait value", () => {
    const cell = cellOf(30, 500, { p95S: 6 });
    expect(savingsOver([cell], "ray-serve")[0]?.saved).toBeNull();
    const targets = [{ targetS: 4, run: { ...RUN, gpuS: 700, p95S: 4 } }];
    expect(savingsOver([{ ...cell, targets }], "ray-serve")[0]?.saved).toBeCloseTo(0.3);
  });

  it("see missed deadlines, slow decisions and a large memory", () => {
    const cell = cellOf(30, 500);
    const { lanes, decisions } = cell;
    if (lanes === null || decisions === null) throw new Error("the cell has no extras");
    expect(verdicts({ ...cell, lanes: { ...lanes, missed: 1 } }).G9).toBe(false);
    expect(verdicts({ ...cell, lanes: { ...lanes, p95S: 7 } }).G9).toBe(false);
    expect(verdicts({ ...cell, decisions: { ...decisions, p99Us: 600 } }).G10).toBe(false);
    expect(verdicts({ ...cell, decisions: { ...decisions, stateBytes: 17_000 } }).G10).toBe(false);
  });

  it("do not hold a target against it that is out of reach, but its bill", () => {
    const cell = cellOf(30, 500, { p95S: 30 });
    const over = (gpuS: number) => ({ ...cell, p95: [{ targetS: 10, run: { ...RUN, p95S: 30, gpuS } }] });
    expect([verdicts(over(500)).G8, verdicts(over(600)).G8]).toEqual([true, false]);
  });

  it("say nothing of traces they do not name", () => {
    expect(verdicts(cellOf(30, 500, {}, "ours"))).toMatchObject({ G6: null, G7: null });
    expect(goalsOf([]).every(({ met }) => met === null)).toBe(true);
  });
});
