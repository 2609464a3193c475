import { describe, expect, it } from "vitest";
import {
  BATCH_APART_MS_MAX,
  BatchReserve,
  batchApartMs,
  keptFree,
  keptNow,
} from "#durable-objects/autoscaler/batch-reserve";

const MINUTE = 60_000;
const START = 1_800_000_000_000;

describe("what interactive traffic needs at once", () => {
  it("is nothing before the first job, and once there has been none for ten minutes", () => {
    const reserve = new BatchReserve(null);
    expect([reserve.level(START), reserve.quietAt(START)]).toEqual([0, null]);
    reserve.arrived(START, 1);
    expect([reserve.level(START + 9 * MINUTE), reserve.quietAt(START + 9 * MINUTE)]).toEqual([1, START + 10 * MINUTE]);
    expect([reserve.level(START + 10 * MINUTE), reserve.quietAt(START + 10 * MINUTE)]).toEqual([0, null]);
  });

  it("is the level that all but two of a hundred jobs stay within", () => {
    const reserve = new BatchReserve(null);
    for (let job = 0; job < 98; job += 1) reserve.arrived(START, job % 2 === 0 ? 1 : 2);
    reserve.arrived(START, 7);
    reserve.arrived(START, 9);
    expect(reserve.level(START)).toBe(2);
    reserve.arrived(START, 9);
    expect(reserve.level(START)).toBe(7);
    // Where replicas are scarce, all but five.
    expect(reserve.level(START, true)).toBe(2);
  });

  it("forgets a burst as time passes, however long it runs without a restart", () => {
    const reserve = new BatchReserve(null);
    for (let job = 1; job <= 40; job += 1) reserve.arrived(START, job);
    let now = START;
    for (let job = 0; job < 2_000; job += 1) {
      now += MINUTE;
      reserve.arrived(now, 1);
    }
    expect(reserve.level(now)).toBe(1);
  });

  it("is the same after a restart", () => {
    const reserve = new BatchReserve(null);
    for (let job = 0; job < 50; job += 1) reserve.arrived(START + job * MINUTE, 1 + (job % 5));
    const again = new BatchReserve(JSON.parse(JSON.stringify(reserve.save())));
    const now = START + 52 * MINUTE;
    expect([again.level(now), again.quietAt(now)]).toEqual([reserve.level(now), reserve.quietAt(now)]);
    expect(again.level(now)).toBe(5);
    const empty = new BatchReserve(JSON.parse(JSON.stringify(new BatchReserve(null).save())));
    expect([empty.level(START), empty.lent(START), empty.lentMoreAt(START)]).toEqual([0, 0, null]);
  });

  it("goes on from rows that say nothing of pauses", () => {
    const reserve = new BatchReserve({ weights: [3, 2, 1], at: START });
    expect([reserve.level(START + MINUTE), reserve.lent(START + MINUTE)]).toEqual([3, 0]);
    // Ten batch jobs of ten seconds: nobody knows how long they take.
    expect([reserve.lentMoreAt(START + MINUTE), reserve.isHeldOut(START + 100_000)]).toEqual([START + 100_000, true]);
    expect(reserve.lentMoreAt(START + 2 * MINUTE)).toBe(START + 10 * MINUTE);
    for (let job = 0; job < 3; job += 1) reserve.arrived(START + MINUTE, 1);
    expect(reserve.lent(START + 10 * MINUTE)).toBeGreaterThan(0);
  });

  it("is lent to batch jobs within seconds of a burst", () => {
    const reserve = new BatchReserve(null);
    for (let job = 1; job <= 6; job += 1) reserve.arrived(START, job);
    expect(reserve.level(START)).toBe(6);
    const moments: number[] = [];
    for (let at = reserve.lentMoreAt(START); at !== null; at = reserve.lentMoreAt(at)) {
      moments.push(at - START);
      if (reserve.lent(at) >= 6) break;
    }
    expect(moments).toEqual([1_000, 2_000, 3_000, 4_000]);
  });
});

describe("how long batch jobs hold a replica", () => {
  it("is what the longest of the latest took, and survives a restart", () => {
    const reserve = new BatchReserve(null);
    expect(reserve.holdMs).toBe(10_000);
    reserve.batchEnded(2_000);
    expect(reserve.holdMs).toBe(2_000);
    reserve.batchEnded(30_000);
    reserve.batchEnded(2_000);
    expect(reserve.holdMs).toBe(28_600);
    for (let job = 0; job < 200; job += 1) reserve.batchEnded(2_000);
    expect(reserve.holdMs).toBeLessThan(2_100);
    expect(new BatchReserve(reserve.save()).holdMs).toBe(reserve.holdMs);
  });

  it("is on average what many took: a single long one, first or later, hardly changes it", () => {
    for (const longOne of [0, 40]) {
      const reserve = new BatchReserve(null);
      for (let job = 0; job < 60; job += 1) reserve.batchEnded(job === longOne ? 60_000 : 2_000);
      expect(reserve.meanHoldMs).toBeGreaterThan(2_000);
      expect(reserve.meanHoldMs).toBeLessThan(4_500);
      expect(new BatchReserve(reserve.save()).meanHoldMs).toBe(reserve.meanHoldMs);
    }
    const { mean: _, ...before } = new BatchReserve({ weights: [], at: 0, holdMs: 3_000 }).save();
    expect(new BatchReserve(before).meanHoldMs).toBe(3_000);
  });

  it("is what a fleet is held for ten times over, not the longest ten times over", () => {
    const reserve = new BatchReserve(null);
    for (let job = 0; job < 60; job += 1) reserve.batchEnded(2_000);
    reserve.batchEnded(60_000);
    // Bursts at no time that anybody could tell: somebody may always come.
    for (const second of [0, 3, 40, 47, 130, 131, 133, 200]) reserve.arrived(START + second * 1_000, 6);
    const heldMs = [10, 30, 60, 120].filter((after) => !reserve.isHeldOut(START + (200 + after) * 1_000));
    expect(heldMs).toEqual([10, 30]);
  });
});

describe("what batch jobs have delayed", () => {
  /** So many interactive jobs in a row that wait for so long, and not for a batch job. */
  function served(reserve: BatchReserve, jobs: number, waitedMs: number, from = START): number {
    for (let job = 1; job <= jobs; job += 1) {
      const at = from + job * 1_000;
      reserve.arrived(at - waitedMs, 1);
      reserve.started(at, waitedMs);
    }
    return from + jobs * 1_000;
  }
  function delayed(reserve: BatchReserve, at: number, waitedMs: number): void {
    reserve.arrived(at, 1, true);
    reserve.started(at + waitedMs, waitedMs);
  }

  it("is three of a hundred interactive jobs, and two at once", () => {
    const reserve = new BatchReserve(null);
    const at = served(reserve, 33, 0);
    expect(reserve.mayDelay).toBe(false);
    served(reserve, 1_000, 0, at);
    expect(reserve.mayDelay).toBe(true);
    delayed(reserve, at + 2_000_000, 100);
    delayed(reserve, at + 2_001_000, 100);
    expect(reserve.mayDelay).toBe(false);
    served(reserve, 34, 0, at + 2_002_000);
    expect(reserve.mayDelay).toBe(true);
  });

  it("is nothing where one in twenty waits as long anyway", () => {
    const reserve = new BatchReserve(null);
    let at = served(reserve, 100, 0);
    at = served(reserve, 10, 20_000, at);
    for (let job = 0; job < 20; job += 1) delayed(reserve, at + job * 60_000, 21_000);
    expect(reserve.mayDelay).toBe(true);
    for (let job = 20; job < 23; job += 1) delayed(reserve, at + job * 60_000, 23_000);
    expect(reserve.mayDelay).toBe(false);
  });

  it("is known again after a restart", () => {
    const reserve = new BatchReserve(null);
    const at = served(reserve, 60, 5_000);
    const again = () => new BatchReserve(JSON.parse(JSON.stringify(reserve.save())));
    expect(again().mayDelay).toBe(true);
    delayed(reserve, at, 5_400);
    expect(again().mayDelay).toBe(true);
    for (let job = 1; job < 3; job += 1) delayed(reserve, at + job * 60_000, 6_000);
    expect(again().mayDelay).toBe(false);
  });
});

describe("what batch jobs leave of a fleet", () => {
  const fleet = {
    interactiveBusy: 1,
    batchBusy: 1,
    ready: 4,
    capacity: 4,
    most: 8,
    dueAt: START + MINUTE,
    startedAt: START,
  };
  /** Four at once, each served at once, so many in a row; a batch job takes four seconds. */
  function known(jobs: number): BatchReserve {
    const reserve = new BatchReserve(null);
    reserve.batchEnded(4_000);
    for (let job = 0; job < jobs; job += 1) {
      reserve.arrived(START, 4);
      reserve.started(START, 0);
    }
    return reserve;
  }
  const kept = (reserve: BatchReserve, more: Partial<typeof fleet>, now = START) =>
    keptNow(reserve, { ...fleet, ...more }, now).replicas;

  it("is what interactive jobs may need, until they have delayed next to none", () => {
    expect(kept(known(20), {})).toBe(3);
    expect(kept(known(40), {})).toBe(0);
  });

  it("is that also then where there can be no more replicas", () => {
    expect(kept(known(40), { most: 4 })).toBe(3);
  });

  it("is nothing of the first idle one for overdue batch jobs that have none, where there can be more", () => {
    expect(kept(known(20), { batchBusy: 0, dueAt: START + 1 })).toBe(3);
    expect(kept(known(20), { batchBusy: 0, dueAt: START })).toBe(0);
    expect(kept(known(20), { batchBusy: 1, dueAt: START })).toBe(3);
    expect(kept(known(20), { batchBusy: 0, dueAt: START, most: 4 })).toBe(3);
  });

  it("is less of a full fleet now and then: a hundredth of all replicas' time is theirs, and one in ten minutes", () => {
    const reserve = known(20);
    const full = { most: 4, dueAt: START };
    const owedAt = START + batchApartMs(reserve.meanHoldMs, 4);
    expect(keptNow(reserve, { ...fleet, ...full }, START).fewerAt()).toBeLessThanOrEqual(owedAt);
    expect(kept(reserve, full, owedAt)).toBe(0);
    expect(batchApartMs(4_000, 4)).toBe(100_000);
    expect(batchApartMs(4_000, 0)).toBe(400_000);
    expect(batchApartMs(60_000, 1)).toBe(BATCH_APART_MS_MAX);
  });
});

describe("what is kept free of batch jobs", () => {
  const facts = { level: 3, lent: 0, isHeldOut: false, interactiveBusy: 0, ready: 8, most: 10, isOwed: false };

  it("is what interactive jobs may need beyond the replicas they have", () => {
    expect(keptFree({ ...facts, interactiveBusy: 1 })).toBe(2);
    expect(keptFree({ ...facts, interactiveBusy: 5 })).toBe(0);
    expect(keptFree({ ...facts, level: 0 })).toBe(0);
  });

  it("is nothing where one replica is all there can be", () => {
    expect(keptFree({ ...facts, ready: 1, most: 1 })).toBe(0);
  });

  it("is less by what is lent to them, of the replicas that there are", () => {
    expect(keptFree({ ...facts, lent: 1 })).toBe(2);
    expect(keptFree({ ...facts, lent: 4 })).toBe(0);
    expect(keptFree({ ...facts, level: 9, ready: 4, lent: 1 })).toBe(3);
    expect(keptFree({ ...facts, level: 9, ready: 4, lent: 1, interactiveBusy: 1 })).toBe(2);
  });

  it("is all but one where all have idled for too long, and one at least", () => {
    const heldOut = { ...facts, level: 9, isHeldOut: true };
    expect(keptFree({ ...heldOut, ready: 4, most: 4 })).toBe(3);
    expect(keptFree({ ...heldOut, ready: 4, most: 4, interactiveBusy: 1 })).toBe(2);
    expect(keptFree({ ...heldOut, level: 2, ready: 4, most: 4 })).toBe(2);
    expect(keptFree({ ...heldOut, ready: 1, most: 2 })).toBe(1);
  });

  it("is nothing of the next idle replica where one is owed to them", () => {
    expect(keptFree({ ...facts, level: 4, ready: 4, most: 4, isOwed: true })).toBe(0);
    expect(keptFree({ ...facts, level: 4, ready: 4, most: 4, interactiveBusy: 3, isOwed: true })).toBe(0);
  });
});
