import { describe, expect, it } from "vitest";
import { Pauses, QUIET_MS } from "#durable-objects/autoscaler/pauses";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";

const START = 1_800_000_000_000;
const SECOND = 1_000;
const MINUTE = 60_000;
const HOLD_MS = 4_000;

/** Pauses after jobs so far apart, and when the last one came. */
function pausesAfter(gapsMs: Iterable<number>, holdMs = HOLD_MS): { readonly pauses: Pauses; readonly lastAt: number } {
  const pauses = new Pauses([], null);
  let lastAt = START;
  pauses.ended(lastAt, holdMs);
  for (const gap of gapsMs) {
    lastAt += gap;
    pauses.ended(lastAt, holdMs);
  }
  return { pauses, lastAt };
}

/** So many bursts of six jobs at once, a minute apart. */
const bursts = (count: number): number[] =>
  Array.from({ length: 6 * count - 1 }, (_, job) => (job % 6 === 5 ? MINUTE : 0));

function exponential(seed: number, count: number, meanMs: number): number[] {
  const chance = seededChance(seed);
  return Array.from({ length: count }, () => Math.round(-Math.log(1 - chance()) * meanMs));
}

describe("what is lent in a pause", () => {
  it("is nothing before a pause is known, nor to be looked for", () => {
    const none = new Pauses([], null);
    expect([none.lent(START + MINUTE, HOLD_MS), none.moreAt(START + MINUTE, HOLD_MS, HOLD_MS)]).toEqual([0, null]);
    const { pauses, lastAt } = pausesAfter([]);
    expect([pauses.lent(lastAt + MINUTE, HOLD_MS), pauses.moreAt(lastAt + MINUTE, HOLD_MS, HOLD_MS)]).toEqual([
      0,
      null,
    ]);
  });

  it("is everything within seconds of a burst, when none has followed another yet", () => {
    const { pauses, lastAt } = pausesAfter([0, 0, 0, 0, 0]);
    const lent = [0, 0.999, 1, 2, 3, 4].map((second) => pauses.lent(lastAt + second * SECOND, HOLD_MS));
    expect(lent).toEqual([0, 0, 1, 2, 4, 8]);
  });

  it("ends before the next burst of those that come each minute, as early as a batch job takes long", () => {
    const { pauses, lastAt } = pausesAfter(bursts(10));
    expect(pauses.lent(lastAt + 20 * SECOND, HOLD_MS)).toBeGreaterThan(6);
    for (let second = 41; second < 70; second += 1) expect(pauses.lent(lastAt + second * SECOND, HOLD_MS)).toBe(0);
    expect(pauses.lent(lastAt + 20 * SECOND, 30 * SECOND)).toBe(0);
    expect(pauses.lent(lastAt + 2 * MINUTE, HOLD_MS)).toBe(1);
  });

  it("is nothing before a burst that came but a few times so late: it may as well be earlier", () => {
    const { pauses, lastAt } = pausesAfter([MINUTE, MINUTE, MINUTE]);
    for (let second = 0; second < 70; second += 1) expect(pauses.lent(lastAt + second * SECOND, HOLD_MS)).toBe(0);
  });

  it("holds all replicas for no longer than ten batch jobs take", () => {
    const { pauses, lastAt } = pausesAfter([MINUTE, MINUTE, MINUTE]);
    expect(pauses.moreAt(lastAt + 20 * SECOND, HOLD_MS, HOLD_MS)).toBe(lastAt + 10 * HOLD_MS);
    expect([1, 0].map((ms) => pauses.isHeldOut(lastAt + 10 * HOLD_MS - ms, HOLD_MS, HOLD_MS))).toEqual([false, true]);
    // In between nobody is expected; before each burst they are held anew, for not quite as long.
    const regular = pausesAfter(bursts(10));
    expect(regular.pauses.isHeldOut(regular.lastAt + MINUTE, HOLD_MS, HOLD_MS)).toBe(false);
  });

  it.each([1, 2, 3, 4, 5])("leaves nearly all jobs that come at random alone, seed %i", (seed) => {
    const pauses = new Pauses([], null);
    let at = START;
    let hit = 0;
    const gaps = exponential(seed, 3_000, 10 * SECOND);
    for (const gap of gaps) {
      // Whoever comes while a batch job that was lent a replica may still be at work.
      const moments = Array.from({ length: 5 }, (_, part) => at + gap - (part * HOLD_MS) / 4);
      if (moments.some((moment) => moment > at && pauses.lent(moment, HOLD_MS) > 0)) hit += 1;
      at += gap;
      pauses.ended(at, HOLD_MS);
    }
    expect(hit / gaps.length).toBeLessThan(0.02);
    expect(pauses.lent(at + 3 * MINUTE, HOLD_MS)).toBeGreaterThan(0);
  });

  it("counts all jobs of a burst for the pause before it, as long as batch jobs that began in it last", () => {
    const hundred = [...Array.from({ length: 100 }, () => 10), MINUTE, ...Array.from({ length: 100 }, () => 10)];
    const felt = pausesAfter(hundred, HOLD_MS);
    expect(felt.pauses.lent(felt.lastAt + 10 * SECOND + 1, 100 * SECOND)).toBe(0);
    const over = pausesAfter(hundred, 0);
    expect(over.pauses.lent(over.lastAt + 10 * SECOND, 100 * SECOND)).toBeGreaterThan(0);
  });

  it("is more at the moment that it says, and not before", () => {
    const learned = [
      pausesAfter([0, 0]),
      pausesAfter(bursts(10)),
      pausesAfter(bursts(50)),
      ...[1, 2, 3, 4].map((seed) => pausesAfter(exponential(seed, 200, 10 ** seed))),
      pausesAfter(Array.from({ length: 100 }, (_, job) => [0, 5, 40][job % 3] ?? 0).map((second) => second * SECOND)),
    ];
    const stepMs = 500;
    const wrong: string[] = [];
    for (const [index, { pauses, lastAt }] of learned.entries()) {
      const given = (at: number): number =>
        pauses.lent(at, HOLD_MS) + (pauses.isHeldOut(at, HOLD_MS, HOLD_MS) ? 0.5 : 0);
      const lentAt = Array.from({ length: QUIET_MS / stepMs }, (_, step) => given(lastAt + step * stepMs));
      for (const [step, lent] of lentAt.entries()) {
        const more = pauses.moreAt(lastAt + step * stepMs, HOLD_MS, HOLD_MS);
        const grows = lentAt.findIndex((then, at) => at > step && then > lent);
        // Between the moments looked at it may have grown and gone back.
        const isLate = grows !== -1 && (more === null || more > lastAt + grows * stepMs);
        const isVain = more !== null && (more <= lastAt + step * stepMs || given(more) === 0);
        if (isLate || isVain || (more !== null && !Number.isInteger(more))) wrong.push(`${index}, ${step * stepMs} ms`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("does not depend on pauses after which nobody is expected any more", () => {
    const { pauses, lastAt } = pausesAfter([0, 0, QUIET_MS, 0, 0, QUIET_MS + 1, 0, 0]);
    expect(pauses.lent(lastAt + SECOND, HOLD_MS)).toBe(1);
  });

  it("is the same after a restart, and takes little room", () => {
    const { pauses, lastAt } = pausesAfter(exponential(7, 500, 10 * SECOND));
    const saved = JSON.stringify(pauses.save());
    expect(saved.length).toBeLessThan(200);
    const again = new Pauses(JSON.parse(saved), lastAt);
    for (let second = 0; second < 600; second += 1) {
      const now = lastAt + second * SECOND;
      expect(again.lent(now, HOLD_MS)).toBe(pauses.lent(now, HOLD_MS));
    }
  });

  it("is not negative where the clock has stepped back", () => {
    const { pauses, lastAt } = pausesAfter([0, 0]);
    pauses.ended(lastAt - 5 * MINUTE, HOLD_MS);
    expect(pauses.lent(lastAt - 6 * MINUTE, HOLD_MS)).toBe(0);
    expect(pauses.lent(lastAt - 4 * MINUTE, HOLD_MS)).toBeGreaterThan(0);
  });
});
