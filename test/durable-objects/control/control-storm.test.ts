/** Everything an operator can do, at random and all at once; what is remembered must always be what is stored. */
import { describe, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import type { BatchId, JobId, OperationId } from "#contract/ids";
import type { JobFilter, OperationRequest } from "#durable-objects/endpoint/rpc";
import { EndpointHarness, type FakeReplica } from "../queue/endpoint-harness.ts";
import { seededBytes } from "../seeded-bytes.ts";
import { ask, summaryOf } from "./must.ts";

const STEPS = 400;

class Storm {
  readonly world: EndpointHarness;
  readonly jobs: JobId[] = [];
  readonly batches: { id: BatchId; total: number }[] = [];
  readonly operations: OperationId[] = [];
  readonly held: { replica: FakeReplica; lease: Lease }[] = [];
  readonly #bytes: (length: number) => Uint8Array;

  constructor(seed: number) {
    this.#bytes = seededBytes(seed);
    this.world = new EndpointHarness({ max_replicas: 20, queue_depth_max: 300, starts_per_minute_max: 40 }, seed);
  }

  below(bound: number): number {
    const [a = 0, b = 0] = this.#bytes(2);
    return (a * 256 + b) % bound;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from.length === 0 ? undefined : from[this.below(from.length)];
  }

  step(): void {
    const { world } = this;
    const { workspaceId, keyId } = world;
    const job = this.pick(this.jobs);
    switch (this.below(16)) {
      case 0:
      case 1:
      case 2: {
        const lane = this.below(3) === 0 ? "batch" : "interactive";
        const tags = this.below(2) === 0 ? ["a"] : ["b"];
        const expiresInMs = this.below(4) === 0 ? 20_000 : 86_400_000;
        const request = world.request({ lane, tags, expiresInMs, priority: this.below(10) });
        const reply = world.call((core) => core.enqueue(request));
        if (reply.ok) this.jobs.push(reply.job.id);
        return;
      }
      case 3: {
        const items = Array.from({ length: 1 + this.below(20) }, () => ({ inputs: "{}", files: [] }));
        const reply = world.call((core) => core.enqueueBatch({ ...world.request({ lane: "batch" }), items }));
        if (reply.ok) this.batches.push({ id: reply.batch.id, total: items.length });
        return;
      }
      case 4:
      case 5:
      case 6: {
        const replica = world.replica();
        const answer = world.poll(replica, [], { waitMs: 0 });
        if (typeof answer === "string" || answer.lease === null) return;
        if (this.below(4) > 0) world.progress(replica, answer.lease);
        this.held.push({ replica, lease: answer.lease });
        return;
      }
      case 7:
      case 8: {
        const [one] = this.held.splice(this.below(Math.max(1, this.held.length)), 1);
        if (one === undefined) return;
        const how = this.below(4);
        if (how === 0) world.fail(one.replica, one.lease);
        else if (how === 1) world.fail(one.replica, one.lease, "execution_error");
        else if (how === 2) world.complete(one.replica, one.lease);
        else world.call((core) => core.replicaGone(world.podId, one.replica.id, "gone", false));
        return;
      }
      case 9:
        if (job !== undefined) world.call((core) => core.retryJob(workspaceId, job, keyId, null));
        return;
      case 10:
        if (job === undefined) return;
        world.call((core) =>
          core.patchJob(
            workspaceId,
            job,
            [{ position: "front" as const }, { priority: this.below(10) }, { lane: "batch" as const }][this.below(3)] ??
              {},
          ),
        );
        return;
      case 11: {
        const refuseNew = this.below(2) === 0;
        if (this.below(2) === 0) ask(world, (core) => core.pauseQueue(workspaceId, { reason: null, refuseNew }));
        else ask(world, (core) => core.resumeQueue(workspaceId));
        return;
      }
      case 12: {
        const wishes: Pick<OperationRequest, "kind" | "selection">[] = [
          { kind: "cancel", selection: { tag: "a" } },
          { kind: "retry", selection: { state: "failed" } },
          { kind: "redrive", selection: {} },
          { kind: "purge", selection: { state: "retrying" } },
          { kind: "purge", selection: { state: "dead" } },
        ];
        const wish = this.pick(wishes);
        if (wish === undefined || this.below(3) > 0) return;
        const reply = world.call((core) => core.startOperation(workspaceId, { keyId, ...wish }));
        if (reply.ok) this.operations.push(reply.operation.id);
        return;
      }
      case 13: {
        const batch = this.pick(this.batches);
        if (batch === undefined) return;
        if (this.below(5) === 0) ask(world, (core) => core.cancelBatch(workspaceId, batch.id));
        return;
      }
      case 14:
        if (this.below(4) === 0) world.restart();
        return;
      default:
        world.pass(this.below(5_000));
    }
  }

  /** What the tables say, row by row. */
  check(): void {
    const { world } = this;
    const rows = world.db.exec(
      "SELECT id, state, lane, rank, leases, dead, created_at, batch_id FROM jobs ORDER BY lane, rank, id",
    );
    const summary = summaryOf(world);
    const queued = rows.filter(({ state }) => state === "queued");
    expect(summary.queued).toEqual({
      interactive: queued.filter(({ lane }) => lane === 0).length,
      batch: queued.filter(({ lane }) => lane === 1).length,
    });
    expect(summary.running).toBe(rows.filter(({ state }) => state === "running").length);
    expect(summary.in_flight).toHaveLength(summary.running);
    expect(summary.dead).toBe(rows.filter(({ dead }) => dead === 1).length);
    expect(summary.retrying).toBe(queued.filter(({ leases }) => leases !== "[]").length);
    const oldest = Math.min(...queued.map(({ created_at }) => Number(created_at)));
    expect(summary.oldest_wait_ms).toBe(queued.length === 0 ? null : world.now - oldest);
    const { entries } = ask(world, (core) => core.listQueue(world.workspaceId, { limit: 1_000 }));
    expect(entries.map(({ job_id }) => job_id)).toEqual(queued.map(({ id }) => id));
    expect(entries.map(({ position }) => position)).toEqual(entries.map((_, index) => index + 1));
    for (const filter of [{ state: "failed" }, { tag: "a" }, {}] as Partial<JobFilter>[]) {
      const page = ask(world, (core) =>
        core.listJobs(world.workspaceId, { limit: 5_000, bytesMax: 50_000_000, ...filter }),
      );
      expect(page.jobs.map(({ id }) => id)).toEqual(
        page.jobs
          .map(({ id }) => id)
          .toSorted()
          .toReversed(),
      );
      if (filter.state === "failed") {
        expect(page.jobs).toHaveLength(rows.filter(({ state }) => state === "failed").length);
      }
    }
    for (const { id, total } of this.batches) {
      const { batch } = ask(world, (core) => core.getBatch(world.workspaceId, id));
      expect(Object.values(batch.counts).reduce((sum, count) => sum + count, 0)).toBe(total);
    }
  }

  /** Every attempt that has ended and was heard of is one row, and no lease is in two. */
  checkUsage(): void {
    const { rows } = ask(this.world, (core) => core.usage(this.world.workspaceId, { limit: 10_000 }));
    const stored = this.world.db
      .exec("SELECT leases FROM jobs")
      .flatMap(({ leases }) => JSON.parse(String(leases)) as { heard: boolean; endedAt: number | null }[]);
    expect(rows).toHaveLength(stored.filter(({ heard, endedAt }) => heard && endedAt !== null).length);
    expect(new Set(rows.map(({ lease_id }) => lease_id)).size).toBe(rows.length);
  }
}

describe("an endpoint whose operators cannot leave it alone", () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])("always knows what it has, and ends every operation, seed %i", (seed) => {
    const storm = new Storm(seed);
    for (let step = 0; step < STEPS; step += 1) {
      storm.step();
      if (step % 10 === 0) storm.check();
    }
    storm.world.restart();
    storm.check();
    storm.checkUsage();
    ask(storm.world, (core) => core.resumeQueue(storm.world.workspaceId));
    storm.world.pass(1_000);
    expect(storm.operations.length).toBeGreaterThan(0);
    for (const id of storm.operations) {
      const { operation } = ask(storm.world, (core) => core.getOperation(storm.world.workspaceId, id));
      expect(operation).toMatchObject({ state: "done", progress: 1 });
    }
  });
});
