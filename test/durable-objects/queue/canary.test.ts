import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Arm,
  armView,
  type CanaryConfig,
  counted,
  NO_JOBS,
  P95_RUNS_MIN,
  verdict,
} from "#durable-objects/endpoint/canary";

const config: CanaryConfig = {
  id: 1,
  release: 2,
  weight: 0.1,
  maxErrorRateIncrease: 0.05,
  maxLatencyRatio: 1.5,
  minJobs: 20,
};
/** An arm of runs that took so long, and of so many failures. */
const arm = (runs: readonly number[], failed = 0): Arm =>
  [...runs, ...Array.from({ length: failed }, () => null)].reduce<Arm>(counted, NO_JOBS);
const many = (count: number, ms = 1_000) => Array.from({ length: count }, () => ms);
const judge = (canary: Arm, active: Arm, more: Partial<CanaryConfig> = {}) =>
  verdict({ ...config, ...more }, { id: 1, canary, active, ended: null });

describe("a canary", () => {
  it("goes on while it does as well as the active release", () => {
    expect(judge(arm(many(100)), arm(many(900)))).toBeNull();
    expect(judge(arm(many(95), 5), arm(many(950), 50))).toBeNull();
  });

  it("is rolled back when it fails more often by more than the bound", () => {
    expect(judge(arm(many(18), 2), arm(many(200)))).toMatch(/^2 of 20 jobs failed on release 2, 10 % against 0 %/);
    // Exactly the bound is not more than it.
    expect(judge(arm(many(19), 1), arm(many(200)))).toBeNull();
    // The active release fails as often.
    expect(judge(arm(many(18), 2), arm(many(180), 20))).toBeNull();
  });

  it("is rolled back for failures even where the active release gets no jobs", () => {
    expect(judge(arm([], 20), NO_JOBS)).toMatch(/20 of 20/);
    expect(judge(arm(many(20, 60_000)), NO_JOBS)).toBeNull();
  });

  it("is rolled back when it takes longer, on average or for its slowest", () => {
    expect(judge(arm(many(30, 1_600)), arm(many(30)))).toBe(
      "Release 2 executes 1600 ms on average, the active release 1000 ms.",
    );
    const slowTail = arm([...many(90), ...many(10, 5_000)]);
    expect(judge(slowTail, arm(many(100)))).toMatch(/at the 95th percentile/);
    const fewer = arm([...many(P95_RUNS_MIN - 3), ...many(2, 4_000)]);
    expect(judge(fewer, arm(many(100)))).toBeNull();
  });

  it("is not judged by the time of runs too short to be measured", () => {
    expect(judge(arm(many(30, 1)), arm(many(30, 0)))).toBeNull();
  });

  const counts = fc.nat({ max: 200 });
  const runs = fc.array(fc.integer({ min: 0, max: 86_400_000 }), { maxLength: 200 });
  const bounds = fc.record({
    maxErrorRateIncrease: fc.double({ min: 0, max: 1, noNaN: true }),
    maxLatencyRatio: fc.double({ min: 1, max: 100, noNaN: true }),
    minJobs: fc.integer({ min: 1, max: 200 }),
  });

  it("is never judged by fewer jobs than the operator said", () => {
    fc.assert(
      fc.property(runs, counts, runs, counts, bounds, (canary, failed, active, failedToo, more) => {
        fc.pre(canary.length + failed < more.minJobs);
        expect(judge(arm(canary, failed), arm(active, failedToo), more)).toBeNull();
      }),
    );
  });

  it("is never rolled back for being the same as the active release", () => {
    fc.assert(
      fc.property(runs, counts, bounds, (ended, failed, more) => {
        expect(judge(arm(ended, failed), arm(ended, failed), more)).toBeNull();
      }),
    );
  });

  it("is not saved by one more failure", () => {
    fc.assert(
      fc.property(counts, counts, counts, counts, bounds, (ran, failed, others, failedToo, more) => {
        const active = arm(many(others), failedToo);
        const before = judge(arm(many(ran), failed), active, more);
        if (before !== null) expect(judge(arm(many(ran), failed + 1), active, more)).not.toBeNull();
      }),
    );
  });

  it("knows the 95th percentile within a tenth, in bounded space", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 86_400_000 }), { minLength: 1, maxLength: 300 }), (ended) => {
        const true95 = ended.toSorted((a, b) => a - b)[Math.ceil(ended.length * 0.95) - 1] ?? 0;
        const known = arm(ended);
        const shown = armView(known).execution_ms_p95 ?? 0;
        expect(shown).toBeGreaterThanOrEqual(true95 * 0.999);
        expect(shown).toBeLessThanOrEqual(true95 * 1.101);
        expect(known.buckets.length).toBeLessThanOrEqual(256);
      }),
    );
  });
});
