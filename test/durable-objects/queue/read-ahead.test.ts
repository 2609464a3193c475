import { afterEach, expect, it, vi } from "vitest";
import { EndpointHarness } from "#test/durable-objects/queue/endpoint-harness";
import { NodeDatabase } from "#test/durable-objects/queue/node-database";

afterEach(() => {
  vi.restoreAllMocks();
});

/** Statements that read whole rows of jobs to hand them out. */
function readsOf(run: () => void): number {
  const exec = vi.spyOn(NodeDatabase.prototype, "exec");
  run();
  return exec.mock.calls.filter(([sql]) => /^SELECT \* FROM jobs WHERE number IN/.test(sql)).length;
}

it("reads the jobs at the beginning of a long lane together, after the object woke", () => {
  const world = new EndpointHarness();
  const replica = world.replica();
  const ids = Array.from({ length: 40 }, () => world.submit());
  world.restart();
  const taken: string[] = [];
  const reads = readsOf(() => {
    for (let turn = 0; turn < 32; turn += 1) {
      const lease = world.take(replica);
      taken.push(lease.job_id);
      world.complete(replica, lease);
    }
  });
  expect(taken).toEqual(ids.slice(0, 32));
  // One, two, four, eight and then sixteen of them.
  expect(reads).toBe(6);
});

it("hands out what a job is by then, and the inputs of large ones, which lie elsewhere", () => {
  const world = new EndpointHarness();
  const replica = world.replica();
  const large = JSON.stringify({ text: "x".repeat(200_000) });
  const ids = [
    world.submit({ inputs: '{"at":0}' }),
    world.submit({ inputs: '{"at":1}' }),
    world.submit({ inputs: large }),
    world.submit({ inputs: '{"at":3}' }),
    world.submit({ inputs: '{"at":4}' }),
  ];
  world.restart();
  const first = world.take(replica);
  // The others have been read with it.
  const [, canceled, , moved] = ids;
  if (canceled === undefined || moved === undefined) throw new Error("five were submitted");
  const { workspaceId } = replica.node;
  world.call((core) => core.cancelJob(workspaceId, canceled));
  world.call((core) => core.patchJob(workspaceId, moved, { position: "front" }));
  world.complete(replica, first);
  const taken = Array.from({ length: 3 }, () => {
    const lease = world.take(replica);
    world.complete(replica, lease);
    return [lease.job_id, lease.inputs];
  });
  expect(taken).toEqual([
    [ids[3], '{"at":3}'],
    [ids[2], large],
    [ids[4], '{"at":4}'],
  ]);
  expect(world.job(canceled).state).toBe("canceled");
});
