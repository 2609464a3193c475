import { describe, expect, it } from "vitest";
import type { WarmWindow } from "#contract/endpoint";
import { floorAt, isTimeZone } from "#durable-objects/autoscaler/warm-floor";

const at = (iso: string): number => Date.parse(iso);
const office: WarmWindow = {
  days: ["mon", "tue", "wed", "thu", "fri"],
  from: "08:00",
  to: "18:00",
  time_zone: "Europe/Berlin",
  replicas: 2,
};
const floor = (schedule: readonly WarmWindow[], iso: string, more: Partial<Parameters<typeof floorAt>[0]> = {}) => {
  const { replicas, until, by } = floorAt({ minReplicas: 0, schedule, hold: null, ...more }, at(iso));
  return [replicas, until === null ? null : new Date(until).toISOString(), by];
};

describe("the warm floor", () => {
  it("is min_replicas without a schedule, for ever", () => {
    expect(floor([], "2026-01-05T12:00:00Z", { minReplicas: 1 })).toEqual([1, null, "min_replicas"]);
  });

  it("is a window's while the zone's clock is within it, to the minute", () => {
    // A Monday in winter: Berlin is one hour ahead.
    expect(floor([office], "2026-01-05T06:59:59.999Z")).toEqual([0, "2026-01-05T07:00:00.000Z", "min_replicas"]);
    expect(floor([office], "2026-01-05T07:00:00Z")).toEqual([2, "2026-01-05T17:00:00.000Z", "schedule"]);
    expect(floor([office], "2026-01-05T17:00:00Z")).toEqual([0, "2026-01-06T07:00:00.000Z", "min_replicas"]);
    // A Friday evening: the next one is on Monday.
    expect(floor([office], "2026-01-09T17:00:00Z")).toEqual([0, "2026-01-12T07:00:00.000Z", "min_replicas"]);
  });

  it("follows the zone's clock when that is changed", () => {
    // Berlin goes to summer time on Sunday 29 March 2026 at 01:00 UTC.
    expect(floor([office], "2026-03-27T18:00:00Z")[1]).toBe("2026-03-30T06:00:00.000Z");
    // And back on Sunday 25 October at 01:00 UTC.
    expect(floor([office], "2026-10-23T17:00:00Z")[1]).toBe("2026-10-26T07:00:00.000Z");
  });

  it("opens with the jump when the clock is put forward over its beginning", () => {
    const night: WarmWindow = { ...office, days: ["sun"], from: "02:30", to: "05:00" };
    expect(floor([night], "2026-03-28T12:00:00Z")).toEqual([0, "2026-03-29T01:00:00.000Z", "min_replicas"]);
    expect(floor([night], "2026-03-29T01:00:00Z")).toEqual([2, "2026-03-29T03:00:00.000Z", "schedule"]);
  });

  it("has the hour that comes twice twice", () => {
    const night: WarmWindow = { ...office, days: ["sun"], from: "02:00", to: "02:30" };
    expect(floor([night], "2026-10-25T00:00:00Z")).toEqual([2, "2026-10-25T00:30:00.000Z", "schedule"]);
    expect(floor([night], "2026-10-25T00:30:00Z")).toEqual([0, "2026-10-25T01:00:00.000Z", "min_replicas"]);
    expect(floor([night], "2026-10-25T01:00:00Z")).toEqual([2, "2026-10-25T01:30:00.000Z", "schedule"]);
  });

  it("goes on past midnight, into a day that is not named", () => {
    const late: WarmWindow = { days: ["sat"], from: "22:00", to: "03:15", time_zone: "UTC", replicas: 1 };
    expect(floor([late], "2026-01-10T23:00:00Z")).toEqual([1, "2026-01-11T03:15:00.000Z", "schedule"]);
    expect(floor([late], "2026-01-11T03:14:00Z")).toEqual([1, "2026-01-11T03:15:00.000Z", "schedule"]);
    expect(floor([late], "2026-01-11T22:30:00Z")).toEqual([0, "2026-01-17T22:00:00.000Z", "min_replicas"]);
  });

  it("is a whole day's from 00:00 to 24:00, and never ends where each day is named", () => {
    const day: WarmWindow = { days: ["wed"], from: "00:00", to: "24:00", time_zone: "Asia/Kolkata", replicas: 1 };
    expect(floor([day], "2026-01-06T18:30:00Z")).toEqual([1, "2026-01-07T18:30:00.000Z", "schedule"]);
    const always: WarmWindow = { ...day, days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] };
    expect(floor([always], "2026-01-06T18:30:00Z")).toEqual([1, null, "schedule"]);
  });

  it("is 24 hours' where a window ends at the time at which it begins, of the next day where that is 24:00", () => {
    const day: WarmWindow = { days: ["wed"], from: "08:00", to: "08:00", time_zone: "UTC", replicas: 1 };
    expect(floor([day], "2026-01-07T07:59:00Z")).toEqual([0, "2026-01-07T08:00:00.000Z", "min_replicas"]);
    expect(floor([day], "2026-01-07T08:00:00Z")).toEqual([1, "2026-01-08T08:00:00.000Z", "schedule"]);
    expect(floor([day], "2026-01-08T08:00:00Z")).toEqual([0, "2026-01-14T08:00:00.000Z", "min_replicas"]);
    const next: WarmWindow = { ...day, from: "24:00", to: "24:00" };
    expect(floor([next], "2026-01-07T23:59:00Z")).toEqual([0, "2026-01-08T00:00:00.000Z", "min_replicas"]);
    expect(floor([next], "2026-01-08T00:00:00Z")).toEqual([1, "2026-01-09T00:00:00.000Z", "schedule"]);
  });

  it("is the highest of those that fit, and looks again at the first change of any", () => {
    const lunch: WarmWindow = { ...office, from: "12:00", to: "13:00", replicas: 5 };
    expect(floor([office, lunch], "2026-01-05T10:00:00Z")).toEqual([2, "2026-01-05T11:00:00.000Z", "schedule"]);
    expect(floor([office, lunch], "2026-01-05T11:30:00Z")).toEqual([5, "2026-01-05T12:00:00.000Z", "schedule"]);
    expect(floor([office], "2026-01-05T10:00:00Z", { minReplicas: 3 })).toEqual([
      3,
      "2026-01-05T17:00:00.000Z",
      "min_replicas",
    ]);
  });

  it("is what was asked for by hand until that is over", () => {
    const hold = { replicas: 4, until: at("2026-01-05T12:00:00Z") };
    expect(floor([office], "2026-01-05T10:00:00Z", { hold })).toEqual([4, "2026-01-05T12:00:00.000Z", "hand"]);
    expect(floor([office], "2026-01-05T12:00:00Z", { hold })[0]).toBe(2);
    expect(floor([office], "2026-01-05T10:00:00Z", { hold: { ...hold, replicas: 1 } })[0]).toBe(2);
  });
});

describe("a time zone", () => {
  it("is known by its IANA name", () => {
    expect(["Europe/Berlin", "UTC", "America/Argentina/Ushuaia", "Mars/Olympus", ""].map(isTimeZone)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});
