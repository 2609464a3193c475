import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BOOTS_KEPT, RUNNING_MAX } from "#durable-objects/autoscaler/demand-model";
import { GAP_BINS } from "#durable-objects/autoscaler/gap-histogram";
import { makeScaler } from "#durable-objects/autoscaler/make-scaler";
import { unpackQuantities } from "#durable-objects/autoscaler/packed-numbers";
import { PredictiveScaler } from "#durable-objects/autoscaler/predictive";
import { PredictiveMemory, readMemory, writeMemory } from "#durable-objects/autoscaler/predictive-memory";
import { type Arrival, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { replay } from "#durable-objects/autoscaler/replay/engine";
import { scalerPolicy } from "#durable-objects/autoscaler/replay/scaler-policy";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";
import { IN_TIME_MAX, OCCASIONS_KEPT } from "#durable-objects/autoscaler/rhythm";
import type {
  Scaler,
  ScalerDecision,
  ScalerEvent,
  ScalerReplica,
  ScalerSettings,
} from "#durable-objects/autoscaler/scaler";
import { LEVELS_MAX, rowOf } from "#durable-objects/autoscaler/staffing";
import { observed, replica, SETTINGS, START } from "./observed.ts";

/** Jobs in bursts: a few each, far apart; up to `strayS` later than by the clock. */
function bursts(count: number, everyS: number, jobs: number, seed: number, strayS = 0): Arrival[] {
  const chance = seededChance(seed);
  return Array.from({ length: count }, (_, burst) => {
    const t = burst * everyS + (strayS === 0 ? 0 : chance() * strayS);
    return Array.from({ length: jobs }, () => ({ t: t + chance() * 5, serviceS: 2 + 4 * chance() }));
  }).flat();
}

/** Random jobs, `jobsPerS` on average, 4 s each on average. */
function steady(count: number, jobsPerS: number, seed: number): Arrival[] {
  const chance = seededChance(seed);
  let t = 0;
  return Array.from({ length: count }, () => {
    t -= Math.log(1 - chance()) / jobsPerS;
    return { t, serviceS: 2 + 4 * chance() };
  });
}

function run(rows: readonly Arrival[], horizonS: number, settings: ScalerSettings, bootS = 30) {
  const decisions: ScalerDecision[] = [];
  const policy = scalerPolicy(new PredictiveScaler(null), settings, ({ decision }) => decisions.push(decision));
  return { ...replay(arrivalsOf(rows), policy, { horizonS, bootS, batchDeadlineS: 3_600 }), decisions };
}

describe("the predictive policy", () => {
  it("starts nothing and wants nothing while nobody comes", () => {
    const { gpuSeconds, decisions } = run([], 86_400, SETTINGS);
    expect(gpuSeconds).toBe(0);
    expect(decisions).toHaveLength(1);
    expect(decisions[0]).toMatchObject({ wanted: 0, lookAgainAt: null, reason: "nothing to do" });
  });

  it("starts nothing for a queue that is gone before a start would be done", () => {
    const rows = bursts(100, 60, 4, 3);
    const { launches } = run(rows, 6_000, SETTINGS);
    const perRequest = replay(
      arrivalsOf(rows),
      scalerPolicy(makeScaler("request_count", null), { ...SETTINGS, idleTimeoutMs: 20_000 }),
      { horizonS: 6_000, bootS: 30 },
    );
    expect(launches).toBeLessThan(15);
    expect(perRequest.launches).toBeGreaterThan(60);
    expect(run(bursts(10, 600, 100, 3), 6_000, SETTINGS).launches).toBeGreaterThan(50);
  }, 60_000);

  it("goes back to nothing after the last job", () => {
    const rows = bursts(30, 600, 6, 4);
    const { decisions } = run(rows, 10 * 86_400, SETTINGS);
    expect(decisions.at(-1)).toMatchObject({ wanted: 0, lookAgainAt: null });
    expect(decisions.at(-1)?.reason).toBe("not likely enough to be needed again soon");
  });

  it("starts nothing after a burst that an idle timer would only stop again", () => {
    const burst = Array.from({ length: 80 }, (_, job) => ({ t: job * 0.01, serviceS: 0.7 }));
    const settings = { ...SETTINGS, ceiling: 8, waitValue: 100, idleTimeoutMs: 3_000 };
    const { decisions, launches } = run(burst, 3_600, settings, 8);
    expect(launches).toBeLessThanOrEqual(8);
    expect(decisions.at(-1)).toMatchObject({ wanted: 0, lookAgainAt: null });
  });

  it("does not keep what an endpoint's very first burst needed: it says nothing of a second one", () => {
    const burst = Array.from({ length: 80 }, (_, job) => ({ t: job * 0.01, serviceS: 0.7 }));
    const { gpuSeconds, launches } = run(burst, 86_400, { ...SETTINGS, ceiling: 8 });
    expect(launches).toBe(8);
    expect(gpuSeconds).toBeLessThan(8 * 60);
  });

  it.each([1, 10, 100])(
    "lets go of what dense traffic needed within ten starts and two gaps of its end, w %i",
    (waitValue) => {
      const rows = steady(900, 1, 11);
      const endS = rows.at(-1)?.t ?? 0;
      const lastly = (horizonS: number) => run(rows, horizonS, { ...SETTINGS, waitValue });
      // Ten starts of 30 s, and twice the longest gap of a level that it had not left for good.
      const whole = lastly(endS + 7_200);
      expect(whole.gpuSeconds - lastly(endS + 900).gpuSeconds).toBeLessThan(2 * 1_800);
      expect(whole.decisions.at(-1)).toMatchObject({ wanted: 0, lookAgainAt: null });
    },
  );

  it("keeps a replica that starts quickly for the next of a person's calls", () => {
    const calls = [0, 5, 10, 15].map((t) => ({ t, serviceS: 0.5 }));
    const { launches, gpuSeconds } = run(calls, 3_600, SETTINGS, 1);
    expect(launches).toBe(1);
    expect(gpuSeconds).toBeLessThan(60);
  });

  it("learns to keep a replica over gaps that are worth it, and to let it go over those that are not", () => {
    const often = run(bursts(200, 60, 3, 5), 12_000, SETTINGS);
    const rarely = run(bursts(200, 6_000, 3, 6, 5_000), 1_200_000, SETTINGS);
    expect(often.interactive.coldShare).toBeLessThan(0.05);
    expect(rarely.gpuSeconds).toBeLessThan(200 * 200);
    expect(rarely.interactive.coldShare).toBeGreaterThan(0.3);
  });

  it("spends more and waits less the more a second of waiting is worth", () => {
    const rows = steady(4_000, 0.5, 7);
    const runs = [1, 10, 100].map((waitValue) => run(rows, 8_000, { ...SETTINGS, waitValue }));
    const [thrifty, balanced, fast] = runs.map(({ gpuSeconds, interactive }) => ({
      gpuSeconds,
      wait: interactive.meanS,
    }));
    expect(thrifty?.gpuSeconds).toBeLessThan(balanced?.gpuSeconds ?? 0);
    expect(balanced?.gpuSeconds).toBeLessThan(fast?.gpuSeconds ?? 0);
    expect(thrifty?.wait).toBeGreaterThan(balanced?.wait ?? 0);
    expect(balanced?.wait).toBeGreaterThan(fast?.wait ?? 0);
  });

  it("holds a p95 target that can be held, whatever the wait value was", () => {
    for (const waitValue of [1, 100]) {
      const { interactive } = run(steady(8_000, 0.5, 8), 16_000, { ...SETTINGS, waitValue, targetP95WaitS: 5 });
      expect(interactive.p95S).toBeLessThan(6);
    }
  }, 60_000);

  it("holds a p95 target by early starts where a start takes less, and keeps little for it", () => {
    const chance = seededChance(14);
    // Each three quarters of a minute, 75 jobs within fifteen seconds.
    const rows = Array.from({ length: 120 }, (_, burst) =>
      Array.from({ length: 75 }, () => ({ t: 45 * burst + 15 * chance(), serviceS: 2 + 4 * chance() })),
    ).flat();
    const { gpuSeconds, interactive } = run(rows, 5_400, { ...SETTINGS, targetP95WaitS: 8 }, 8);
    expect(interactive.p95S).toBeLessThanOrEqual(8);
    const oneEach = replay(
      arrivalsOf(rows),
      scalerPolicy(makeScaler("request_count", null), { ...SETTINGS, idleTimeoutMs: 5_000 }),
      { horizonS: 5_400, bootS: 8 },
    );
    expect(oneEach.interactive.p95S).toBe(8);
    expect(gpuSeconds / oneEach.gpuSeconds).toBeLessThan(0.5);
  }, 60_000);

  it("keeps idle replicas exactly as long as an idle timeout says", () => {
    const { gpuSeconds } = run([{ t: 0, serviceS: 5 }], 7_200, { ...SETTINGS, idleTimeoutMs: 100_000 });
    expect(gpuSeconds).toBe(30 + 5 + 100);
  });

  it("keeps the floor, and no more than the ceiling", () => {
    const { decisions } = run(steady(500, 5, 9), 2_000, { ...SETTINGS, floor: 2, ceiling: 5 });
    expect(Math.min(...decisions.map(({ wanted }) => wanted))).toBe(2);
    expect(Math.max(...decisions.map(({ wanted }) => wanted))).toBe(5);
    expect(decisions[0]?.reason).toBe("the warm floor is 2");
  });

  it("lets those go that only start, not the one that is there, once nobody waits any more", () => {
    const replicas = [
      replica(0, "idle", START - 60_000),
      replica(1, "starting", START - 9_000),
      replica(2, "starting", START - 4_000),
    ];
    const decide = (floor: number) => {
      const scaler = new PredictiveScaler(null);
      scaler.note({ type: "booted", at: START - 60_000, bootMs: 30_000 });
      return scaler.decide({ ...SETTINGS, floor }, observed({ now: START, replicas }));
    };
    expect(decide(1)).toMatchObject({ wanted: 1, letGo: ["r2", "r1"] });
    expect(decide(2)).toMatchObject({ wanted: 2, letGo: ["r2"] });
    expect(decide(3)).toMatchObject({ wanted: 3, letGo: [] });
  });

  it("looks again only when something may have changed while the warm floor is not met", () => {
    const scaler = new PredictiveScaler(null);
    const short = observed({ now: START, replicas: [replica(0, "idle", START - 60_000)] });
    expect(scaler.decide({ ...SETTINGS, floor: 2 }, short)).toMatchObject({ wanted: 2, lookAgainAt: null });
  });

  it("starts little more than there are jobs for when an endpoint's first ones come at once", () => {
    const wantedFor = (jobs: number) => {
      const scaler = new PredictiveScaler(null);
      for (let job = 0; job < jobs; job++) scaler.note({ type: "arrived", at: START, lane: "interactive" });
      return scaler.decide(SETTINGS, observed({ now: START, waiting: Array(jobs).fill(START) })).wanted;
    };
    for (const jobs of [1, 2, 5, 20, 40]) {
      expect(wantedFor(jobs), `${jobs}`).toBeGreaterThanOrEqual(jobs);
      expect(wantedFor(jobs), `${jobs}`).toBeLessThanOrEqual(Math.ceil(1.6 * jobs));
    }
  });

  it("says how long those who wait will wait, and whether the ceiling is what keeps them waiting", () => {
    const decide = (ceiling: number, states: readonly ScalerReplica[], jobs: number) => {
      const scaler = new PredictiveScaler(null);
      for (let job = 0; job < jobs; job++) scaler.note({ type: "arrived", at: START, lane: "interactive" });
      const waiting = Array(jobs).fill(START);
      return scaler.decide({ ...SETTINGS, ceiling }, observed({ now: START, waiting, replicas: states })).reason;
    };
    // One that is ready in 30 s does two jobs of 10 s, one after the other.
    const starting = replica(0, "starting", START);
    expect(decide(9, [starting], 2)).toBe("expected wait 35 s is worth more than a start of 30 s (p50)");
    expect(decide(1, [starting], 18)).toBe("18 waiting, and max_replicas allows no more");
    expect(decide(1, [replica(0, "busy", START - 9_000)], 1)).toBe(
      "1 waiting will be served sooner than a start would help",
    );
  });

  it("does not expect a job that has outlasted most others to end soon", () => {
    const told = (serviceS: (job: number) => number) => {
      const scaler = new PredictiveScaler(null);
      scaler.note({ type: "booted", at: START, bootMs: 8_000 });
      for (let job = 0; job < 200; job++) {
        const at = START + job * 1_000_000;
        scaler.note({ type: "arrived", at, lane: "interactive" });
        scaler.note({
          type: "finished",
          at: at + serviceS(job) * 1_000,
          lane: "interactive",
          busyMs: serviceS(job) * 1_000,
        });
      }
      const now = START + 200_000_000;
      scaler.note({ type: "arrived", at: now, lane: "interactive" });
      const busy = observed({ now, replicas: [replica(0, "busy", now - 30_000)], waiting: [now] });
      return scaler.decide({ ...SETTINGS, waitValue: 1 }, busy).wanted;
    };
    // 21 s on average both times; only of the second kind of jobs one that runs for 30 s has another 90 s before it.
    expect(told(() => 21)).toBe(1);
    expect(told((job) => (job % 10 === 0 ? 120 : 10))).toBe(2);
  });

  it("says what a start is worth", () => {
    const { decisions } = run(steady(2_000, 1, 10), 3_000, SETTINGS);
    const reasons = decisions.map(({ reason }) => reason);
    expect(reasons.some((reason) => reason.includes("waiting and nothing to serve them"))).toBe(true);
    expect(
      reasons.some((reason) => /^expected wait [\d.]+ s is worth more than a start of 30 s \(p50\)$/.test(reason)),
    ).toBe(true);
  });

  it.each([
    [5, "12"],
    [0.25, "240"],
    [0.005, "12000"],
  ])("says a rate in plain digits, a job each %d s", (everyS, rate) => {
    const scaler = new PredictiveScaler(null);
    const now = START + 120_000;
    for (let at = START; at <= now; at += everyS * 1_000) scaler.note({ type: "arrived", at, lane: "interactive" });
    const { reason } = scaler.decide(SETTINGS, observed({ now, replicas: [replica(0, "busy", now)] }));
    expect(reason).toBe(`at ${rate} jobs a minute the waiting this saves is worth a replica`);
  });
});

describe("batch jobs under the predictive policy", () => {
  it("wait for idle replicas until their target wait has passed, then get their own", () => {
    const rows = Array.from({ length: 10 }, (): Arrival => ({ t: 0, serviceS: 10, lane: "batch" }));
    const settings = { ...SETTINGS, batchTargetWaitMs: 600_000 };
    const { waitsS, launches } = run(rows, 7_200, settings);
    expect(waitsS[0]).toBe(630);
    expect(launches).toBe(1);
    const waiting = { batchWaiting: 10, batchOldestAt: START };
    const decide = (now: number) => new PredictiveScaler(null).decide(settings, observed({ now, ...waiting }));
    expect(decide(START + 599_999)).toMatchObject({ wanted: 0, lookAgainAt: START + 600_000 });
    expect(decide(START + 600_000)).toMatchObject({ wanted: 1, reason: "batch jobs have waited as long as they may" });
  });

  it("get more than one replica when one could not do them in the time they may wait", () => {
    const rows = Array.from({ length: 200 }, (): Arrival => ({ t: 0, serviceS: 10, lane: "batch" }));
    const { launches, batchMissed } = run(rows, 7_200, { ...SETTINGS, batchTargetWaitMs: 600_000 });
    expect(launches).toBeGreaterThan(2);
    expect(batchMissed).toBe(0);
  });
});

const anyEvent: fc.Arbitrary<ScalerEvent> = fc.oneof(
  fc.record({ type: fc.constant("arrived" as const), at: anyTime(), lane: anyLane() }),
  fc.record({
    type: fc.constant("started" as const),
    at: anyTime(),
    lane: anyLane(),
    waitedMs: fc.nat(10_000_000),
    cold: fc.boolean(),
  }),
  fc.record({ type: fc.constant("finished" as const), at: anyTime(), lane: anyLane(), busyMs: fc.nat(10_000_000) }),
  fc.record({ type: fc.constant("booted" as const), at: anyTime(), bootMs: fc.nat(10_000_000) }),
);
function anyTime() {
  return fc.nat(100_000_000).map((ms) => START + ms);
}
function anyLane() {
  return fc.constantFrom("interactive" as const, "batch" as const);
}
const anySettings: fc.Arbitrary<ScalerSettings> = fc
  .record({
    policy: fc.constantFrom("predictive" as const, "queue_delay" as const, "request_count" as const),
    waitValue: fc.double({ min: 0.01, max: 1_000, noNaN: true }),
    targetP95WaitS: fc.option(fc.double({ min: 0.1, max: 100, noNaN: true })),
    floor: fc.nat(10),
    ceiling: fc.integer({ min: 1, max: 100 }),
    idleTimeoutMs: fc.option(fc.integer({ min: 1_000, max: 1_000_000 })),
    queueDelayMs: fc.integer({ min: 0, max: 60_000 }),
    jobsPerReplica: fc.integer({ min: 1, max: 10 }),
    batchTargetWaitMs: fc.nat(3_600_000),
  })
  .map((settings) => ({ ...settings, floor: Math.min(settings.floor, settings.ceiling) }));
const anyObservation = fc
  .record({
    now: anyTime(),
    states: fc.array(fc.tuple(fc.constantFrom("starting", "idle", "busy", "batch"), fc.nat(1_000_000)), {
      maxLength: 100,
    }),
    waitingMs: fc.array(fc.nat(1_000_000), { maxLength: 300 }),
    batchWaiting: fc.nat(1_000),
    batchMs: fc.nat(4_000_000),
  })
  .map(({ now, states, waitingMs, batchWaiting, batchMs }) =>
    observed({
      now,
      replicas: states.map(([state, sinceMs], index) =>
        state === "batch"
          ? { ...replica(index, "busy", now - sinceMs), lane: "batch" as const }
          : replica(index, state === "starting" || state === "idle" ? state : "busy", now - sinceMs),
      ),
      waiting: waitingMs.toSorted((a, b) => b - a).map((ms) => now - ms),
      batchWaiting,
      batchOldestAt: batchWaiting === 0 ? null : now - batchMs,
    }),
  );

describe("any policy, whatever happens in whatever order", () => {
  const steps = fc.array(fc.oneof(anyEvent, fc.tuple(anySettings, anyObservation)), { maxLength: 60 });

  it("stays between floor and ceiling, lets go nobody who is busy, and never looks again at once", () => {
    fc.assert(
      fc.property(fc.constantFrom("predictive", "queue_delay", "request_count"), steps, (policy, taken) => {
        const scaler = makeScaler(policy, null);
        for (const step of taken) {
          if (!Array.isArray(step)) {
            scaler.note(step);
            continue;
          }
          const [settings, observation] = step;
          const { wanted, letGo, reason, lookAgainAt } = scaler.decide(settings, observation);
          expect(wanted).toBeGreaterThanOrEqual(settings.floor);
          expect(wanted).toBeLessThanOrEqual(settings.ceiling);
          const free = new Set(observation.replicas.filter(({ state }) => state !== "busy").map(({ id }) => id));
          expect(letGo.every((id) => free.has(id))).toBe(true);
          expect(new Set(letGo).size).toBe(letGo.length);
          expect(observation.replicas.length - letGo.length).toBeGreaterThanOrEqual(
            Math.min(observation.replicas.length, settings.floor),
          );
          const isIdle = new Set(observation.replicas.flatMap(({ id, state }) => (state === "idle" ? [id] : [])));
          if (letGo.some((id) => isIdle.has(id))) {
            expect(wanted + letGo.length).toBeLessThanOrEqual(observation.replicas.length);
          }
          expect(reason).not.toMatch(/^$|NaN|Infinity|undefined|\de[-+]/);
          if (lookAgainAt !== null) expect(lookAgainAt).toBeGreaterThan(observation.now);
        }
      }),
      { numRuns: 300 },
    );
  }, 60_000);

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 1e300])("learns nothing from a duration of %d ms", (ms) => {
    const told = (durations: boolean) => {
      const scaler = makeScaler("predictive", null);
      const settings = { ...SETTINGS, targetP95WaitS: 5 };
      for (let at = START; at < START + 100_000; at += 10_000) {
        scaler.note({ type: "arrived", at, lane: "interactive" });
        scaler.decide(settings, observed({ now: at }));
        if (!durations) continue;
        scaler.note({ type: "booted", at, bootMs: ms });
        scaler.note({ type: "started", at, lane: "interactive", waitedMs: ms, cold: true });
        scaler.note({ type: "finished", at, lane: "interactive", busyMs: ms });
        scaler.note({ type: "finished", at, lane: "batch", busyMs: ms });
      }
      const now = START + 100_000;
      return [scaler.decide(settings, observed({ now, waiting: Array(20).fill(now) })), scaler.save()];
    };
    expect(told(true)).toEqual(told(false));
  });

  it.each([
    [300, 700, 0],
    [3_000, 701, 0],
    [20, 670, 30],
  ])("lets no idle replica go that work is there for, however many there are, %i waiting", (jobs, most, gone) => {
    const replicas = [
      ...Array.from({ length: 650 }, (_, index) => replica(index, "busy", START)),
      ...Array.from({ length: 50 }, (_, index) => replica(650 + index, "idle", START)),
    ];
    const now = START + 60_000;
    const scaler = makeScaler("predictive", null);
    for (let job = 0; job < jobs; job++) scaler.note({ type: "arrived", at: now, lane: "interactive" });
    const seen = observed({ now, replicas, waiting: Array(jobs).fill(now) });
    const { wanted, letGo } = scaler.decide({ ...SETTINGS, ceiling: 701 }, seen);
    expect([wanted, letGo.length]).toEqual([most, gone]);
  });

  it("decides the same after a restart as without one", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("predictive", "queue_delay", "request_count"),
        steps,
        fc.nat(60),
        (policy, taken, at) => {
          const kept = makeScaler(policy, null);
          let restarted: Scaler = makeScaler(policy, null);
          for (const [index, step] of taken.entries()) {
            if (index === at) {
              kept.save();
              restarted = makeScaler(policy, restarted.save());
            }
            if (!Array.isArray(step)) {
              kept.note(step);
              restarted.note(step);
            } else expect(restarted.decide(...step)).toEqual(kept.decide(...step));
          }
          expect(restarted.save()).toEqual(kept.save());
        },
      ),
      { numRuns: 300 },
    );
  }, 60_000);

  it("goes on with a memory from before the p95 target was a part of it", () => {
    const scaler = makeScaler("predictive", null);
    const settings = { ...SETTINGS, targetP95WaitS: 7 };
    for (let at = START; at < START + 600_000; at += 10_000) {
      scaler.note({ type: "arrived", at, lane: "interactive" });
      scaler.decide(settings, observed({ now: at }));
      scaler.note({ type: "started", at, lane: "interactive", waitedMs: 9_000, cold: false });
    }
    const { targetS, ...before } = JSON.parse(scaler.save());
    expect(targetS).toBe(7);
    const again = makeScaler("predictive", JSON.stringify(before));
    expect(JSON.parse(again.save())).toEqual({ ...before, targetS: null });
    again.decide(settings, observed({ now: START + 600_000 }));
    const learned = JSON.parse(again.save());
    expect(learned).toMatchObject({ targetS: 7, learnedWaitValue: before.learnedWaitValue });
  });

  it("starts afresh from a memory that is garbage", () => {
    const good = makeScaler("predictive", null);
    for (const { t } of steady(300, 2, 11))
      good.note({ type: "arrived", at: START + Math.round(t * 1000), lane: "interactive" });
    const text = good.save();
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.json(), torn(text)),
        anySettings,
        anyObservation,
        (saved, settings, observation) => {
          const scaler = makeScaler("predictive", saved);
          scaler.note({ type: "arrived", at: observation.now, lane: "interactive" });
          expect(scaler.decide(settings, observation).wanted).toBeGreaterThanOrEqual(settings.floor);
          expect(makeScaler("predictive", scaler.save()).save()).toBe(scaler.save());
        },
      ),
      { numRuns: 200 },
    );
  }, 60_000);

  it("takes nothing for learned later than it was written", () => {
    const scaler = new PredictiveScaler(null);
    for (let job = 0; job < 3; job++) scaler.note({ type: "arrived", at: START + job * 1_000, lane: "interactive" });
    const late = scaler.save().replace(/"(rateAt|staffedAt|shadowsAt)":\d+/g, '"$1":8000000');
    expect(late).toContain('"rateAt":8000000');
    const read = new PredictiveScaler(late);
    read.note({ type: "arrived", at: START + 4_000, lane: "interactive" });
    const saved = read.save();
    expect(new PredictiveScaler(saved).save()).toBe(saved);
  });
});

/** Every level in use, and numbers as long as they may be. */
function fullMemory(seed: number): PredictiveMemory {
  const chance = seededChance(seed);
  const any = (most = 9) => 10 ** (most * (2 * chance() - 1));
  const fill = (row: Float64Array, value: () => number) => row.set(Array.from(row, value));
  const at = 400_000_000 * chance();
  const memory = new PredictiveMemory(START + chance());
  const { model, arrivals } = memory;
  for (let job = 0; job < 500; job++) model.finished(any(4));
  model.setBoots(Array.from({ length: BOOTS_KEPT }, () => any(4)));
  const { staffing, rhythm } = model;
  for (const row of [staffing.untaken, staffing.sums, model.savedPerNeed, model.rates]) fill(row, any);
  fill(model.gaps, () => 0.02 + 100 * chance());
  fill(model.unusedSince, () => at - any(7));
  fill(staffing.freeAt, () => at + any(6));
  for (let k = 1; k <= LEVELS_MAX; k++) staffing.freeAt.subarray(rowOf(k), rowOf(k) + k).sort();
  Object.assign(staffing, { levels: LEVELS_MAX, at, coldFreeAt: at + any(6) });
  const ends = Array.from({ length: RUNNING_MAX }, () => at + any(6)).toSorted((a, b) => a - b);
  const counts = { arrivals: 123_456_789_012, services: 123_456_789, top: LEVELS_MAX };
  Object.assign(model, { ...counts, startedAt: at * chance(), rateAt: at, ends });
  const [beganAt, peakAt] = [at - chance(), at - chance()];
  Object.assign(rhythm, { beganAt, peak: LEVELS_MAX, peakAt, inTime: IN_TIME_MAX });
  rhythm.held = { level: LEVELS_MAX, until: at + any(6) };
  rhythm.occasions = Array.from({ length: OCCASIONS_KEPT }, () => {
    return { periodS: any(), pauseS: any(), peak: LEVELS_MAX, peakAfterS: any() };
  });
  const head = 123_456_789_012;
  Object.assign(arrivals, { first: head, end: head });
  for (let job = 0; job < 512; job++) arrivals.add(at - 512 + job + chance(), any(4));
  for (const shadow of memory.shadows) {
    const busyEnds = Array.from({ length: LEVELS_MAX }, () => at + any(6));
    const busySince = busyEnds.map((end) => end - any(4));
    Object.assign(shadow, { busyEnds, busySince, head, gpuS: any(), waitedS: any(), at });
  }
  const learned = { learnedWaitValue: any(), targetS: any(), batchServiceS: any(), followed: 8 };
  return Object.assign(memory, {
    ...learned,
    at,
    waitValue: any(),
    freeWaitS: any(),
    floor: 1_000,
    ceiling: LEVELS_MAX,
  });
}

function torn(text: string) {
  return fc
    .tuple(fc.nat(text.length), fc.nat(30), fc.string({ maxLength: 5 }))
    .map(([from, length, put]) => text.slice(0, from) + put + text.slice(from + length));
}

/** Told of a job of 4 s each 100 s, and of one more while its clock is ahead by so much. */
function toldAhead(aheadMs: number): PredictiveScaler {
  const scaler = new PredictiveScaler(null);
  for (let job = 0; job < 5; job++) scaler.note({ type: "booted", at: START, bootMs: 20_000 });
  for (let at = START; at < START + 5_000_000; at += 100_000) {
    scaler.note({ type: "arrived", at, lane: "interactive" });
    scaler.note({ type: "finished", at: at + 4_000, lane: "interactive", busyMs: 4_000 });
  }
  scaler.note({ type: "arrived", at: START + 5_000_000 + aheadMs, lane: "interactive" });
  return scaler;
}

describe("a clock that is set back", () => {
  const DAY_MS = 86_400_000;
  const now = START + 5_010_000;

  it.each(["kept", "restarted"])("keeps no replica until it is as late again, %s", (memory) => {
    const told = toldAhead(DAY_MS);
    const scaler = memory === "kept" ? told : new PredictiveScaler(told.save());
    const idle = [replica(0, "idle", now)];
    expect(scaler.decide(SETTINGS, observed({ now, replicas: idle })).letGo).toEqual([]);
    expect(scaler.decide(SETTINGS, observed({ now: now + 3_600_000, replicas: idle })).letGo).toEqual(["r0"]);
  });

  it.each([60_000, 3_600_000, DAY_MS])("makes no rush of the jobs that come after it, %i ms", (aheadMs) => {
    const scaler = toldAhead(aheadMs);
    const wanted = Array.from({ length: 30 }, (_, job) => {
      const at = now + job * 100_000;
      scaler.note({ type: "arrived", at, lane: "interactive" });
      return scaler.decide(SETTINGS, observed({ now: at, replicas: [replica(0, "busy", at)] })).wanted;
    });
    expect(Math.max(...wanted)).toBe(1);
  });

  it("forgets nothing of what was learned", () => {
    const [before, after] = [toldAhead(0), toldAhead(DAY_MS)].map((scaler) => {
      scaler.note({ type: "arrived", at: now + 100_000, lane: "interactive" });
      return JSON.parse(scaler.save());
    });
    const { boots, services, serviceTimes } = before;
    expect(after).toMatchObject({ boots, services, serviceTimes });
    expect(after.originMs + after.at * 1_000).toBe(now + 100_000);
  });

  it("is no such thing when a moment is told late: it counts as the latest before it", () => {
    const told = (lateMs: number) => {
      const scaler = toldAhead(0);
      scaler.note({ type: "arrived", at: now, lane: "interactive" });
      scaler.note({ type: "arrived", at: now - lateMs, lane: "interactive" });
      return scaler.save();
    };
    expect(told(9_000)).toBe(told(0));
  });

  it("lets a quiet day have passed where it stays ahead", () => {
    const scaler = toldAhead(DAY_MS);
    const later = now + DAY_MS + 3_600_000;
    const idle = [replica(0, "idle", now + DAY_MS)];
    expect(scaler.decide(SETTINGS, observed({ now: later, replicas: idle }))).toMatchObject({
      wanted: 0,
      letGo: ["r0"],
    });
  });

  it.each(["predictive", "queue_delay", "request_count"] as const)(
    "keeps none that has idled since a time still to come, %s",
    (policy) => {
      const decide = (since: number) =>
        makeScaler(policy, null).decide(
          { ...SETTINGS, policy, idleTimeoutMs: 60_000 },
          observed({ now, replicas: [replica(0, "idle", since)] }),
        );
      expect(decide(now + DAY_MS)).toMatchObject({ letGo: ["r0"] });
      expect(decide(now + 2_000)).toMatchObject({ letGo: [], lookAgainAt: now + 62_000 });
    },
  );

  it("makes those that work or start no quicker and no slower than others", () => {
    const decide = (since: number) => {
      const scaler = toldAhead(0);
      const replicas = [replica(0, "busy", since), replica(1, "starting", since)];
      return scaler.decide(SETTINGS, observed({ now, replicas, waiting: Array(12).fill(now) })).wanted;
    };
    expect(decide(now + DAY_MS)).toBe(decide(now));
  });
});

describe("what the predictive policy remembers", () => {
  it("fits into 16 kB after any traffic", () => {
    const sizes = [
      steady(500, 0.01, 12),
      steady(2_000, 3, 13),
      steady(2_500, 40, 14),
      bursts(10, 300, 200, 15),
      bursts(300, 7, 3, 16),
      bursts(40, 3_600, 100, 18),
    ].map((rows) => {
      const scaler = new PredictiveScaler(null);
      let longest = 0;
      let count = 0;
      const measured: Scaler = {
        note: (event) => scaler.note(event),
        decide(settings, observation) {
          if (++count % 500 === 0) longest = Math.max(longest, scaler.save().length);
          return scaler.decide(settings, observation);
        },
        save: () => scaler.save(),
      };
      replay(arrivalsOf(rows), scalerPolicy(measured, SETTINGS), { horizonS: (rows.at(-1)?.t ?? 0) + 60, bootS: 90 });
      return longest;
    });
    expect(Math.max(...sizes)).toBeLessThan(16_000);
    // Of dense traffic there is a lot to remember: a memory that forgot it all would be short as well.
    expect(Math.max(...sizes)).toBeGreaterThan(4_000);
  }, 60_000);

  it.each([1, 2, 3])("fits into 16 kB with every level in use and numbers of any size, %i", (seed) => {
    const text = writeMemory(fullMemory(seed));
    expect(new TextEncoder().encode(text).length).toBeLessThan(16_384);
    const read = readMemory(text);
    expect(read !== null && writeMemory(read) === text).toBe(true);
  });

  it("is read in the form it had before", () => {
    const before = readFileSync(new URL("memory-form-1.json", import.meta.url), "utf8");
    const read = readMemory(before) ?? expect.fail("not read");
    const { boots, services, counts, rates, unusedSince, untaken, sums, gaps, shadows } = JSON.parse(before);
    const { model } = read;
    const { staffing } = model;
    expect([model.recentBootS, model.services, model.arrivals, model.top]).toEqual([boots, services[0], counts[0], 5]);
    expect(Array.from(model.rates)).toEqual(rates);
    expect(Array.from(model.unusedSince.subarray(1, 6))).toEqual(unusedSince);
    const near = (row: Float64Array, from: number, known: number[]) =>
      expect(Array.from(row.subarray(from, from + known.length), (value) => Number(value.toPrecision(4)))).toEqual(
        known.map((value) => Number(value.toPrecision(4))),
      );
    near(staffing.untaken, 1, untaken);
    for (const [window, row] of sums.entries()) near(staffing.sums, window * 65, row);
    for (const [index, [first, text]] of gaps.entries()) {
      const known: number[] = unpackQuantities(text) ?? [];
      const bins = model.gaps.subarray((index + 1) * GAP_BINS + first);
      for (const [bin, count] of known.entries()) {
        expect(Math.abs((bins[bin] ?? 0) - count)).toBeLessThan(0.01 * count + 1e-9);
      }
    }
    expect(
      read.shadows.map(({ busyEnds, busySince, idleSince }) =>
        [busyEnds, busySince, idleSince].map((one) => one.length),
      ),
    ).toEqual(shadows.map((_: unknown, index: number) => [1, 1, index < 7 ? 1 : 2]));
    expect(read.shadows[0]?.busySince[0]).toBeCloseTo(2_405.5, 1);
    expect(readMemory(before.replace('"untaken"', '"taken"'))).toBeNull();
  });

  it("is as good after restarts as without them", () => {
    const rows = steady(3_000, 0.2, 17);
    const whole = run(rows, 15_000, SETTINGS);
    let scaler = new PredictiveScaler(null);
    let decisions = 0;
    const restarting: Scaler = {
      note: (event) => scaler.note(event),
      decide(settings, observation) {
        if (++decisions % 50 === 0) scaler = new PredictiveScaler(scaler.save());
        return scaler.decide(settings, observation);
      },
      save: () => scaler.save(),
    };
    const often = replay(arrivalsOf(rows), scalerPolicy(restarting, SETTINGS), { horizonS: 15_000, bootS: 30 });
    const score = (result: typeof often) => result.gpuSeconds + SETTINGS.waitValue * result.interactive.totalS;
    expect(score(often) / score(whole)).toBeLessThan(1.03);
  });
});
