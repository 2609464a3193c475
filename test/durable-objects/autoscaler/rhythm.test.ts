import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PredictiveScaler } from "#durable-objects/autoscaler/predictive";
import { type Arrival, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { replay } from "#durable-objects/autoscaler/replay/engine";
import { scalerPolicy } from "#durable-objects/autoscaler/replay/scaler-policy";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";
import { IN_TIME_MAX, OCCASIONS_KEPT, type Prices, Rhythm } from "#durable-objects/autoscaler/rhythm";
import type { Scaler, ScalerDecision, ScalerReplica, ScalerSettings } from "#durable-objects/autoscaler/scaler";
import { observed, replica, SETTINGS, START } from "./observed.ts";

const BOOT_S = 30;
const PRICES: Prices = {
  bootS: BOOT_S,
  longestBootS: BOOT_S,
  waitValue: 10,
  keepS: 100,
  coldCost: () => 330,
};

/** Occasions that begin so long after one another, the jobs of each `apartS` apart: as many of them as is said. */
function rhythmOf(periodsS: readonly number[], jobs: (occasion: number) => number = () => 1, apartS = 0): Rhythm {
  const rhythm = new Rhythm();
  let at = 1_000;
  for (let occasion = 0; occasion <= periodsS.length; occasion++) {
    for (let job = 0; job < jobs(occasion); job++) {
      const pausedS = job > 0 ? 0 : (periodsS[occasion - 1] ?? 0);
      rhythm.arrived(at + job * apartS, job + 1, pausedS, BOOT_S, rhythm.expected(PRICES));
    }
    at += periodsS[occasion] ?? 0;
  }
  return rhythm;
}

const times = (count: number, periodS: number) => Array.from({ length: count }, () => periodS);

describe("a rhythm", () => {
  it("is told from the fourth time on that as much time has passed", () => {
    expect(rhythmOf(times(3, 600)).expected(PRICES)).toBeNull();
    // Half a second may be missing on either side.
    expect(rhythmOf(times(4, 600)).expected(PRICES)).toMatchObject({
      fromS: 600 - 0.5 - BOOT_S,
      toS: 600.5,
      level: 1,
    });
  });

  it("expects what may come later or sooner for as long as it did, and a little longer", () => {
    const expected = rhythmOf([600, 610, 595, 605, 600, 612, 601, 598]).expected(PRICES);
    expect(expected?.fromS).toBeGreaterThan(595 - 17 - BOOT_S);
    expect(expected?.fromS).toBeLessThanOrEqual(595 - BOOT_S);
    expect(expected?.toS).toBeGreaterThanOrEqual(612);
    expect(expected?.toS).toBeLessThan(612 + 17);
  });

  it("begins a start as early as the slowest of the last ones took", () => {
    const slow = rhythmOf(times(8, 600)).expected({ ...PRICES, longestBootS: 50 });
    expect(slow?.fromS).toBe(600 - 0.5 - 50);
  });

  it("stays one where a time is left out, or somebody comes in between", () => {
    for (const periods of [
      [600, 600, 600, 1_200, 600, 600, 600, 600],
      [600, 600, 200, 400, 600, 600, 600, 600],
    ]) {
      expect(rhythmOf(periods).expected(PRICES)).toMatchObject({ fromS: 569.5, toS: 600.5 });
    }
  });

  it("is none where jobs come at random: hardly ever by chance", () => {
    const chance = seededChance(5);
    let told = 0;
    for (let round = 0; round < 1_000; round++) {
      const periods = Array.from({ length: 8 }, () => BOOT_S - 600 * Math.log(1 - chance()));
      if (rhythmOf(periods).expected(PRICES) !== null) told += 1;
    }
    expect(told).toBeLessThan(10);
  });

  it("is of no use where a start takes as long as the pause, or staying costs less", () => {
    expect(rhythmOf(times(8, BOOT_S + 0.4)).expected(PRICES)).toBeNull();
    expect(rhythmOf(times(8, 60)).expected({ ...PRICES, keepS: 100, coldCost: () => 3_000 })).toBeNull();
    // The longer it has kept to it, the less must be left for the time that it does not.
    expect(rhythmOf(times(IN_TIME_MAX, 90)).expected({ ...PRICES, keepS: 100, coldCost: () => 3_000 })).not.toBeNull();
  });

  it("keeps no more than it needs", () => {
    const rhythm = rhythmOf(times(500, 600));
    expect(rhythm.occasions).toHaveLength(OCCASIONS_KEPT);
    expect(rhythm.inTime).toBe(IN_TIME_MAX);
  });

  it("has as many replicas ready as are needed at once most times", () => {
    expect(rhythmOf(times(8, 600), () => 5).expected(PRICES)?.level).toBe(5);
    // Of eight times it was once, and seven times, that three more were; a start costs a sixth of doing without.
    const prices = { ...PRICES, coldCost: () => 6 * BOOT_S };
    expect(rhythmOf(times(8, 600), (at) => (at === 3 ? 8 : 5)).expected(prices)?.level).toBe(5);
    expect(rhythmOf(times(8, 600), (at) => (at === 3 ? 5 : 8)).expected(prices)?.level).toBe(8);
  });

  it("has no more of them than are worth it", () => {
    const coldCost = (level: number) => (level <= 3 ? 330 : 20);
    expect(rhythmOf(times(8, 600), () => 5).expected({ ...PRICES, coldCost })?.level).toBe(3);
  });

  it("keeps them until as many jobs as usual can have come, if the first one came in time", () => {
    const jobs = () => 5;
    const rhythm = rhythmOf(times(8, 600), jobs, 2);
    // The fifth job comes eight seconds after the first.
    expect(rhythm.held).toEqual({ level: 5, until: rhythm.beganAt + 8.5 });
    expect(rhythmOf([...times(8, 600), 300], jobs, 2).held.level).toBe(0);
  });

  it("keeps them no longer because one time went on for hours", () => {
    const rhythm = rhythmOf(times(8, 36_000), () => 2, 2);
    rhythm.occasions = rhythm.occasions.map((one, at) => (at === 3 ? { ...one, peakAfterS: 18_000 } : one));
    expect(rhythm.expected(PRICES)?.growsS).toBe(2.5);
    // One replica is what the first job needs: nothing is left to wait for when that has come.
    const single = rhythmOf(times(8, 600), () => 1);
    expect(single.held).toEqual({ level: 1, until: single.beganAt + 0.5 });
  });

  it("costs never more than what it is compared with, as far as is known", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 0, max: 6_000 }),
        fc.integer({ min: 1, max: 100 }),
        (periods, keepS, waitValue) => {
          const cold = BOOT_S * (1 + waitValue);
          const rhythm = rhythmOf(periods.map((period) => BOOT_S + period));
          const expected = rhythm.expected({ ...PRICES, keepS, waitValue, coldCost: () => cold });
          if (expected === null) return;
          expect(expected.fromS).toBeGreaterThan(0);
          expect(expected.toS - expected.fromS).toBeGreaterThan(BOOT_S);
          expect(expected.costS).toBeLessThan(keepS + cold);
        },
      ),
    );
  });
});

/** Jobs by the clock: so many each time, within five seconds. */
function clockwork(count: number, everyS: number, jobs: number, serviceS = 4): Arrival[] {
  return Array.from({ length: count }, (_, time) =>
    Array.from({ length: jobs }, (_, job) => ({ t: (time + 1) * everyS + (5 * job) / jobs, serviceS })),
  ).flat();
}

function run(rows: readonly Arrival[], horizonS: number, settings: ScalerSettings = SETTINGS, scaler?: Scaler) {
  const decisions: (ScalerDecision & { readonly atS: number })[] = [];
  const policy = scalerPolicy(scaler ?? new PredictiveScaler(null), settings, ({ atS, decision }) =>
    decisions.push({ atS, ...decision }),
  );
  return { ...replay(arrivalsOf(rows), policy, { horizonS, bootS: BOOT_S }), decisions };
}

describe("jobs that come by the clock, under the predictive policy", () => {
  const hour = run(clockwork(48, 3_600, 1), 49 * 3_600);

  it("find a replica ready, though there is none in between", () => {
    expect(Array.from(hour.waitsS.slice(6))).toEqual(Array.from({ length: 42 }, () => 0));
    expect(hour.launches).toBe(49);
    // A start, half a second and the job each time, and what the first times took to learn.
    expect(hour.gpuSeconds).toBeLessThan(42 * (BOOT_S + 5) + 6 * 400);
  });

  it("are told of in the decisions", () => {
    const reasons = hour.decisions.map(({ reason }) => reason);
    expect(reasons).toContain("jobs come by the clock, and the next are due");
    expect(reasons).toContain("1 idle, jobs come by the clock, and the next are due");
  });

  it("are waited for once more after the last, and then there is nothing", () => {
    const last = hour.decisions.filter(({ atS }) => atS > 48 * 3_600 + 60);
    expect(last.map(({ atS, wanted }) => [atS, wanted])).toEqual([
      [49 * 3_600 - BOOT_S - 0.5, 1],
      [49 * 3_600 - 0.5, 1],
    ]);
    const beyond = run(clockwork(48, 3_600, 1), 60 * 3_600);
    expect(beyond.decisions.at(-1)).toMatchObject({ atS: 49 * 3_600 + 0.5, wanted: 0, lookAgainAt: null });
  });

  it("find as many as they need at once, for as long as they need them", () => {
    const { interactive, waitsS, gpuSeconds } = run(clockwork(60, 900, 6, 20), 61 * 900);
    // What a sixth replica saves is learned more slowly than when the jobs come.
    expect(Math.max(...waitsS.slice(6 * 15))).toBe(0);
    expect(interactive.coldShare).toBeLessThan(0.15);
    // A start, five seconds until the sixth has come, and the job, each time for each of them.
    expect(gpuSeconds / (60 * 6)).toBeLessThan(BOOT_S + 5 + 20 + 10);
  });

  it("are found again where one time was left out", () => {
    const rows = clockwork(40, 600, 1).filter(({ t }) => t !== 20 * 600);
    const { waitsS } = run(rows, 41 * 600);
    expect(waitsS.slice(8).filter((wait) => wait > 0)).toHaveLength(1);
  });

  it("get nothing ahead where an idle timeout of one's own would stop it again", () => {
    const { launches, waitsS } = run(clockwork(20, 600, 1), 21 * 600, { ...SETTINGS, idleTimeoutMs: 5_000 });
    expect(launches).toBe(20);
    expect(Math.min(...waitsS)).toBe(BOOT_S);
  });

  it("get no more than there may be, and nothing beside a floor that does as well", () => {
    const rows = clockwork(20, 600, 6, 20);
    const { decisions } = run(rows, 21 * 600, { ...SETTINGS, ceiling: 2 });
    expect(Math.max(...decisions.map(({ wanted }) => wanted))).toBe(2);
    const floored = run(clockwork(20, 600, 1), 21 * 600, { ...SETTINGS, floor: 1 });
    expect(floored.launches).toBe(1);
  });

  it("are expected after a restart as they were before", () => {
    let scaler = new PredictiveScaler(null);
    const restarting: Scaler = {
      note: (event) => scaler.note(event),
      decide(settings, observation) {
        scaler = new PredictiveScaler(scaler.save());
        return scaler.decide(settings, observation);
      },
      save: () => scaler.save(),
    };
    const rows = clockwork(30, 1_200, 3, 10);
    const restarted = run(rows, 31 * 1_200, SETTINGS, restarting);
    const whole = run(rows, 31 * 1_200);
    // What is written down is rounded: a third replica is worth it a time sooner or later.
    const [first, other] = [restarted, whole].map(({ waitsS }) => waitsS.filter((wait) => wait === 0).length);
    expect(first).toBeGreaterThan(40);
    expect(Math.abs((first ?? 0) - (other ?? 0))).toBeLessThan(3);
    expect(restarted.gpuSeconds / whole.gpuSeconds).toBeCloseTo(1, 1);
  });

  it("are learned anew from a memory that is older than the rhythm", () => {
    const scaler = new PredictiveScaler(null);
    run(clockwork(12, 900, 2), 12.5 * 900, SETTINGS, scaler);
    const { rhythm, ...before } = JSON.parse(scaler.save());
    expect(rhythm.periods).toHaveLength(8);
    const again = JSON.parse(new PredictiveScaler(JSON.stringify(before)).save());
    expect(again.rhythm).toMatchObject({ beganAt: null, periods: [] });
    expect({ ...again, rhythm }).toEqual({ ...before, rhythm });
  });

  it("are none where what was written of them does not fit together", () => {
    const scaler = new PredictiveScaler(null);
    run(clockwork(12, 900, 2), 12.5 * 900, SETTINGS, scaler);
    const good = JSON.parse(scaler.save());
    for (const broken of [{ peaks: [1] }, { times: "AA" }, { times: "!" }, { inTime: 1e9 }, { peak: [1e9, 0] }]) {
      const read = new PredictiveScaler(JSON.stringify({ ...good, rhythm: { ...good.rhythm, ...broken } }));
      expect(read.save()).toBe("{}");
    }
  });

  it("keep what was started for them though starts turn out quicker meanwhile", () => {
    const scaler = new PredictiveScaler(null);
    const at = (seconds: number) => START + seconds * 1_000;
    const boot = (seconds: number, bootS: number) =>
      scaler.note({ type: "booted", at: at(seconds), bootMs: bootS * 1_000 });
    for (const bootS of [60, 30, 30, 30, 30, 30, 30, 30]) boot(1, bootS);
    for (let time = 1; time <= 9; time++) {
      scaler.note({ type: "arrived", at: at(600 * time), lane: "interactive" });
      scaler.note({ type: "finished", at: at(600 * time + 4), lane: "interactive", busyMs: 4_000 });
    }
    const decide = (seconds: number, replicas: readonly ScalerReplica[]) =>
      scaler.decide(SETTINGS, observed({ now: at(seconds), replicas }));
    // The slowest of the last starts took a minute: one begins so much ahead, and takes less.
    expect(decide(5_500, []).lookAgainAt).toBe(at(6_000 - 60.5));
    expect(decide(5_940, []).wanted).toBe(1);
    boot(5_965, 25);
    expect(decide(5_965, [replica(0, "idle", at(5_965))])).toMatchObject({ wanted: 1, letGo: [] });
    expect(decide(6_001, [replica(0, "idle", at(5_965))])).toMatchObject({ wanted: 0, letGo: ["r0"] });
  });

  it("are looked for again though nothing may start at the moment", () => {
    const scaler = new PredictiveScaler(null);
    run(clockwork(12, 900, 1), 12.5 * 900, SETTINGS, scaler);
    const now = Date.UTC(2026, 0, 1) + 12.6 * 900_000;
    const { lookAgainAt, wanted } = scaler.decide({ ...SETTINGS, ceiling: 0 }, observed({ now }));
    expect([wanted, lookAgainAt]).toEqual([0, Date.UTC(2026, 0, 1) + 13 * 900_000 - 30_500]);
  });

  it("start nothing more once they have begun to come: what is missing then would be late", () => {
    const scaler = new PredictiveScaler(null);
    const rows = clockwork(40, 900, 6, 20);
    run(rows, 40 * 900 - 60, SETTINGS, scaler);
    const now = Date.UTC(2026, 0, 1) + 40 * 900_000;
    const busy = replica(0, "busy", now);
    scaler.note({ type: "arrived", at: now, lane: "interactive" });
    const { wanted, reason } = scaler.decide(SETTINGS, observed({ now, replicas: [busy] }));
    expect(wanted).toBeLessThan(6);
    expect(reason).not.toContain("by the clock");
  });
});
