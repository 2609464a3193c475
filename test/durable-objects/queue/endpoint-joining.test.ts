import { describe, expect, it } from "vitest";
import type { JobId } from "#contract/ids";
import { USUAL_WAIT_MS } from "#durable-objects/endpoint/job-store";
import { BATCH_JOINS_BEFORE_MS, joinsAt } from "#durable-objects/queue/joining";
import { EndpointHarness } from "./endpoint-harness.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const laneOf = (world: EndpointHarness, id: JobId) => world.job(id).lane;

function whyOf(world: EndpointHarness, id: JobId) {
  const reply = world.core.whyJob(world.workspaceId, id);
  if (!reply.ok) throw new Error(reply.code);
  return reply.why;
}

describe("a batch job whose start deadline comes near", () => {
  it.each([
    ["of its own", HOUR, 0],
    ["that is the usual one", USUAL_WAIT_MS, 0],
    ["that is the usual one, of a high priority", USUAL_WAIT_MS, 9],
    ["that is far away", 7 * 24 * HOUR, 3],
  ])("joins the interactive jobs five minutes before, with a deadline %s", (_, expiresInMs, priority) => {
    const world = new EndpointHarness();
    const id = world.submit({ lane: "batch", expiresInMs, priority });
    // Nobody has to be asked for replicas meanwhile.
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.pass(expiresInMs - BATCH_JOINS_BEFORE_MS - 1);
    expect(laneOf(world, id)).toBe("batch");
    world.pass(1);
    expect(laneOf(world, id)).toBe("interactive");
    world.pass(BATCH_JOINS_BEFORE_MS);
    expect(world.job(id).state).toBe("expired");
  });

  it("joins at half of its time where that is short", () => {
    const world = new EndpointHarness();
    const id = world.submit({ lane: "batch", expiresInMs: 2 * MINUTE });
    world.pass(MINUTE - 1);
    expect(laneOf(world, id)).toBe("batch");
    world.pass(1);
    expect(laneOf(world, id)).toBe("interactive");
  });

  it("joins after a restart too, and expires in time although it stands among younger jobs", () => {
    const world = new EndpointHarness();
    const own = world.submit({ lane: "batch", expiresInMs: HOUR });
    const usual = world.submit({ lane: "batch", expiresInMs: USUAL_WAIT_MS });
    world.pass(HOUR - 3 * MINUTE - BATCH_JOINS_BEFORE_MS);
    world.restart();
    world.pass(3 * MINUTE);
    expect([laneOf(world, own), laneOf(world, usual)]).toEqual(["interactive", "batch"]);
    world.pass(USUAL_WAIT_MS - HOUR);
    expect(laneOf(world, usual)).toBe("interactive");
    world.restart();
    world.pass(BATCH_JOINS_BEFORE_MS);
    expect(world.job(usual).state).toBe("expired");
  });

  it("goes behind the interactive jobs that wait, and ahead of those that come later and of other batch jobs", () => {
    const world = new EndpointHarness();
    const late = world.submit({ lane: "batch", expiresInMs: HOUR });
    const other = world.submit({ lane: "batch", expiresInMs: 2 * HOUR });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS - 1_000);
    const before = world.submit();
    world.pass(2_000);
    const after = world.submit();
    const replica = world.replica();
    const order = [1, 2, 3, 4].map(() => {
      const lease = world.take(replica);
      world.progress(replica, lease);
      world.complete(replica, lease);
      return lease.job_id;
    });
    expect(order).toEqual([before, late, after, other]);
  });

  it("is told so, before and after", () => {
    const world = new EndpointHarness({ batch_target_wait_s: 2 * 3_600 });
    const id = world.submit({ lane: "batch", expiresInMs: HOUR });
    const { createdAt, expiresAt } = world.job(id);
    const joins = new Date(joinsAt({ createdAt, expiresAt: expiresAt ?? 0 })).toISOString();
    const [waits] = whyOf(world, id).reasons;
    expect(waits).toMatchObject({ code: "batch_lane", detail: expect.stringContaining(`From ${joins} on`) });
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS);
    const reason = whyOf(world, id).reasons.find(({ code }) => code === "batch_lane");
    expect(reason?.detail).toContain(`has gone with the interactive ones since ${joins}`);
    expect(whyOf(world, world.submit()).reasons.map(({ code }) => code)).not.toContain("batch_lane");
  });

  it("is given a replica although batch jobs would wait longer for one", () => {
    const world = new EndpointHarness({ batch_target_wait_s: 2 * 3_600 });
    world.submit({ lane: "batch", expiresInMs: HOUR });
    expect(world.core.demand()?.wanted).toBe(0);
    world.pass(HOUR - BATCH_JOINS_BEFORE_MS);
    expect(world.core.demand()).toMatchObject({ wanted: 1, needed: 1 });
  });

  it("that has started before stays where it is: it does not expire", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit({ lane: "batch", expiresInMs: HOUR });
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.fail(replica, lease);
    world.call((core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: false }));
    world.pass(HOUR);
    expect([laneOf(world, id), world.job(id).state]).toEqual(["batch", "queued"]);
  });
});
