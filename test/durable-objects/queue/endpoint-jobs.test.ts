import { describe, expect, it } from "vitest";
import type { WorkspaceId } from "#contract/ids";
import { IDEMPOTENCY_KEY_MS, JOB_RETENTION_DAYS, OUTPUT_RETENTION_DAYS } from "#contract/limits";
import type { StoredOutput } from "#durable-objects/endpoint/rpc";
import { EndpointHarness } from "./endpoint-harness.ts";

const DAY_MS = 86_400_000;
const stranger = "ws_00000000000000000000000000" as WorkspaceId;
const key = (fingerprint: string) => ({ idempotency: { key: "order-1", fingerprint } });

describe("submitting", () => {
  it("stores the job with its first event before it answers", () => {
    const world = new EndpointHarness();
    const id = world.submit({ tags: ["a", "b"] });
    expect(world.job(id)).toMatchObject({
      state: "queued",
      phase: "waiting",
      position: 1,
      attempt: 0,
      tags: ["a", "b"],
    });
    const watched = world.core.watchJob(world.workspaceId, id, { seq: 0, version: 0 });
    expect(watched).toMatchObject({ ok: true, events: [{ seq: 1, type: "queued" }], ended: false });
  });

  it("keeps every digit of the inputs", () => {
    const world = new EndpointHarness();
    expect(world.job(world.submit()).inputs).toBe('{"seed":18446744073709551615}');
  });

  it("answers a repeated key with the first job, also when the queue is full by then", () => {
    const world = new EndpointHarness({ queue_depth_max: 1 });
    const first = world.submit(key("f1"));
    const again = world.core.enqueue(world.request(key("f1")));
    expect(again).toMatchObject({ ok: true, replayed: true, job: { id: first } });
  });

  it("refuses a key that came with other bytes", () => {
    const world = new EndpointHarness();
    world.submit(key("f1"));
    expect(world.core.enqueue(world.request(key("f2")))).toMatchObject({ ok: false, code: "idempotency_key_reused" });
  });

  it("takes a key anew after a day", () => {
    const world = new EndpointHarness();
    const first = world.submit(key("f1"));
    world.pass(IDEMPOTENCY_KEY_MS);
    expect(world.submit(key("f2"))).not.toBe(first);
  });

  it("stores nothing of a job that finds the queue full", () => {
    const world = new EndpointHarness({ queue_depth_max: 2 });
    world.submit();
    world.submit();
    const refused = world.core.enqueue(world.request({ ...key("f1"), tags: ["t"] }));
    expect(refused).toMatchObject({ ok: false, code: "queue_full", retryAfterS: 5 });
    for (const table of ["idempotency", "job_tags"]) expect(world.db.exec(`SELECT * FROM ${table}`)).toEqual([]);
    expect(world.db.exec("SELECT * FROM jobs")).toHaveLength(2);
  });

  it("is unknown to strangers, and so is everything else", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    expect(world.core.enqueue(world.request({ workspaceId: stranger }))).toMatchObject({ code: "endpoint_not_found" });
    expect(world.core.getJob(stranger, id)).toMatchObject({ code: "job_not_found" });
    expect(world.core.cancelJob(stranger, id)).toMatchObject({ code: "job_not_found" });
    expect(world.core.watchJob(stranger, id, { seq: 0, version: 0 })).toMatchObject({ code: "job_not_found" });
    expect(world.core.listJobs(stranger, { limit: 10, bytesMax: 1_000_000 })).toMatchObject({
      code: "endpoint_not_found",
    });
    expect(world.core.queueSummary(stranger)).toMatchObject({ code: "endpoint_not_found" });
    expect(world.core.listReplicas(stranger)).toMatchObject({ code: "endpoint_not_found" });
    expect(world.core.remove(stranger)).toMatchObject({ code: "endpoint_not_found" });
    expect(world.job(id).state).toBe("queued");
  });
});

describe("the order of the queue", () => {
  const order = (world: EndpointHarness, count: number) => {
    const replica = world.replica();
    return Array.from({ length: count }, () => {
      const lease = world.take(replica);
      world.complete(replica, lease);
      return lease.job_id;
    });
  };

  it("is first come, first served, also within one millisecond", () => {
    const world = new EndpointHarness();
    const jobs = Array.from({ length: 20 }, () => world.submit());
    expect(order(world, 20)).toEqual(jobs);
  });

  it("holds while the clock steps back", () => {
    const world = new EndpointHarness();
    const first = world.submit();
    world.now -= 5_000;
    const second = world.submit();
    expect(second > first).toBe(true);
  });

  it("puts the interactive lane first, and a higher priority before a lower one", () => {
    const world = new EndpointHarness();
    const batch = world.submit({ lane: "batch", priority: 9 });
    const low = world.submit({ priority: 0 });
    const high = world.submit({ priority: 9 });
    expect([high, low, batch].map((id) => world.job(id).position)).toEqual([1, 2, 3]);
    expect(order(world, 3)).toEqual([high, low, batch]);
  });

  it("counts a minute of waiting as one level", () => {
    const world = new EndpointHarness();
    const old = world.submit({ priority: 4 });
    world.pass(60_001);
    const young = world.submit({ priority: 5 });
    expect(order(world, 2)).toEqual([old, young]);
  });

  it("lets a patient batch job through a steady interactive stream", () => {
    const world = new EndpointHarness();
    const batch = world.submit({ lane: "batch", expiresInMs: DAY_MS });
    world.pass(10 * 60_000);
    for (let job = 0; job < 30; job += 1) world.submit();
    expect(order(world, 12)).toContain(batch);
  });

  it("gives a job that failed its old place back", () => {
    const world = new EndpointHarness();
    const first = world.submit();
    world.submit();
    const replica = world.replica();
    const lease = world.take(replica);
    expect(lease.job_id).toBe(first);
    world.release(replica, lease);
    expect(world.job(first)).toMatchObject({ state: "queued", phase: "retrying", position: 1, attempt: 0 });
  });
});

describe("canceling", () => {
  it("ends a waiting job at once", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    expect(world.core.cancelJob(world.workspaceId, id)).toMatchObject({ job: { state: "canceled", position: null } });
    expect(world.poll(world.replica(), [], { waitMs: 0 })).toEqual({ lease: null, ended: [], stop: false });
  });

  it("takes a running job's lease away and tells the agent at its next word", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    const replica = world.replica();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.call((core) => core.cancelJob(world.workspaceId, id));
    expect(world.progress(replica, lease)).toEqual({ ok: true, answer: { cancel: true, renew_within_ms: 0 } });
    expect(world.complete(replica, lease)).toMatchObject({ ok: false, code: "lease_lost" });
    expect(world.job(id).state).toBe("canceled");
  });

  it("answers a waiting poll that listed the lease", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    const replica = world.replica();
    const lease = world.take(replica);
    expect(world.poll(replica, [lease])).toBe("waiting");
    world.call((core) => core.cancelJob(world.workspaceId, id));
    expect(world.answers.at(-1)?.answer).toEqual({ lease: null, ended: [lease.lease_id], stop: false });
  });

  it("leaves an ended job as it is and says how it ended", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    const replica = world.replica();
    world.complete(replica, world.take(replica));
    expect(world.core.cancelJob(world.workspaceId, id)).toMatchObject({ ok: true, job: { state: "succeeded" } });
  });
});

describe("a start deadline", () => {
  it("expires a job that nobody has started", () => {
    const world = new EndpointHarness();
    const id = world.submit({ expiresInMs: 5_000 });
    world.pass(4_999);
    expect(world.job(id).state).toBe("queued");
    world.pass(1);
    expect(world.job(id)).toMatchObject({ state: "expired", finishedAt: world.now, error: null });
  });

  it("is kept by a late alarm: an expired job is never started", () => {
    const world = new EndpointHarness();
    const id = world.submit({ expiresInMs: 5_000 });
    world.pass(6_000, true);
    expect(world.poll(world.replica(), [], { waitMs: 0 })).toMatchObject({ lease: null });
    expect(world.job(id).state).toBe("expired");
  });

  it("counts only until the first word of an agent", () => {
    const world = new EndpointHarness();
    const id = world.submit({ expiresInMs: 5_000 });
    const replica = world.replica();
    const lease = world.take(replica);
    world.progress(replica, lease);
    world.fail(replica, lease);
    world.pass(3_600_000);
    expect(world.job(id).state).toBe("queued");
  });
});

describe("listing", () => {
  it("is newest first, by pages, by state and by tag", () => {
    const world = new EndpointHarness();
    const ids = [world.submit({ tags: ["x"] }), world.submit(), world.submit({ tags: ["x", "y"] }), world.submit()];
    const replica = world.replica();
    world.fail(replica, world.take(replica), "execution_error");
    world.complete(replica, world.take(replica));
    world.take(replica);
    const list = (filter: object) => {
      const reply = world.core.listJobs(world.workspaceId, { limit: 10, bytesMax: 1_000_000, ...filter });
      return reply.ok ? reply.jobs.map(({ id }) => ids.indexOf(id)) : reply.code;
    };
    expect(list({})).toEqual([3, 2, 1, 0]);
    expect(list({ before: ids[2], limit: 1 })).toEqual([1]);
    expect(["failed", "succeeded", "running", "queued", "canceled"].map((state) => list({ state }))).toEqual([
      [0],
      [1],
      [2],
      [3],
      [],
    ]);
    expect(list({ tag: "x" })).toEqual([2, 0]);
    expect(list({ tag: "x", before: ids[2] })).toEqual([0]);
    expect(list({ tag: "x", state: "failed" })).toEqual([0]);
    expect(list({ tag: "z" })).toEqual([]);
  });
});

describe("the summary", () => {
  it("counts the queue, the last hour and the median run", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    for (const ms of [1_000, 2_000, 9_000]) {
      world.submit();
      const lease = world.take(replica);
      world.progress(replica, lease);
      world.pass(ms);
      world.complete(replica, lease);
    }
    world.submit({ lane: "batch" });
    world.pass(500);
    const reply = world.core.queueSummary(world.workspaceId);
    expect(reply).toMatchObject({
      summary: {
        queued: { interactive: 0, batch: 1 },
        running: 0,
        oldest_wait_ms: 500,
        finished_last_hour: { succeeded: 3, failed: 0, canceled: 0, expired: 0 },
        service_ms_p50: 2_000,
      },
    });
    world.pass(3_600_000);
    expect(world.core.queueSummary(world.workspaceId)).toMatchObject({
      summary: { finished_last_hour: { succeeded: 0, expired: 1 }, service_ms_p50: 2_000 },
    });
  });
});

describe("retention", () => {
  const output = (key: string): StoredOutput => ({
    index: 0,
    name: "picture.png",
    output: "picture",
    kind: "image",
    filename: "picture.png",
    content_type: "image/png",
    size: 3,
    sha256: "0".repeat(64),
    key,
  });
  const manifest = ({ key: _, ...entry }: StoredOutput) => entry;
  const finished = (world: EndpointHarness) => {
    const id = world.submit({ ...key("f1"), tags: ["t"] });
    const replica = world.replica();
    const lease = world.take(replica);
    const proof = world.proof(replica, lease);
    const grant = world.core.grantOutput(proof);
    const stored = output(`${grant.ok ? grant.grant.keyPrefix : ""}0`);
    world.call((core) => core.complete(proof, { outputs: [manifest(stored)], phases: [] }, [stored]));
    return { id, stored };
  };

  it("shows outputs for a week, then asks for their deletion by name", () => {
    const world = new EndpointHarness();
    const { id, stored } = finished(world);
    const endedAt = world.now;
    world.settle();
    expect(stored.key).toMatch(new RegExp(`^out/d7/${world.workspaceId}/${id}/1\\.[0-9a-f]{24}/0$`));
    expect(world.core.outputsDue(10)).toEqual([]);
    expect(world.job(id)).toMatchObject({ outputsExpired: false, outputs: [stored] });
    world.pass(OUTPUT_RETENTION_DAYS * DAY_MS);
    expect(world.job(id).outputsExpired).toBe(true);
    expect(world.core.outputsDue(10)).toEqual([{ jobId: id, finishedAt: endedAt, keys: [stored.key] }]);
    world.call((core) => core.outputsDeleted({ finishedAt: endedAt, jobId: id }));
    expect(world.core.outputsDue(10)).toEqual([]);
  });

  it("does not know the names of what a failed attempt may have left", () => {
    const world = new EndpointHarness();
    world.submit();
    const replica = world.replica();
    world.fail(replica, world.take(replica));
    world.pass(2_000);
    world.complete(replica, world.take(replica));
    world.settle();
    world.pass(OUTPUT_RETENTION_DAYS * DAY_MS);
    expect(world.core.outputsDue(10)).toMatchObject([{ keys: null }]);
  });

  it("forgets a job after a month, with all that hangs on it, but not before its outputs are gone", () => {
    const world = new EndpointHarness();
    const { id } = finished(world);
    const endedAt = world.now;
    world.settle();
    world.pass(JOB_RETENTION_DAYS * DAY_MS + 1);
    expect(world.job(id).state).toBe("succeeded");
    world.call((core) => core.outputsDeleted({ finishedAt: endedAt, jobId: id }));
    world.pass(120_000);
    for (const table of ["jobs", "payloads", "job_tags", "idempotency"]) {
      expect(world.db.exec(`SELECT * FROM ${table}`), table).toEqual([]);
    }
    expect(world.core.getJob(world.workspaceId, id)).toMatchObject({ ok: false, code: "job_not_found" });
  }, 30_000);

  it("sets no alarm when there is nothing to wait for", () => {
    const world = new EndpointHarness();
    world.pass(60_000);
    expect(world.armedAt).toBeNull();
  }, 120_000);
});

describe("removing the endpoint", () => {
  it("ends all jobs, lets all replicas go and takes no more", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const replica = world.replica();
    const ids = Array.from({ length: 1_200 }, () => world.submit());
    const lease = world.take(replica);
    world.call((core) => core.remove(world.workspaceId));
    world.pass(10);
    expect(ids.filter((id) => world.job(id).state !== "canceled")).toEqual([]);
    expect(world.progress(replica, lease)).toMatchObject({ answer: { cancel: true } });
    expect(world.poll(replica)).toMatchObject({ lease: null, stop: true });
    expect(world.core.enqueue(world.request())).toMatchObject({ code: "endpoint_not_found" });
    expect(world.core.demand()).toMatchObject({ wanted: 0, needed: 0, drain: [replica.id] });
  });

  it("leaves nothing behind once retention is over", () => {
    const world = new EndpointHarness();
    world.submit();
    world.call((core) => core.remove(world.workspaceId));
    world.settle();
    expect(world.core.outputsDue(10)).toEqual([]);
    world.pass(OUTPUT_RETENTION_DAYS * DAY_MS);
    const [due] = world.core.outputsDue(10);
    if (due === undefined) throw new Error("nothing is due");
    world.call((core) => core.outputsDeleted(due));
    world.pass((JOB_RETENTION_DAYS - OUTPUT_RETENTION_DAYS) * DAY_MS + 60_000);
    expect(world.erased).toBe(true);
  });
});
