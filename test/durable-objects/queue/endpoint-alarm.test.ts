import { describe, expect, it } from "vitest";
import { LEASE_MS, OUTPUT_RETENTION_DAYS } from "#contract/limits";
import { ALARM_PACE_MS, ALARM_RETRY_MS } from "#durable-objects/endpoint/alarm-clock";
import { ask } from "../control/must.ts";
import { EndpointHarness } from "./endpoint-harness.ts";

const DAY_MS = 86_400_000;
/** After quiet, five at once and five more; and the one at its beginning. */
const RINGS_OF_A_SECOND = 1 + 5 + 1_000 / ALARM_PACE_MS;

/** How often the alarm rings until then. */
function rings(world: EndpointHarness, ms: number): number {
  const ring = world.ring.bind(world);
  let count = 0;
  world.ring = () => {
    count += 1;
    ring();
  };
  world.pass(ms);
  world.ring = ring;
  return count;
}

/** The alarm rings and its turn fails; the shell sets the next one. */
function ringInVain(world: EndpointHarness): void {
  const { transaction } = world.db;
  world.db.transaction = () => {
    throw new Error("the disk is full");
  };
  expect(() => world.ring()).toThrow("the disk is full");
  world.db.transaction = transaction;
  world.armedAt = world.now + ALARM_RETRY_MS;
}

describe("an alarm whose turn fails", () => {
  it("is tried again in time, whatever is due later than that", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    world.progress(replica, world.take(replica));
    world.now += LEASE_MS;
    ringInVain(world);
    world.submit({ expiresInMs: DAY_MS });
    expect(world.armedAt).toBeLessThanOrEqual(world.now + ALARM_RETRY_MS);
    world.pass(ALARM_RETRY_MS);
    expect(world.job(id)).toMatchObject({ state: "queued", phase: "retrying" });
  });
});

describe("an alarm with much to do", () => {
  it("rings no more than five times a second, so that calls get their turn", () => {
    const world = new EndpointHarness();
    for (let job = 0; job < 5_100; job += 1) world.submit();
    const purge = { kind: "purge" as const, keyId: world.keyId, selection: { state: "queued" as const } };
    const { id } = ask(world, (core) => core.startOperation(world.workspaceId, purge)).operation;
    expect(rings(world, 1_000)).toBeLessThanOrEqual(RINGS_OF_A_SECOND);
    world.pass(30 * ALARM_PACE_MS);
    expect(ask(world, (core) => core.getOperation(world.workspaceId, id)).operation).toMatchObject({
      state: "done",
      changed: 5_100,
    });
  });

  it("rings no faster for a queue that is held by its rate of starts", () => {
    const max = 6_000;
    const world = new EndpointHarness({ starts_per_minute_max: max, max_replicas: 100 });
    const replicas = Array.from({ length: 60 }, () => world.replica());
    const start = (count: number) => {
      for (let job = 0; job < count; job += 1) world.submit();
    };
    // Starts of the last minute, one each 10 ms: from now on one place comes free each 10 ms.
    start(1);
    const [replica] = replicas;
    if (replica === undefined) throw new Error("there are replicas");
    world.take(replica);
    const starts = JSON.stringify(
      Array.from({ length: max - 1 }, (_, at) => ({ grantedAt: world.now - 59_990 + at * 10 })),
    );
    world.db.exec("UPDATE jobs SET leases = json_insert(?, '$[#]', json_extract(leases, '$[0]'))", starts);
    world.restart();
    start(50);
    for (const waiting of replicas.slice(1)) world.poll(waiting);
    expect(rings(world, 1_000)).toBeLessThanOrEqual(RINGS_OF_A_SECOND);
    expect(world.core.queueSummary(world.workspaceId)).toMatchObject({ summary: { queued: { interactive: 0 } } });
  });

  it("follows a clock that steps back", () => {
    const world = new EndpointHarness();
    world.ring();
    world.now -= DAY_MS;
    world.restart();
    world.ring();
    world.now -= DAY_MS;
    world.submit({ expiresInMs: 60_000 });
    expect(world.armedAt).toBeLessThanOrEqual(world.now + 60_000);
  });
});

describe("retention whose outputs cannot be deleted", () => {
  it("waits quietly, also when the first of several jobs that ended at once are done with", () => {
    const world = new EndpointHarness();
    const jobs = [world.submit(), world.submit(), world.submit()];
    const purge = { kind: "purge" as const, keyId: world.keyId, selection: { state: "queued" as const } };
    ask(world, (core) => core.startOperation(world.workspaceId, purge));
    const endedAt = world.now;
    world.settle();
    world.now = endedAt + OUTPUT_RETENTION_DAYS * DAY_MS;
    world.ring();
    const [first] = jobs.toSorted();
    if (first === undefined) throw new Error("there are jobs");
    world.call((core) => core.outputsDeleted({ finishedAt: endedAt, jobId: first }));
    world.now = endedAt + 31 * DAY_MS;
    world.ring();
    expect(rings(world, 600_000)).toBeLessThanOrEqual(60);
    expect(world.core.getJob(world.workspaceId, first).ok).toBe(false);
  });
});
