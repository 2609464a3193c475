import { describe, expect, it } from "vitest";
import type { JobId, KeyId } from "#contract/ids";
import type { JobPatch } from "#contract/job";
import { EndpointHarness } from "../queue/endpoint-harness.ts";
import { ask, must, runNext, summaryOf } from "./must.ts";

const OTHER_KEY = "key_00000000000000000000000001" as KeyId;
const retry = (world: EndpointHarness, id: JobId, idempotency: { key: string; fingerprint: string } | null = null) =>
  world.call((core) => core.retryJob(world.workspaceId, id, OTHER_KEY, idempotency));
const patch = (world: EndpointHarness, id: JobId, wish: JobPatch) =>
  world.call((core) => core.patchJob(world.workspaceId, id, wish));
const order = (world: EndpointHarness) =>
  ask(world, (core) => core.listQueue(world.workspaceId, { limit: 100 })).entries.map(({ job_id }) => job_id);

describe("running a job again", () => {
  it("makes a new job with everything the ended one was submitted with, on the active release", () => {
    const world = new EndpointHarness({ attempts_max: 2 });
    const replica = world.replica();
    const file = {
      index: 0,
      key: "in/a",
      sha256: "a".repeat(64),
      size: 1,
      filename: "a.png",
      content_type: "image/png",
    };
    const more = {
      inputs: '{"seed":18446744073709551615,"image":"x"}',
      files: [file] as never,
      tags: ["a", "b"],
      lane: "batch" as const,
      priority: 8,
      timeoutMs: 12_000,
      expiresInMs: 50_000,
      webhook: { url: "https://example.com/hook", events: ["job.failed" as const] },
    };
    const id = world.submit(more);
    world.fail(replica, world.take(replica), "execution_error");
    world.pass(1_000);
    world.call((core) =>
      core.configure({
        endpointId: world.endpointId,
        workspaceId: world.workspaceId,
        podId: world.podId,
        slug: "picture",
        release: 7,
        settings: { ...settingsOf(world), attempts_max: 5 },
      }),
    );
    const { job, replayed } = must(retry(world, id));
    expect(replayed).toBe(false);
    expect(job).toMatchObject({
      state: "queued",
      release: 7,
      attemptsMax: 5,
      inputs: more.inputs,
      tags: more.tags,
      lane: "batch",
      priority: 8,
      webhook: more.webhook,
      keyId: OTHER_KEY,
      retryOf: id,
      createdAt: world.now,
      expiresAt: world.now + 50_000,
    });
    expect(world.job(id)).toMatchObject({ state: "failed", retriedAs: job.id });
    world.pass(1_000);
    const lease = world.take(replica);
    expect(lease).toMatchObject({ job_id: job.id, timeout_ms: 12_000, files: [{ index: 0, filename: "a.png" }] });
  });

  it("takes it off the dead-letter list, and starts it at once where a replica waits", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    world.fail(replica, world.take(replica), "execution_error");
    expect(summaryOf(world).dead).toBe(1);
    world.poll(replica);
    expect(must(retry(world, id)).job.state).toBe("running");
    expect(summaryOf(world).dead).toBe(0);
  });

  it("works for every ended job, as often as asked", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    runNext(world, world.replica());
    const [one, two] = [must(retry(world, id)).job.id, must(retry(world, id)).job.id];
    expect(one).not.toBe(two);
    expect(world.job(id)).toMatchObject({ state: "succeeded", retriedAs: two });
  });

  it("is the same job for a repeated key; the same key for another job is refused", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const [id, other] = [world.submit(), world.submit()];
    runNext(world, replica);
    runNext(world, replica);
    const key = { key: "again-1", fingerprint: "f" };
    const first = must(retry(world, id, key));
    world.restart();
    expect(must(retry(world, id, key))).toMatchObject({ replayed: true, job: { id: first.job.id } });
    expect(retry(world, other, key)).toMatchObject({ ok: false, code: "idempotency_key_reused" });
  });

  it("is refused while the job lives, when it is not known, and when nothing is taken", () => {
    const world = new EndpointHarness({ queue_depth_max: 1 });
    const replica = world.replica();
    const id = world.submit();
    expect(retry(world, id)).toMatchObject({ ok: false, code: "job_not_finished" });
    const lease = world.take(replica);
    expect(retry(world, id)).toMatchObject({ ok: false, code: "job_not_finished" });
    must(world.complete(replica, lease));
    expect(retry(world, "job_00000000000000000000000000" as JobId)).toMatchObject({ code: "job_not_found" });
    world.submit();
    expect(retry(world, id)).toMatchObject({ ok: false, code: "queue_full" });
    ask(world, (core) => core.pauseQueue(world.workspaceId, { reason: null, refuseNew: true }));
    expect(retry(world, id)).toMatchObject({ ok: false, code: "queue_paused" });
    expect(world.job(id).retriedAs).toBeNull();
    const stranger = "ws_00000000000000000000000000" as typeof world.workspaceId;
    expect(world.core.retryJob(stranger, id, OTHER_KEY, null)).toMatchObject({ code: "job_not_found" });
  });
});

describe("moving a waiting job", () => {
  it("to the front puts it before every other of its lane, the last one moved first", () => {
    const world = new EndpointHarness();
    const [a, b, c] = [world.submit({ priority: 9 }), world.submit(), world.submit()];
    const batch = world.submit({ lane: "batch" });
    expect(order(world)).toEqual([a, b, c, batch]);
    expect(must(patch(world, b, { position: "front" })).job.position).toBe(1);
    must(patch(world, c, { position: "front" }));
    expect(order(world)).toEqual([c, b, a, batch]);
    must(patch(world, c, { position: "front" }));
    expect(order(world)).toEqual([c, b, a, batch]);
    world.restart();
    expect(order(world)).toEqual([c, b, a, batch]);
    const replica = world.replica();
    expect([1, 2, 3, 4].map(() => runNext(world, replica))).toEqual([c, b, a, batch]);
  });

  it("by priority gives it the place of a job of that priority and its age", () => {
    const world = new EndpointHarness();
    const [a, b] = [world.submit(), world.submit()];
    must(patch(world, b, { priority: 6 }));
    expect(order(world)).toEqual([b, a]);
    must(patch(world, b, { priority: 0 }));
    expect(order(world)).toEqual([a, b]);
    expect(world.job(b).priority).toBe(0);
  });

  it("to the other lane keeps the counts right", () => {
    const world = new EndpointHarness();
    const [a, b] = [world.submit({ lane: "batch" }), world.submit()];
    must(patch(world, a, { lane: "interactive" }));
    expect(summaryOf(world).queued).toEqual({ interactive: 2, batch: 0 });
    expect(order(world)).toEqual([a, b]);
    world.restart();
    expect(summaryOf(world).queued).toEqual({ interactive: 2, batch: 0 });
  });

  it("also while it waits for another try", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const retrying = world.submit();
    world.fail(replica, world.take(replica));
    const other = world.submit({ priority: 9 });
    expect(order(world)).toEqual([other, retrying]);
    must(patch(world, retrying, { position: "front" }));
    expect(order(world)).toEqual([retrying, other]);
    world.pass(10_000);
    expect([runNext(world, replica), runNext(world, replica)]).toEqual([retrying, other]);
  });

  it("does not keep it from expiring in time, also from the front with the usual deadline", () => {
    const world = new EndpointHarness();
    const day = 86_400_000;
    const ids = [0, 1].map(() => world.submit({ expiresInMs: day }));
    must(patch(world, ids[1] as JobId, { position: "front" }));
    world.pass(day - 1, true);
    world.ring();
    expect(ids.map((id) => world.job(id).state)).toEqual(["queued", "queued"]);
    world.pass(1);
    expect(ids.map((id) => world.job(id).state)).toEqual(["expired", "expired"]);
  });

  it("tells those who watch it", () => {
    const world = new EndpointHarness();
    const id = world.submit();
    world.core.takeEffects();
    must(world.core.patchJob(world.workspaceId, id, { priority: 1 }));
    expect(world.core.takeEffects()).toContainEqual({ type: "job_changed", jobId: id });
  });

  it("is refused once it has started or ended", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const id = world.submit();
    const lease = world.take(replica);
    expect(patch(world, id, { priority: 1 })).toMatchObject({ ok: false, code: "job_running" });
    must(world.complete(replica, lease));
    expect(patch(world, id, { position: "front" })).toMatchObject({ ok: false, code: "job_finished" });
    expect(patch(world, "job_00000000000000000000000000" as JobId, { priority: 1 })).toMatchObject({
      code: "job_not_found",
    });
  });
});

function settingsOf(world: EndpointHarness) {
  const [row] = world.db.exec("SELECT settings FROM config");
  return JSON.parse(String(row?.settings));
}
