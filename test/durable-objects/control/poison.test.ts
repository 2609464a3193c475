import { describe, expect, it } from "vitest";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { must, summaryOf } from "./must.ts";

/** The agent begins to work on the job, and is never heard of again. */
function dies(world: EndpointHarness, replica: FakeReplica): void {
  const lease = world.take(replica);
  must(world.progress(replica, lease));
  world.call((core) => core.replicaGone(world.podId, replica.id, "The node is gone.", false));
  world.pass(120_000);
}

function failsBy(world: EndpointHarness, replica: FakeReplica, code: "out_of_memory" | "replica_failed"): void {
  const lease = world.take(replica);
  must(world.progress(replica, lease));
  const message = { error: { code, message: "it broke" }, phases: [] };
  must(world.call((core) => core.fail(world.proof(replica, lease), message)));
  world.pass(120_000);
}
const endpoint = (attempts = 3) => new EndpointHarness({ attempts_max: attempts, max_replicas: 5 });

describe("a poisoned job", () => {
  it("has taken down a machine with each of its attempts, and says which", () => {
    const world = endpoint();
    const replicas = [world.replica(), world.replica(), world.replica()];
    const id = world.submit();
    for (const replica of replicas) dies(world, replica);
    const { state, error } = world.job(id);
    expect([state, error?.code]).toEqual(["failed", "poisoned"]);
    for (const { node } of replicas) expect(error?.message).toContain(node.nodeId);
    expect(summaryOf(world).dead).toBe(1);
  });

  it("may have done so on one node alone", () => {
    const world = endpoint();
    const node = world.node();
    const id = world.submit();
    for (let attempt = 0; attempt < 3; attempt += 1) dies(world, world.replica(node));
    expect(world.job(id).error).toMatchObject({
      code: "poisoned",
      message: expect.stringContaining(
        `3 of 3 attempts ended with the death of the replica or its agent (node ${node.nodeId})`,
      ),
    });
  });

  it("may have failed in another way between, when it took down two nodes", () => {
    const world = endpoint();
    const id = world.submit();
    dies(world, world.replica());
    failsBy(world, world.replica(), "out_of_memory");
    failsBy(world, world.replica(), "replica_failed");
    expect(world.job(id).error?.code).toBe("poisoned");
  });
});

describe("a job that only had bad luck", () => {
  it("lost its last attempt alone", () => {
    const world = endpoint();
    const id = world.submit();
    failsBy(world, world.replica(), "out_of_memory");
    failsBy(world, world.replica(), "out_of_memory");
    dies(world, world.replica());
    expect(world.job(id).error?.code).toBe("lease_lost");
  });

  it("took down one node twice, and failed otherwise in between", () => {
    const world = endpoint();
    const node = world.node();
    const id = world.submit();
    dies(world, world.replica(node));
    failsBy(world, world.replica(), "out_of_memory");
    dies(world, world.replica(node));
    expect(world.job(id).error?.code).toBe("lease_lost");
  });

  it("had one attempt only", () => {
    const world = endpoint(1);
    const id = world.submit();
    dies(world, world.replica());
    expect(world.job(id).error?.code).toBe("lease_lost");
  });

  it("ended by an error of its own in the end", () => {
    const world = endpoint();
    const id = world.submit();
    dies(world, world.replica());
    dies(world, world.replica());
    failsBy(world, world.replica(), "out_of_memory");
    expect(world.job(id).error?.code).toBe("out_of_memory");
  });

  it("was handed back by agents that went away in order", () => {
    const world = endpoint();
    const id = world.submit();
    dies(world, world.replica());
    for (let lease = 0; lease < 3; lease += 1) {
      const replica = world.replica();
      const taken = world.take(replica);
      must(world.progress(replica, taken));
      must(world.release(replica, taken));
      world.pass(120_000);
    }
    failsBy(world, world.replica(), "out_of_memory");
    failsBy(world, world.replica(), "replica_failed");
    expect(world.job(id).attempt).toBe(3);
    expect(world.job(id).error?.code).toBe("poisoned");
  });

  it("was handed back again and again by agents that went away in order, beyond what is free", () => {
    const world = endpoint();
    const id = world.submit();
    for (let lease = 0; world.job(id).state === "queued" && lease < 100; lease += 1) {
      const replica = world.replica();
      const taken = world.take(replica);
      must(world.progress(replica, taken));
      must(world.release(replica, taken));
      world.pass(120_000);
    }
    expect(world.job(id)).toMatchObject({ state: "failed", attempt: 3, error: { code: "lease_lost" } });
  });

  it("was never begun where nobody was heard", () => {
    const world = endpoint();
    const id = world.submit();
    for (let lease = 0; lease < 3; lease += 1) {
      world.take(world.replica());
      world.pass(120_000);
    }
    expect(world.job(id)).toMatchObject({ state: "queued", attempt: 0 });
  });
});
