/** Figures of an earlier, independent simulator on recorded traces, which lie beside the repository on some machines. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { zeroWaitBound } from "#durable-objects/autoscaler/replay/bounds";
import { measureRun } from "#durable-objects/autoscaler/replay/measured-run";
import { rivalNamed } from "#durable-objects/autoscaler/replay/rivals/known";
import { type SuiteCase, suiteCasesOf } from "#durable-objects/autoscaler/replay/suite-cases";
import { parseTrace } from "#durable-objects/autoscaler/replay/trace-file";

const FOLDER = fileURLToPath(new URL("../../../../../shared/traces/", import.meta.url));
const BOOT_S = 30;
/** For tests of a second, where other programs have the processors. */
const LONG_MS = 60_000;

function casesOf(name: string): SuiteCase[] {
  return suiteCasesOf(name, parseTrace(readFileSync(`${FOLDER}${name}.csv`, "utf8")));
}

/** GPU-hours, p95 and mean wait. */
type Figures = readonly [gpuHours: number, p95S: number, meanS: number];

describe.skipIf(!existsSync(FOLDER))("on recorded traces, starts of 30 s", () => {
  it.each([
    ["gentd26-train", 180],
    ["servegen-mid98", 121],
    ["servegen-mid64", 224],
    ["azure-llm-2023-code", 33],
    ["mooncake-conversation", 25],
  ])(
    "nobody waits in %s for %i GPU-hours",
    (name, gpuHours) => {
      const [all] = casesOf(name);
      const gpuS = (all?.endpoints ?? []).reduce((sum, arrivals) => sum + zeroWaitBound(arrivals, BOOT_S).gpuS, 0);
      expect(Math.round(gpuS / 3_600)).toBe(gpuHours);
    },
    LONG_MS,
  );

  it.each<[name: string, which: number, rivals: Readonly<Record<string, Figures>>]>([
    [
      "gentd26-train",
      0,
      {
        "fixed-4": [1472, 4, 1.01],
        "runpod-request-count": [198, 30, 15.28],
        "runpod-queue-delay": [190, 34, 17.25],
        modal: [245, 30, 5.43],
        "modal-buffer": [327, 30, 3.5],
        "timer-300": [351, 13, 1.55],
        "timer-600": [421, 3, 0.93],
        knative: [327, 30, 3.88],
        keda: [329, 18, 2.43],
        "hybrid-histogram": [749, 0, 0.25],
      },
    ],
    [
      "gentd26-train",
      1,
      {
        "runpod-request-count": [231, 30, 23.7],
        "runpod-queue-delay": [226, 34, 26.6],
        modal: [350, 30, 15.3],
        knative: [588, 30, 12.2],
        "timer-600": [1004, 30, 6.3],
      },
    ],
    [
      "servegen-mid98",
      0,
      {
        knative: [303, 30, 5.9],
        modal: [246, 30, 7.37],
        "timer-300": [399, 5.9, 1.24],
        "ray-serve": [268, 12.8, 2.31],
      },
    ],
    ["servegen-mid64", 0, { knative: [410, 5.7, 1.14], modal: [340, 26, 2.36], "ray-serve": [270, 4.4, 0.69] }],
    ["azure-llm-2023-code", 0, { knative: [41, 34, 10], modal: [42, 31, 8.4], baseten: [54, 5.5, 0.9] }],
    ["mooncake-conversation", 0, { knative: [25, 1.8, 0.27], "runpod-queue-delay": [24, 12.7, 3.04] }],
  ])(
    "rivals cost and wait in %s as they did there, case %i of it",
    (name, which, rivals) => {
      const replayed = casesOf(name)[which];
      if (replayed === undefined) throw new Error(`${name} has no case ${which}`);
      for (const [rival, [gpuHours, p95S, meanS]] of Object.entries(rivals)) {
        const run = measureRun(replayed.endpoints, () => rivalOf(rival), { ...replayed, bootS: BOOT_S });
        expect(Math.abs(run.gpuS / 3_600 / gpuHours - 1), `${rival}: ${run.gpuS / 3_600} h`).toBeLessThan(0.04);
        expect(Math.abs(run.p95S - p95S), `${rival}: p95 ${run.p95S} s`).toBeLessThan(1.2);
        expect(Math.abs(run.meanS - meanS), `${rival}: mean ${run.meanS} s`).toBeLessThan(0.06 * meanS + 0.05);
      }
    },
    LONG_MS,
  );
});

function rivalOf(name: string) {
  const rival = rivalNamed(name);
  if (rival === undefined) throw new Error(`there is no ${name}`);
  return rival.make();
}
