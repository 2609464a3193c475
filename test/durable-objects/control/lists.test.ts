import { describe, expect, it } from "vitest";
import type { JobId, KeyId } from "#contract/ids";
import { QueueEntry, QueueSummary } from "#contract/queue";
import { UsageRow } from "#contract/usage";
import type { JobFilter, QueuePlace } from "#durable-objects/endpoint/rpc";
import { EndpointHarness } from "../queue/endpoint-harness.ts";
import { ask, must, runNext, summaryOf } from "./must.ts";

type Filter = Partial<JobFilter>;
const OTHER_KEY = "key_00000000000000000000000001" as KeyId;

const listOnce = (world: EndpointHarness, filter: Filter) =>
  ask(world, (core) => core.listJobs(world.workspaceId, { limit: 100, bytesMax: 10_000_000, ...filter }));

/** All jobs that fit, page by page. */
function listAll(world: EndpointHarness, filter: Filter): JobId[] {
  const ids: JobId[] = [];
  for (let before: JobId | undefined; ; ) {
    const page = listOnce(world, { ...filter, ...(before === undefined ? {} : { before }) });
    ids.push(...page.jobs.map(({ id }) => id));
    if (page.next === null) return ids;
    before = page.next;
  }
}

/** Six jobs that differ in everything a filter knows. */
function variety() {
  const world = new EndpointHarness();
  const replica = world.replica();
  const succeeded = world.submit({ tags: ["red"] });
  runNext(world, replica);
  world.pass(1_000);
  const broken = world.submit({ tags: ["red", "blue"], keyId: OTHER_KEY });
  world.fail(replica, world.take(replica), "execution_error");
  world.pass(1_000);
  const { batch } = ask(world, (core) =>
    core.enqueueBatch({ ...world.request({ lane: "batch", tags: ["blue"] }), items: twoItems() }),
  );
  const [one, two] = listAll(world, { batchId: batch.id }).toSorted() as [JobId, JobId];
  ask(world, (core) => core.cancelJob(world.workspaceId, one));
  world.pass(1_000);
  const running = world.submit();
  world.take(replica);
  const waiting = world.submit({ tags: ["red"] });
  return { world, succeeded, broken, one, two, running, waiting, batch: batch.id };
}
const twoItems = () => [
  { inputs: "{}", files: [] },
  { inputs: "{}", files: [] },
];

describe("the list of jobs", () => {
  it("finds them by everything a filter knows, newest first, also one by one", () => {
    const { world, succeeded, broken, one, two, running, waiting, batch } = variety();
    const cases: [Filter, JobId[]][] = [
      [{}, [waiting, running, two, one, broken, succeeded]],
      [{ state: "queued" }, [waiting, two]],
      [{ state: "running" }, [running]],
      [{ state: "succeeded" }, [succeeded]],
      [{ state: "failed" }, [broken]],
      [{ state: "canceled" }, [one]],
      [{ state: "expired" }, []],
      [{ lane: "batch" }, [two, one]],
      [{ tag: "red" }, [waiting, broken, succeeded]],
      [{ tag: "green" }, []],
      [{ keyId: OTHER_KEY }, [broken]],
      [{ batchId: batch }, [two, one]],
      [{ errorCode: "execution_error" }, [broken]],
      [{ errorCode: "out_of_memory" }, []],
      [{ errorCode: "execution_error", state: "canceled" }, []],
      [{ createdFrom: world.job(two).createdAt }, [waiting, running, two, one]],
      [{ createdTo: world.job(two).createdAt }, [broken, succeeded]],
      [{ createdFrom: world.job(broken).createdAt, createdTo: world.job(two).createdAt }, [broken]],
      [{ tag: "blue", state: "queued" }, [two]],
      [{ tag: "blue", batchId: batch, lane: "batch" }, [two, one]],
      [{ tag: "red", batchId: batch }, []],
      [{ keyId: world.keyId, lane: "interactive", state: "queued" }, [waiting]],
    ];
    for (const [filter, expected] of cases) {
      expect(listAll(world, filter), JSON.stringify(filter)).toEqual(expected);
      expect(listAll(world, { ...filter, limit: 1 }), JSON.stringify(filter)).toEqual(expected);
    }
    expect(listOnce(world, { limit: 6 }).next).toBeNull();
  });

  it("shows each job of the beginning exactly once while others come and change", () => {
    const world = new EndpointHarness({ queue_depth_max: 1_000 });
    const replica = world.replica();
    const first = Array.from({ length: 40 }, () => world.submit());
    const seen: JobId[] = [];
    for (let before: JobId | undefined; ; ) {
      const page = listOnce(world, { limit: 7, ...(before === undefined ? {} : { before }) });
      seen.push(...page.jobs.map(({ id }) => id));
      world.submit();
      runNext(world, replica);
      if (page.next === null) break;
      before = page.next;
    }
    expect(seen).toEqual(first.toReversed());
  });

  it("looks through a sparse one piece by piece", () => {
    const world = new EndpointHarness();
    const needle = world.submit({ keyId: OTHER_KEY });
    for (let job = 0; job < 12_000; job += 1) world.submit();
    const pages: number[] = [];
    let before: JobId | undefined;
    for (;;) {
      const page = listOnce(world, { keyId: OTHER_KEY, limit: 10, ...(before === undefined ? {} : { before }) });
      pages.push(page.jobs.length);
      if (page.next === null) {
        expect(page.jobs.map(({ id }) => id)).toEqual([needle]);
        break;
      }
      before = page.next;
    }
    expect(pages).toEqual([0, 0, 1]);
  });

  it("is shorter when its jobs are large, but has always one", () => {
    const world = new EndpointHarness();
    const ids = [0, 1, 2].map(() => world.submit({ inputs: JSON.stringify({ text: "x".repeat(10_000) }) }));
    const page = listOnce(world, { bytesMax: 25_000 });
    expect(page.jobs.map(({ id }) => id)).toEqual([ids[2], ids[1]]);
    expect(page.next).toBe(ids[1]);
    expect(listOnce(world, { bytesMax: 1 }).jobs).toHaveLength(1);
  });
});

describe("the dead letters", () => {
  it("are the failed jobs that nobody has redriven or dismissed, newest first, also after a restart", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const ids = [0, 1, 2].map(() => {
      const id = world.submit();
      world.fail(replica, world.take(replica), "execution_error");
      return id;
    });
    const dead = (more: { before?: JobId; limit?: number } = {}) =>
      ask(world, (core) => core.listDead(world.workspaceId, { limit: 100, bytesMax: 1_000_000, ...more }));
    expect(dead().jobs.map(({ id }) => id)).toEqual(ids.toReversed());
    expect(dead({ limit: 2 }).next).toBe(ids[1]);
    ask(world, (core) => core.retryJob(world.workspaceId, ids[1] as JobId, world.keyId, null));
    world.restart();
    expect(dead().jobs.map(({ id }) => id)).toEqual([ids[2], ids[0]]);
    expect(summaryOf(world).dead).toBe(2);
  });
});

describe("the queue in order", () => {
  const entries = (
    world: EndpointHarness,
    page: { lane?: "interactive" | "batch"; after?: QueuePlace } = {},
    limit = 100,
  ) => ask(world, (core) => core.listQueue(world.workspaceId, { limit, ...page }));

  it("is the order in which jobs start, by lane, priority and age, those between two tries at their place", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const retrying = world.submit();
    world.fail(replica, world.take(replica));
    const batch = world.submit({ lane: "batch", priority: 9 });
    const low = world.submit({ priority: 0 });
    const second = world.submit();
    const high = world.submit({ priority: 9 });
    const shown = entries(world).entries;
    expect(shown.map(({ job_id }) => job_id)).toEqual([high, retrying, second, low, batch]);
    expect(shown.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5]);
    expect(shown.map(({ job_id }) => world.job(job_id).position)).toEqual([1, 2, 3, 4, 5]);
    expect(shown.map(({ phase }) => phase)).toEqual(["waiting", "retrying", "waiting", "waiting", "waiting"]);
    for (const entry of shown) expect(QueueEntry.parse(entry)).toEqual(entry);
    expect(shown[1]).toMatchObject({ attempt: 1, expires_at: expect.any(String), available_at: expect.any(String) });
    expect(entries(world, { lane: "batch" }).entries).toMatchObject([{ job_id: batch, position: 5 }]);
  });

  it("goes on after a place, over both lanes, without a gap or a repetition", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    for (let job = 0; job < 30; job += 1) {
      world.submit({ lane: job % 3 === 0 ? "batch" : "interactive", priority: job % 10 });
      if (job % 7 === 0) world.fail(replica, world.take(replica));
    }
    const whole = entries(world).entries;
    expect(whole).toHaveLength(30);
    for (const limit of [1, 4, 7]) {
      const seen: typeof whole = [];
      let after: QueuePlace | undefined;
      for (;;) {
        const page = entries(world, after === undefined ? {} : { after }, limit);
        seen.push(...page.entries);
        if (page.next === null) break;
        after = page.next;
      }
      expect(seen).toEqual(whole);
    }
  });

  it("says when each should start", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const ids = [0, 1, 2, 3].map(() => world.submit());
    runNext(world, replica, 10_000);
    world.progress(replica, world.take(replica));
    expect(entries(world).entries.map(({ job_id, eta_ms }) => [job_id, eta_ms])).toEqual([
      [ids[2], 10_000],
      [ids[3], 20_000],
    ]);
  });
});

describe("the summary of a queue", () => {
  it("tells how it stands", () => {
    const { world, running } = variety();
    const summary = QueueSummary.parse(summaryOf(world));
    expect(summary).toMatchObject({
      paused: null,
      queued: { interactive: 1, batch: 1 },
      retrying: 0,
      running: 1,
      dead: 1,
      oldest_wait_ms: 1_000,
      in_flight: [{ job_id: running, attempt: 1, phase: "assigned", progress: null }],
      arrived_last_minute: 6,
      finished_last_minute: { succeeded: 1, failed: 1, canceled: 1, expired: 0 },
      finished_last_hour: { succeeded: 1, failed: 1, canceled: 1, expired: 0 },
      service_ms_p50: 0,
    });
  });

  it("is the same after a restart, apart from what lives in memory alone", () => {
    const { world } = variety();
    const before = summaryOf(world);
    world.restart();
    expect(summaryOf(world)).toEqual(before);
  });

  it("forgets what is more than a minute, or an hour, ago", () => {
    const { world } = variety();
    world.pass(61_000);
    expect(summaryOf(world)).toMatchObject({
      arrived_last_minute: 0,
      finished_last_minute: { succeeded: 0, failed: 0, canceled: 0 },
      finished_last_hour: { succeeded: 1, failed: 1, canceled: 1 },
    });
    world.pass(3_600_000);
    expect(summaryOf(world).finished_last_hour).toMatchObject({ succeeded: 0, failed: 0, canceled: 0 });
  });

  it("knows the oldest of those that wait, whatever leaves the queue and comes back", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const oldest = () => summaryOf(world).oldest_wait_ms;
    expect(oldest()).toBeNull();
    world.submit({ priority: 0 });
    world.pass(1_000);
    world.submit({ priority: 9 });
    expect(oldest()).toBe(1_000);
    const first = world.take(replica);
    expect(oldest()).toBe(1_000);
    world.take(replica, [first]);
    expect(oldest()).toBeNull();
    world.fail(replica, first);
    expect(oldest()).toBe(0);
  });
});

describe("the usage", () => {
  const page = (world: EndpointHarness, more: object = {}) =>
    ask(world, (core) => core.usage(world.workspaceId, { limit: 100, ...more }));

  it("has one row for each lease under which an agent spoke, however it ended", () => {
    const world = new EndpointHarness({ attempts_max: 5, max_replicas: 5 });
    const id = world.submit({ tags: ["a"], lane: "batch" });
    world.take(world.replica());
    world.pass(12_000);
    const ends = ["released", "lost", "failed"] as const;
    for (const end of ends) {
      const replica = world.replica();
      const lease = world.take(replica);
      world.progress(replica, lease);
      world.pass(2_000);
      if (end === "released") world.release(replica, lease);
      else if (end === "failed") world.fail(replica, lease);
      else world.call((core) => core.replicaGone(world.podId, replica.id, "gone", false));
      world.pass(61_000);
    }
    expect(runNext(world, world.replica(), 3_000)).toBe(id);
    const { rows, next } = page(world);
    expect(next).toBeNull();
    for (const row of rows) expect(UsageRow.parse(row)).toEqual(row);
    expect(rows.map(({ outcome }) => outcome)).toEqual([...ends, "completed"]);
    expect(rows.map(({ ms }) => ms)).toEqual([2_000, 2_000, 2_000, 3_000]);
    expect(rows.map(({ attempt }) => attempt)).toEqual([1, 1, 2, 3]);
    expect(new Set(rows.map(({ lease_id }) => lease_id)).size).toBe(4);
    expect(rows[0]).toMatchObject({ job_id: id, key_id: world.keyId, tags: ["a"], lane: "batch", release: 1 });
  });

  it("has the row of a canceled attempt, and none of a job that never ran", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const [ran, waited] = [world.submit(), world.submit()];
    world.progress(replica, world.take(replica));
    world.pass(1_000);
    expect(page(world).rows).toEqual([]);
    for (const id of [ran, waited]) ask(world, (core) => core.cancelJob(world.workspaceId, id));
    expect(page(world).rows).toMatchObject([{ job_id: ran, outcome: "canceled", ms: 1_000 }]);
  });

  it("keeps all rows of a job on one page, and goes on after it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const ids = [0, 1, 2, 3].map(() => {
      const id = world.submit();
      const lease = world.take(replica);
      world.progress(replica, lease);
      must(world.fail(replica, lease));
      world.pass(10_000);
      runNext(world, replica);
      return id;
    });
    const seen: string[][] = [];
    let after: JobId | undefined;
    for (;;) {
      const { rows, next } = page(world, { limit: 3, ...(after === undefined ? {} : { after }) });
      seen.push(rows.map(({ job_id }) => job_id));
      if (next === null) break;
      after = next;
    }
    expect(seen).toEqual(ids.map((id) => [id, id]));
    const range = {
      createdFrom: world.job(ids[1] as JobId).createdAt,
      createdTo: world.job(ids[3] as JobId).createdAt,
    };
    expect(new Set(page(world, range).rows.map(({ job_id }) => job_id))).toEqual(new Set([ids[1], ids[2]]));
  });
});
