import { describe, expect, it } from "vitest";
import { must, Objects } from "./objects.ts";

describe("calls that arrive together", () => {
  it("are all taken, each once, in the order of their arrival", async () => {
    const objects = await Objects.open();
    const replies = await Promise.all(
      Array.from({ length: 40 }, () => must(objects.endpoint.enqueue(objects.request()))),
    );
    expect(replies.map(({ job }) => job.position)).toEqual(replies.map((_, at) => at + 1));
    expect(new Set(replies.map(({ job }) => job.id)).size).toBe(40);
    const shown = await Promise.all(replies.map(({ job }) => objects.job(job.id)));
    expect(shown.map(({ position }) => position)).toEqual(replies.map((_, at) => at + 1));
  });

  it("are one job when they carry one Idempotency-Key", async () => {
    const objects = await Objects.open();
    const request = objects.request({ idempotency: { key: "order-1", fingerprint: "f1" } });
    const replies = await Promise.all(Array.from({ length: 20 }, () => must(objects.endpoint.enqueue(request))));
    expect(new Set(replies.map(({ job }) => job.id)).size).toBe(1);
    expect(replies.filter(({ replayed }) => !replayed)).toHaveLength(1);
  });

  it("may be a poll and the submit that answers it, and a poll and the next one that replaces it", async () => {
    const objects = await Objects.open();
    await objects.submit();
    const { node, replicaId } = await objects.machine();
    const first = await objects.take(node, replicaId);
    await must(objects.endpoint.complete(first.proof, { outputs: [], phases: [] }, []));
    const poll = () => must(objects.poll(node, replicaId, { waitMs: 25_000 }));
    // The first poll goes alone; the second and the submit behind it are one group.
    const [, replaced, answered, submitted] = await Promise.all([
      objects.job(first.lease.job_id),
      poll(),
      poll(),
      must(objects.endpoint.enqueue(objects.request())),
    ]);
    expect(replaced.answer.lease).toBeNull();
    expect(answered.answer.lease?.job_id).toBe(submitted.job.id);
    expect(submitted.job).toMatchObject({ state: "running" });
  });

  it("refuse alone: a stranger's call among them changes nothing for the others", async () => {
    const objects = await Objects.open();
    const stranger = new Objects();
    const [one, refused, two] = await Promise.all([
      objects.endpoint.enqueue(objects.request()),
      objects.endpoint.enqueue({ ...objects.request(), workspaceId: stranger.workspaceId }),
      objects.endpoint.enqueue(objects.request()),
    ]);
    expect([one.ok, refused.ok, two.ok]).toEqual([true, false, true]);
  });
});
