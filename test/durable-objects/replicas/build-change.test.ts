import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BuildChange, type BuildLoad, isDone, nextChange } from "#durable-objects/replicas/build-change";

const NOW = 1_800_000_000_000;
const PACE = { startMs: 60_000, serviceMs: 10_000 };
const NOTHING: Omit<BuildLoad, "build"> = {
  isExpected: false,
  replicas: 0,
  starting: 0,
  helpers: 0,
  idle: 0,
  isHeld: false,
  waiting: { interactive: 0, batch: 0 },
  running: { interactive: 0, batch: 0 },
  oldestAt: null,
  changedAt: 0,
};

const old = (more: Partial<BuildLoad>): BuildLoad => ({ ...NOTHING, build: "old", ...more });
const active = (more: Partial<BuildLoad>): BuildLoad => ({ ...NOTHING, build: "new", isExpected: true, ...more });
const interactive = (jobs: number, oldestAt = NOW) => ({ waiting: { interactive: jobs, batch: 0 }, oldestAt });
const batch = (jobs: number, oldestAt = NOW) => ({ waiting: { interactive: 0, batch: jobs }, oldestAt });
const next = (...loads: BuildLoad[]): BuildChange | null => nextChange(loads, PACE, NOW);
const change = (from: string, to: string, at = NOW) => ({ from, to, at });

describe("a build that nobody waits for any more", () => {
  it("gives all its replicas, once one of them has shown that it works with the other", () => {
    const jobs = interactive(200);
    expect(next(old({ replicas: 4, idle: 4 }), active(jobs))).toEqual(change("old", "new"));
    expect(next(old({ replicas: 3, idle: 3 }), active({ ...jobs, replicas: 1, starting: 1 }))).toBeNull();
    expect(next(old({ replicas: 3, idle: 3 }), active({ ...jobs, replicas: 1 }))).toEqual(change("old", "new"));
    expect(next(old({ replicas: 1, idle: 1 }), active({ ...jobs, replicas: 3 }))).toEqual(change("old", "new"));
  });

  it("gives none where as many replicas as jobs are there or on their way, or those of the build crash", () => {
    expect(next(old({ replicas: 2, idle: 2 }), active({ ...interactive(1), replicas: 1, idle: 1 }))).toBeNull();
    expect(next(old({ replicas: 2, idle: 2 }), active({ ...interactive(1), replicas: 2, starting: 1 }))).toBeNull();
    expect(next(old({ replicas: 2, idle: 2 }), active({ ...interactive(9), helpers: 9, idle: 9 }))).toBeNull();
    expect(next(old({ replicas: 2, idle: 2 }), active({ ...interactive(9), isHeld: true }))).toBeNull();
  });
});

describe("a build that jobs wait for", () => {
  it("keeps its replicas while no others wait", () => {
    expect(next(old({ replicas: 4, ...batch(400) }), active({}))).toBeNull();
  });

  it("gives the other its first replica at once, and more by what waits for each", () => {
    expect(next(old({ replicas: 4, ...interactive(100) }), active(interactive(1)))).toEqual(change("old", "new"));
    const many = old({ replicas: 3, ...interactive(100) });
    expect(next(many, active({ replicas: 1, ...interactive(30) }))).toBeNull();
    expect(next(many, active({ replicas: 1, ...interactive(100) }))).toEqual(change("old", "new"));
  });

  it("gives replicas that do batch jobs for interactive ones, and not the other way round", () => {
    expect(next(old({ replicas: 3, ...batch(400) }), active({ replicas: 1, ...interactive(9) }))).toEqual(
      change("old", "new"),
    );
    const busy = active({ replicas: 3, ...interactive(4) });
    expect(next(old({ replicas: 1, ...batch(400) }), busy)?.at).toBe(NOW + 8 * PACE.startMs);
  });

  it("keeps its last replica, unless there are too few for each: then they take turns", () => {
    expect(next(old({ replicas: 1, ...interactive(9) }), active({ replicas: 3, ...interactive(400) }))).toBeNull();
    const [one, other] = [old({ replicas: 1, ...interactive(9) }), active(interactive(400))];
    expect(next(one, other)).toEqual(change("old", "new", NOW + 8 * PACE.startMs));
    const since = NOW - 3 * PACE.startMs;
    expect(next({ ...one, changedAt: since }, { ...other, oldestAt: 0 })?.at).toBe(since + 8 * PACE.startMs);
  });

  it("waits for half an hour at most, however long a start takes", () => {
    const found = nextChange(
      [old({ replicas: 1, ...interactive(9) }), active(interactive(9))],
      { startMs: 3_600_000, serviceMs: 10_000 },
      NOW,
    );
    expect(found).toEqual(change("old", "new", NOW + 30 * 60_000));
  });
});

describe("a build that new jobs come for", () => {
  const canary = (more: Partial<BuildLoad>): BuildLoad => ({ ...NOTHING, build: "canary", isExpected: true, ...more });

  it("keeps the replica that it has while none of its jobs waits", () => {
    expect(next(active({ replicas: 3, ...interactive(5) }), canary({ replicas: 1, idle: 1 }))).toBeNull();
  });

  it("lends it only where much waits, and not soon after it came", () => {
    const busy = active({ replicas: 1, ...interactive(20) });
    expect(next(busy, canary({ replicas: 1, idle: 1 }))).toEqual(change("canary", "new"));
    const lately = canary({ replicas: 1, idle: 1, changedAt: NOW - PACE.startMs });
    expect(next(busy, lately)?.at).toBe(NOW + 3 * PACE.startMs);
  });

  it("lets jobs gather that its only replica would go for", () => {
    expect(next(active({ replicas: 1, idle: 1 }), canary(interactive(1)))?.at).toBe(NOW + 4 * PACE.startMs);
  });
});

describe("any builds", () => {
  const lanes = fc.record({ interactive: fc.nat(50), batch: fc.nat(50) });
  const load = fc
    .record({
      isExpected: fc.boolean(),
      ready: fc.nat(4),
      starting: fc.nat(2),
      helpers: fc.nat(1),
      isHeld: fc.boolean(),
      waiting: lanes,
      changedAt: fc.integer({ min: NOW - 3_600_000, max: NOW }),
      oldestAt: fc.integer({ min: NOW - 3_600_000, max: NOW }),
    })
    .map(({ ready, ...known }) => ({
      ...NOTHING,
      ...known,
      replicas: ready + known.starting,
      oldestAt: known.waiting.interactive + known.waiting.batch === 0 ? null : known.oldestAt,
    }));
  const all = fc
    .array(load, { minLength: 2, maxLength: 4 })
    .map((loads) => loads.map((each, index) => ({ ...each, build: `build-${index}` })));
  const of = (loads: readonly BuildLoad[], build: BuildLoad["build"]): BuildLoad => {
    const found = loads.find((each) => each.build === build);
    if (found === undefined) throw new Error("no such build");
    return found;
  };

  it("give only what they have, to one that jobs wait for", () => {
    fc.assert(
      fc.property(all, (loads) => {
        const found = nextChange(loads, PACE, NOW);
        if (found === null) return;
        const [from, to] = [of(loads, found.from), of(loads, found.to)];
        expect(found.at).toBeGreaterThanOrEqual(NOW);
        expect(from.replicas).toBeGreaterThan(from.starting);
        expect(to.waiting.interactive + to.waiting.batch).toBeGreaterThan(0);
        expect(to.isHeld).toBe(false);
      }),
    );
  });

  it("let none wait for ever: where one has nothing and another has something, a change is due in half an hour", () => {
    fc.assert(
      fc.property(all, (loads) => {
        const starved = loads.some(
          ({ replicas, helpers, isHeld, waiting }) =>
            replicas + helpers === 0 && !isHeld && waiting.interactive + waiting.batch > 0,
        );
        const has = loads.some(({ replicas, starting }) => replicas > starting);
        if (starved && has) expect(nextChange(loads, PACE, NOW)?.at).toBeLessThanOrEqual(NOW + 30 * 60_000);
      }),
    );
  });

  it("do not go back where they came from", () => {
    fc.assert(
      fc.property(all, (loads) => {
        const found = nextChange(loads, PACE, NOW);
        if (found === null || found.at > NOW || isDone(of(loads, found.from))) return;
        const after = loads.map((each) => {
          if (each.build === found.from) return { ...each, replicas: each.replicas - 1 };
          if (each.build === found.to) return { ...each, replicas: each.replicas + 1, changedAt: NOW };
          return each;
        });
        const again = nextChange(after, PACE, NOW);
        const isBack = again !== null && again.from === found.to && again.to === found.from;
        if (isBack) expect(again.at).toBeGreaterThan(NOW);
      }),
    );
  });
});
