import { describe, expect, it } from "vitest";
import { DEMAND_SETTLE_MS } from "#durable-objects/endpoint/demand";
import { EndpointHarness } from "../queue/endpoint-harness.ts";
import { ask, getsNothing, must, runNext, summaryOf } from "./must.ts";

const pause = (world: EndpointHarness, more: { reason?: string; refuseNew?: boolean } = {}) =>
  ask(world, (core) =>
    core.pauseQueue(world.workspaceId, { reason: more.reason ?? null, refuseNew: more.refuseNew ?? false }),
  ).summary;
const resume = (world: EndpointHarness) => ask(world, (core) => core.resumeQueue(world.workspaceId)).summary;
const wish = (world: EndpointHarness) => {
  const demand = world.core.demand();
  return [demand?.needed, demand?.wanted];
};

describe("a paused queue", () => {
  it("takes jobs and starts none, neither for a poll nor after a finished job", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const lease = world.take(replica);
    pause(world);
    const waiting = world.submit();
    expect(must(world.complete(replica, lease, "poll-after-it")).next).toBeNull();
    expect(getsNothing(world, replica)).toBe(true);
    expect(world.job(waiting).state).toBe("queued");
  });

  it("lets the jobs that run go on to their end", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    pause(world);
    expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: false } });
    must(world.complete(replica, lease));
    expect(world.job(id).state).toBe("succeeded");
  });

  it("gives the waiting replica its job in the turn that resumes it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    pause(world);
    const id = world.submit();
    expect(getsNothing(world, replica)).toBe(true);
    resume(world);
    expect(world.answers.at(-1)?.answer.lease?.job_id).toBe(id);
    expect(summaryOf(world).paused).toBeNull();
  });

  it("starts at midnight what the day's budget holds once it is resumed, though nothing else happens", () => {
    const world = new EndpointHarness({ gpu_seconds_per_day_max: 5, min_replicas: 0 });
    const replica = world.replica();
    world.submit();
    world.submit({ expiresInMs: 7 * 86_400_000 });
    runNext(world, replica, 10_000);
    pause(world);
    world.call((core) => core.replicaGone(world.podId, replica.id, "it went", false));
    world.settle();
    world.pass(2 * 3_600_000);
    resume(world);
    const midnight = Math.ceil(world.now / 86_400_000) * 86_400_000;
    world.pass(midnight - world.now);
    expect(world.core.demand()).toMatchObject({ needed: 1 });
  });

  it("stays paused through a restart", () => {
    const world = new EndpointHarness();
    pause(world, { reason: "new models come" });
    world.submit();
    world.restart();
    expect(summaryOf(world).paused).toEqual({
      since: new Date(world.now).toISOString(),
      reason: "new models come",
      refuse_new: false,
    });
    expect(getsNothing(world, world.replica())).toBe(true);
  });

  it("keeps its beginning when it is paused again with another reason", () => {
    const world = new EndpointHarness();
    const first = pause(world, { reason: "one" });
    world.pass(5_000);
    expect(pause(world, { reason: "two", refuseNew: true }).paused).toEqual({
      since: first.paused?.since,
      reason: "two",
      refuse_new: true,
    });
  });

  it("refuses new jobs before anything is stored when it should, and still knows a repeated one", () => {
    const world = new EndpointHarness();
    const idempotency = { key: "key-1", fingerprint: "f" };
    const id = world.submit({ idempotency });
    pause(world, { refuseNew: true });
    expect(world.core.enqueue(world.request())).toMatchObject({ ok: false, code: "queue_paused", retryAfterS: 30 });
    const batch = { ...world.request(), items: [{ inputs: "{}", files: [] }] };
    expect(world.core.enqueueBatch(batch)).toMatchObject({ ok: false, code: "queue_paused" });
    expect(summaryOf(world).queued.interactive).toBe(1);
    expect(world.core.enqueue(world.request({ idempotency }))).toMatchObject({ ok: true, job: { id }, replayed: true });
    resume(world);
    expect(world.core.enqueue(world.request())).toMatchObject({ ok: true });
  });

  it("wants no replica for its queue, but keeps its warm floor and what runs", () => {
    const world = new EndpointHarness({ min_replicas: 1, max_replicas: 5 });
    for (let job = 0; job < 4; job += 1) world.submit();
    expect(wish(world)).toEqual([4, 4]);
    pause(world);
    world.pass(DEMAND_SETTLE_MS);
    expect(wish(world)).toEqual([1, 1]);
    world.submit();
    expect(wish(world)).toEqual([1, 1]);
    resume(world);
    expect(wish(world)).toEqual([5, 5]);
  });

  it("lets jobs expire that should have started by then", () => {
    const world = new EndpointHarness();
    pause(world);
    const id = world.submit({ expiresInMs: 10_000 });
    world.pass(10_000);
    expect(world.job(id).state).toBe("expired");
  });

  it("is nobody else's to pause", () => {
    const world = new EndpointHarness();
    const stranger = "ws_00000000000000000000000000" as typeof world.workspaceId;
    expect(world.core.pauseQueue(stranger, { reason: null, refuseNew: true })).toMatchObject({
      ok: false,
      code: "endpoint_not_found",
    });
    expect(summaryOf(world).paused).toBeNull();
  });
});
