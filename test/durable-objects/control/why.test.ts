import { describe, expect, it } from "vitest";
import type { JobId } from "#contract/ids";
import { JobWhy } from "#contract/job";
import type { DemandReply } from "#durable-objects/pod/rpc";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { ask, must, runNext, summaryOf } from "./must.ts";

const why = (world: EndpointHarness, id: JobId): JobWhy =>
  JobWhy.parse(ask(world, (core) => core.whyJob(world.workspaceId, id)).why);
const codes = (world: EndpointHarness, id: JobId) => why(world, id).reasons.map(({ code }) => code);

/** The pod answers the present demand. */
function podSays(
  world: EndpointHarness,
  code: DemandReply["shortage"]["code"],
  error: string | null = null,
  placed: readonly FakeReplica[] = [],
): void {
  world.answerDemand(placed, { shortage: { code, error } });
}
const report = (world: EndpointHarness, replica: FakeReplica, state: "loading" | "crashed", error?: string) =>
  world.call((core) =>
    core.reportReplica(replica.node, replica.id, { state, phases: [], ...(error === undefined ? {} : { error }) }),
  );

describe("why a job waits", () => {
  it("paused, by whom it was said, with nobody knowing until when", () => {
    const world = new EndpointHarness();
    world.poll(world.replica(), [], { waitMs: 0 });
    ask(world, (core) => core.pauseQueue(world.workspaceId, { reason: "maintenance", refuseNew: false }));
    const id = world.submit();
    expect(why(world, id)).toMatchObject({
      state: "queued",
      phase: "waiting",
      position: 1,
      eta_ms: null,
      reasons: [{ code: "paused", until: null }],
    });
    expect(why(world, id).summary).toContain("maintenance");
  });

  it("budget_exhausted, until the next UTC day", () => {
    const world = new EndpointHarness({ gpu_seconds_per_day_max: 5 });
    const replica = world.replica();
    world.submit();
    const id = world.submit();
    runNext(world, replica, 5_000);
    world.poll(replica, [], { waitMs: 0 });
    const tomorrow = (Math.floor(world.now / 86_400_000) + 1) * 86_400_000;
    expect(why(world, id)).toMatchObject({
      eta_ms: tomorrow - world.now,
      reasons: [{ code: "budget_exhausted", until: new Date(tomorrow).toISOString() }],
    });
  });

  it("rate_limited, until the first start is a minute old; the second in line until the second is", () => {
    const world = new EndpointHarness({ starts_per_minute_max: 2, idle_timeout_s: 600 });
    const replica = world.replica();
    const ids = [0, 1, 2, 3].map(() => world.submit());
    const beganAt = world.now;
    runNext(world, replica, 10_000);
    runNext(world, replica, 10_000);
    world.poll(replica, [], { waitMs: 0 });
    expect(why(world, ids[2] as JobId)).toMatchObject({
      eta_ms: beganAt + 60_000 - world.now,
      reasons: [{ code: "rate_limited", until: new Date(beganAt + 60_000).toISOString() }],
    });
    expect(why(world, ids[3] as JobId).eta_ms).toBe(beganAt + 70_000 - world.now);
  });

  it.each(["no_node_online", "region_unavailable", "all_slots_busy"] as const)("%s, as the pod says", (code) => {
    const world = new EndpointHarness({ regions: ["eu-west"] });
    const id = world.submit();
    expect(codes(world, id)).toEqual(["replica_starting"]);
    podSays(world, code);
    expect(why(world, id)).toMatchObject({ eta_ms: null, reasons: [{ code }] });
    world.restart();
    expect(codes(world, id)).toEqual([code]);
    podSays(world, "none", null, [world.replica()]);
    expect(codes(world, id)).toEqual(["replica_starting"]);
  });

  it("no_node_online, with what keeps the machines that are there from taking new work", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    podSays(world, "no_node_online", "The machine attic is in quarantine: its cards changed.");
    world.restart();
    expect(why(world, id)).toMatchObject({
      reasons: [{ code: "no_node_online", detail: expect.stringMatching(/takes new work.*attic is in quarantine/) }],
    });
  });

  it("crash_looping, with the last error, which the pod says or the endpoint has seen itself", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const id = world.submit();
    const replica = world.replica();
    report(world, replica, "crashed", "CUDA driver is too old");
    podSays(world, "crash_looping");
    expect(why(world, id).reasons).toMatchObject([{ code: "crash_looping", error: "CUDA driver is too old" }]);
    podSays(world, "crash_looping", "no space left");
    expect(why(world, id).reasons).toMatchObject([{ code: "crash_looping", error: "no space left" }]);
    podSays(world, "none", null, [world.replica()]);
    expect(codes(world, id)).toEqual(["replica_starting"]);
    for (let crash = 0; crash < 2; crash += 1) report(world, world.replica(), "crashed", "again");
    expect(codes(world, id)).toEqual(["crash_looping", "replica_starting"]);
    world.poll(world.replica(), [], { waitMs: 0 });
    expect(world.job(id).state).toBe("running");
  });

  it("replica_starting, with its phase", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    const replica = world.replica();
    report(world, replica, "loading");
    podSays(world, "none", null, [replica]);
    world.pass(12_000);
    expect(why(world, id).reasons).toMatchObject([
      { code: "replica_starting", replica_id: replica.id, phase: "loading", detail: expect.stringContaining("12 s") },
    ]);
  });

  it("all_slots_busy, with how many go first and when its turn should come", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const [one, two] = [world.replica(), world.replica()];
    const ids = Array.from({ length: 8 }, () => world.submit());
    runNext(world, one, 10_000);
    world.progress(one, world.take(one));
    world.progress(two, world.take(two));
    expect(why(world, ids[7] as JobId)).toMatchObject({
      position: 5,
      eta_ms: 25_000,
      reasons: [{ code: "all_slots_busy", ahead: 4, until: new Date(world.now + 25_000).toISOString() }],
    });
    expect(summaryOf(world).eta_ms).toBe(30_000);
  });

  it("retry_backoff, with what ended its last attempt", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    world.fail(replica, world.take(replica));
    world.poll(replica, [], { waitMs: 0 });
    const { availableAt } = { availableAt: Date.parse(listed(world)?.available_at ?? "") };
    expect(why(world, id)).toMatchObject({
      phase: "retrying",
      eta_ms: availableAt - world.now,
      reasons: [{ code: "retry_backoff", until: new Date(availableAt).toISOString() }],
    });
    expect(why(world, id).reasons[0]?.detail).toContain("out_of_memory");
  });

  it("prefers_another_node, when only the one it failed on is idle", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const [one, two] = [world.replica(), world.replica()];
    const id = world.submit();
    world.fail(one, world.take(one));
    world.submit();
    world.take(two);
    world.pass(3_000);
    const job = listed(world);
    expect(job?.available_at).toBeNull();
    expect(world.poll(one)).toBe("waiting");
    expect(codes(world, id)).toEqual(["prefers_another_node"]);
    world.pass(6_000);
    expect(world.job(id).state).toBe("running");
  });

  it("about_to_start, when nothing holds it but the time until a poll", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.poll(replica, [], { waitMs: 0 });
    const id = world.submit();
    expect(why(world, id)).toMatchObject({ eta_ms: 0, reasons: [{ code: "about_to_start" }] });
  });

  it("is not a question once it runs or has ended", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    expect(why(world, id)).toMatchObject({ state: "running", phase: "assigned", reasons: [], position: null });
    must(world.complete(replica, lease));
    expect(why(world, id)).toMatchObject({ state: "succeeded", reasons: [], summary: "The job has ended: succeeded." });
    const stranger = "ws_00000000000000000000000000" as typeof world.workspaceId;
    expect(world.core.whyJob(stranger, id)).toMatchObject({ ok: false, code: "job_not_found" });
  });
});

describe("what the pod said", () => {
  it("is asked again every ten seconds while jobs wait and the pod is short, so that the answer is fresh", () => {
    const world = new EndpointHarness();
    world.submit();
    podSays(world, "no_node_online");
    world.demandsToSend = 0;
    world.pass(9_999);
    expect(world.demandsToSend).toBe(0);
    world.pass(1);
    expect(world.demandsToSend).toBe(1);
    podSays(world, "no_node_online");
    world.pass(10_000);
    expect(world.demandsToSend).toBe(1);
  });

  it("is asked no oftener than before when nobody waits", () => {
    const world = new EndpointHarness({ min_replicas: 1 });
    podSays(world, "no_node_online");
    world.demandsToSend = 0;
    world.pass(59_999);
    expect(world.demandsToSend).toBe(0);
    world.pass(1);
    expect(world.demandsToSend).toBe(1);
  });
});

function listed(world: EndpointHarness) {
  return ask(world, (core) => core.listQueue(world.workspaceId, { limit: 1 })).entries[0];
}
