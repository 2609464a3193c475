/** The predictive policy on recorded traffic, where that is at hand; `pilotlight simulate --suite` prints the whole table. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PredictiveScaler } from "#durable-objects/autoscaler/predictive";
import { arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { replay } from "#durable-objects/autoscaler/replay/engine";
import { measureRun } from "#durable-objects/autoscaler/replay/measured-run";
import { averaged } from "#durable-objects/autoscaler/replay/rivals/averaged";
import { rivalNamed } from "#durable-objects/autoscaler/replay/rivals/known";
import { perRequest } from "#durable-objects/autoscaler/replay/rivals/per-request";
import { scalerPolicy } from "#durable-objects/autoscaler/replay/scaler-policy";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";
import { parseTrace } from "#durable-objects/autoscaler/replay/trace-file";
import type { ScalerSettings } from "#durable-objects/autoscaler/scaler";
import { SETTINGS } from "./observed.ts";

const FOLDER = new URL("../../../../shared/traces/", import.meta.url);
const BOOT_S = 30;

const read = (name: string) =>
  arrivalsOf([...parseTrace(readFileSync(new URL(`${name}.csv`, FOLDER), "utf8")).values()].flat());

/** The best fixed count or timer of those tried, by the score of GPU-seconds and waiting. */
const TRIED = [
  "timer-30",
  "timer-60",
  "timer-180",
  "timer-300",
  "timer-600",
  "fixed-1",
  "fixed-2",
  "fixed-16",
  "knative",
];

describe.skipIf(!existsSync(FOLDER))("on recorded traffic", () => {
  it.each([
    ["gentd26-train", 1_324_800, 0],
    ["servegen-mid98", 1_209_600, 0],
    ["mooncake-conversation", 3_600, 300],
    ["azure-llm-2023-code", 3_600, 300],
  ] as const)(
    "%s: is as good as the best of the usual rules picked afterwards",
    (name, horizonS, countFromS) => {
      const arrivals = read(name);
      const options = { horizonS, bootS: BOOT_S, countFromS };
      for (const waitValue of [1, 10, 100]) {
        const score = (policy: Parameters<typeof replay>[1]) => {
          const { gpuSeconds, interactive } = replay(arrivals, policy, options);
          return gpuSeconds + waitValue * interactive.totalS;
        };
        const ours = score(scalerPolicy(new PredictiveScaler(null), { ...SETTINGS, waitValue }));
        const best = Math.min(...TRIED.map((rival) => score(rivalNamed(rival)?.make() ?? never(rival))));
        expect(ours / best, `a second worth ${waitValue}`).toBeLessThan(1.06);
      }
    },
    120_000,
  );

  it("gentd26-train: nobody waits behind a long job for longer than a start takes, where starts are quick", () => {
    const arrivals = read("gentd26-train");
    const run = (policy: Parameters<typeof replay>[1]) => replay(arrivals, policy, { horizonS: 1_324_800, bootS: 8 });
    const ours = run(scalerPolicy(new PredictiveScaler(null), { ...SETTINGS, waitValue: 1.7 }));
    const perRequest = run((rivalNamed("runpod-request-count") ?? never("runpod-request-count")).make());
    expect(ours.interactive.p95S).toBe(8);
    expect(ours.interactive.meanS).toBeLessThan(perRequest.interactive.meanS);
    expect(ours.gpuSeconds / perRequest.gpuSeconds).toBeLessThan(1.03);
  }, 120_000);

  it("gentd26-train, each model on its own: fewer GPU-seconds than Modal and fal at no more waiting", () => {
    const endpoints = [...parseTrace(readFileSync(new URL("gentd26-train.csv", FOLDER), "utf8")).values()].map(
      arrivalsOf,
    );
    const options = { horizonS: 1_324_800, bootS: BOOT_S };
    const ours = measureRun(
      endpoints,
      () => scalerPolicy(new PredictiveScaler(null), { ...SETTINGS, waitValue: 4.4 }),
      options,
    );
    for (const [name, saved] of [
      ["modal", 0.1],
      ["fal", 0.05],
    ] as const) {
      const rival = measureRun(endpoints, () => (rivalNamed(name) ?? never(name)).make(), options);
      expect(ours.p95S, name).toBeLessThanOrEqual(rival.p95S);
      expect(ours.meanS, name).toBeLessThanOrEqual(rival.meanS);
      expect(1 - ours.gpuS / rival.gpuS, name).toBeGreaterThan(saved);
    }
  }, 120_000);

  it("azure-llm-2023-code: with a p95 target fewer GPU-seconds than Ray Serve at no more waiting", () => {
    const arrivals = read("azure-llm-2023-code");
    const run = (policy: Parameters<typeof replay>[1]) =>
      replay(arrivals, policy, { horizonS: 3_600, bootS: BOOT_S, countFromS: 300 });
    const ours = run(scalerPolicy(new PredictiveScaler(null), { ...SETTINGS, targetP95WaitS: 4 }));
    const ray = run((rivalNamed("ray-serve") ?? never("ray-serve")).make());
    expect(ours.interactive.p95S).toBeLessThan(ray.interactive.p95S);
    expect(ours.interactive.meanS).toBeLessThan(ray.interactive.meanS);
    expect(ours.gpuSeconds).toBeLessThan(ray.gpuSeconds);
  }, 120_000);

  it("azure-llm-2023-code: with a p95 target fewer GPU-seconds than a start for each request, where starts are quick", () => {
    const arrivals = read("azure-llm-2023-code");
    const run = (policy: Parameters<typeof replay>[1]) =>
      replay(arrivals, policy, { horizonS: 3_600, bootS: 8, countFromS: 300 });
    const ours = run(scalerPolicy(new PredictiveScaler(null), { ...SETTINGS, targetP95WaitS: 9.5 }));
    const perRequest = run((rivalNamed("runpod-request-count") ?? never("runpod-request-count")).make());
    expect(ours.interactive.p95S).toBeLessThanOrEqual(perRequest.interactive.p95S);
    expect(ours.interactive.meanS).toBeLessThan(perRequest.interactive.meanS);
    expect(ours.gpuSeconds / perRequest.gpuSeconds).toBeLessThan(0.97);
  }, 120_000);

  it("servegen-mid98: holds p95 targets without tuning, as cheaply as the best settings found afterwards", () => {
    const arrivals = read("servegen-mid98");
    const options = { horizonS: 1_209_600, bootS: BOOT_S };
    const cheapest = {
      10: perRequest({ idleS: 450, requestsPerReplica: 3 }),
      20: averaged({ windowS: 60, target: 2, upDelayS: 0, downDelayS: 300 }),
    } as const;
    for (const target of [10, 20] as const) {
      const settings: ScalerSettings = { ...SETTINGS, targetP95WaitS: target };
      const ours = replay(arrivals, scalerPolicy(new PredictiveScaler(null), settings), options);
      expect(ours.interactive.p95S).toBeLessThan(1.1 * target);
      const rival = replay(arrivals, cheapest[target], options);
      expect(rival.interactive.p95S).toBeGreaterThan(0.9 * target);
      expect(ours.gpuSeconds / rival.gpuSeconds).toBeLessThan(1.03);
    }
  }, 120_000);

  it("servegen-mid98: does batch jobs by their deadline on what interactive ones leave", () => {
    const arrivals = read("servegen-mid98");
    const chance = seededChance(3);
    const batch = Uint8Array.from(arrivals.atS, () => (chance() < 0.3 ? 1 : 0));
    const alone = arrivalsOf(
      Array.from(arrivals.atS, (t, job) => ({ t, serviceS: arrivals.serviceS[job] ?? 0 })).filter(
        (_, job) => batch[job] === 0,
      ),
    );
    const options = { horizonS: 1_209_600, bootS: BOOT_S, batchDeadlineS: 3_600 };
    const both = replay({ ...arrivals, batch }, scalerPolicy(new PredictiveScaler(null), SETTINGS), options);
    const without = replay(alone, scalerPolicy(new PredictiveScaler(null), SETTINGS), options);
    const batchWorkS = arrivals.serviceS.reduce((sum, serviceS, job) => sum + (batch[job] === 1 ? serviceS : 0), 0);
    expect(both.batchMissed).toBe(0);
    expect((both.gpuSeconds - without.gpuSeconds) / batchWorkS).toBeLessThan(0.2);
    expect(both.interactive.p95S / without.interactive.p95S).toBeLessThan(1.25);
  }, 120_000);
});

function never(name: string): never {
  throw new Error(`there is no rival ${name}`);
}
