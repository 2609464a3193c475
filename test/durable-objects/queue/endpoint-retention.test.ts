import { describe, expect, it } from "vitest";
import type { JobId } from "#contract/ids";
import { IDEMPOTENCY_KEY_MS, JOB_RETENTION_DAYS, OUTPUT_RETENTION_DAYS } from "#contract/limits";
import { ALARM_PACE_MS } from "#durable-objects/endpoint/alarm-clock";
import { SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import { EndpointHarness } from "./endpoint-harness.ts";

const DAY_MS = 86_400_000;

/** Rings the alarm as long as it is set for a time up to then. */
function ringUntil(world: EndpointHarness, at: number): void {
  world.now = at;
  for (let rings = 0; world.armedAt !== null && world.armedAt <= world.now; rings += 1) {
    if (rings > 1_000) throw new Error("the alarm rings without end");
    world.now = Math.max(world.now, world.armedAt);
    world.ring();
  }
}

function isThere(world: EndpointHarness, id: JobId): boolean {
  return world.core.getJob(world.workspaceId, id).ok;
}

describe("retention", () => {
  it("takes nothing from a job that runs, however old it is, nor from one that waits", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const replica = world.replica();
    const running = world.submit();
    const first = world.take(replica);
    world.progress(replica, first);
    world.fail(replica, first);
    world.pass(2_500);
    const lease = world.take(replica);
    world.progress(replica, lease);
    const waiting = world.submit({ expiresInMs: 100 * DAY_MS });
    // As old as if it had waited and failed for months.
    const age = 3 * JOB_RETENTION_DAYS * DAY_MS;
    world.db.exec("UPDATE jobs SET created_at = created_at - ? WHERE id = ?", age, running);
    ringUntil(world, world.now + 1_000);
    expect(world.core.outputsDue(10)).toEqual([]);
    expect(world.job(running)).toMatchObject({ state: "running", attempt: 2 });
    expect(isThere(world, waiting)).toBe(true);
    expect(world.complete(replica, lease)).toMatchObject({ ok: true });
    // Its time begins at its end.
    const endedAt = world.now;
    ringUntil(world, endedAt + OUTPUT_RETENTION_DAYS * DAY_MS - 1);
    expect(world.core.outputsDue(10)).toEqual([]);
    ringUntil(world, endedAt + OUTPUT_RETENTION_DAYS * DAY_MS);
    expect(world.core.outputsDue(10)).toMatchObject([{ jobId: running }]);
    world.call((core) => core.outputsDeleted({ finishedAt: endedAt, jobId: running }));
    ringUntil(world, endedAt + JOB_RETENTION_DAYS * DAY_MS - 1);
    expect(isThere(world, running)).toBe(true);
    ringUntil(world, endedAt + JOB_RETENTION_DAYS * DAY_MS);
    expect(isThere(world, running)).toBe(false);
    expect(isThere(world, waiting)).toBe(true);
  });

  it("keeps an Idempotency-Key for its day, and no more than a day longer, though its job lives on", () => {
    const world = new EndpointHarness();
    const idempotency = { key: "order-1", fingerprint: "f1" };
    const id = world.submit({ idempotency, expiresInMs: 30 * DAY_MS });
    const madeAt = world.now;
    world.now = madeAt + IDEMPOTENCY_KEY_MS - 1;
    world.ring();
    expect(world.core.findReplay(world.workspaceId, idempotency)).toMatchObject({ ok: true, job: { id } });
    world.now = madeAt + IDEMPOTENCY_KEY_MS;
    expect(world.core.findReplay(world.workspaceId, idempotency)).toEqual({ ok: true, job: null });
    ringUntil(world, madeAt + IDEMPOTENCY_KEY_MS + DAY_MS);
    expect(world.db.exec("SELECT * FROM idempotency")).toEqual([]);
    expect(isThere(world, id)).toBe(true);
  });

  it("forgets many keys in turns of a bounded size", () => {
    const world = new EndpointHarness();
    world.submit({ idempotency: { key: "last", fingerprint: "f" } });
    world.db.exec(
      `WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?)
       INSERT INTO idempotency (day, scope, key, fingerprint, result, created_at)
       SELECT day, scope, 'order-' || n, fingerprint, result, created_at FROM many CROSS JOIN idempotency`,
      2 * SWEEP_ROWS_MAX,
    );
    world.now += IDEMPOTENCY_KEY_MS + DAY_MS;
    const left = () => world.db.exec("SELECT * FROM idempotency").length;
    world.ring();
    expect(left()).toBe(SWEEP_ROWS_MAX + 1);
    expect(world.armedAt).toBe(world.now + 1);
    world.pass(10 * ALARM_PACE_MS);
    expect(left()).toBe(0);
  });
});
