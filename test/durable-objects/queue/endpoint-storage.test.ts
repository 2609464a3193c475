/** An endpoint whose storage runs full: nothing that was taken is lost, and it takes jobs again once there is room. */
import { describe, expect, it } from "vitest";
import { JOB_RETENTION_DAYS, OUTPUT_RETENTION_DAYS } from "#contract/limits";
import { EndpointHarness } from "#test/durable-objects/queue/endpoint-harness";
import { NodeDatabase } from "#test/durable-objects/queue/node-database";

const DAY_MS = 86_400_000;
/** Room for about a thousand of these jobs. */
const BYTES_MAX = 4_000_000;
const inputs = JSON.stringify({ prompt: "p".repeat(2_500) });

const endpoint = (): EndpointHarness =>
  new EndpointHarness({ queue_depth_max: 100_000, max_replicas: 9 }, 1, new NodeDatabase(BYTES_MAX));

/** Submits until a job is refused, a second apart now and then. @returns what it was refused with */
function fillUp(world: EndpointHarness): { readonly taken: number; readonly code: string; readonly detail: string } {
  for (let taken = 0; taken < 5_000; taken += 1) {
    if (taken % 20 === 0) world.now += 1_000;
    const reply = world.call((core) => core.enqueue(world.request({ inputs })));
    if (!reply.ok) return { taken, code: reply.code, detail: reply.detail };
  }
  throw new Error("it never was full");
}

/** Runs all that waits. */
function work(world: EndpointHarness): number {
  const replica = world.replica();
  let jobs = 0;
  for (; world.core.queueSummary(world.workspaceId).ok; jobs += 1) {
    const summary = world.core.queueSummary(world.workspaceId);
    if (!summary.ok || summary.summary.queued.interactive === 0) return jobs;
    world.complete(replica, world.take(replica));
    if (jobs % 50 === 0) world.pass(1_000);
  }
  return jobs;
}

/** The outputs of all jobs that are due have been deleted. */
function purge(world: EndpointHarness): void {
  for (;;) {
    const last = world.core.outputsDue(500).at(-1);
    if (last === undefined) return;
    world.call((core) => core.outputsDeleted({ finishedAt: last.finishedAt, jobId: last.jobId }));
  }
}

const storageOf = (world: EndpointHarness) => {
  const reply = world.core.queueSummary(world.workspaceId);
  if (!reply.ok) throw new Error(reply.code);
  return reply.summary.storage;
};

describe("an endpoint whose storage runs full", () => {
  it("refuses new jobs while there is room to finish those it has taken, and forgets old records before their time", () => {
    const world = endpoint();
    expect(storageOf(world).state).toBe("ample");
    let taken = 0;
    // What an ended job takes is a little less than what a waiting one does.
    for (let more = Number.POSITIVE_INFINITY; more > 1; ) {
      const filled = fillUp(world);
      expect([filled.code, filled.detail]).toEqual(["storage_full", expect.stringMatching(/^9\d % /)]);
      expect(storageOf(world)).toMatchObject({ state: "full", bytes_max: BYTES_MAX });
      expect(work(world)).toBe(filled.taken);
      more = filled.taken;
      taken += more;
    }
    world.settle();
    expect(world.db.exec("SELECT state, count(*) AS jobs FROM jobs GROUP BY state")).toEqual([
      { state: "succeeded", jobs: taken },
    ]);
    // Their outputs are kept, so they are.
    world.pass((OUTPUT_RETENTION_DAYS - 1) * DAY_MS);
    expect(fillUp(world).taken).toBeLessThan(taken * 0.1);
    world.pass(2 * DAY_MS);
    purge(world);
    world.pass(120_000);
    const [left] = world.db.exec("SELECT count(*) AS jobs FROM jobs");
    expect(Number(left?.jobs)).toBeLessThan(taken * 0.9);
    expect(Number(left?.jobs)).toBeGreaterThan(taken * 0.35);
    expect(storageOf(world).state).toBe("ample");
    world.submit({ inputs });
    expect(work(world)).toBe(1);
  }, 60_000);

  it("keeps records for a month where there is room", () => {
    const world = endpoint();
    for (let job = 0; job < 20; job += 1) world.submit({ inputs });
    expect(work(world)).toBe(20);
    world.now += (OUTPUT_RETENTION_DAYS + 1) * DAY_MS;
    purge(world);
    world.now += (JOB_RETENTION_DAYS - OUTPUT_RETENTION_DAYS - 2) * DAY_MS;
    world.ring();
    expect(world.db.exec("SELECT count(*) AS jobs FROM jobs")).toEqual([{ jobs: 20 }]);
  }, 60_000);

  it("does not ring its alarm for nothing while it is full of jobs that wait", () => {
    const world = endpoint();
    fillUp(world);
    let rings = 0;
    const ring = world.ring.bind(world);
    world.ring = () => {
      rings += 1;
      ring();
    };
    world.pass(60_000);
    expect(rings).toBeLessThan(20);
  }, 60_000);
});
