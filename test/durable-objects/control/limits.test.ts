import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isExhausted, msOnDay, nextUtcDay, spentMore, usedTodayMs, utcDay } from "#durable-objects/queue/daily-budget";
import { etaMs } from "#durable-objects/queue/eta";
import { mostAtWork, START_WINDOW_MS, StartWindow } from "#durable-objects/queue/start-rate";

const DAY_MS = 86_400_000;

describe("the window of starts", () => {
  it("never lets more than the bound begin within any minute, however the calls come", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 60 }),
        (max, waits) => {
          const window = new StartWindow([]);
          const starts: number[] = [];
          let now = 1_000_000;
          for (const wait of waits) {
            now += wait;
            if (window.startAt(max, 1, now) > now) continue;
            window.add(now);
            starts.push(now);
          }
          for (const start of starts) {
            const within = starts.filter((at) => at > start - START_WINDOW_MS && at <= start);
            expect(within.length).toBeLessThanOrEqual(max);
          }
        },
      ),
    );
  });

  it("tells the very moment at which the next one may begin, not a moment earlier or later", () => {
    const window = new StartWindow([10_000, 20_000, 30_000]);
    expect(window.startAt(3, 1, 40_000)).toBe(10_000 + START_WINDOW_MS);
    expect(window.startAt(3, 1, 10_000 + START_WINDOW_MS - 1)).toBe(10_000 + START_WINDOW_MS);
    expect(window.startAt(3, 1, 10_000 + START_WINDOW_MS)).toBe(10_000 + START_WINDOW_MS);
    expect(window.count(10_000 + START_WINDOW_MS)).toBe(2);
  });

  it("tells the moment of later places: a minute after the one that is so many places before it", () => {
    const window = new StartWindow([10_000, 20_000]);
    expect([1, 2, 3, 4].map((place) => window.startAt(2, place, 30_000))).toEqual([70_000, 80_000, 130_000, 140_000]);
    expect([1, 2, 3, 4].map((place) => window.startAt(3, place, 30_000))).toEqual([30_000, 70_000, 80_000, 90_000]);
  });

  it("tells of each place when it does begin, if all begin as soon as they may", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: 1, max: 60_000 }), { maxLength: 8 }),
        fc.integer({ min: 1, max: 20 }),
        (max, before, places) => {
          const window = new StartWindow(before);
          const told = Array.from({ length: places }, (_, place) => window.startAt(max, place + 1, 60_000));
          const begun = told.map((at) => {
            const next = window.startAt(max, 1, at);
            window.add(next);
            return next;
          });
          expect(told).toEqual(begun);
        },
      ),
    );
  });

  it("waits for several to leave when the bound was lowered", () => {
    const window = new StartWindow([1_000, 2_000, 3_000, 4_000]);
    expect(window.startAt(2, 1, 5_000)).toBe(3_000 + START_WINDOW_MS);
  });

  it("does not forget a start because the clock stepped back", () => {
    const window = new StartWindow([50_000]);
    window.add(10_000);
    expect(window.count(50_000)).toBe(2);
    expect(window.startAt(2, 1, 50_000)).toBe(50_000 + START_WINDOW_MS);
  });

  it("gives up the memory of what is over", () => {
    const window = new StartWindow(Array.from({ length: 10_000 }, (_, at) => at));
    expect(window.count(START_WINDOW_MS + 9_000)).toBe(999);
    window.add(START_WINDOW_MS + 9_001);
    expect(window.count(START_WINDOW_MS + 9_001)).toBe(999);
  });
});

describe("what a bound on starts lets be at work at once", () => {
  it.each([
    ["what is at work, if nothing may begin", { startsAt: [], endsAt: [5, 9] }, 2],
    ["all that may begin at the same time", { startsAt: [0, 0, 0], endsAt: [] }, 3],
    ["one, if each ends before the next begins", { startsAt: [0, 10, 20, 30], endsAt: [] }, 1],
    ["those whose times overlap", { startsAt: [0, 4, 8, 12, 16], endsAt: [] }, 3],
    ["those that end later than the next begins, too", { startsAt: [6, 6], endsAt: [5, 9] }, 3],
    ["what is at work already, if it ends before more may begin", { startsAt: [20], endsAt: [5, 9, 9] }, 3],
  ])("is %s", (_, { startsAt, endsAt }, most) => {
    expect(mostAtWork({ startsAt, endsAt, serviceMs: 10 })).toBe(most);
  });

  it("is never more than begin or work, nor fewer than work, however long jobs take", () => {
    const times = fc.array(fc.nat(100), { maxLength: 20 });
    fc.assert(
      fc.property(times, times, fc.nat(50), (starts, endsAt, serviceMs) => {
        const startsAt = starts.toSorted((a, b) => a - b);
        const most = mostAtWork({ startsAt, endsAt, serviceMs });
        expect(most).toBeGreaterThanOrEqual(endsAt.length);
        expect(most).toBeLessThanOrEqual(endsAt.length + startsAt.length);
        expect(mostAtWork({ startsAt, endsAt, serviceMs: serviceMs + 1 })).toBeGreaterThanOrEqual(most);
      }),
    );
  });
});

describe("the day's account", () => {
  it("splits an attempt at midnight: each day pays for its own part, once", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 * DAY_MS }), fc.integer({ min: 0, max: 2 * DAY_MS }), (from, length) => {
        const days = [0, 1, 2, 3, 4, 5, 6, 7].map((day) => msOnDay(day, from, from + length));
        expect(days.reduce((sum, ms) => sum + ms, 0)).toBe(length);
      }),
    );
  });

  it("begins anew with the first attempt that ends on another day", () => {
    const today = { day: 10, ms: 5_000 };
    const midnight = 11 * DAY_MS;
    expect(spentMore(today, midnight - 3_000, midnight - 1_000)).toEqual({ day: 10, ms: 7_000 });
    expect(spentMore(today, midnight - 3_000, midnight + 1_000)).toEqual({ day: 11, ms: 1_000 });
  });

  it("counts what runs now, from midnight on", () => {
    const midnight = 11 * DAY_MS;
    const spend = { day: 11, ms: 1_000 };
    expect(usedTodayMs(spend, [midnight - 60_000, midnight + 2_000], midnight + 5_000)).toBe(1_000 + 5_000 + 3_000);
    expect(usedTodayMs(spend, [], midnight + DAY_MS)).toBe(0);
  });

  it("is exhausted at the bound, and never without one", () => {
    expect(isExhausted(2, 1_999)).toBe(false);
    expect(isExhausted(2, 2_000)).toBe(true);
    expect(isExhausted(null, Number.MAX_SAFE_INTEGER)).toBe(false);
  });

  it("ends at midnight UTC", () => {
    expect(nextUtcDay(10 * DAY_MS)).toBe(11 * DAY_MS);
    expect(utcDay(11 * DAY_MS - 1)).toBe(10);
  });
});

describe("the estimate of a wait", () => {
  const facts = { place: 1, ready: 2, idle: 0, starting: 0, readyInMs: null, serviceMs: 10_000, heldMs: 0 };

  it("is one finished job of all replicas for each place", () => {
    expect([1, 2, 3, 4].map((place) => etaMs({ ...facts, place }))).toEqual([5_000, 10_000, 15_000, 20_000]);
  });

  it("is nothing for those who find an idle replica", () => {
    expect(etaMs({ ...facts, idle: 2, place: 2 })).toBe(0);
    expect(etaMs({ ...facts, idle: 2, place: 3 })).toBe(5_000);
  });

  it("is at least as long as what holds the job", () => {
    expect(etaMs({ ...facts, idle: 2, heldMs: 700 })).toBe(700);
    expect(etaMs({ ...facts, heldMs: 60_000 })).toBe(60_000);
    expect(etaMs({ ...facts, place: 100, heldMs: 60_000 })).toBe(500_000);
  });

  it("is the rest of a start where no replica is ready, and then one job of each that starts", () => {
    const cold = { ...facts, ready: 0, starting: 2, readyInMs: 3_000 };
    expect([1, 2, 3, 4, 5].map((place) => etaMs({ ...cold, place }))).toEqual([3_000, 3_000, 13_000, 13_000, 23_000]);
    expect(etaMs({ ...cold, heldMs: 60_000 })).toBe(60_000);
    expect(etaMs({ ...cold, serviceMs: null })).toBe(3_000);
  });

  it.each([
    ["no replica is ready or starts", { ready: 0 }],
    ["no start has been measured yet", { ready: 0, starting: 1 }],
    ["no run has succeeded yet, behind others", { ready: 0, starting: 1, readyInMs: 5, place: 2, serviceMs: null }],
    ["no run has succeeded yet", { serviceMs: null }],
    ["somebody must act first", { heldMs: null }],
  ])("is unknown when %s", (_, more) => {
    expect(etaMs({ ...facts, ...more })).toBeNull();
  });
});
