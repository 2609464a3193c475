import { describe, expect, it } from "vitest";
import { type Arrival, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { type FleetPolicy, finished, replay, replayInParts } from "#durable-objects/autoscaler/replay/engine";
import { perRequest } from "#durable-objects/autoscaler/replay/rivals/per-request";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";
import { parseTrace } from "#durable-objects/autoscaler/replay/trace-file";

const fixed = (count: number): FleetPolicy => ({ decide: (fleet) => fleet.launch(count - fleet.replicas) });

/** One replica per waiting job, gone when idle so long. */
function onDemand(idleS: number): FleetPolicy {
  return {
    decide(fleet) {
      fleet.launch(fleet.waiting + fleet.batchWaiting - fleet.booting);
      for (;;) {
        const slot = fleet.idleSlots[0];
        if (slot === undefined) return;
        const dueS = fleet.sinceS(slot) + idleS;
        if (dueS > fleet.nowS) return fleet.lookAgainAt(dueS);
        fleet.stop(slot);
      }
    },
  };
}

const jobs = (...rows: [number, number][]): Arrival[] => rows.map(([t, serviceS]) => ({ t, serviceS }));

function poisson(jobsPerS: number, meanServiceS: number, count: number): Arrival[] {
  const chance = seededChance(7);
  const exponential = (mean: number) => -mean * Math.log(1 - chance());
  let t = 0;
  return Array.from({ length: count }, () => {
    t += exponential(1 / jobsPerS);
    return { t, serviceS: exponential(meanServiceS) };
  });
}

/** Mean wait in M/M/c by Erlang's C formula. */
function erlangWait(jobsPerS: number, meanServiceS: number, servers: number): number {
  const load = jobsPerS * meanServiceS;
  let blocking = 1;
  for (let n = 1; n <= servers; n++) blocking = (load * blocking) / (n + load * blocking);
  const waiting = blocking / (1 - (load / servers) * (1 - blocking));
  return (waiting * meanServiceS) / (servers - load);
}

describe("a replay", () => {
  it("comes to the same in parts, and says how much of it is done", () => {
    const arrivals = arrivalsOf(poisson(0.5, 4, 10_000));
    const options = { horizonS: 25_000, bootS: 30 };
    const done = [...replayInParts(arrivals, onDemand(60), options)];
    expect(done.length).toBeGreaterThan(5);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(done.every((part) => part > 0 && part <= 1)).toBe(true);
    expect(finished(replayInParts(arrivals, onDemand(60), options))).toEqual(replay(arrivals, onDemand(60), options));
  });

  it.each([
    [1, 0.6],
    [6, 0.8],
    [9, 0.85],
  ])("has the waits of M/M/%i by Erlang's formula, at load %d", (servers, load) => {
    const rate = (load * servers) / 4;
    const result = replay(arrivalsOf(poisson(rate, 4, 400_000)), fixed(servers), {
      horizonS: 400_000 / rate,
      bootS: 0,
    });
    const expected = erlangWait(rate, 4, servers);
    expect(Math.abs(result.interactive.meanS / expected - 1)).toBeLessThan(0.03);
  });

  it("bills from launch to stop, with the boot, and no further than the horizon", () => {
    const result = replay(arrivalsOf(jobs([10, 5], [100, 7])), onDemand(20), { horizonS: 150, bootS: 30 });
    // Launched at 10, ready at 40, busy to 45, stopped at 65; launched at 100, ready at 130, busy to 137, idle to the end.
    expect(result.gpuSeconds).toBe(55 + 50);
    expect(result.bootSeconds).toBe(60);
    expect(result.busySeconds).toBe(12);
    expect([...result.waitsS]).toEqual([30, 30]);
    expect(result.interactive.coldShare).toBe(1);
    expect(result.launches).toBe(2);
  });

  it("bills to the end where it is told to: jobs that go on after the horizon, and the stop of what served them", () => {
    const queue = arrivalsOf(Array.from({ length: 200 }, () => ({ t: 0, serviceS: 60 })));
    const options = { horizonS: 3_600, bootS: 30, billsToEnd: true };
    for (const replicasMax of [1, 8]) {
      const result = replay(queue, onDemand(20), { ...options, replicasMax });
      expect([result.busySeconds, result.gpuSeconds]).toEqual([12_000, 12_000 + replicasMax * 50]);
    }
    const late = replay(arrivalsOf(jobs([3_500, 3_600])), onDemand(90), options);
    expect([late.gpuSeconds, late.endS]).toEqual([30 + 3_600 + 90, 3_500 + 30 + 3_600 + 90]);
  });

  it("bills what a policy keeps for good until the last job is done, and nothing that it starts afterwards", () => {
    const options = { horizonS: 3_600, bootS: 0, billsToEnd: true };
    expect(replay(arrivalsOf(jobs([0, 1])), fixed(2), options).gpuSeconds).toBe(7_200);
    expect(replay(arrivalsOf(jobs([3_500, 500])), fixed(2), options).gpuSeconds).toBe(8_000);
    const foresight = onDemand(1_000);
    const early: FleetPolicy = {
      decide(fleet) {
        foresight.decide(fleet);
        if (fleet.nowS < 4_000) fleet.lookAgainAt(4_000);
        else if (fleet.nowS === 4_000) fleet.launch(5);
      },
    };
    const late = replay(arrivalsOf(jobs([3_500, 100])), early, options);
    expect([late.gpuSeconds, late.launches, late.endS]).toEqual([1_100, 1, 4_600]);
  });

  it("does not give up on a long queue before its end where it bills to the end, but on jobs that nobody serves", () => {
    const options = { horizonS: 3_600, bootS: 0, billsToEnd: true };
    const long = arrivalsOf(jobs([0, 200_000], [0, 200_000], [0, 1]));
    expect(replay(long, onDemand(1), { ...options, replicasMax: 1 })).toMatchObject({
      unserved: 0,
      busySeconds: 400_001,
    });
    const idle = replay(arrivalsOf(jobs([0, 1])), { decide: () => undefined }, options);
    expect([idle.unserved, idle.waitsS[0], idle.endS]).toEqual([1, 3_600, 3_600]);
  });

  it("gives a job to the replica that was busy last, so that the others can go", () => {
    const rows = jobs([0, 1], [0, 1], [60, 1], [100, 1], [140, 1]);
    const result = replay(arrivalsOf(rows), onDemand(50), { horizonS: 200, bootS: 10, keepTimeline: true });
    // Two from 0 to ready at 10 and idle at 11; one works on, the other goes at 61.
    expect(result.timeline).toEqual([
      [0, 2],
      [61, 1],
      [191, 0],
    ]);
  });

  it("serves the first come first and counts who waited for a boot as cold", () => {
    const rows = jobs([0, 10], [1, 10], [2, 10]);
    const result = replay(arrivalsOf(rows), fixed(1), { horizonS: 100, bootS: 5 });
    expect([...result.waitsS]).toEqual([5, 14, 23]);
    expect(result.interactive.coldShare).toBeCloseTo(1 / 3);
    expect(result.interactive.p50S).toBe(14);
  });

  it("begins with warm replicas where something before it has made them so, and bills them from the first second", () => {
    const options = { horizonS: 100, bootS: 30, warm: 2, keepTimeline: true };
    const result = replay(arrivalsOf(jobs([0, 5], [1, 5], [2, 5])), onDemand(20), options);
    expect([...result.waitsS]).toEqual([0, 0, 3]);
    // The two until 30 and 26, and the one that was started for the third job from 2 until 52.
    expect([result.gpuSeconds, result.launches, result.interactive.coldShare]).toEqual([30 + 26 + 50, 1, 0]);
    expect(result.timeline[0]).toEqual([0, 2]);
  });

  it("knows no batch jobs where there are no lanes, but says how long they waited", () => {
    const rows: Arrival[] = [
      { t: 0, serviceS: 10, lane: "batch" },
      { t: 1, serviceS: 10 },
    ];
    const run = (hasLanes: boolean) =>
      replay(arrivalsOf(rows), perRequest({ idleS: 5 }), { horizonS: 100, bootS: 30, hasLanes });
    const [apart, together] = [run(true), run(false)];
    expect([apart.launches, together.launches]).toEqual([1, 2]);
    expect([together.batch.meanS, together.interactive.meanS]).toEqual([30, 30]);
    const alone = replay(arrivalsOf(rows.slice(0, 1)), perRequest({ idleS: 5 }), { horizonS: 100, bootS: 30 });
    expect([alone.unserved, alone.batchUnserved]).toEqual([1, 1]);
  });

  it("bills a boot that is called off until then", () => {
    const policy: FleetPolicy = {
      decide(fleet) {
        if (fleet.nowS === 0) {
          fleet.launch(1);
          fleet.lookAgainAt(3);
        } else if (fleet.nowS === 3) fleet.stop(fleet.bootingSlots[0] ?? -1);
      },
    };
    const result = replay(arrivalsOf([]), policy, { horizonS: 60, bootS: 30 });
    expect([result.gpuSeconds, result.bootSeconds]).toEqual([3, 3]);
  });

  it("counts waits only from the second it is told to", () => {
    const rows = jobs([0, 1], [400, 1]);
    const result = replay(arrivalsOf(rows), onDemand(10), { horizonS: 3600, bootS: 30, countFromS: 300 });
    expect(result.interactive.jobs).toBe(1);
  });

  it("lets batch jobs use what interactive ones leave, until they near their deadline", () => {
    const rows: Arrival[] = [
      { t: 0, serviceS: 100, lane: "batch" },
      ...Array.from({ length: 60 }, (_, index): Arrival => ({ t: index * 10, serviceS: 10 })),
    ];
    const result = replay(arrivalsOf(rows), fixed(1), { horizonS: 1000, bootS: 0, batchDeadlineS: 600 });
    // It joins at 300 s, behind the one that came in the same instant.
    expect(result.waitsS[0]).toBe(310);
    expect(result.batchMissed).toBe(0);
    expect(result.batch.jobs).toBe(1);
    const late = replay(arrivalsOf(rows), fixed(1), { horizonS: 1000, bootS: 0 });
    expect(late.waitsS[0]).toBe(600);
  });

  it("lets a batch job with a short deadline be one for half of its time", () => {
    const rows: Arrival[] = [{ t: 0, serviceS: 10, lane: "batch" }, ...jobs([0, 60], [1, 60], [2, 60])];
    const result = replay(arrivalsOf(rows), fixed(1), { horizonS: 1_000, bootS: 30, batchDeadlineS: 120 });
    expect([...result.waitsS]).toEqual([210, 30, 89, 148]);
  });

  it("jitters boots by the seed and keeps their mean", () => {
    const run = (seed: number) =>
      replay(arrivalsOf(poisson(0.01, 1, 5_000)), onDemand(0.5), { horizonS: 500_000, bootS: 30, bootCv: 0.5, seed });
    expect(run(1).bootSeconds).toBe(run(1).bootSeconds);
    expect(run(1).bootSeconds).not.toBe(run(2).bootSeconds);
    expect(run(1).bootSeconds / run(1).launches).toBeGreaterThan(28);
    expect(run(1).bootSeconds / run(1).launches).toBeLessThan(32);
  });

  it("never holds more replicas than it may, and gives up on jobs that nobody serves", () => {
    const result = replay(arrivalsOf(poisson(1, 4, 100)), fixed(100), { horizonS: 10, bootS: 1, replicasMax: 3 });
    expect(result.peakReplicas).toBe(3);
    const idle = replay(arrivalsOf(jobs([0, 1])), { decide: () => undefined }, { horizonS: 10, bootS: 1 });
    expect(idle.unserved).toBe(1);
  });

  it("refuses a policy that looks again at once, and one that stops a busy replica", () => {
    const options = { horizonS: 10, bootS: 0 };
    const eager: FleetPolicy = { decide: (fleet) => fleet.lookAgainAt(fleet.nowS) };
    expect(() => replay(arrivalsOf([]), eager, options)).toThrow("already");
    const brutal: FleetPolicy = {
      decide(fleet) {
        fleet.launch(1 - fleet.replicas);
        for (const slot of fleet.busySlots) fleet.stop(slot);
      },
    };
    expect(() => replay(arrivalsOf(jobs([1, 5])), brutal, options)).toThrow("could stop");
  });
});

describe("a trace", () => {
  it("is read by its header", () => {
    const rows = parseTrace("t,service_s,endpoint\n1.5,4,a\n2,3,b\n");
    expect([...rows.keys()]).toEqual(["a", "b"]);
    expect(rows.get("a")).toEqual([{ t: 1.5, serviceS: 4, lane: "interactive" }]);
  });

  it("is refused with the line and the column that are wrong", () => {
    expect(() => parseTrace("t,service_s\n1,x\n")).toThrow('line 2: service_s must be a number, 0 or more, not "x"');
    expect(() => parseTrace("when,service\n")).toThrow("line 1");
  });
});
