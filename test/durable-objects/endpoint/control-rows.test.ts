/** What people look at and turn while a queue is long: the rows it reads and writes must not grow with the queue. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { STRETCH_KEYS_MAX } from "#durable-objects/queue/queue-index";
import { CountedDatabase } from "./counted-database.ts";
import { Objects, randomBytes } from "./objects.ts";
import { putCopies } from "./put-copies.ts";

const PAGE = 20;
/** A place in the middle of the lane is counted within its stretch, in an index of its own for jobs between two tries. */
const ONE_PLACE = STRETCH_KEYS_MAX + 10;

interface Rows {
  readonly read: number;
  readonly written: number;
}
type Steps = Readonly<Record<string, Rows>>;

/** An endpoint with a job in the middle of `depth` waiting ones, and the rows of everything one may ask of it. */
function measure(depth: number): Promise<Steps> {
  const stub = env.ENDPOINTS.getByName(`control-rows-${crypto.randomUUID()}`);
  return runInDurableObject(stub, (_, { storage }) => {
    const objects = new Objects();
    const { endpointId, workspaceId, podId, keyId } = objects;
    const db = new CountedDatabase(storage);
    const open = () => new EndpointCore(db, { now: () => Date.now(), randomBytes }, null);
    const first = open();
    const settings = { ...DEFAULT_SETTINGS, queue_depth_max: 500_000, starts_per_minute_max: 60 };
    first.configure({ endpointId, workspaceId, podId, slug: "picture", release: 1, settings });
    const middle = must(first.enqueue(objects.request({ expiresInMs: 3_600_000 }))).job.id;
    const { batch } = must(first.enqueueBatch({ ...objects.request(), items: [{ inputs: "{}", files: [] }] }));
    putCopies(db, middle, depth / 2, -1);
    putCopies(db, middle, depth / 2, 1);
    const core = open();
    must(core.queueSummary(workspaceId));
    const steps: Record<string, Rows> = {};
    const count = <T extends object>(step: string, work: () => Reply<T>): { readonly ok: true } & T => {
      const [read, written] = [db.rowsRead, db.rowsWritten];
      const reply = must(work());
      steps[step] = { read: db.rowsRead - read, written: db.rowsWritten - written };
      return reply;
    };
    count("summary", () => core.queueSummary(workspaceId));
    count("why in the middle", () => core.whyJob(workspaceId, middle));
    const page = count("the queue's first page", () => core.listQueue(workspaceId, { limit: PAGE }));
    expect(page.entries.length).toBe(Math.min(PAGE, depth + 2));
    const rank = Number(db.exec("SELECT rank FROM jobs WHERE id = ?", middle)[0]?.rank);
    count("the queue's page in the middle", () =>
      core.listQueue(workspaceId, { limit: PAGE, after: { lane: "interactive", rank, id: middle } }),
    );
    count("the newest jobs", () => core.listJobs(workspaceId, { limit: PAGE, bytesMax: 1_000_000 }));
    count("jobs of a batch", () => core.listJobs(workspaceId, { limit: PAGE, bytesMax: 1_000_000, batchId: batch.id }));
    count("failed jobs", () => core.listJobs(workspaceId, { limit: PAGE, bytesMax: 1_000_000, state: "failed" }));
    count("dead letters", () => core.listDead(workspaceId, { limit: PAGE, bytesMax: 1_000_000 }));
    count("the batch", () => core.getBatch(workspaceId, batch.id));
    count("to the front", () => core.patchJob(workspaceId, middle, { position: "front" }));
    count("to the other lane", () => core.patchJob(workspaceId, middle, { lane: "batch" }));
    count("pause", () => core.pauseQueue(workspaceId, { reason: "a test", refuseNew: false }));
    count("resume", () => core.resumeQueue(workspaceId));
    count("dead letters redriven", () => core.startOperation(workspaceId, { kind: "redrive", keyId, selection: {} }));
    count("the batch canceled", () => core.cancelBatch(workspaceId, batch.id));
    return steps;
  });
}

function must<T extends object>(reply: Reply<T>): { readonly ok: true } & T {
  if (!reply.ok) throw new Error(`${reply.code}: ${reply.detail}`);
  return reply;
}

describe("a long queue", () => {
  it("costs no more rows to look at or to turn than a short one, 100,000 against 100", async () => {
    const [short, long] = [await measure(100), await measure(100_000)];
    for (const [step, { read, written }] of Object.entries(long)) {
      expect(read, step).toBeLessThanOrEqual((short[step]?.read ?? 0) + ONE_PLACE);
      expect(written, step).toBe(short[step]?.written);
    }
  }, 120_000);

  it("is looked through for a rare job a bounded number of rows at a time", async () => {
    const stub = env.ENDPOINTS.getByName(`control-rows-${crypto.randomUUID()}`);
    await runInDurableObject(stub, (_, { storage }) => {
      const objects = new Objects();
      const { endpointId, workspaceId, podId, keyId } = objects;
      const db = new CountedDatabase(storage);
      const core = new EndpointCore(db, { now: () => Date.now(), randomBytes }, null);
      const settings = { ...DEFAULT_SETTINGS, queue_depth_max: 500_000 };
      core.configure({ endpointId, workspaceId, podId, slug: "picture", release: 1, settings });
      const like = must(core.enqueue(objects.request({ expiresInMs: 3_600_000 }))).job.id;
      putCopies(db, like, 100_000, 0);
      const awake = new EndpointCore(db, { now: () => Date.now(), randomBytes }, null);
      must(awake.queueSummary(workspaceId));
      const readBy = (work: () => Reply<object>): number => {
        const before = db.rowsRead;
        must(work());
        return db.rowsRead - before;
      };
      const filter = { limit: PAGE, bytesMax: 1_000_000, state: "succeeded" as const };
      // Twice: once for what fits, once for where it stopped.
      expect(readBy(() => awake.listJobs(workspaceId, filter))).toBeLessThanOrEqual(2 * 5_000 + 10);
      expect(readBy(() => awake.usage(workspaceId, { limit: PAGE }))).toBeLessThanOrEqual(2_000 + 10);
      const cancel = { kind: "cancel" as const, keyId, selection: { lane: "batch" as const } };
      expect(readBy(() => awake.startOperation(workspaceId, cancel))).toBeLessThanOrEqual(2 * 2_000 + ONE_PLACE);
      const before = [db.rowsRead, db.rowsWritten] as const;
      awake.wake();
      expect(db.rowsRead - before[0]).toBeLessThanOrEqual(2 * 2_000 + 2 * ONE_PLACE);
      expect(db.rowsWritten - before[1]).toBeLessThanOrEqual(5);
    });
  }, 120_000);
});
