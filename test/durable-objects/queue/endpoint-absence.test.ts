import { describe, expect, it } from "vitest";
import { LEASE_CONFIRM_MS, LEASE_MS, LEASE_RENEW_MS } from "#contract/limits";
import { SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import { GRACE_MS } from "#durable-objects/queue/lease";
import { EndpointHarness } from "./endpoint-harness.ts";

/** The server is killed and comes back after `ms`; nothing rings meanwhile. */
function away(world: EndpointHarness, ms: number): void {
  world.pass(ms, true);
  world.restart();
  world.pass(1);
}

describe("an object that was away", () => {
  it("takes no lease from an agent that could not reach it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    away(world, 10 * LEASE_MS);
    world.pass(GRACE_MS - 2);
    expect(world.job(id)).toMatchObject({ state: "running", attempt: 1 });
    expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: false } });
    expect(world.complete(replica, lease)).toMatchObject({ ok: true });
    expect(world.job(id).state).toBe("succeeded");
  });

  it("takes no lease that was not confirmed yet", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const lease = world.take(replica);
    away(world, 10 * LEASE_MS);
    world.pass(LEASE_CONFIRM_MS - 2);
    expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: false } });
  });

  it("does not hold its absence against the time an execution may take", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit({ timeoutMs: 20_000 });
    const lease = world.take(replica);
    world.progress(replica, lease);
    away(world, 10 * LEASE_MS);
    world.pass(5_000);
    expect(world.complete(replica, lease)).toMatchObject({ ok: true });
    expect(world.job(id).state).toBe("succeeded");
  });

  it("still ends an execution that takes too long", () => {
    const world = new EndpointHarness({ attempts_max: 1 });
    const replica = world.replica();
    const id = world.submit({ timeoutMs: 20_000 });
    const lease = world.take(replica);
    world.progress(replica, lease);
    away(world, 10 * LEASE_MS);
    for (let round = 0; round < 4; round += 1) {
      world.progress(replica, lease);
      world.pass(GRACE_MS / 2);
    }
    expect(world.job(id)).toMatchObject({ state: "failed", error: { code: "execution_timeout" } });
  });

  it("gives time once: a dead agent's lease ends although each alarm finds the object thrown out of memory", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    const heardAt = world.now;
    for (let alarms = 0; world.job(id).state === "running" && alarms < 20; alarms += 1) {
      if (world.armedAt === null) throw new Error("no alarm is set");
      world.now = Math.max(world.now, world.armedAt);
      world.restart();
      world.ring();
    }
    expect(world.job(id).state).toBe("queued");
    expect(world.now - heardAt).toBeLessThanOrEqual(45_000);
  });

  it("gives a dead agent's job back within 37 s, whenever it was away itself: a retry and a queue fit into 45 s", () => {
    for (let killedAt = 1_000; killedAt <= LEASE_MS; killedAt += 1_000) {
      const world = new EndpointHarness();
      const replica = world.replica();
      const id = world.submit();
      const lease = world.take(replica);
      world.progress(replica, lease);
      const heardAt = world.now;
      world.pass(killedAt - 1);
      away(world, 1_000);
      while (world.job(id).state === "running") world.pass(500);
      expect(world.now - heardAt, `killed after ${killedAt} ms`).toBeLessThanOrEqual(37_000);
    }
  });

  it("gives time again when it went away before anybody could be heard", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    away(world, 10 * LEASE_MS);
    away(world, GRACE_MS + 5_000);
    expect(world.progress(replica, lease)).toMatchObject({ ok: true });
  });

  it("gives time again to an agent that was heard since", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    for (let round = 0; round < 3; round += 1) {
      away(world, 10 * LEASE_MS);
      world.pass(GRACE_MS - 2);
      expect(world.progress(replica, lease)).toMatchObject({ ok: true });
    }
    expect(world.job(id)).toMatchObject({ state: "running", attempt: 1 });
  });
});

describe("a removed endpoint", () => {
  it("is not erased before the pod has heard that it wants nothing any more", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.pass(1_000);
    world.answerDemand([replica]);
    world.call((core) => core.reportReplica(replica.node, replica.id, { state: "crashed", phases: [] }));
    world.call((core) => core.remove(world.workspaceId));
    expect(world.erased).toBe(false);
    world.pass(10_000);
    expect(world.core.demand()).toMatchObject({ wanted: 0, needed: 0 });
    expect(world.erased).toBe(false);
    world.answerDemand([]);
    world.pass(3_600_000);
    expect(world.erased).toBe(true);
  });
});

describe("a replica that has ended", () => {
  it("does not come back by an answer of the pod that is older than its end", () => {
    const world = new EndpointHarness();
    world.submit();
    const replica = world.replica();
    world.call((core) => core.replicaGone(world.podId, replica.id, "The replica stopped.", false));
    world.answerDemand([replica]);
    expect(world.core.listReplicas(world.workspaceId)).toEqual({ ok: true, replicas: [] });
    world.call((core) => core.admitReplica(replica.node, replica.id));
    expect(world.core.listReplicas(world.workspaceId)).toEqual({ ok: true, replicas: [] });
  });

  it("does not come in by an answer of the pod when the news of its end came first", () => {
    const world = new EndpointHarness();
    world.submit();
    const { id, node } = new EndpointHarness({}, 2).replica();
    world.call((core) => core.replicaGone(world.podId, id, "The replica stopped.", false));
    world.answerDemand([{ id, node }]);
    expect(world.core.listReplicas(world.workspaceId)).toEqual({ ok: true, replicas: [] });
  });
});

describe("a node that the pod does not hear", () => {
  it("keeps the lease under which the endpoint hears it", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.call((core) => core.replicaGone(world.podId, replica.id, "The node was not heard of.", true));
    world.pass(1_000);
    world.answerDemand([]);
    for (let beat = 0; beat < 5; beat += 1) {
      expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: false } });
      world.pass(LEASE_RENEW_MS);
    }
    expect(world.complete(replica, lease, "poll-next")).toEqual({ ok: true, next: null, waits: null });
    expect(world.job(id)).toMatchObject({ state: "succeeded", attempt: 1 });
  });

  it("loses it in time when nobody is heard, and at once when its agent says so", () => {
    for (const silent of [true, false]) {
      const world = new EndpointHarness();
      const replica = world.replica();
      const id = world.submit();
      world.progress(replica, world.take(replica));
      world.pass(1_000);
      world.answerDemand([]);
      world.call((core) => core.replicaGone(world.podId, replica.id, "It is gone.", silent));
      expect(world.job(id).state).toBe(silent ? "running" : "queued");
      world.pass(LEASE_MS);
      expect(world.job(id).state).toBe("queued");
    }
  });
});

describe("a start deadline", () => {
  it("is kept though more jobs have expired at once than one turn ends", () => {
    const world = new EndpointHarness();
    const ids = Array.from({ length: SWEEP_ROWS_MAX + 2 }, () => world.submit({ expiresInMs: 5_000 }));
    const replica = world.replica();
    world.pass(6_000, true);
    expect(world.poll(replica)).toBe("waiting");
    world.pass(1_000);
    expect(new Set(ids.map((id) => world.job(id).state))).toEqual(new Set(["expired"]));
  });
});

describe("a cancel", () => {
  it("reaches the agent by its waiting poll, also under a lease that is newer than the poll", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.submit();
    const first = world.take(replica);
    world.progress(replica, first);
    expect(world.poll(replica, [first])).toBe("waiting");
    const [, second] = [world.complete(replica, first), world.submit()];
    const lease = world.answers.at(-1)?.answer.lease;
    if (lease === null || lease === undefined) throw new Error("no lease");
    world.progress(replica, lease);
    expect(world.poll(replica, [])).toBe("waiting");
    world.call((core) => core.cancelJob(world.workspaceId, second));
    expect(world.answers.at(-1)?.answer).toEqual({ lease: null, ended: [lease.lease_id], stop: false });
    expect(world.complete(replica, lease)).toMatchObject({ ok: false, code: "lease_lost" });
    expect(world.job(second).state).toBe("canceled");
  });
});
