import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventRates, ServiceTimes } from "#durable-objects/queue/rates";

describe("the rates", () => {
  it("count what came within the last minute, to the second", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 50 }), (gaps) => {
        const rates = new EventRates();
        const moments: number[] = [];
        let now = 1_000_000_000;
        for (const gap of gaps) {
          now += gap;
          rates.arrived(now);
          moments.push(now);
        }
        const within = (ms: number) => moments.filter((at) => now - at < ms).length;
        expect(rates.arrivedLastMinute(now)).toBeGreaterThanOrEqual(within(59_000));
        expect(rates.arrivedLastMinute(now)).toBeLessThanOrEqual(within(60_000));
      }),
    );
  });

  it("keep the ends apart, for a minute and for an hour", () => {
    const rates = new EventRates();
    rates.finished("failed", 10_000_000);
    rates.finished("succeeded", 10_000_000, 3);
    expect(rates.finishedLastMinute(10_030_000)).toEqual({ succeeded: 3, failed: 1, canceled: 0, expired: 0 });
    expect(rates.finishedLastMinute(10_061_000).succeeded).toBe(0);
    expect(rates.finishedLastHour(10_061_000)).toEqual({ succeeded: 3, failed: 1, canceled: 0, expired: 0 });
    expect(rates.finishedLastHour(13_660_000).succeeded).toBe(0);
  });

  it("forget what a newer event has taken the place of, whatever comes late", () => {
    const rates = new EventRates();
    rates.arrived(1_060_000);
    rates.arrived(1_000_000);
    expect(rates.arrivedLastMinute(1_060_000)).toBe(1);
  });
});

describe("the service times", () => {
  it("have the median of the latest hundred", () => {
    const times = new ServiceTimes([]);
    expect(times.median()).toBeNull();
    for (let ms = 1; ms <= 300; ms += 1) times.add(ms);
    expect(times.median()).toBe(250);
    expect(new ServiceTimes([5, 1, 9]).median()).toBe(5);
    expect(new ServiceTimes([1, 2, 3, 4]).median()).toBe(2);
  });
});
