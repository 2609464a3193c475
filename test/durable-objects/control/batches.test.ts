import { describe, expect, it } from "vitest";
import type { BatchId, JobId } from "#contract/ids";
import { BATCH_JOBS_MAX, JOB_RETENTION_DAYS, OUTPUT_RETENTION_DAYS } from "#contract/limits";
import type { EnqueueBatchRequest } from "#durable-objects/endpoint/rpc";
import { EndpointHarness } from "../queue/endpoint-harness.ts";
import { ask, must, runNext, summaryOf } from "./must.ts";

const DAY_MS = 86_400_000;
const items = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ inputs: JSON.stringify({ seed: index }), files: [] }));

function batchRequest(
  world: EndpointHarness,
  count: number,
  more: Partial<EnqueueBatchRequest> = {},
): EnqueueBatchRequest {
  const { inputs: _, files: __, ...shared } = world.request({ lane: "batch" });
  return { ...shared, items: items(count), ...more };
}
const submit = (world: EndpointHarness, count: number, more: Partial<EnqueueBatchRequest> = {}) =>
  ask(world, (core) => core.enqueueBatch(batchRequest(world, count, more)));
const get = (world: EndpointHarness, id: BatchId) => ask(world, (core) => core.getBatch(world.workspaceId, id)).batch;
const jobsOf = (world: EndpointHarness, id: BatchId, after: JobId | null = null, bytesMax = 10_000_000) =>
  ask(world, (core) => core.batchJobs(world.workspaceId, id, after, bytesMax));

/** The outputs that are due are deleted, as the shell would: only then may a job's record go. */
function deleteOutputs(world: EndpointHarness): void {
  for (const due of world.core.outputsDue(10)) {
    world.call((core) => core.outputsDeleted({ finishedAt: due.finishedAt, jobId: due.jobId }));
  }
}

describe("a batch", () => {
  it("is taken whole: ids in the order of the request, all of them named after it", () => {
    const world = new EndpointHarness();
    const { batch, replayed } = submit(world, 1_000, { tags: ["sweep"] });
    expect(replayed).toBe(false);
    expect(batch).toMatchObject({ total: 1_000, counts: { queued: 1_000, running: 0 }, finishedAt: null });
    const { jobs, more } = jobsOf(world, batch.id);
    expect(more).toBe(false);
    expect(jobs.map(({ inputs }) => JSON.parse(inputs).seed)).toEqual(items(1_000).map((_, index) => index));
    expect(jobs.map(({ id }) => id)).toEqual(jobs.map(({ id }) => id).toSorted());
    expect(new Set(jobs.map(({ batchId }) => batchId))).toEqual(new Set([batch.id]));
  });

  it("starts its first job at once where a replica waits", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    world.poll(replica);
    const { batch } = submit(world, 3);
    expect(batch.counts).toMatchObject({ queued: 2, running: 1 });
    expect(JSON.parse(world.answers.at(-1)?.answer.lease?.inputs ?? "{}")).toEqual({ seed: 0 });
  });

  it("is taken whole or not at all when the queue is nearly full", () => {
    const world = new EndpointHarness({ queue_depth_max: 10 });
    world.submit();
    expect(world.core.enqueueBatch(batchRequest(world, 10))).toMatchObject({ ok: false, code: "queue_full" });
    expect(summaryOf(world).queued).toEqual({ interactive: 1, batch: 0 });
    expect(submit(world, 9).batch.total).toBe(9);
  });

  it("is not told to come again when even an empty queue is too short for it", () => {
    const world = new EndpointHarness({ queue_depth_max: 10 });
    const refused = world.core.enqueueBatch(batchRequest(world, 11));
    expect(refused).toMatchObject({ ok: false, code: "invalid_batch", detail: expect.stringContaining("takes 10") });
    expect(refused).not.toHaveProperty("retryAfterS");
    expect(submit(world, 10).batch.total).toBe(10);
  });

  it.each([0, BATCH_JOBS_MAX + 1])("has 1 to 1,000 jobs, not %i", (count) => {
    const world = new EndpointHarness();
    expect(world.core.enqueueBatch(batchRequest(world, count))).toMatchObject({ ok: false, code: "invalid_batch" });
  });

  it("is the same one for a repeated key, also when the queue is full by then, and another body is refused", () => {
    const world = new EndpointHarness({ queue_depth_max: 5 });
    const idempotency = { key: "batch-1", fingerprint: "a" };
    const first = submit(world, 5, { idempotency });
    world.restart();
    const again = submit(world, 5, { idempotency });
    expect(again).toMatchObject({ replayed: true, batch: { id: first.batch.id } });
    expect(summaryOf(world).queued.batch).toBe(5);
    expect(
      world.core.enqueueBatch(batchRequest(world, 5, { idempotency: { ...idempotency, fingerprint: "b" } })),
    ).toMatchObject({ ok: false, code: "idempotency_key_reused" });
    const found = (key: string, fingerprint: string) =>
      must(world.core.findBatchReplay(world.workspaceId, { key, fingerprint })).batch?.id ?? null;
    expect([found("batch-1", "a"), found("batch-1", "b"), found("batch-2", "a")]).toEqual([first.batch.id, null, null]);
  });

  it("shares no key with single jobs", () => {
    const world = new EndpointHarness();
    const idempotency = { key: "same", fingerprint: "a" };
    world.submit({ idempotency });
    expect(submit(world, 2, { idempotency }).replayed).toBe(false);
  });

  it("counts what its jobs have become, and is done with its last one", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const { batch } = submit(world, 3);
    runNext(world, replica);
    world.fail(replica, world.take(replica), "execution_error");
    expect(get(world, batch.id)).toMatchObject({
      counts: { queued: 1, running: 0, succeeded: 1, failed: 1 },
      finishedAt: null,
    });
    world.pass(1_000);
    runNext(world, replica);
    expect(get(world, batch.id)).toMatchObject({ counts: { succeeded: 2, failed: 1 }, finishedAt: world.now });
  });

  it("is canceled in one turn, those that run and those that wait", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const { batch } = submit(world, 1_000);
    const other = world.submit();
    runNext(world, replica);
    const done = runNext(world, replica);
    const lease = world.take(replica);
    const canceled = ask(world, (core) => core.cancelBatch(world.workspaceId, batch.id)).batch;
    expect(canceled.counts).toEqual({ queued: 0, running: 0, succeeded: 1, failed: 0, canceled: 999, expired: 0 });
    expect(canceled.finishedAt).toBe(world.now);
    expect(world.job(done).state).toBe("succeeded");
    expect(world.job(other).state).toBe("succeeded");
    expect(world.progress(replica, lease)).toMatchObject({ ok: true, answer: { cancel: true } });
    expect(summaryOf(world)).toMatchObject({ queued: { interactive: 0, batch: 0 }, running: 0 });
  });

  it("shows its jobs page by page, as many as fit, but always one", () => {
    const world = new EndpointHarness();
    const { batch } = submit(world, 5);
    const seen: JobId[] = [];
    for (let pages = 0; ; pages += 1) {
      const { jobs, more } = jobsOf(world, batch.id, seen.at(-1) ?? null, pages === 0 ? 1 : 2_500);
      expect(jobs.length).toBeGreaterThan(0);
      if (pages === 0) expect(jobs).toHaveLength(1);
      seen.push(...jobs.map(({ id }) => id));
      if (!more) break;
    }
    expect(seen).toEqual(jobsOf(world, batch.id).jobs.map(({ id }) => id));
  });

  it("is forgotten with the record of its last job, not before", () => {
    const world = new EndpointHarness({ queue_depth_max: 100 });
    const { batch } = submit(world, 2, { expiresInMs: 7 * DAY_MS });
    const [first] = jobsOf(world, batch.id).jobs;
    if (first === undefined) throw new Error("the batch has no job");
    ask(world, (core) => core.cancelJob(world.workspaceId, first.id));
    const purge = () => deleteOutputs(world);
    world.pass(OUTPUT_RETENTION_DAYS * DAY_MS - 1, true);
    purge();
    world.pass(1, true);
    world.ring();
    purge();
    world.pass((JOB_RETENTION_DAYS - OUTPUT_RETENTION_DAYS) * DAY_MS, true);
    world.ring();
    expect(get(world, batch.id)).toMatchObject({ total: 2, counts: { expired: 1, canceled: 0 } });
    purge();
    world.pass(JOB_RETENTION_DAYS * DAY_MS, true);
    purge();
    world.ring();
    expect(world.core.getBatch(world.workspaceId, batch.id)).toMatchObject({ ok: false, code: "batch_not_found" });
    expect(world.db.exec("SELECT id FROM batches")).toEqual([]);
  });

  it("names each job by its place in the request when the records of others are gone", () => {
    const world = new EndpointHarness();
    const replica = world.replica();
    const { batch } = submit(world, 3, { expiresInMs: 10 * DAY_MS });
    runNext(world, replica);
    world.pass(DAY_MS, true);
    ask(world, (core) => core.cancelBatch(world.workspaceId, batch.id));
    world.pass((JOB_RETENTION_DAYS - 1) * DAY_MS, true);
    deleteOutputs(world);
    world.ring();
    const { jobs, places } = ask(world, (core) => core.batchJobs(world.workspaceId, batch.id, null, 10_000_000));
    expect(jobs.map(({ inputs }) => JSON.parse(inputs).seed)).toEqual([1, 2]);
    expect(places).toEqual([1, 2]);
  });

  it("is nobody else's", () => {
    const world = new EndpointHarness();
    const { batch } = submit(world, 1);
    const stranger = "ws_00000000000000000000000000" as typeof world.workspaceId;
    const refused = { ok: false, code: "batch_not_found" };
    expect(world.core.getBatch(stranger, batch.id)).toMatchObject(refused);
    expect(world.core.cancelBatch(stranger, batch.id)).toMatchObject(refused);
    expect(world.core.batchJobs(stranger, batch.id, null, 1)).toMatchObject(refused);
    expect(get(world, batch.id).counts.queued).toBe(1);
  });
});
