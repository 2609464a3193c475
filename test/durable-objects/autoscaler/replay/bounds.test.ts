import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Arrivals, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { boundAtWait, leastCost, slottedDemand, zeroWaitBound } from "#durable-objects/autoscaler/replay/bounds";

const jobs = (...rows: readonly (readonly [t: number, serviceS: number])[]): Arrivals =>
  arrivalsOf(rows.map(([t, serviceS]) => ({ t, serviceS })));

/** A price of waiting at which nobody may wait. */
const NEVER_WAIT = 1e9;
const REPLICAS_MAX = 64;

const wholeSeconds = fc
  .array(fc.tuple(fc.nat(200), fc.integer({ min: 1, max: 20 })), { minLength: 1, maxLength: 25 })
  .map((rows) => jobs(...rows));

describe("the bound without waiting", () => {
  it("keeps a replica through a gap shorter than a start, and starts one again after a longer gap", () => {
    expect(zeroWaitBound(jobs([0, 5], [10, 5]), 30)).toEqual({ gpuS: 30 + 5 + 5 + 5, peak: 1 });
    expect(zeroWaitBound(jobs([0, 5], [100, 5]), 30)).toEqual({ gpuS: 30 + 5 + 30 + 5, peak: 1 });
  });

  it("splits into levels: the second replica has gaps of its own", () => {
    // Level 1 is busy throughout; level 2 at 10–15 and 25–30, a gap of 10.
    const { gpuS, peak } = zeroWaitBound(jobs([0, 100], [10, 5], [25, 5]), 8);
    expect({ gpuS, peak }).toEqual({ gpuS: 8 + 100 + (8 + 5) + (8 + 5), peak: 2 });
  });

  it("lets a job follow on another at the same instant", () => {
    expect(zeroWaitBound(jobs([0, 5], [5, 5]), 30)).toEqual({ gpuS: 40, peak: 1 });
  });

  it("keeps what is warm at first, or stops it at once, as any other", () => {
    expect(zeroWaitBound(jobs([10, 5]), 30, 2)).toEqual({ gpuS: 10 + 5, peak: 1 });
    expect(zeroWaitBound(jobs([100, 5]), 30, 2)).toEqual({ gpuS: 30 + 5, peak: 1 });
  });

  it("is nothing for no jobs", () => {
    expect(zeroWaitBound(jobs(), 30)).toEqual({ gpuS: 0, peak: 0 });
    expect(leastCost(slottedDemand(jobs()), 30, 1, REPLICAS_MAX)).toBe(0);
  });

  it.each([8, 30, 90])("equals the dynamic program that may not let work wait, start of %i s", (bootS) => {
    fc.assert(
      fc.property(wholeSeconds, (arrivals) => {
        for (const warm of [0, 1, 3]) {
          const program = leastCost(slottedDemand(arrivals), bootS, NEVER_WAIT, REPLICAS_MAX, warm);
          expect(program).toBeCloseTo(zeroWaitBound(arrivals, bootS, warm).gpuS, 6);
        }
      }),
      { seed: 1, numRuns: 40 },
    );
  });
});

describe("the demand of each second", () => {
  it("has all of the work, less than a second of it late", () => {
    const demand = slottedDemand(jobs([0.5, 4.3], [2.25, 0.5]));
    expect(demand.totalS).toBeCloseTo(4.8, 9);
    expect([...demand.workOf]).toEqual([0, 1, 2, 1, 0, 0]);
  });

  it("refuses a trace longer than its table", () => {
    expect(() => slottedDemand(jobs([1e8, 1]))).toThrow(/longer than/);
  });
});

describe("the bound with waiting", () => {
  it("lets a job wait for a replica that is busy when another start costs more", () => {
    // A second replica for the 10 s costs 30; waiting costs 10 s × 10 s of work at 0.1.
    expect(leastCost(slottedDemand(jobs([0, 10], [0, 10])), 30, 0.1, REPLICAS_MAX)).toBeLessThan(30 + 20 + 10.001);
    expect(leastCost(slottedDemand(jobs([0, 10], [0, 10])), 30, NEVER_WAIT, REPLICAS_MAX)).toBe(30 + 20 + 30);
  });

  it("agrees with trying every schedule of a small case", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 2 })), { minLength: 1, maxLength: 3 }),
        fc.constantFrom(0.05, 0.5, 3),
        fc.constantFrom(1, 3),
        (rows, price, bootS) => {
          const demand = slottedDemand(jobs(...rows));
          expect(leastCost(demand, bootS, price, REPLICAS_MAX)).toBeCloseTo(tryAll(demand, bootS, price), 9);
        },
      ),
      { seed: 2, numRuns: 40 },
    );
  });

  it("never falls when waiting becomes dearer or starts longer", () => {
    fc.assert(
      fc.property(wholeSeconds, (arrivals) => {
        const demand = slottedDemand(arrivals);
        const costs = [0.01, 0.1, 1, 10].map((price) => leastCost(demand, 30, price, REPLICAS_MAX));
        expect(costs.toSorted((one, other) => one - other)).toEqual(costs);
        expect(leastCost(demand, 8, 0.1, REPLICAS_MAX)).toBeLessThanOrEqual(costs[1] ?? 0);
      }),
      { seed: 3, numRuns: 30 },
    );
  });

  it("at a given wait is the highest line below the trade", () => {
    const points = [
      { price: 0.1, cost: 100 },
      { price: 1, cost: 150 },
    ];
    expect(boundAtWait(points, 0)).toBe(150);
    expect(boundAtWait(points, 100)).toBe(90);
    expect(boundAtWait(points, 10_000)).toBe(0);
  });
});

/** Every number of replicas in every second, as far as it can matter. */
function tryAll(demand: { readonly workOf: Uint32Array; readonly peak: number }, bootS: number, price: number): number {
  const most = demand.peak;
  // Once all has arrived, one replica is enough to end it.
  const seconds = demand.workOf.length + 6;
  let best = Number.POSITIVE_INFINITY;
  const from = (second: number, warm: number, waiting: number, cost: number): void => {
    if (cost >= best) return;
    if (second >= demand.workOf.length && waiting === 0) {
      best = cost;
      return;
    }
    if (second === seconds) return;
    for (let next = 0; next <= most; next += 1) {
      const left = Math.max(0, waiting + (demand.workOf[second] ?? 0) - next);
      from(second + 1, next, left, cost + bootS * Math.max(0, next - warm) + next + price * left);
    }
  };
  from(0, 0, 0, 0);
  return best;
}
