import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Arrivals, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { boundAtWait, leastCost, slottedDemand } from "#durable-objects/autoscaler/replay/bounds";
import { replay } from "#durable-objects/autoscaler/replay/engine";
import type { ReplayResult } from "#durable-objects/autoscaler/replay/figures";
import type { ReplayOptions } from "#durable-objects/autoscaler/replay/options";
import { averaged } from "#durable-objects/autoscaler/replay/rivals/averaged";
import { hybridHistogram } from "#durable-objects/autoscaler/replay/rivals/hybrid-histogram";
import { knative } from "#durable-objects/autoscaler/replay/rivals/knative";
import { knownRivals, rivalNamed } from "#durable-objects/autoscaler/replay/rivals/known";
import { keda, kubernetes } from "#durable-objects/autoscaler/replay/rivals/kubernetes";
import { perRequest } from "#durable-objects/autoscaler/replay/rivals/per-request";
import { queueDelay } from "#durable-objects/autoscaler/replay/rivals/queue-delay";
import { allRivals } from "#durable-objects/autoscaler/replay/rivals/sweep";
import { SlidingMaximum } from "#durable-objects/autoscaler/replay/rivals/ticked-average";

const jobs = (...rows: readonly (readonly [t: number, serviceS: number])[]): Arrivals =>
  arrivalsOf(rows.map(([t, serviceS]) => ({ t, serviceS })));
const ONE = jobs([100, 5]);
/** For tests of a second, where other programs have the processors. */
const LONG_MS = 60_000;
const options: ReplayOptions = { horizonS: 10_000, bootS: 30, keepTimeline: true };
const replicasAt = ({ timeline }: ReplayResult, second: number): number =>
  timeline.findLast(([at]) => at <= second)?.[1] ?? 0;

describe("a replica per request", () => {
  it("is billed for its start, its job and its idle time", () => {
    const result = replay(ONE, perRequest({ idleS: 60 }), options);
    expect([result.gpuSeconds, ...result.waitsS]).toEqual([30 + 5 + 60, 30]);
  });

  it("starts one for a few requests when told so", () => {
    const four = jobs([0, 5], [0, 5], [0, 5], [0, 5]);
    expect(replay(four, perRequest({ idleS: 5, requestsPerReplica: 2 }), options).launches).toBe(2);
    expect(replay(four, perRequest({ idleS: 5 }), options).launches).toBe(4);
  });

  it("keeps a buffer only while there are requests", () => {
    const result = replay(ONE, perRequest({ idleS: 10, buffer: 1 }), options);
    expect([replicasAt(result, 110), replicasAt(result, 134), replicasAt(result, 146)]).toEqual([2, 2, 0]);
  });

  it("lets go of a replica sooner that has had no request", () => {
    // The second job is done by the first replica before the second has started.
    const result = replay(jobs([0, 5], [31, 1], [32, 1]), perRequest({ idleS: 60, unusedIdleS: 10 }), options);
    expect(replicasAt(result, 61)).toBe(3);
    expect(replicasAt(result, 80)).toBe(1);
  });
});

describe("queue delay", () => {
  it("starts one more for each request that has waited too long", () => {
    const result = replay(jobs([100, 5], [101, 5]), queueDelay({ delayS: 4, idleS: 5 }), options);
    expect([...result.waitsS]).toEqual([34, 34]);
    expect([replicasAt(result, 103), replicasAt(result, 104), replicasAt(result, 105)]).toEqual([0, 1, 2]);
  });
});

describe("Knative", () => {
  it("starts one at once from zero, and keeps the last one for its window and its grace", () => {
    const result = replay(ONE, knative(), options);
    expect(result.waitsS[0]).toBe(30);
    // Busy until 135; the window is empty after 60 s, and the grace is 30 s.
    expect(replicasAt(result, 135 + 60 + 20)).toBe(1);
    expect(replicasAt(result, 135 + 60 + 40)).toBe(0);
  });

  it("panics: a burst shows in a tenth of the window", () => {
    const burst = jobs([0, 400], ...Array.from({ length: 10 }, () => [200, 60] as const));
    // 11 jobs of which one has a replica: over six seconds of them wish for 16.
    expect(replicasAt(replay(burst, knative(), options), 208)).toBe(16);
  });
});

describe("the horizontal autoscaler", () => {
  it("never goes below one, and gives up a replica after five minutes", () => {
    const result = replay(jobs([100, 50], [100, 50]), kubernetes(), options);
    expect([replicasAt(result, 90), replicasAt(result, 130), replicasAt(result, 430)]).toEqual([1, 2, 2]);
    expect(replicasAt(result, 480)).toBe(1);
  });

  it("behind KEDA starts with the poll and ends with the cooldown", () => {
    const result = replay(jobs([101, 5]), keda(), options);
    expect(result.waitsS[0]).toBe(120 + 30 - 101);
    expect([replicasAt(result, 440), replicasAt(result, 490)]).toEqual([1, 0]);
  });
});

describe("an average with delays", () => {
  const ray = () => averaged({ windowS: 30, target: 1, upDelayS: 30, downDelayS: 600 });

  it("starts from zero at once and grows when the wish has held", () => {
    const result = replay(jobs([0, 300], [0, 300], [0, 300]), ray(), options);
    expect([replicasAt(result, 0), replicasAt(result, 20), replicasAt(result, 40)]).toEqual([1, 1, 3]);
  });

  it("shrinks when it has been too many for the whole delay", () => {
    const result = replay(ONE, ray(), options);
    expect([replicasAt(result, 135 + 590), replicasAt(result, 135 + 640)]).toEqual([1, 0]);
  });

  it("knows the highest of a window", () => {
    const highest = new SlidingMaximum(10);
    expect([0, 5, 9, 12, 16].map((at) => highest.note(at, at === 5 ? 7 : 1))).toEqual([1, 7, 7, 7, 1]);
  });
});

describe("the hybrid histogram", () => {
  it("learns a period: it stops at once and is warm before the next request", () => {
    const daily = jobs(...Array.from({ length: 40 }, (_, index) => [index * 1_800, 5] as const));
    const result = replay(daily, hybridHistogram(), { ...options, horizonS: 72_000 });
    expect(result.waitsS.at(-1)).toBe(0);
    expect(replicasAt(result, 38 * 1_800 + 60)).toBe(0);
  });
});

describe("the lists", () => {
  it("have one name for each", () => {
    expect(new Set(allRivals.map(({ name }) => name)).size).toBe(allRivals.length);
    expect([knownRivals.length, allRivals.length]).toEqual([25, 313]);
  });

  it("find a rival by its name", () => {
    expect(rivalNamed("knative")?.title).toBe("Knative KPA");
    expect(rivalNamed("timer-60")?.name).toBe("modal");
    expect(rivalNamed("timer-77")?.title).toBe("timer 77 s");
    expect(rivalNamed("fixed-3")?.title).toBe("3 replicas, always");
    expect([rivalNamed("fixed-0"), rivalNamed("kubernetes"), rivalNamed("timer-")]).toEqual(Array(3).fill(undefined));
  });
});

describe("every rival", () => {
  it("keeps a floor that it is given", () => {
    const busy = jobs(...Array.from({ length: 20 }, (_, job) => [500 + 7 * job, 20] as const));
    for (const { name, make } of knownRivals) {
      const result = replay(busy, make(), { ...options, warm: 2, floor: 2 });
      expect(Math.min(...result.timeline.map(([, replicas]) => replicas)), name).toBeGreaterThanOrEqual(2);
      expect([result.waitsS[0], result.gpuSeconds >= 2 * options.horizonS], name).toEqual([0, true]);
    }
  });

  const trace = fc
    .array(fc.tuple(fc.nat(2_000), fc.integer({ min: 1, max: 40 })), { minLength: 1, maxLength: 40 })
    .map((rows) => jobs(...rows));

  it.each([8, 30])(
    "costs more than the clairvoyant who lets wait as long, start of %i s",
    (bootS) => {
      fc.assert(
        fc.property(trace, (arrivals) => {
          const demand = slottedDemand(arrivals);
          const points = [0.001, 0.01, 0.1, 1, 10].map((price) => ({
            price,
            cost: leastCost(demand, bootS, price, 64),
          }));
          for (const rival of allRivals) {
            const result = replay(arrivals, rival.make(), { horizonS: 6_000, bootS });
            if (result.unserved > 0) continue;
            const waitingWork = result.waitsS.reduce((sum, wait, job) => sum + wait * (arrivals.serviceS[job] ?? 0), 0);
            expect(result.gpuSeconds, rival.name).toBeGreaterThanOrEqual(boundAtWait(points, waitingWork) - 1e-6);
          }
        }),
        { seed: 4, numRuns: 4 },
      );
    },
    LONG_MS,
  );
});
