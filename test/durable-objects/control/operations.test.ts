import { describe, expect, it } from "vitest";
import type { JobId, OperationId } from "#contract/ids";
import { OPERATION_RETENTION_DAYS, OPERATIONS_RUNNING_MAX } from "#contract/limits";
import { ALARM_PACE_MS } from "#durable-objects/endpoint/alarm-clock";
import type { OperationRequest } from "#durable-objects/endpoint/rpc";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { ask, runNext, summaryOf } from "./must.ts";

type Wish = Omit<OperationRequest, "keyId" | "selection"> & { readonly selection?: OperationRequest["selection"] };

const start = (world: EndpointHarness, wish: Wish) =>
  ask(world, (core) => core.startOperation(world.workspaceId, { selection: {}, keyId: world.keyId, ...wish }))
    .operation;
const get = (world: EndpointHarness, id: OperationId) =>
  ask(world, (core) => core.getOperation(world.workspaceId, id)).operation;
const submitMany = (world: EndpointHarness, count: number, more: Parameters<EndpointHarness["request"]>[0] = {}) =>
  Array.from({ length: count }, () => world.submit(more));

/** Rings the alarm, each time due a moment later, until the operation is over. @returns how often it rang */
function finish(world: EndpointHarness, id: OperationId): number {
  for (let rings = 0; rings < 1_000; rings += 1) {
    if (get(world, id).state !== "running") return rings;
    expect(world.armedAt).not.toBeNull();
    expect(world.armedAt ?? 0).toBeLessThanOrEqual(world.now + ALARM_PACE_MS);
    world.pass((world.armedAt ?? world.now) - world.now);
  }
  throw new Error("the operation does not end");
}

/** A job that has failed for good. */
function failed(world: EndpointHarness, replica: FakeReplica, more: Parameters<EndpointHarness["request"]>[0] = {}) {
  const id = world.submit(more);
  world.fail(replica, world.take(replica), "execution_error");
  return id;
}

describe("an operation that cancels", () => {
  it("works in slices, the first at once, and ends every living job made before it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    submitMany(world, 500);
    const lease = world.take(replica);
    const operation = start(world, { kind: "cancel" });
    expect(operation).toMatchObject({ state: "running", changed: 200, skipped: 0 });
    expect(operation.progress).toBeLessThan(1);
    const later = world.submit();
    expect(finish(world, operation.id)).toBe(2);
    expect(get(world, operation.id)).toMatchObject({
      state: "done",
      changed: 500,
      looked_at: 500,
      progress: 1,
      finished_at: new Date(world.now).toISOString(),
    });
    expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: true } });
    expect(world.job(later).state).toBe("queued");
    expect(summaryOf(world)).toMatchObject({ queued: { interactive: 1 }, running: 0 });
  });

  it.each<[string, OperationRequest["selection"], number[]]>([
    ["by lane", { lane: "batch" }, [1]],
    ["by tag", { tag: "blue" }, [1, 2]],
    ["by state", { state: "running" }, [0]],
    ["by all of them", { tag: "blue", lane: "interactive" }, [2]],
    ["by a state no living job has", { state: "failed" }, []],
  ])("picks %s", (_, selection, expected) => {
    const world = new EndpointHarness();
    const ids = [
      world.submit({ tags: ["red"] }),
      world.submit({ tags: ["blue"], lane: "batch" }),
      world.submit({ tags: ["blue", "red"] }),
    ];
    world.take(world.replica());
    const operation = start(world, { kind: "cancel", selection });
    finish(world, operation.id);
    expect(ids.flatMap((id, index) => (world.job(id).state === "canceled" ? [index] : []))).toEqual(expected);
    expect(get(world, operation.id)).toMatchObject({ changed: expected.length, skipped: 0 });
  });

  it("picks by the time at which jobs were made, its beginning included and its end not", () => {
    const world = new EndpointHarness();
    const ids = [0, 1, 2].map(() => {
      world.pass(1_000);
      return world.submit();
    });
    const selection = {
      created_after: new Date(world.now - 1_000).toISOString(),
      created_before: new Date(world.now).toISOString(),
    };
    finish(world, start(world, { kind: "cancel", selection }).id);
    expect(ids.map((id) => world.job(id).state)).toEqual(["queued", "canceled", "queued"]);
  });

  it("passes many ended jobs a bounded number at a time", () => {
    const world = new EndpointHarness();
    submitMany(world, 4_100);
    finish(world, start(world, { kind: "cancel" }).id);
    const first = world.submit({ lane: "batch" });
    submitMany(world, 10);
    const operation = start(world, { kind: "cancel", selection: { lane: "batch" } });
    expect(operation).toMatchObject({ state: "done", changed: 1, looked_at: 11 });
    expect(world.job(first).state).toBe("canceled");
    const ended = start(world, { kind: "retry", selection: { state: "succeeded" } });
    expect(ended).toMatchObject({ state: "running", looked_at: 2_000, changed: 0 });
    expect(finish(world, ended.id)).toBe(2);
    expect(get(world, ended.id)).toMatchObject({ looked_at: 4_111, changed: 0, progress: 1 });
  });
});

describe("an operation under way", () => {
  it("goes on exactly where it was after a restart", () => {
    const world = new EndpointHarness();
    const ids = submitMany(world, 450);
    const operation = start(world, { kind: "cancel" });
    world.restart();
    expect(get(world, operation.id)).toMatchObject({ state: "running", changed: 200 });
    expect(ids.filter((id) => world.job(id).state === "canceled")).toHaveLength(200);
    world.pass(1);
    world.restart();
    finish(world, operation.id);
    expect(get(world, operation.id)).toMatchObject({ state: "done", changed: 450, looked_at: 450 });
  });

  it("stays where it was when its turn is undone", () => {
    const world = new EndpointHarness();
    submitMany(world, 450);
    const operation = start(world, { kind: "cancel" });
    const { transaction } = world.db;
    world.db.transaction = <T>(work: () => T): T =>
      transaction.call(world.db, () => {
        work();
        throw new Error("the disk is full");
      }) as T;
    expect(() => world.ring()).toThrow("the disk is full");
    world.db.transaction = transaction;
    expect(get(world, operation.id)).toMatchObject({ changed: 200, looked_at: 200 });
    expect(summaryOf(world).queued.interactive).toBe(250);
    world.ring();
    finish(world, operation.id);
    expect(get(world, operation.id)).toMatchObject({ changed: 450, looked_at: 450 });
  });

  it("can be canceled: what it has done stays done, and it does no more", () => {
    const world = new EndpointHarness();
    submitMany(world, 300);
    const operation = start(world, { kind: "cancel" });
    const cancel = () => ask(world, (core) => core.cancelOperation(world.workspaceId, operation.id)).operation;
    expect(cancel()).toMatchObject({ state: "canceled", changed: 200 });
    world.pass(60_000);
    expect(summaryOf(world).queued.interactive).toBe(100);
    expect(cancel()).toMatchObject({ state: "canceled", changed: 200 });
  });

  it("shares the turns with others, and no more than so many run at once", () => {
    const world = new EndpointHarness();
    submitMany(world, 250, { tags: ["a"] });
    const running = Array.from({ length: OPERATIONS_RUNNING_MAX }, () =>
      start(world, { kind: "retry", selection: { state: "queued" }, jobs: manyIds(201) }),
    );
    const wish = { kind: "cancel" as const, keyId: world.keyId, selection: { tag: "a" } };
    expect(world.core.startOperation(world.workspaceId, wish)).toMatchObject({ ok: false, code: "operation_limit" });
    for (const { id } of running) finish(world, id);
    const last = start(world, { kind: "cancel", selection: { tag: "a" } });
    finish(world, last.id);
    expect(get(world, last.id).changed).toBe(250);
  });

  it("is the same one for a repeated key, and another body is refused", () => {
    const world = new EndpointHarness();
    submitMany(world, 3);
    const idempotency = { key: "op-1", fingerprint: "a" };
    const wish = { kind: "cancel" as const, keyId: world.keyId, selection: {}, idempotency };
    const first = ask(world, (core) => core.startOperation(world.workspaceId, wish));
    world.submit();
    const again = ask(world, (core) => core.startOperation(world.workspaceId, wish));
    expect([first.replayed, again.replayed]).toEqual([false, true]);
    expect(again.operation).toEqual(first.operation);
    expect(summaryOf(world).queued.interactive).toBe(1);
    expect(
      world.core.startOperation(world.workspaceId, { ...wish, idempotency: { key: "op-1", fingerprint: "b" } }),
    ).toMatchObject({ ok: false, code: "idempotency_key_reused" });
  });

  it("is listed, newest first, page by page, and kept for a week after its end", () => {
    const world = new EndpointHarness();
    const ids = [0, 1, 2].map(() => {
      world.pass(1_000);
      return start(world, { kind: "cancel" }).id;
    });
    const page = (before?: OperationId) =>
      ask(world, (core) =>
        core.listOperations(world.workspaceId, { limit: 2, ...(before === undefined ? {} : { before }) }),
      );
    expect(page().operations.map(({ id }) => id)).toEqual([ids[2], ids[1]]);
    expect(page(page().next ?? undefined)).toMatchObject({ operations: [{ id: ids[0] }], next: null });
    world.pass(OPERATION_RETENTION_DAYS * 86_400_000 - 2_001, true);
    world.ring();
    expect(page(ids[1]).operations).toHaveLength(1);
    world.pass(2);
    expect(page(ids[1]).operations).toHaveLength(0);
    expect(page().operations).toHaveLength(2);
  });

  it("is nobody else's", () => {
    const world = new EndpointHarness();
    const { id } = start(world, { kind: "cancel" });
    const stranger = "ws_00000000000000000000000000" as typeof world.workspaceId;
    expect(world.core.getOperation(stranger, id)).toMatchObject({ ok: false, code: "operation_not_found" });
    expect(world.core.cancelOperation(stranger, id)).toMatchObject({ ok: false, code: "operation_not_found" });
    expect(world.core.listOperations(stranger, { limit: 1 })).toMatchObject({ ok: false, code: "endpoint_not_found" });
  });
});

describe("an operation that runs jobs again", () => {
  it("makes a new job for each ended one that fits, in their order", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const broken = [failed(world, replica), failed(world, replica)];
    world.submit();
    runNext(world, replica);
    const operation = start(world, { kind: "retry", selection: { state: "failed" } });
    expect(operation).toMatchObject({ state: "done", changed: 2, skipped: 0 });
    expect(operation.created_jobs.map((id) => world.job(id).retryOf)).toEqual(broken);
    expect(broken.map((id) => world.job(id).retriedAs)).toEqual(operation.created_jobs);
    expect(world.job(broken[0] as JobId).state).toBe("failed");
  });

  it("does not run its own new jobs again, however fast they end", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    for (let job = 0; job < 250; job += 1) failed(world, replica);
    const operation = start(world, { kind: "retry", selection: { state: "failed" } });
    for (let job = 0; job < 200; job += 1) world.fail(replica, world.take(replica), "execution_error");
    finish(world, operation.id);
    expect(get(world, operation.id)).toMatchObject({ changed: 250, looked_at: 250 });
    expect(get(world, operation.id).created_jobs).toHaveLength(100);
  });

  it("skips what finds the queue full", () => {
    const world = new EndpointHarness({ queue_depth_max: 3 });
    const replica = world.replica();
    for (let job = 0; job < 5; job += 1) failed(world, replica);
    expect(start(world, { kind: "retry", selection: { state: "failed" } })).toMatchObject({ changed: 3, skipped: 2 });
  });

  it("redrives dead letters: all, since a time, or those named", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const [first, second, third] = [0, 1, 2].map(() => {
      world.pass(1_000);
      return failed(world, replica);
    }) as [JobId, JobId, JobId];
    expect(summaryOf(world).dead).toBe(3);
    const named = start(world, { kind: "redrive", jobs: [second, "job_00000000000000000000000000" as JobId] });
    expect(named).toMatchObject({ state: "done", changed: 1, skipped: 1, looked_at: 2 });
    expect(summaryOf(world).dead).toBe(2);
    expect(start(world, { kind: "redrive", jobs: [second] })).toMatchObject({ changed: 0, skipped: 1 });
    const since = start(world, { kind: "redrive", since: new Date(world.now).toISOString() });
    expect(since.created_jobs.map((id) => world.job(id).retryOf)).toEqual([third]);
    const all = start(world, { kind: "redrive" });
    expect(all.created_jobs.map((id) => world.job(id).retryOf)).toEqual([first]);
    expect(summaryOf(world).dead).toBe(0);
    world.restart();
    expect(summaryOf(world).dead).toBe(0);
  });
});

describe("a purge", () => {
  it("cancels what waits and leaves what runs", () => {
    const world = new EndpointHarness();
    const running = world.submit();
    world.take(world.replica());
    submitMany(world, 3);
    expect(start(world, { kind: "purge", selection: { state: "queued" } })).toMatchObject({ changed: 3 });
    expect(world.job(running).state).toBe("running");
    expect(summaryOf(world).queued.interactive).toBe(0);
  });

  it("cancels only what waits for another try", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const retrying = world.submit();
    world.fail(replica, world.take(replica));
    submitMany(world, 2);
    expect(summaryOf(world).retrying).toBe(1);
    expect(start(world, { kind: "purge", selection: { state: "retrying" } })).toMatchObject({ changed: 1 });
    expect(world.job(retrying).state).toBe("canceled");
    expect(summaryOf(world)).toMatchObject({ queued: { interactive: 2 }, retrying: 0 });
  });

  it("empties the dead-letter list; its jobs stay failed", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const ids = [failed(world, replica, { tags: ["a"] }), failed(world, replica, { tags: ["b"] })];
    expect(start(world, { kind: "purge", selection: { state: "dead", tag: "a" } })).toMatchObject({ changed: 1 });
    expect(summaryOf(world).dead).toBe(1);
    expect(start(world, { kind: "purge", selection: { state: "dead" } })).toMatchObject({ changed: 1 });
    expect(summaryOf(world).dead).toBe(0);
    expect(ids.map((id) => world.job(id).state)).toEqual(["failed", "failed"]);
  });
});

function manyIds(count: number): JobId[] {
  return Array.from({ length: count }, (_, index) => `job_${String(index).padStart(26, "0")}` as JobId);
}
