import type { Refusal } from "#contract/problems";
import type { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { EndpointHarness, FakeReplica } from "../queue/endpoint-harness.ts";

/** The reply of a call that must be granted. */
export function must<T extends object>(reply: T | Refusal): Exclude<T, Refusal> {
  if ("ok" in reply && reply.ok === false) throw new Error(`${(reply as Refusal).code}: ${(reply as Refusal).detail}`);
  return reply as Exclude<T, Refusal>;
}

/** One call on the endpoint, then its effects; it must be granted. */
export function ask<T extends object>(
  world: EndpointHarness,
  call: (core: EndpointCore) => T | Refusal,
): Exclude<T, Refusal> {
  return must(world.call(call));
}

/** How the queue stands. */
export function summaryOf(world: EndpointHarness) {
  return ask(world, (core) => core.queueSummary(world.workspaceId)).summary;
}

/** Runs the next job on the replica to its end, taking `ms`. @returns the job */
export function runNext(world: EndpointHarness, replica: FakeReplica, ms = 0) {
  const lease = world.take(replica);
  world.progress(replica, lease);
  for (let left = ms; left > 0; left -= 5_000) {
    world.pass(Math.min(left, 5_000));
    world.progress(replica, lease);
  }
  must(world.complete(replica, lease));
  return lease.job_id;
}

/** The replica asks and gets nothing for now. */
export function getsNothing(world: EndpointHarness, replica: FakeReplica): boolean {
  return world.poll(replica) === "waiting";
}
