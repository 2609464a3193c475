import { beforeEach, describe, expect, it } from "vitest";
import type { JobId } from "#contract/ids";
import { BATCH_PATIENCE_MS } from "#durable-objects/queue/order";
import { EndpointHarness, type FakeReplica } from "./endpoint-harness.ts";

function runOne(world: EndpointHarness, replica: FakeReplica): void {
  world.submit();
  const lease = world.take(replica);
  world.progress(replica, lease);
  world.pass(200);
  world.complete(replica, lease);
}

describe("a batch job", () => {
  it.each([
    [false, "running"],
    [true, "queued"],
  ])("is held ahead unless interactive jobs are expected there: %s", (isExpected, state) => {
    const world = new EndpointHarness();
    const replica = world.replica();
    if (isExpected) runOne(world, replica);
    world.submit({ lane: "batch" });
    const second = world.submit({ lane: "batch" });
    const first = world.take(replica);
    world.progress(replica, first);
    world.poll(replica, [first]);
    expect(world.job(second).state).toBe(state);
    // An interactive job goes ahead either way, and begins right after the first.
    const call = world.submit();
    if (isExpected) {
      expect(world.job(call).state).toBe("running");
      expect(world.job(second).state).toBe("queued");
    }
  });

  it("is not starved by a burst that took every replica, also where the pod has taken one back since", () => {
    const settings = { min_replicas: 3, max_replicas: 3, batch_target_wait_s: 0 };
    const world = new EndpointHarness(settings);
    const replicas = Array.from({ length: 3 }, () => world.replica());
    world.answerDemand(replicas);
    for (const _ of replicas) world.submit();
    const burst = replicas.map((replica) => ({ replica, lease: world.take(replica) }));
    for (const { replica, lease } of burst) world.complete(replica, lease);
    const running = (): number => batch.filter((id) => world.job(id).state === "running").length;
    const batch = Array.from({ length: 5 }, () => world.submit({ lane: "batch" }));
    const [one, two, gone] = replicas;
    if (one === undefined || two === undefined || gone === undefined) throw new Error("there are three");
    // One of the three, the others are for the next burst.
    const lease = world.take(one);
    expect([world.poll(two), world.poll(gone), running()]).toEqual(["waiting", "waiting", 1]);
    world.pass(1_000);

    world.call((core) => core.replicaGone(world.podId, gone.id, "Others had none.", false));
    world.progress(one, lease);
    world.complete(one, lease);
    expect(running()).toBe(1);
    expect([world.poll(one), running()]).toEqual(["waiting", 1]);
  });

  it("follows the one before it at once on a fleet that idles between bursts", () => {
    const world = new EndpointHarness({ min_replicas: 3, max_replicas: 3, batch_target_wait_s: 0 });
    const replicas = Array.from({ length: 3 }, () => world.replica());
    world.answerDemand(replicas);
    for (const _ of replicas) world.submit();
    const burst = replicas.map((replica) => ({ replica, lease: world.take(replica) }));
    for (const { replica, lease } of burst) world.complete(replica, lease);
    const [replica] = replicas;
    if (replica === undefined) throw new Error("there are three");
    for (let job = 0; job < 5; job += 1) world.submit({ lane: "batch" });
    for (let job = 0; job < 5; job += 1) {
      const lease = world.take(replica);
      world.progress(replica, lease);
      world.pass(1_000);
      world.complete(replica, lease);
    }
  });

  describe("on a fleet that a burst has left", () => {
    const replicas: FakeReplica[] = [];
    const batch: JobId[] = [];
    let world: EndpointHarness;
    const running = (): number => batch.filter((id) => world.job(id).state === "running").length;

    beforeEach(() => {
      world = new EndpointHarness({ min_replicas: 3, max_replicas: 3 });
      replicas.splice(0, replicas.length, ...Array.from({ length: 3 }, () => world.replica()));
      batch.length = 0;
      world.answerDemand(replicas);
      for (const _ of replicas) world.submit();
      const burst = replicas.map((replica) => ({ replica, lease: world.take(replica) }));
      for (const { replica, lease } of burst) world.complete(replica, lease);
    });

    it("gets one replica after the other while nothing else happens, and says until when it waits", () => {
      for (const replica of replicas) world.poll(replica);
      for (let job = 0; job < 3; job += 1) batch.push(world.submit({ lane: "batch" }));
      expect(running()).toBe(0);
      const [first] = batch;
      if (first === undefined) throw new Error("there are three");
      const why = world.core.whyJob(world.workspaceId, first);
      expect(why).toMatchObject({ ok: true, why: { reasons: [{ code: "batch_lane" }] } });
      const seen = [1, 2, 3].map(() => {
        world.pass(1_000);
        return running();
      });
      expect(seen).toEqual([1, 2, 3]);
    });

    it("gets it at once when that is a while ago, also after a restart", () => {
      world.pass(12_000);
      world.restart();
      for (let job = 0; job < 3; job += 1) batch.push(world.submit({ lane: "batch" }));
      for (const replica of replicas) world.take(replica);
      expect(running()).toBe(3);
    });
  });

  it("gets one replica of a whole fleet that idles, though a burst is expected at any time", () => {
    const world = new EndpointHarness({ min_replicas: 3, max_replicas: 3 });
    const replicas = Array.from({ length: 3 }, () => world.replica());
    world.answerDemand(replicas);
    const idle = (ms: number): void => {
      for (let left = ms; left > 0; left -= 10_000) {
        world.pass(10_000);
        for (const replica of replicas) world.poll(replica, [], { waitMs: 0 });
      }
    };
    for (let burst = 0; burst < 3; burst += 1) {
      if (burst > 0) idle(240_000);
      for (const _ of replicas) world.submit();
      const taken = replicas.map((replica) => ({ replica, lease: world.take(replica) }));
      for (const { replica, lease } of taken) world.complete(replica, lease);
    }
    const batch = Array.from({ length: 3 }, () => world.submit({ lane: "batch" }));
    const running = (): number => batch.filter((id) => world.job(id).state === "running").length;
    // Nobody knows yet how long they take: ten times ten seconds.
    idle(90_000);
    expect(running()).toBe(0);
    // Three replicas idle, and none of them is for it.
    expect(batch.map((id) => world.core.whyJob(world.workspaceId, id))).toMatchObject(
      batch.map(() => ({ why: { eta_ms: null } })),
    );
    idle(10_000);
    expect(running()).toBe(1);
  });

  it("goes on with the next replica that idles when its first one is lost, though all are kept free", () => {
    const world = new EndpointHarness({ min_replicas: 2, max_replicas: 2 });
    const [one, other] = [world.replica(), world.replica()];
    const batch = world.submit({ lane: "batch" });
    const fresh = world.submit({ lane: "batch" });
    const lost = world.take(one);
    expect(lost.job_id).toBe(batch);
    world.progress(one, lost);
    const second = world.take(other);
    world.release(other, second);
    // From here on interactive jobs need all there is, as often as not.
    for (let pair = 0; pair < 3; pair += 1) {
      if (pair > 0) world.pass(20_000);
      world.progress(one, lost);
      for (let call = 0; call < 2; call += 1) world.submit();
      for (let call = 0; call < 2; call += 1) world.complete(other, world.take(other));
    }
    world.fail(one, lost);
    world.pass(5_000);
    const polled = [world.poll(other, [], { waitMs: 0 }), world.poll(other, [], { waitMs: 0 })];
    expect(polled).toMatchObject([{ lease: { job_id: batch } }, { lease: null }]);
    expect([batch, fresh].map((id) => world.job(id).state)).toEqual(["running", "queued"]);
  });

  it("is not taken to last as long as nobody was heard of its agent", () => {
    const world = new EndpointHarness({ min_replicas: 3, max_replicas: 3 });
    const replicas = Array.from({ length: 3 }, () => world.replica());
    world.answerDemand(replicas);
    for (let burst = 0; burst < 2; burst += 1) {
      for (const _ of replicas) world.submit();
      const taken = replicas.map((replica) => ({ replica, lease: world.take(replica) }));
      for (const { replica, lease } of taken) world.complete(replica, lease);
      for (let second = 0; second < 120; second += 10) {
        world.pass(10_000);
        for (const replica of replicas) world.poll(replica, [], { waitMs: 0 });
      }
    }
    const [one, other] = replicas;
    if (one === undefined || other === undefined) throw new Error("there are three");
    for (let job = 0; job < 2; job += 1) world.submit({ lane: "batch" });
    const quick = world.take(one);
    world.progress(one, quick);
    world.pass(1_000);
    world.complete(one, quick);
    const mute = world.take(one);
    world.progress(one, mute);
    for (let second = 0; second < 40; second += 10) {
      world.pass(10_000);
      world.poll(other, [], { waitMs: 0 });
    }
    expect(world.job(mute.job_id)).toMatchObject({ state: "running", attempt: 2 });
  });

  it("gets its turn on a replica that is never idle", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    const replica = world.replica();
    world.submit();
    const patient = world.submit({ lane: "batch" });
    const serviceMs = 4_000;
    let running = world.take(replica);
    const leasesMax = BATCH_PATIENCE_MS / serviceMs + 2;
    for (let leases = 0; leases < leasesMax && world.job(patient).state === "queued"; leases += 1) {
      world.submit();
      world.progress(replica, running);
      const ahead = world.take(replica, [running]);
      world.pass(serviceMs);
      world.complete(replica, running);
      running = ahead;
    }
    expect(running.job_id).toBe(patient);
  });
});
