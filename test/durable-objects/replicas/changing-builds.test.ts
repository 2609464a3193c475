/** Jobs of several builds in one queue, on agents that change their build as real ones do. */
import { describe, expect, it } from "vitest";
import type { EndpointSettings } from "#contract/endpoint";
import { BuildWorld } from "./build-world.ts";

const [OLD, NEW] = ["a".repeat(64), "b".repeat(64)];
const TWO = { 1: OLD, 2: NEW };
const ONE = { 1: OLD, 2: OLD };
const MINUTE = 60_000;

interface Options {
  readonly slots: number;
  readonly builds?: Readonly<Record<number, string | null>>;
  readonly bootMs?: number;
  readonly broken?: ReadonlySet<string>;
}

function world(
  settings: Partial<EndpointSettings>,
  { slots, builds = TWO, bootMs = 30_000, broken = new Set() }: Options,
): BuildWorld {
  const all: Partial<EndpointSettings> = { policy: "predictive", ...settings };
  return new BuildWorld({ settings: all, slots, bootMs, jobMs: 10_000, builds, broken });
}

/** As many warm replicas as slots, of release 1. */
function warm(slots: number, more: Omit<Options, "slots"> = {}): BuildWorld {
  const made = world({ min_replicas: slots, max_replicas: slots }, { slots, ...more });
  made.run(2 * MINUTE);
  return made;
}

const buildsOf = ({ replicas }: BuildWorld) => replicas.map(({ build }) => build);

/** How long it takes until so many jobs are done, ms. */
function timeOf(jobs: number, made: BuildWorld): number {
  const began = made.endpoint.now;
  while (made.doneInAll < jobs) {
    if (made.endpoint.now - began > 6 * 3_600_000) throw new Error(`only ${made.doneInAll} of ${jobs} are done`);
    made.run(10_000);
  }
  return made.endpoint.now - began;
}

describe("a roll-out", () => {
  it("goes on where more is wanted than there are slots, and leaves nobody idle beside its jobs", () => {
    const made = world({ max_replicas: 10 }, { slots: 4 });
    made.submit(1, 34);
    made.run(93_000);
    made.activate(2);
    made.submit(2, 200);
    const before = made.starts;
    made.run(2 * MINUTE);
    expect(made.replicas).toEqual(Array.from({ length: 4 }, () => ({ build: NEW, at: "working" })));
    expect(made.starts - before).toBe(4);
    made.run(8 * MINUTE);
    expect(made.done).toEqual({ 1: 34, 2: 200 });
  });

  it("goes on where the warm floor is above the slots, one after the other without jobs", () => {
    const made = world({ min_replicas: 4, max_replicas: 4 }, { slots: 3 });
    made.run(3 * MINUTE);
    made.activate(2);
    let working = 3;
    for (let step = 0; step < 60; step += 1) {
      made.run(10_000);
      working = Math.min(working, made.replicas.filter(({ at }) => at === "idle").length);
    }
    expect(buildsOf(made)).toEqual([NEW, NEW, NEW]);
    expect(working).toBeGreaterThanOrEqual(2);
  });

  it("leaves replicas to a backlog of the release before, and follows when that is done", () => {
    const times = [ONE, TWO].map((builds) => {
      const made = world({ max_replicas: 4, batch_target_wait_s: 0 }, { slots: 4, builds, bootMs: MINUTE });
      made.submit(1, 200, "batch");
      made.run(3 * MINUTE);
      made.activate(2);
      const before = made.starts;
      const took = timeOf(200, made);
      expect(made.starts - before).toBeLessThanOrEqual(1);
      return took;
    });
    expect(times[1]).toBeLessThan((times[0] ?? 0) * 1.15);
  });

  it("gives its interactive jobs what they need beside a backlog of batch jobs", () => {
    const [usual, taken] = [ONE, TWO].map((builds) => {
      const made = world({ max_replicas: 4, batch_target_wait_s: 0 }, { slots: 4, builds, bootMs: MINUTE });
      made.submit(1, 200, "batch");
      made.run(3 * MINUTE);
      made.activate(2);
      const [before, began] = [made.starts, made.endpoint.now];
      let interactive = 0;
      while ((made.done[1] ?? 0) < 200 && made.endpoint.now - began < 3_600_000) {
        made.submit(2);
        interactive += 1;
        made.run(30_000);
      }
      expect(made.done[2]).toBeGreaterThanOrEqual(interactive - 4);
      expect(made.starts - before).toBeLessThanOrEqual(4);
      return made.endpoint.now - began;
    });
    expect(taken).toBeLessThan((usual ?? 0) * 1.15);
  });

  it.each([
    [4, 100, 100],
    [2, 100, 100],
    [3, 200, 50],
    [1, 100, 100],
  ])("shares %i replicas between %i jobs of one build and %i of the other", (slots, first, second) => {
    const [usual, taken] = [ONE, TWO].map((builds) => {
      const made = warm(slots, { builds });
      made.submit(1, first);
      made.activate(2);
      made.submit(2, second);
      const before = made.starts;
      const took = timeOf(first + second, made);
      expect(made.starts - before).toBeLessThanOrEqual(slots === 1 ? 9 : slots + 1);
      return took;
    });
    expect(taken).toBeLessThan((usual ?? 0) * 1.15 + 60_000);
  });

  it("goes on as it was after a restart", () => {
    const made = warm(3);
    made.submit(1, 60);
    made.activate(2);
    made.submit(2, 60);
    const before = made.starts;
    for (let times = 0; times < 8; times += 1) {
      made.run(37_000);
      made.endpoint.restart();
    }
    timeOf(120, made);
    expect(made.starts - before).toBeLessThanOrEqual(6);
  });

  it("finds the jobs of a build behind many others", () => {
    const made = warm(2);
    made.submit(1, 100);
    made.activate(2);
    made.submit(2, 3);
    made.run(2 * MINUTE);
    expect(made.done[2]).toBe(3);
  });

  it("costs one replica while its build does not start, says so, and goes on by itself", () => {
    const broken = new Set([NEW]);
    const made = warm(4, { broken });
    made.activate(2);
    made.run(9 * MINUTE);
    const reason = () => {
      const reply = made.endpoint.core.scaling(made.endpoint.workspaceId, 1);
      return reply.ok ? reply.scaling.reason : reply.code;
    };
    expect(buildsOf(made).filter((build) => build === OLD)).toHaveLength(3);
    expect(reason()).toContain("the roll-out of release 2 is held until");
    broken.clear();
    made.run(20 * MINUTE);
    expect(buildsOf(made)).toEqual([NEW, NEW, NEW, NEW]);
    expect(reason()).not.toContain("held");
  });
});

describe("a canary of another build", () => {
  it.each([
    [4, 2],
    [3, 2],
    [2, 18],
    [1, 20],
  ])(
    "has its share of %i replicas, which start %i times at most in fifty minutes",
    (slots, startsMax) => {
      const made = warm(slots);
      made.activate(1, 2);
      const before = made.starts;
      const jobs = 180 * slots;
      // Three parts of five of all replicas' time, a tenth of it the canary's.
      for (let job = 0; job < jobs; job += 1) {
        made.submit(job % 10 === 9 ? 2 : 1);
        made.run(Math.round(10_000 / 0.6 / slots));
      }
      expect(made.starts - before).toBeLessThanOrEqual(startsMax);
      made.run(10 * MINUTE);
      expect(made.done).toEqual({ 1: jobs * 0.9, 2: jobs * 0.1 });
    },
    20_000,
  );
});

describe("a replica that changes its build", () => {
  it("counts as a start from then on, not from when it was placed", () => {
    const made = warm(1);
    for (const release of [2, 1]) {
      made.run(60 * MINUTE);
      made.activate(release);
      made.submit(release);
      made.run(2 * MINUTE);
    }
    expect(made.done).toEqual({ 1: 1, 2: 1 });
    const reply = made.endpoint.core.scaling(made.endpoint.workspaceId, 1);
    expect(reply).toMatchObject({ ok: true, scaling: { cold_start_s: 30 } });
  });

  it("is not there for others meanwhile, and a job of another build says why it waits", () => {
    const made = warm(1);
    made.activate(1, 2);
    made.submit(2);
    made.run(1_000);
    const id = made.endpoint.submit({ release: 2 });
    const why = () => made.endpoint.core.whyJob(made.endpoint.workspaceId, id);
    expect(why()).toMatchObject({
      why: { reasons: [{ code: "all_slots_busy", detail: expect.stringContaining("needs another build than") }] },
    });
    made.run(2 * MINUTE);
    expect(made.replicas).toEqual([{ build: NEW, at: "starting" }]);
    expect(why()).toMatchObject({ why: { reasons: [{ code: "replica_starting" }] } });
  });
});
