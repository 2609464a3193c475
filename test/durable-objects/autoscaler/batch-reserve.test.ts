import { describe, expect, it } from "vitest";
import { BatchReserve, keptFree } from "#durable-objects/autoscaler/batch-reserve";

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
    expect(empty.level(START)).toBe(0);
  });
});

describe("what is kept free of batch jobs", () => {
  it("is what interactive jobs may need beyond the replicas they have", () => {
    expect(keptFree({ level: 3, interactiveBusy: 1, most: 10, isScarce: false })).toBe(2);
    expect(keptFree({ level: 3, interactiveBusy: 5, most: 10, isScarce: false })).toBe(0);
    expect(keptFree({ level: 0, interactiveBusy: 0, most: 10, isScarce: false })).toBe(0);
  });

  it("is nothing where one replica is all there can be", () => {
    expect(keptFree({ level: 3, interactiveBusy: 0, most: 1, isScarce: false })).toBe(0);
  });

  it("leaves one replica to those that have waited for too long, while no interactive job is at work", () => {
    expect(keptFree({ level: 4, interactiveBusy: 0, most: 4, isScarce: true })).toBe(3);
    expect(keptFree({ level: 9, interactiveBusy: 0, most: 4, isScarce: true })).toBe(3);
    expect(keptFree({ level: 2, interactiveBusy: 0, most: 4, isScarce: true })).toBe(2);
    expect(keptFree({ level: 4, interactiveBusy: 1, most: 4, isScarce: true })).toBe(3);
    expect(keptFree({ level: 4, interactiveBusy: 0, most: 4, isScarce: false })).toBe(4);
  });
});
