import { describe, expect, it } from "vitest";
import { START_WINDOW_MS } from "#durable-objects/queue/start-rate";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { ask, getsNothing, must, runNext, summaryOf } from "./must.ts";

const DAY_MS = 86_400_000;
/** A whole number of days after 1970, so that a test can say how far the day has gone. */
const MIDNIGHT = 20_833 * DAY_MS;

/** Starts as many jobs as it can, one after another. @returns how many */
function startAll(world: EndpointHarness, replica: FakeReplica): number {
  for (let count = 0; ; count += 1) {
    const answer = world.poll(replica);
    if (typeof answer === "string" || answer.lease === null) return count;
    world.progress(replica, answer.lease);
    must(world.complete(replica, answer.lease));
  }
}

describe("starts_per_minute_max", () => {
  it("lets so many attempts start within a minute, and the next by itself when the first is a minute old", () => {
    const world = new EndpointHarness({ starts_per_minute_max: 3, idle_timeout_s: 3_600 });
    const replica = world.replica();
    for (let job = 0; job < 8; job += 1) world.submit();
    const beganAt = world.now;
    runNext(world, replica, 10_000);
    runNext(world, replica, 10_000);
    runNext(world, replica, 10_000);
    expect(getsNothing(world, replica)).toBe(true);
    world.pass(beganAt + START_WINDOW_MS - world.now - 1);
    expect(world.waiting.has(replica.id)).toBe(true);
    world.pass(1);
    expect(world.answers.at(-1)).toMatchObject({ at: beganAt + START_WINDOW_MS, answer: { lease: expect.anything() } });
  });

  it("holds for the lease in the answer of complete as well", () => {
    const world = new EndpointHarness({ starts_per_minute_max: 1 });
    const replica = world.replica();
    world.submit();
    world.submit();
    expect(must(world.complete(replica, world.take(replica), "poll-after-it")).next).toBeNull();
  });

  it("counts the starts of before a restart, of every job that has had one", () => {
    const world = new EndpointHarness({ starts_per_minute_max: 4, max_replicas: 2 });
    const [one, other] = [world.replica(), world.replica()];
    for (let job = 0; job < 8; job += 1) world.submit();
    runNext(world, one);
    world.fail(one, world.take(one), "execution_error");
    world.fail(one, world.take(one));
    world.take(other);
    world.restart();
    expect(getsNothing(world, one)).toBe(true);
    expect(summaryOf(world).running).toBe(1);
    world.configure({ starts_per_minute_max: 5, max_replicas: 2 });
    expect(world.answers.at(-1)?.answer.lease).not.toBeNull();
  });

  it("may be lifted, and set again without forgetting what has started", () => {
    const world = new EndpointHarness({ starts_per_minute_max: 2 });
    const replica = world.replica();
    for (let job = 0; job < 9; job += 1) world.submit();
    expect(startAll(world, replica)).toBe(2);
    world.configure({ starts_per_minute_max: null });
    world.call((core) => core.abandonPoll(replica.id, world.waiting.get(replica.id) ?? ""));
    const lease = world.answers.at(-1)?.answer.lease;
    if (lease === undefined || lease === null) throw new Error("lifting the bound starts nothing");
    must(world.complete(replica, lease));
    world.configure({ starts_per_minute_max: 3 });
    expect(startAll(world, replica)).toBe(0);
  });
});

describe("gpu_seconds_per_day_max", () => {
  const endpoint = (settings = {}) => {
    const world = new EndpointHarness({ gpu_seconds_per_day_max: 30, idle_timeout_s: 3_600, ...settings });
    world.now = MIDNIGHT + 3_600_000;
    return world;
  };

  it("starts nothing more once it is reached; what runs goes on; new jobs are refused before they are stored", () => {
    const world = endpoint();
    const replica = world.replica();
    const ids = [world.submit(), world.submit(), world.submit(), world.submit()];
    runNext(world, replica, 20_000);
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(9_999);
    expect(world.core.enqueue(world.request())).toMatchObject({ ok: true });
    world.pass(1);
    expect(world.core.enqueue(world.request())).toMatchObject({ ok: false, code: "budget_exceeded" });
    expect(world.core.enqueueBatch({ ...world.request(), items: [{ inputs: "{}", files: [] }] })).toMatchObject({
      code: "budget_exceeded",
    });
    expect(summaryOf(world).queued.interactive).toBe(3);
    expect(world.progress(replica, lease)).toMatchObject({ ok: true });
    must(world.complete(replica, lease));
    expect(ids.map((id) => world.job(id).state)).toEqual(["succeeded", "succeeded", "queued", "queued"]);
    expect(getsNothing(world, replica)).toBe(true);
  });

  it("goes on by itself when the next UTC day begins", () => {
    const world = endpoint();
    world.submit();
    const next = world.submit({ expiresInMs: 7 * DAY_MS });
    runNext(world, world.replica(), 30_000);
    world.pass(MIDNIGHT + DAY_MS - world.now - 1_000);
    expect(world.job(next).state).toBe("queued");
    expect(getsNothing(world, world.replica())).toBe(true);
    world.pass(999);
    expect(world.job(next).state).toBe("queued");
    world.pass(1);
    expect(world.job(next).state).toBe("running");
  });

  it("is remembered through a restart", () => {
    const world = endpoint();
    const replica = world.replica();
    world.submit();
    const left = world.submit();
    runNext(world, replica, 30_000);
    world.restart();
    expect(getsNothing(world, replica)).toBe(true);
    expect(world.job(left).state).toBe("queued");
  });

  it("counts what was spent this day before it was set, also by attempts that failed, and nothing twice", () => {
    const world = endpoint({ gpu_seconds_per_day_max: null });
    const replica = world.replica();
    for (let job = 0; job < 4; job += 1) world.submit();
    runNext(world, replica, 10_000);
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.pass(10_000);
    world.fail(replica, lease);
    expect(world.db.exec("SELECT spent_day FROM progress")).toEqual([{ spent_day: null }]);
    world.configure({ gpu_seconds_per_day_max: 25, idle_timeout_s: 3_600 });
    world.pass(10_000);
    runNext(world, replica, 4_000);
    expect(world.db.exec("SELECT spent_ms FROM progress")).toEqual([{ spent_ms: 24_000 }]);
    runNext(world, replica, 1_000);
    expect(getsNothing(world, replica)).toBe(true);
    world.configure({ gpu_seconds_per_day_max: null });
    expect(world.db.exec("SELECT spent_day FROM progress")).toEqual([{ spent_day: null }]);
  });

  it("is counted where the attempts are kept, however many there were this day", () => {
    const world = endpoint({ gpu_seconds_per_day_max: null, starts_per_minute_max: null });
    const replica = world.replica();
    for (let job = 0; job < 51; job += 1) world.submit();
    for (let job = 0; job < 50; job += 1) runNext(world, replica, 100);
    const { exec } = world.db;
    let rowsMax = 0;
    world.db.exec = (sql, ...bindings) => {
      const rows = exec.call(world.db, sql, ...bindings);
      rowsMax = Math.max(rowsMax, rows.length);
      return rows;
    };
    world.configure({ gpu_seconds_per_day_max: 5, idle_timeout_s: 3_600 });
    expect(getsNothing(world, replica)).toBe(true);
    world.db.exec = exec;
    expect(rowsMax).toBeLessThan(10);
  });

  it("does not count a lease that no agent spoke under", () => {
    const world = endpoint();
    const replica = world.replica();
    world.submit();
    world.take(replica);
    world.pass(11_000);
    world.poll(replica, [], { waitMs: 0 });
    expect(world.db.exec("SELECT spent_ms FROM progress")).toEqual([{ spent_ms: 0 }]);
  });

  it("wants no replica for a queue that may not start", () => {
    const world = endpoint({ min_replicas: 0, max_replicas: 3 });
    const replica = world.replica();
    for (let job = 0; job < 5; job += 1) world.submit();
    expect(world.core.demand()).toMatchObject({ wanted: 3 });
    runNext(world, replica, 30_000);
    world.pass(3_000);
    // The one that idles is kept for its hour; nobody needs it.
    expect(world.core.demand()).toMatchObject({ wanted: 1, needed: 0 });
  });

  it("writes nothing for it where there is none", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const written: string[] = [];
    const { exec } = world.db;
    world.db.exec = (sql, ...bindings) => {
      if (/^\s*(INSERT|UPDATE|DELETE)/.test(sql)) written.push(sql);
      return exec.call(world.db, sql, ...bindings);
    };
    runNext(world, replica);
    expect(written.filter((sql) => sql.includes("spent"))).toEqual([]);
  });
});

describe("settings of an older endpoint", () => {
  it("get what came later by its default", () => {
    const world = new EndpointHarness();
    const {
      starts_per_minute_max: _,
      gpu_seconds_per_day_max: __,
      regions: ___,
      ...old
    } = JSON.parse(String(world.db.exec("SELECT settings FROM config")[0]?.settings));
    world.db.exec("UPDATE config SET settings = ?", JSON.stringify(old));
    world.restart();
    world.submit();
    expect(world.core.demand()?.regions).toEqual([]);
    runNext(world, world.replica());
    expect(summaryOf(world).finished_last_hour.succeeded).toBe(1);
  });

  it("are told to the pod, the regions among them", () => {
    const world = new EndpointHarness({ regions: ["eu-west"] });
    expect(ask(world, () => ({ ok: true as const, demand: world.core.demand() })).demand?.regions).toEqual(["eu-west"]);
  });
});
