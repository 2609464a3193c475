import { describe, expect, it } from "vitest";
import { makeScaler } from "#durable-objects/autoscaler/make-scaler";
import type { ScalerObservation, ScalerSettings } from "#durable-objects/autoscaler/scaler";
import { observed, replica, SETTINGS, START } from "./observed.ts";

const decide = (
  policy: ScalerSettings["policy"],
  settings: Partial<ScalerSettings>,
  observation: Partial<ScalerObservation>,
) => makeScaler(policy, null).decide({ ...SETTINGS, policy, ...settings }, observed({ now: START, ...observation }));

const waiting = (...secondsAgo: number[]) => secondsAgo.map((seconds) => START - seconds * 1000);

describe("request_count", () => {
  it("has a replica for every so many jobs that wait or run", () => {
    const decision = decide(
      "request_count",
      { jobsPerReplica: 2 },
      { waiting: waiting(3, 2, 1), replicas: [replica(0, "busy", START - 5_000), replica(1, "busy", START)] },
    );
    expect(decision).toEqual({ wanted: 3, letGo: [], reason: "5 jobs at 2 per replica", lookAgainAt: null });
  });

  it("lets an idle replica go after the timeout, the longest idle first, and not below the floor", () => {
    const replicas = [
      replica(0, "idle", START - 10_000),
      replica(1, "idle", START - 61_000),
      replica(2, "idle", START),
    ];
    expect(decide("request_count", {}, { replicas })).toEqual({
      wanted: 2,
      letGo: ["r1"],
      reason: "idle for 60 s",
      lookAgainAt: START + 50_000,
    });
    expect(decide("request_count", { floor: 3 }, { replicas }).letGo).toEqual([]);
    expect(decide("request_count", { idleTimeoutMs: 5_000 }, { replicas }).letGo).toEqual(["r1", "r0"]);
  });

  it("does not count batch jobs until they have waited long enough", () => {
    const batch = { batchWaiting: 3, batchOldestAt: START - 60_000 };
    expect(decide("request_count", { batchTargetWaitMs: 90_000 }, batch)).toMatchObject({
      wanted: 0,
      lookAgainAt: START + 30_000,
    });
    expect(decide("request_count", { batchTargetWaitMs: 60_000 }, batch)).toMatchObject({
      wanted: 3,
      reason: "0 jobs at 1 per replica, and 3 more for batch jobs that waited long enough",
    });
  });

  it.each([
    ["request_count", "4 jobs at 1 per replica, and max_replicas allows no more"],
    ["queue_delay", "4 jobs that wait 4 s or more, and max_replicas allows no more"],
  ] as const)("stays at its ceiling and says so, %s", (policy, reason) => {
    const late = waiting(5, 5, 5, 5);
    expect(decide(policy, { ceiling: 2 }, { waiting: late })).toMatchObject({ wanted: 2, reason });
  });
});

describe("queue_delay", () => {
  it("waits until a job has waited for the delay, and says when that is", () => {
    expect(decide("queue_delay", {}, { waiting: waiting(3, 1) })).toMatchObject({
      wanted: 0,
      lookAgainAt: START + 1_000,
    });
    expect(decide("queue_delay", {}, { waiting: waiting(5, 4, 1) })).toEqual({
      wanted: 2,
      letGo: [],
      reason: "2 jobs that wait 4 s or more",
      lookAgainAt: START + 3_000,
    });
  });

  it("does not start again for jobs whose replicas start already", () => {
    const replicas = [replica(0, "starting", START - 2_000), replica(1, "busy", START - 9_000)];
    expect(decide("queue_delay", {}, { waiting: waiting(5), replicas }).wanted).toBe(2);
  });

  it("takes those it is not shown to wait as long as the last it is shown", () => {
    const since = Array.from({ length: 300 }, () => START - 10_000);
    expect(decide("queue_delay", { ceiling: 400 }, { waiting: since })).toMatchObject({
      wanted: 300,
      reason: "300 jobs, the first 256 of which wait 4 s or more",
    });
  });

  it("keeps the floor and says so", () => {
    expect(decide("queue_delay", { floor: 2 }, {})).toMatchObject({ wanted: 2, reason: "the warm floor is 2" });
  });

  it("lets idle replicas go after the timeout", () => {
    const replicas = [replica(0, "idle", START - 60_000), replica(1, "busy", START)];
    expect(decide("queue_delay", {}, { replicas })).toMatchObject({ wanted: 1, letGo: ["r0"] });
  });
});
