import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Outlook, startsWorth, waitAhead } from "#durable-objects/autoscaler/boot-ahead";
import { DemandModel } from "#durable-objects/autoscaler/demand-model";
import { addGap, GAP_BINS, keepFor } from "#durable-objects/autoscaler/gap-histogram";
import {
  packAgo,
  packNumbers,
  packQuantities,
  packRisingTimes,
  packRun,
  packTimes,
  packWhole,
  unpackAgo,
  unpackNumbers,
  unpackQuantities,
  unpackRisingTimes,
  unpackRun,
  unpackTimes,
  unpackWhole,
} from "#durable-objects/autoscaler/packed-numbers";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";
import { SERVICE_BINS, ServiceTimes } from "#durable-objects/autoscaler/service-times";
import { Staffing } from "#durable-objects/autoscaler/staffing";

const LOOK: Outlook = {
  freeInS: new Float64Array(64),
  replicas: 1,
  queued: 0,
  waitedS: new Float64Array(96),
  jobsPerS: 0,
  serviceS: 10,
  bootS: 30,
  horizonS: 30,
  freeWaitS: 0,
  overlongWeight: 0,
};

describe("looking one start ahead", () => {
  it("adds up the waits of those who queue", () => {
    expect(waitAhead({ ...LOOK, queued: 3 }, 0)).toBe(0 + 10 + 20);
    expect(waitAhead({ ...LOOK, queued: 1, replicas: 0 }, 0)).toBe(Number.POSITIVE_INFINITY);
    expect(waitAhead({ ...LOOK, queued: 1, replicas: 0 }, 1)).toBe(30);
  });

  it("starts none for a queue that is gone before a start would be done", () => {
    expect(startsWorth({ ...LOOK, queued: 3 }, 10, 30, 64)).toBe(0);
    expect(startsWorth({ ...LOOK, queued: 12 }, 10, 30, 64)).toBeGreaterThan(0);
  });

  it("starts more for a longer queue, and where waiting is worth more", () => {
    const starts = (queued: number, waitValue: number) => startsWorth({ ...LOOK, queued }, waitValue, 30, 64);
    expect(starts(20, 1)).toBeLessThan(starts(60, 1));
    expect(starts(20, 0.1)).toBeLessThan(starts(20, 1));
    expect(starts(10_000, 100)).toBe(64);
  });

  it("counts only the part of a wait that is not free", () => {
    const waitedS = Float64Array.of(0, 100);
    const free = { ...LOOK, freeWaitS: 15, waitedS, freeInS: Float64Array.of(10) };
    // The first waits 10 s, all of them free; the second 20 more on top of far too many.
    expect(waitAhead({ ...free, queued: 2 }, 0)).toBeGreaterThanOrEqual(20);
    expect(waitAhead({ ...free, queued: 1 }, 0)).toBe(0);
  });

  it("counts what a wait lasts beyond a whole start as often as it is told", () => {
    const queue = { ...LOOK, queued: 5 };
    // Waits of 0 to 40 s, 10 of them beyond a start of 30 s.
    expect(waitAhead({ ...queue, overlongWeight: 3 }, 0)).toBe(waitAhead(queue, 0) + 30);
    expect(startsWorth(queue, 1, 30, 64)).toBe(0);
    expect(startsWorth({ ...queue, overlongWeight: 10 }, 1, 30, 64)).toBe(1);
  });

  it("sees much the same in a long queue whether it is counted job by job or flows", () => {
    // 96 jobs are placed one by one, 97 flow.
    const one = waitAhead({ ...LOOK, replicas: 4, queued: 96, bootS: 1_000 }, 0);
    const flow = waitAhead({ ...LOOK, replicas: 4, queued: 97, bootS: 1_000 }, 0);
    expect(flow / one).toBeGreaterThan(0.95);
    expect(flow / one).toBeLessThan(1.1);
  });
});

describe("the gaps of a level", () => {
  it("are worth bridging when most of them are short, and not when most are long", () => {
    const learned = (gapS: number) => {
      const counts = new Float64Array(GAP_BINS);
      for (let gap = 0; gap < 200; gap++) addGap(counts, 0, gapS);
      return keepFor(counts, 0, 300);
    };
    expect(learned(20)).toBeGreaterThan(20);
    expect(learned(20)).toBeLessThan(300);
    expect(learned(5_000)).toBe(0);
  });

  it("are worth no longer than what a cold level costs, whatever was learned", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 50 }),
        fc.nat(1_000),
        (gaps, cost) => {
          const counts = new Float64Array(GAP_BINS);
          for (const gap of gaps) addGap(counts, 0, gap);
          const kept = keepFor(counts, 0, cost);
          expect(kept).toBeGreaterThanOrEqual(0);
          if (cost === 0) expect(kept).toBe(0);
        },
      ),
    );
  });
});

describe("how long a job that runs will go on", () => {
  it("is what is left of the average while nothing is known", () => {
    const times = new ServiceTimes();
    expect(times.restOf(0, 10)).toBeCloseTo(10);
    expect(times.restOf(4, 10)).toBeCloseTo(6, 0);
    expect(times.restOf(1_000, 10)).toBeCloseTo(2.5);
  });

  it("grows with the time it has run where a few jobs take very long", () => {
    const times = new ServiceTimes();
    for (let job = 0; job < 300; job++) times.add(job % 10 === 0 ? 120 : 10);
    expect(times.restOf(0, 21)).toBeGreaterThan(18);
    expect(times.restOf(0, 21)).toBeLessThan(25);
    // Who is not done after 20 s is one of the long ones.
    expect(times.restOf(20, 21)).toBeGreaterThan(75);
    expect(times.restOf(60, 21)).toBeLessThan(times.restOf(20, 21));
  });

  it("forgets jobs of long ago", () => {
    const times = new ServiceTimes();
    for (let job = 0; job < 300; job++) times.add(100);
    for (let job = 0; job < 1_500; job++) times.add(5);
    expect(times.restOf(0, 5)).toBeLessThan(7);
  });

  it("is a positive number for any job after any others", () => {
    const seconds = fc.double({ min: 0.01, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(fc.array(seconds, { maxLength: 50 }), seconds, seconds, (known, elapsedS, meanS) => {
        const times = new ServiceTimes();
        for (const serviceS of known) times.add(serviceS);
        expect(times.restOf(elapsedS, meanS)).toBeGreaterThan(0);
        expect(times.restOf(elapsedS, meanS)).toBeLessThan(Number.POSITIVE_INFINITY);
        expect(times.counts).toHaveLength(SERVICE_BINS);
      }),
    );
  });
});

describe("the staffing check", () => {
  it("waits as queues with that many replicas would", () => {
    const staffing = new Staffing();
    for (let job = 0; job < 4; job++) staffing.arrive(100, 10, 60, 0, 3);
    // All at once, 10 s each: waits of 0 10 20 30 with one, 0 0 10 10 with two, 0 0 0 10 with three.
    expect([1, 2, 3].map((k) => staffing.sums[k])).toEqual([60, 20, 10]);
    expect(staffing.takeSaved(2)).toBe(40);
    expect(staffing.takeSaved(2)).toBe(0);
  });

  it("finds the staff that steady traffic is worth", () => {
    const model = new DemandModel();
    const chance = seededChance(5);
    model.finished(4);
    let t = 0;
    for (let job = 0; job < 5_000; job++) {
      t -= Math.log(1 - chance()) / 2;
      model.arrived(t, 0);
    }
    const staff = (waitValue: number) => {
      model.derive(t, waitValue);
      return model.levelStaffed(t, 1);
    };
    // Two jobs a second of 4 s each keep 8 replicas busy.
    expect(staff(1)).toBeGreaterThanOrEqual(8);
    expect(staff(1)).toBeLessThan(staff(100));
    expect(staff(100)).toBeLessThan(20);
    expect(model.jobsPerS(t)).toBeGreaterThan(1.2);
    expect(model.jobsPerS(t)).toBeLessThan(3);
  });
});

describe("packed numbers", () => {
  const grid = { base: 1_000_000, unit: 0.05 };

  it("are read as they were written, and written the same again", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -6_000, max: 6_000, noNaN: true })), (offsets) => {
        const times = offsets.map((offset) => grid.base + offset);
        const read = unpackTimes(packTimes(times, grid), grid) ?? [];
        for (const [index, time] of times.entries()) expect(Math.abs((read[index] ?? 0) - time)).toBeLessThan(0.03);
        const later = { ...grid, base: grid.base + 7.13 };
        if (offsets.every((offset) => offset > -5_000)) {
          expect(unpackTimes(packTimes(read, later), later)).toEqual(read);
        }
      }),
    );
    const rising = [grid.base - 5, grid.base - 5, grid.base + 1.5, grid.base + 60];
    expect(unpackRisingTimes(packRisingTimes(rising, grid), grid)).toEqual(rising);
    expect(unpackRisingTimes("", grid)).toEqual([]);
  });

  it("keep quantities to half a percent, and nothing is nothing", () => {
    const values = [0, 0.01, 1, 7.5, 3_600, 86_400];
    const read = unpackQuantities(packQuantities(values)) ?? [];
    for (const [index, value] of values.entries()) {
      expect(Math.abs((read[index] ?? -1) - value)).toBeLessThanOrEqual(0.005 * value);
    }
  });

  it("keep numbers of either sign to four millionths, and written again they are the same", () => {
    const values = [0, 1e-5, -1e-5, 0.25, -7.125, 86_400, -1e9];
    const text = packNumbers(values);
    const read = unpackNumbers(text) ?? [];
    for (const [index, value] of values.entries()) {
      expect(Math.abs((read[index] ?? Number.NaN) - value)).toBeLessThanOrEqual(4e-6 * Math.abs(value));
    }
    expect(packNumbers(read)).toBe(text);
  });

  it("keep counts to a percent, from the first to the last", () => {
    const bins = [0, 0, 0.02, 0, 1, 119.5, 0.001, 7, 0, 0];
    const text = `AA${packRun(bins)}`;
    const { first = 0, counts = [], to } = unpackRun(text, 2) ?? {};
    expect([first, counts.length, to]).toEqual([2, 6, text.length]);
    for (const [index, count] of counts.entries()) {
      const bin = bins[first + index] ?? 0;
      expect(Math.abs(count - (bin < 0.01 ? 0 : bin))).toBeLessThanOrEqual(0.01 * bin);
    }
    expect(packRun([0, 0, ...counts])).toBe(text.slice(2));
    expect(unpackRun(packRun([0, 0]), 0)).toEqual({ first: 0, counts: [], to: 2 });
    expect(unpackRun(text.slice(0, -1), 2)).toBeUndefined();
  });

  it("keep times long ago to a hundredth of a second, whatever the base", () => {
    const times = [12.34, 1_000, Number.NEGATIVE_INFINITY, 86_400.01];
    for (const base of [86_400.013, 8_000_000.7]) expect(unpackAgo(packAgo(times, base), base)).toEqual(times);
  });

  it("are refused when they are none", () => {
    expect(unpackWhole("A", 2)).toBeUndefined();
    expect(unpackWhole("A!", 2)).toBeUndefined();
    expect(unpackWhole(packWhole([0, 1, 4_095, 5_000], 2), 2)).toEqual([0, 1, 4_095, 4_095]);
  });
});
