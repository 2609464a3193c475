import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Account,
  counted,
  covered,
  DAY_MS,
  dayOf,
  opened,
  recounted,
  type Use,
  useOf,
} from "#durable-objects/replicas/replica-account";

const NOON = 20_000 * DAY_MS + DAY_MS / 2;

/** The account after it was used so, one use after the other. */
function usedSo(
  start: number,
  uses: readonly (readonly [use: Use, ms: number])[],
): { account: Account; days: number[] } {
  let account = opened(start);
  const days: number[] = [];
  for (const [use, ms] of uses) {
    const next = counted({ ...account, use }, account.at + ms);
    account = next.account;
    days.push(...next.days.map(({ day }) => day));
  }
  return { account, days };
}

describe("the account of a replica's time", () => {
  it("counts each stretch for what it was used for", () => {
    const { account } = usedSo(NOON, [
      ["cold", 8_000],
      ["idle", 2_000],
      ["busy", 5_000],
      ["idle", 1_000],
    ]);
    expect(account.total).toEqual({ cold: 8_000, idle: 3_000, busy: 5_000 });
    expect(account.today).toEqual(account.total);
  });

  it("gives each day its own, whatever lies between two looks", () => {
    const start = dayOf(NOON) * DAY_MS + DAY_MS - 1_000;
    const { account, days } = counted({ ...opened(start), use: "idle" }, start + 2 * DAY_MS + 5_000);
    expect(days).toEqual([
      { day: dayOf(NOON), used: { cold: 0, idle: 1_000, busy: 0 } },
      { day: dayOf(NOON) + 1, used: { cold: 0, idle: DAY_MS, busy: 0 } },
      { day: dayOf(NOON) + 2, used: { cold: 0, idle: DAY_MS, busy: 0 } },
    ]);
    expect(account.today).toEqual({ cold: 0, idle: 4_000, busy: 0 });
  });

  it("never loses or invents a millisecond", () => {
    const use = fc.constantFrom<Use>("cold", "idle", "busy");
    fc.assert(
      fc.property(fc.nat(DAY_MS), fc.array(fc.tuple(use, fc.nat(2 * DAY_MS)), { maxLength: 12 }), (offset, uses) => {
        let account = opened(NOON + offset);
        let byDay = 0;
        for (const [next, ms] of uses) {
          const step = counted({ ...account, use: next }, account.at + ms);
          account = step.account;
          byDay += step.days.reduce((sum, { used }) => sum + used.cold + used.idle + used.busy, 0);
        }
        const passed = uses.reduce((sum, [, ms]) => sum + ms, 0);
        const { total, today } = account;
        expect(total.cold + total.idle + total.busy).toBe(passed);
        expect(byDay + today.cold + today.idle + today.busy).toBe(passed);
        expect(dayOf(account.at)).toBeGreaterThanOrEqual(dayOf(NOON + offset));
      }),
    );
  });

  it("takes back what was counted after the end", () => {
    const { account } = usedSo(NOON, [
      ["cold", 1_000],
      ["idle", 30_000],
    ]);
    expect(counted({ ...account, use: "idle" }, NOON + 11_000).account.total).toEqual({
      cold: 1_000,
      idle: 10_000,
      busy: 0,
    });
    expect(counted({ ...account, use: "busy" }, NOON).account.total.busy).toBe(0);
  });

  it("finds out later how much of a stretch its jobs took", () => {
    const { account } = recounted({ ...opened(NOON), use: "idle" }, 4_000, NOON + 10_000);
    expect(account.total).toEqual({ cold: 0, idle: 6_000, busy: 4_000 });
    expect([account.at, account.use]).toEqual([NOON + 10_000, "idle"]);
    expect(recounted(account, 99_000, NOON + 11_000).account.total.busy).toBe(5_000);
  });

  it("counts jobs that overlap once", () => {
    const stretches = [
      [30, 60],
      [0, 20],
      [10, 25],
      [55, 200],
    ] as const;
    expect(covered(stretches, 5, 100)).toBe(20 + 70);
    expect(covered([], 0, 100)).toBe(0);
    expect(covered([[0, 10]], 20, 30)).toBe(0);
  });

  it("is cold until it is ready, and again while its ComfyUI starts anew", () => {
    const ready = [{ state: "ready", at: 1 }] as const;
    expect(useOf({ state: "placed", changes: [] }, false)).toBe("cold");
    expect(useOf({ state: "draining", changes: [] }, false)).toBe("cold");
    expect(useOf({ state: "ready", changes: ready }, false)).toBe("idle");
    expect(useOf({ state: "ready", changes: ready }, true)).toBe("busy");
    expect(useOf({ state: "draining", changes: ready }, true)).toBe("busy");
    expect(useOf({ state: "booting", changes: ready }, false)).toBe("cold");
  });
});
