import { describe, expect, it } from "vitest";
import { LEASE_CONFIRM_MS } from "#contract/limits";
import { AHEAD_SERVICE_MS_MAX } from "#durable-objects/queue/lease";
import { EndpointHarness, type FakeReplica } from "#test/durable-objects/queue/endpoint-harness";

/** Runs one job, so that the endpoint knows how long they take. */
function ran(world: EndpointHarness, replica: FakeReplica, serviceMs: number): void {
  world.submit();
  const lease = world.take(replica);
  world.progress(replica, lease);
  for (let left = serviceMs; left > 0; left -= 5_000) {
    world.pass(Math.min(left, 5_000));
    world.progress(replica, lease);
  }
  world.complete(replica, lease);
}

/** A replica at work, with a second job held ahead. */
function holding(world: EndpointHarness) {
  const replica = world.replica();
  world.submit();
  const second = world.submit();
  const first = world.take(replica);
  world.progress(replica, first);
  return { replica, first, second, ahead: world.take(replica, [first]) };
}

describe("a lease ahead", () => {
  it("is given where jobs are short, and not where one would wait long for it", () => {
    for (const [serviceMs, isGiven] of [
      [AHEAD_SERVICE_MS_MAX, true],
      [AHEAD_SERVICE_MS_MAX + 1, false],
    ] as const) {
      const world = new EndpointHarness();
      const replica = world.replica();
      ran(world, replica, serviceMs);
      world.submit();
      const waiting = world.submit();
      const first = world.take(replica);
      world.progress(replica, first);
      world.poll(replica, [first]);
      expect(world.job(waiting).state, `${serviceMs} ms`).toBe(isGiven ? "running" : "queued");
    }
  });

  it("that is not given comes once the outputs of the job before it go up: the GPU is free then", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    ran(world, replica, AHEAD_SERVICE_MS_MAX + 1);
    world.submit();
    const waiting = world.submit();
    const first = world.take(replica);
    world.progress(replica, first);
    world.poll(replica, [first]);
    world.progress(replica, first, "uploading");
    expect(world.job(waiting).state).toBe("running");
  });

  it("comes with the answer to a complete as well, while the job after it runs", () => {
    const world = new EndpointHarness();
    const { replica, first, ahead } = holding(world);
    const third = world.submit();
    world.progress(replica, ahead);
    const done = world.complete(replica, first, "next-poll-1");
    expect(done).toMatchObject({ ok: true, next: { job_id: third } });
  });

  it("is given also behind a job whose outputs still go up, but never two at once", () => {
    const world = new EndpointHarness();
    const { replica, first, ahead } = holding(world);
    const [third, fourth] = [world.submit(), world.submit()];
    const states = () => [third, fourth].map((id) => world.job(id).state);
    world.poll(replica, [first, ahead]);
    expect(states()).toEqual(["queued", "queued"]);
    world.progress(replica, first, "uploading");
    expect(states()).toEqual(["running", "queued"]);
    // However many send their outputs, three are enough.
    world.progress(replica, ahead, "uploading");
    world.poll(replica, [first, ahead]);
    expect(states()).toEqual(["running", "queued"]);
  });

  it("is never given for a job that had one before: it goes to a replica that begins at once", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const { replica, first, second, ahead } = holding(world);
    world.release(replica, ahead);
    expect(world.job(second)).toMatchObject({ state: "queued", attempt: 0 });
    const behind = world.submit();
    world.poll(replica, [first]);
    // Nothing passes it either.
    expect([world.job(second).state, world.job(behind).state]).toEqual(["queued", "queued"]);
    const idle = world.replica(replica.node);
    expect(world.take(idle)).toMatchObject({ job_id: second, attempt: 1 });
    expect(world.job(behind).state).toBe("running");
  });

  it("that is given back costs no attempt, no wait and no place, and its own node may have the job again", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const { replica, first, second, ahead } = holding(world);
    world.replica(world.node());
    world.release(replica, ahead);
    expect(world.complete(replica, first, "next-poll-1")).toMatchObject({
      ok: true,
      next: { job_id: second, attempt: 1 },
    });
  });

  it("is over when nothing was said under it in time, whatever inputs were fetched", () => {
    const world = new EndpointHarness();
    const { replica, first, second, ahead } = holding(world);
    world.pass(LEASE_CONFIRM_MS - 1_000);
    world.call((core) => core.inputFile(world.proof(replica, ahead), 0));
    world.progress(replica, first);
    world.pass(1_001);
    expect(world.job(second)).toMatchObject({ state: "queued", attempt: 0, startedAt: null });
  });

  it("does not outlive its job's time to start", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const second = world.submit({ expiresInMs: 8_000 });
    const first = world.take(replica);
    world.progress(replica, first);
    world.take(replica, [first]);
    world.pass(LEASE_CONFIRM_MS + 1);
    expect(world.job(second).state).toBe("expired");
  });

  it("is billed from when its agent first speaks, not from when it was given", () => {
    const world = new EndpointHarness();
    const { replica, first, second, ahead } = holding(world);
    world.pass(4_000);
    world.complete(replica, first);
    world.progress(replica, ahead);
    world.pass(1_500);
    world.complete(replica, ahead);
    const usage = world.core.usage(world.workspaceId, { limit: 10 });
    if (!usage.ok) throw new Error(usage.code);
    const ofJobs = new Map(usage.rows.map((row) => [row.job_id, row.ms]));
    expect([ofJobs.get(first.job_id), ofJobs.get(second)]).toEqual([4_000, 1_500]);
  });

  it("that is canceled is over at once: the poll that lists it says so", () => {
    const world = new EndpointHarness();
    const { replica, first, second, ahead } = holding(world);
    world.poll(replica, [first, ahead], { pollId: "watching-poll" });
    world.call((core) => core.cancelJob(world.workspaceId, second));
    expect(world.answers.at(-1)).toMatchObject({
      pollId: "watching-poll",
      answer: { lease: null, ended: [ahead.lease_id] },
    });
  });

  it("comes back with the one before it when the machine is gone", () => {
    const world = new EndpointHarness();
    const { replica, first, second } = holding(world);
    world.call((core) => core.replicaGone(world.podId, replica.id, "its machine is gone", false));
    expect(world.job(first.job_id).state).toBe("queued");
    expect(world.job(second)).toMatchObject({ state: "queued", attempt: 0 });
  });

  it("is not given while the queue is paused", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const second = world.submit();
    const first = world.take(replica);
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.poll(replica, [first]);
    expect(world.job(second).state).toBe("queued");
  });
});
