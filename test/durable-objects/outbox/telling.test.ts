import { describe, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import type { JobEventType } from "#contract/job";
import { EndpointHarness, type FakeReplica } from "#test/durable-objects/queue/endpoint-harness";

const DAY_MS = 86_400_000;
const ALL: readonly JobEventType[] = [
  "job.queued",
  "job.started",
  "job.progress",
  "job.succeeded",
  "job.failed",
  "job.canceled",
  "job.expired",
];

function subscribed(events: readonly JobEventType[] = ALL): EndpointHarness {
  const world = new EndpointHarness();
  world.call((core) => core.setInterest(world.workspaceId, { version: 2, events }));
  return world;
}
const types = (world: EndpointHarness) => world.told.map(({ type }) => type);
const rows = (world: EndpointHarness) => world.db.exec("SELECT count(*) AS n FROM outbox")[0]?.n;
const progress = (world: EndpointHarness, replica: FakeReplica, lease: Lease, fraction: number) =>
  world.call((core) =>
    core.progress(world.proof(replica, lease), {
      phase: "executing",
      progress: { fraction, nodes_done: 1, nodes_total: 9 },
    }),
  );

describe("a job's webhook events", () => {
  it("follow its life, each under the number of its event", () => {
    const world = subscribed();
    const id = world.submit({ tags: ["a"] });
    const replica = world.replica();
    const lease = world.take(replica);
    expect(types(world)).toEqual(["job.queued"]);
    world.progress(replica, lease, "preparing");
    world.pass(6_000);
    progress(world, replica, lease, 0.5);
    world.complete(replica, lease);
    expect(types(world)).toEqual(["job.queued", "job.started", "job.progress", "job.succeeded"]);
    const chars = id.slice(4);
    expect(world.told.map(({ messageId }) => messageId.replace(/p\d+$/, "p*"))).toEqual([
      `msg_${chars}_1`,
      `msg_${chars}_2`,
      `msg_${chars}_p*`,
      `msg_${chars}_5`,
    ]);
    const data = world.told.map((event) => JSON.parse(event.data) as Record<string, unknown>);
    expect(data.map(({ state }) => state)).toEqual(["queued", "running", "running", "succeeded"]);
    expect(data[2]?.progress).toMatchObject({ fraction: 0.5 });
    expect(data[3]).toMatchObject({ id, endpoint: "picture", tags: ["a"], attempt: 1, error: null });
    for (const event of world.told) expect(event.data).not.toContain("18446744073709551615");
  });

  it("say once that it started, whatever becomes of the first attempt", () => {
    const world = subscribed(["job.started", "job.failed"]);
    world.submit();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const replica = world.replica();
      const lease = world.take(replica);
      world.progress(replica, lease);
      world.fail(replica, lease);
      world.pass(200_000, true);
      world.ring();
    }
    expect(types(world)).toEqual(["job.started", "job.failed"]);
    expect(JSON.parse(world.told[1]?.data ?? "")).toMatchObject({
      state: "failed",
      attempt: 3,
      error: { code: "out_of_memory" },
    });
  });

  it("say that it started when the agent's first word is the result", () => {
    const world = subscribed(["job.started", "job.succeeded"]);
    world.submit();
    const replica = world.replica();
    world.complete(replica, world.take(replica));
    expect(types(world)).toEqual(["job.started", "job.succeeded"]);
  });

  it("tell of a cancel and of a deadline", () => {
    const world = subscribed(["job.canceled", "job.expired"]);
    const canceled = world.submit();
    world.call((core) => core.cancelJob(world.workspaceId, canceled));
    const expired = world.submit({ expiresInMs: 1_000 });
    world.pass(2_000);
    expect(world.told.map(({ type, jobId }) => [type, jobId])).toEqual([
      ["job.canceled", canceled],
      ["job.expired", expired],
    ]);
  });

  it("tell of progress at most each five seconds, also after a restart", () => {
    const world = subscribed(["job.progress"]);
    world.submit();
    const replica = world.replica();
    const lease = world.take(replica);
    world.progress(replica, lease);
    const at: number[] = [];
    for (let step = 1; step <= 300; step += 1) {
      world.pass(100);
      if (step === 150) world.restart();
      const before = world.told.length;
      progress(world, replica, lease, step / 300);
      if (world.told.length > before) at.push(world.now);
    }
    expect(at.length).toBeGreaterThanOrEqual(5);
    for (const [index, moment] of at.slice(1).entries()) {
      expect(moment - (at[index] ?? 0)).toBeGreaterThanOrEqual(5_000);
    }
    expect(new Set(world.told.map(({ messageId }) => messageId)).size).toBe(world.told.length);
  });
});

describe("a job's own webhook", () => {
  const webhook = { url: "https://own.example.com/", events: ["job.failed", "job.canceled"] as JobEventType[] };

  it("hears what it asked for, and nothing else is written", () => {
    const world = subscribed([]);
    const id = world.submit({ webhook });
    world.submit();
    world.call((core) => core.cancelJob(world.workspaceId, id));
    expect(world.told.map(({ type, url, jobId }) => [type, url, jobId])).toEqual([["job.canceled", webhook.url, id]]);
  });

  it("does not get the workspace's other events", () => {
    const world = subscribed(["job.queued"]);
    world.submit({ webhook });
    expect(world.told.map(({ type, url }) => [type, url])).toEqual([["job.queued", null]]);
  });
});

describe("the outbox", () => {
  it("holds everything while nobody has said what is wanted", () => {
    const world = new EndpointHarness();
    expect(rows(world)).toBe(0);
    const silent = new EndpointHarness();
    silent.webhooksAway = true;
    silent.db.exec("UPDATE interest SET events = NULL");
    silent.restart();
    silent.submit();
    expect(rows(silent)).toBe(1);
  });

  it("keeps what was not taken, repeats it with growing pauses, and hands it over once", () => {
    const world = subscribed(["job.canceled"]);
    world.webhooksAway = true;
    const ids = Array.from({ length: 3 }, () => world.submit());
    for (const id of ids) world.call((core) => core.cancelJob(world.workspaceId, id));
    expect(rows(world)).toBe(3);
    world.pass(300_000);
    world.restart();
    expect(rows(world)).toBe(3);
    expect(world.told).toEqual([]);
    world.webhooksAway = false;
    world.pass(61_000);
    expect(world.told.map(({ jobId }) => jobId)).toEqual(ids);
    expect(rows(world)).toBe(0);
    // And nothing waits any longer for the webhooks alone.
    world.submit();
    expect(rows(world)).toBe(0);
  });

  it("is handed over by the alarm when whoever should have done it has died", () => {
    const world = subscribed(["job.queued"]);
    const reply = world.core.enqueue(world.request());
    expect(reply.ok).toBe(true);
    const arm = world.core.takeEffects().find((effect) => effect.type === "arm");
    expect(rows(world)).toBe(1);
    world.armedAt = Math.min(world.armedAt ?? Number.POSITIVE_INFINITY, arm?.type === "arm" ? arm.at : Infinity);
    world.restart();
    world.pass(11_000);
    expect(world.told).toHaveLength(1);
    expect(rows(world)).toBe(0);
  });

  it("takes a newer interest, never an older one", () => {
    const world = subscribed(["job.queued"]);
    world.call((core) => core.setInterest(world.workspaceId, { version: 1, events: [] }));
    world.submit();
    expect(types(world)).toEqual(["job.queued"]);
    world.call((core) => core.setInterest(world.workspaceId, { version: 3, events: [] }));
    world.submit();
    expect(types(world)).toEqual(["job.queued"]);
  });

  it("of a removed endpoint is emptied before the endpoint is erased", () => {
    const world = subscribed(["job.canceled"]);
    world.webhooksAway = true;
    const id = world.submit();
    world.call((core) => core.remove(world.workspaceId));
    world.settle();
    world.pass(7 * DAY_MS, true);
    world.ring();
    const [due] = world.core.outputsDue(10);
    if (due === undefined) throw new Error("nothing is due");
    world.call((core) => core.outputsDeleted(due));
    world.pass(30 * DAY_MS, true);
    world.pass(120_000);
    expect(world.erased).toBe(false);
    world.webhooksAway = false;
    world.pass(61_000);
    expect(world.told.map(({ jobId, type }) => [jobId, type])).toEqual([[id, "job.canceled"]]);
    world.pass(61_000);
    expect(world.erased).toBe(true);
  });
});
