/** Offers of work that reach nobody, and to whom the next one goes. All replicas are of one machine. */
import { beforeEach, describe, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import type { JobId } from "#contract/ids";
import { LEASE_CONFIRM_MS } from "#contract/limits";
import { SURE_TAKER_WAIT_MS } from "#durable-objects/replicas/choose";
import { EndpointHarness, type FakeReplica } from "./endpoint-harness.ts";

let world: EndpointHarness;
let worker: FakeReplica;
let ghosts: readonly [FakeReplica, FakeReplica];

beforeEach(() => {
  world = new EndpointHarness({ max_replicas: 3 });
  const node = world.node();
  worker = world.replica(node);
  ghosts = [world.replica(node), world.replica(node)];
});

/** The worker is at a job, and the next one goes to a ghost, which never speaks. */
function offeredToGhost(): { readonly busy: Lease; readonly lost: JobId } {
  world.submit();
  const busy = world.take(worker);
  world.progress(worker, busy);
  world.poll(ghosts[0]);
  const lost = world.submit();
  expect(world.job(lost).state).toBe("running");
  return { busy, lost };
}

/** Time passes; the worker goes on. */
function passBusy(busy: Lease, ms: number): void {
  for (let left = ms; left > 0; left -= 5_000) {
    world.pass(Math.min(left, 5_000));
    world.progress(worker, busy);
  }
  world.ring();
}

describe("a job whose offer reached nobody", () => {
  it("goes to a replica that took its last one, though another waits that may be gone as well", () => {
    const { busy, lost } = offeredToGhost();
    world.poll(ghosts[1]);
    passBusy(busy, LEASE_CONFIRM_MS);
    expect(world.job(lost)).toMatchObject({ state: "queued", attempt: 0 });
    world.complete(worker, busy);
    expect(world.take(worker).job_id).toBe(lost);
  });

  it("goes to any when none such has come in time", () => {
    const { busy, lost } = offeredToGhost();
    world.poll(ghosts[1]);
    passBusy(busy, LEASE_CONFIRM_MS);
    world.pass(SURE_TAKER_WAIT_MS - 1);
    world.ring();
    expect(world.job(lost).state).toBe("queued");
    world.pass(1);
    world.ring();
    expect(world.job(lost).state).toBe("running");
  });

  it("goes to any at once where nobody is known to be there", () => {
    world.poll(ghosts[0]);
    const lost = world.submit();
    world.poll(ghosts[1]);
    world.pass(LEASE_CONFIRM_MS);
    world.ring();
    expect(world.job(lost).state).toBe("running");
  });

  it("holds up no other job", () => {
    const { busy, lost } = offeredToGhost();
    passBusy(busy, LEASE_CONFIRM_MS);
    world.poll(ghosts[1]);
    const next = world.submit();
    expect([world.job(lost).state, world.job(next).state]).toEqual(["queued", "running"]);
  });
});

describe("a replica that let its last offer lapse", () => {
  it("comes last, though it was used last", () => {
    const { busy, lost } = offeredToGhost();
    passBusy(busy, LEASE_CONFIRM_MS);
    world.complete(worker, busy);
    world.complete(worker, world.take(worker));
    expect(world.job(lost).state).toBe("succeeded");
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.poll(ghosts[0]);
    world.poll(ghosts[1]);
    world.submit();
    world.call((core) => core.resumeQueue(world.workspaceId));
    expect([...world.waiting.keys()]).toEqual([ghosts[0].id]);
  });
});
