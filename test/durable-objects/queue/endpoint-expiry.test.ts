import { describe, expect, it } from "vitest";
import type { JobId } from "#contract/ids";
import { AGEING_MS_PER_LEVEL } from "#contract/limits";
import { ExpiryWatch, SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import { JobStore, USUAL_WAIT_MS } from "#durable-objects/endpoint/job-store";
import { LateWrites } from "#durable-objects/sql/late-writes";
import { EndpointHarness } from "./endpoint-harness.ts";

const usual = { expiresInMs: USUAL_WAIT_MS };
const stateOf = (world: EndpointHarness, id: JobId) => world.job(id).state;

describe("a job that may wait the usual time", () => {
  it("needs no index entry to expire in time, whatever its lane and priority", () => {
    const world = new EndpointHarness();
    const jobs = [0, 5, 9].flatMap((priority) => [
      world.submit({ ...usual, priority }),
      world.submit({ ...usual, priority, lane: "batch" }),
    ]);
    const later = world.submit({ expiresInMs: USUAL_WAIT_MS + 60_000 });
    world.pass(USUAL_WAIT_MS - 1);
    expect(jobs.map((id) => stateOf(world, id))).toEqual(jobs.map(() => "queued"));
    world.pass(1);
    expect(jobs.map((id) => stateOf(world, id))).toEqual(jobs.map(() => "expired"));
    expect(stateOf(world, later)).toBe("queued");
    world.pass(60_000);
    expect(stateOf(world, later)).toBe("expired");
  });

  it("is rung for though nothing else happens, after a restart too", () => {
    const world = new EndpointHarness();
    const id = world.submit({ ...usual, priority: 9 });
    world.pass(USUAL_WAIT_MS - 9 * AGEING_MS_PER_LEVEL - 1);
    world.restart();
    world.pass(9 * AGEING_MS_PER_LEVEL + 60_000);
    const [row] = world.db.exec("SELECT created_at, finished_at FROM jobs WHERE id = ?", id);
    expect(Number(row?.finished_at) - Number(row?.created_at)).toBe(USUAL_WAIT_MS);
  });

  it("expires also when it came back behind jobs that were looked at already", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit(usual);
    world.pass(USUAL_WAIT_MS - 5_000);
    const lease = world.take(replica);
    expect(lease.job_id).toBe(id);
    world.submit(usual);
    world.pass(4_000);
    // Nobody spoke under the lease, so the job has not started; it returns to its old place.
    world.release(replica, lease);
    expect(stateOf(world, id)).toBe("queued");
    world.pass(1_000);
    expect(stateOf(world, id)).toBe("expired");
  });

  it("does not expire once it has started, however long the queue holds it up afterwards", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit(usual);
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.fail(replica, lease);
    world.pass(2 * USUAL_WAIT_MS);
    expect(stateOf(world, id)).toBe("queued");
  });

  it("ends with thousands of others, turn by turn, and nobody is looked at twice", () => {
    const world = new EndpointHarness();
    const many = 2 * SWEEP_ROWS_MAX + 10;
    for (let job = 0; job < many; job += 1) world.submit({ ...usual, priority: job % 10 });
    const exec = world.db.exec.bind(world.db);
    let looked = 0;
    world.db.exec = (sql, ...bindings) => {
      const rows = exec(sql, ...bindings);
      if (sql.includes("rank <= ?")) looked += rows.length;
      return rows;
    };
    world.pass(USUAL_WAIT_MS - 1);
    expect(exec("SELECT count(*) AS jobs FROM jobs WHERE state = 'expired'")).toEqual([{ jobs: 0 }]);
    world.pass(1_000);
    expect(exec("SELECT count(*) AS jobs FROM jobs WHERE state = 'expired'")).toEqual([{ jobs: many }]);
    expect(looked).toBeLessThanOrEqual(many);
  });
});

describe("the watch over jobs that may wait the usual time", () => {
  it("remembers a bounded number of them, and ends the others a moment later", () => {
    const world = new EndpointHarness();
    const ids = Array.from({ length: 100 }, () => {
      world.now += 10;
      return world.submit({ ...usual, priority: 9 });
    });
    const watch = new ExpiryWatch(new JobStore(new LateWrites(world.db)), 20);
    const lastDue = world.now + USUAL_WAIT_MS;
    world.now = lastDue - 8 * AGEING_MS_PER_LEVEL;
    const ended: string[] = [];
    let most = 0;
    for (let looks = 0; looks < 1_000 && world.now <= lastDue; looks += 1) {
      for (const id of watch.overdue(world.now, 10)) {
        ended.push(id);
        world.call((core) => core.cancelJob(world.workspaceId, id));
      }
      most = Math.max(most, watch.remembered);
      world.now = Math.max(world.now + 1, watch.nextDue() ?? lastDue + 1);
    }
    expect(most).toBeLessThanOrEqual(30);
    expect(ended.toSorted()).toEqual(ids);
  });
});
