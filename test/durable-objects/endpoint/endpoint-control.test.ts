/** What operators ask of an endpoint, through real objects, real messages and the platform's own alarm. */
import { describe, expect, it } from "vitest";
import { eventually, must, Objects } from "./objects.ts";

const items = (count: number) => Array.from({ length: count }, () => ({ inputs: '{"seed":1}', files: [] }));

describe("an endpoint object", () => {
  it("goes on with an operation by its alarm until all is done", async () => {
    const objects = await Objects.open();
    const { endpoint, workspaceId, keyId } = objects;
    const { batch } = await must(endpoint.enqueueBatch({ ...objects.request(), items: items(900) }));
    const wish = { kind: "cancel" as const, keyId, selection: { batch_id: batch.id } };
    const { operation } = await must(endpoint.startOperation(workspaceId, wish));
    expect(operation).toMatchObject({ state: "running", changed: 200 });
    const done = await eventually(async () => {
      const now = await must(endpoint.getOperation(workspaceId, operation.id));
      return now.operation.state === "done" ? now.operation : null;
    });
    expect(done).toMatchObject({ changed: 900, skipped: 0, progress: 1 });
    expect((await must(endpoint.getBatch(workspaceId, batch.id))).batch.counts).toMatchObject({ canceled: 900 });
  });

  it("tells why a job waits by what the pod answers", async () => {
    const objects = await Objects.open({ regions: [] });
    const { endpoint, workspaceId } = objects;
    const { job } = await must(endpoint.enqueue(objects.request()));
    const reasons = await eventually(async () => {
      const { why } = await must(endpoint.whyJob(workspaceId, job.id));
      return why.reasons.some(({ code }) => code === "no_node_online") ? why.reasons : null;
    });
    expect(reasons.map(({ code }) => code)).toEqual(["no_node_online"]);
  });

  it("pauses, refuses, shows its queue, moves and runs jobs again, and accounts for nothing that did not run", async () => {
    const objects = await Objects.open();
    const { endpoint, workspaceId, keyId } = objects;
    const first = (await must(endpoint.enqueue(objects.request()))).job.id;
    const second = (await must(endpoint.enqueue(objects.request()))).job.id;
    await must(endpoint.pauseQueue(workspaceId, { reason: "a test", refuseNew: true }));
    expect(await endpoint.enqueue(objects.request())).toMatchObject({ ok: false, code: "queue_paused" });
    const { summary } = await must(endpoint.resumeQueue(workspaceId));
    expect(summary).toMatchObject({ paused: null, queued: { interactive: 2, batch: 0 } });
    await must(endpoint.patchJob(workspaceId, second, { position: "front" }));
    const { entries } = await must(endpoint.listQueue(workspaceId, { limit: 10 }));
    expect(entries.map(({ job_id, position }) => [job_id, position])).toEqual([
      [second, 1],
      [first, 2],
    ]);
    await must(endpoint.cancelJob(workspaceId, first));
    const again = await must(endpoint.retryJob(workspaceId, first, keyId, { key: "k", fingerprint: "f" }));
    expect(again.job).toMatchObject({ state: "queued", retryOf: first });
    const listed = await must(endpoint.listJobs(workspaceId, { limit: 10, bytesMax: 1_000_000 }));
    expect(listed.jobs.map(({ id, state }) => [id, state])).toEqual([
      [again.job.id, "queued"],
      [second, "queued"],
      [first, "canceled"],
    ]);
    expect(await must(endpoint.listDead(workspaceId, { limit: 10, bytesMax: 1_000_000 }))).toMatchObject({ jobs: [] });
    expect(await must(endpoint.usage(workspaceId, { limit: 10 }))).toMatchObject({ rows: [], next: null });
    expect(await must(endpoint.listOperations(workspaceId, { limit: 10 }))).toMatchObject({ operations: [] });
  });
});
