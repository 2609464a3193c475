/** Rows are the bill, and rows that grow with the queue are the end of its speed: both are counted here. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { type JobId, makeId, NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { JOB_RETENTION_DAYS, PROGRESS_PERSIST_MS } from "#contract/limits";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { LeaseProof } from "#durable-objects/endpoint/rpc";
import { HEAD_KEYS } from "#durable-objects/queue/lane-head";
import { STRETCH_KEYS_MAX } from "#durable-objects/queue/queue-index";
import { CountedDatabase } from "./counted-database.ts";
import { Objects, randomBytes } from "./objects.ts";
import { putCopies } from "./put-copies.ts";

const DAY_MS = 86_400_000;
/** It is kept, whatever the default policy learns of its starts, which take no time here. */
const ONE_REPLICA = { min_replicas: 1, max_replicas: 1 };

interface Rows {
  readonly read: number;
  readonly written: number;
}

/** A core over an object's real storage, with a clock that only the test moves, and its rows counted step by step. */
class CountedQueue {
  readonly objects = new Objects();
  readonly rows: Record<string, Rows> = {};
  core: EndpointCore;
  readonly #db: CountedDatabase;
  readonly #node: { workspaceId: Objects["workspaceId"]; podId: Objects["podId"]; nodeId: NodeId };
  readonly #replicaId: ReplicaId;
  #keys = 0;
  now = Date.now();

  constructor(storage: DurableObjectStorage) {
    this.#db = new CountedDatabase(storage);
    this.core = this.#open();
    const { endpointId, workspaceId, podId } = this.objects;
    const settings = { ...DEFAULT_SETTINGS, ...ONE_REPLICA, queue_depth_max: 200_000 };
    this.core.configure({ endpointId, workspaceId, podId, slug: "picture", release: 1, settings });
    // Nobody subscribes to anything; what webhooks cost is counted with them.
    this.core.setInterest(workspaceId, { version: 1, events: [] });
    const nodeId = makeId(NodeId, "node", this.now, randomBytes, ownerKey(podId));
    this.#node = { workspaceId, podId, nodeId };
    this.#replicaId = makeId(ReplicaId, "rep", this.now, randomBytes, ownerKey(endpointId));
    this.core.admitReplica(this.#node, this.#replicaId);
    // The first job of all also writes the demand and reserves tokens; its own rows are not to be counted later.
    this.enqueue();
    this.core.complete(this.take(), { outputs: [], phases: [] }, []);
    const asked = this.core.demand();
    if (asked === null) throw new Error("no endpoint");
    const shortage = { code: "none", error: null } as const;
    const replicas = [{ replicaId: this.#replicaId, nodeId, gpuType: null, slotsOnCard: 1 }];
    const reply = {
      replicas,
      floor: 0,
      idleTimeoutMs: null,
      room: 0,
      held: 0,
      gpuTypes: [null],
      shortage,
      lack: shortage,
    };
    this.core.demandAnswered(asked, reply, this.now);
    for (const table of ["jobs", "idempotency"]) this.#db.exec(`DELETE FROM ${table}`);
  }

  #open(): EndpointCore {
    return new EndpointCore(this.#db, { now: () => this.now, randomBytes }, null);
  }

  beginCanary(): void {
    const { endpointId, workspaceId, podId } = this.objects;
    const canary = { id: 2, release: 2, weight: 0.5, maxErrorRateIncrease: 1, maxLatencyRatio: 100, minJobs: 10_000 };
    const settings = { ...DEFAULT_SETTINGS, ...ONE_REPLICA, queue_depth_max: 200_000 };
    this.core.configure({ endpointId, workspaceId, podId, slug: "picture", release: 1, settings, canary });
  }

  count<T>(step: string, work: () => T): T {
    const [read, written] = [this.#db.rowsRead, this.#db.rowsWritten];
    const result = work();
    this.rows[step] = { read: this.#db.rowsRead - read, written: this.#db.rowsWritten - written };
    return result;
  }

  written(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.rows).map(([step, { written }]) => [step, written]));
  }

  total(): number {
    return Object.values(this.rows).reduce((sum, { written }) => sum + written, 0);
  }

  /** A job as most callers send one: with an Idempotency-Key. */
  enqueue(): JobId {
    this.#keys += 1;
    const idempotency = { key: `order-${this.#keys}`, fingerprint: "0".repeat(64) };
    const reply = this.core.enqueue(this.objects.request({ idempotency, expiresInMs: DAY_MS }));
    if (!reply.ok) throw new Error(reply.detail);
    return reply.job.id;
  }

  take(): LeaseProof {
    const poll = { poll_id: this.objects.pollId(), leases: [], wait_ms: 0 };
    const outcome = this.core.pollReplica(this.#node, this.#replicaId, poll);
    const lease = outcome.type === "answered" && outcome.reply.ok ? outcome.reply.answer.lease : null;
    if (lease === null) throw new Error("no lease");
    return { ...this.#node, leaseId: lease.lease_id, token: lease.token };
  }

  /** The replica's poll waits for a job. */
  wait(): void {
    const poll = { poll_id: this.objects.pollId(), leases: [], wait_ms: 25_000 };
    if (this.core.pollReplica(this.#node, this.#replicaId, poll).type !== "waiting")
      throw new Error("it does not wait");
  }

  say(proof: LeaseProof, phase: "preparing" | "executing" | "uploading", fraction?: number): void {
    const progress = fraction === undefined ? {} : { progress: { fraction, nodes_done: 1, nodes_total: 2 } };
    if (!this.core.progress(proof, { phase, ...progress }).ok) throw new Error("the lease is lost");
  }

  run(proof: LeaseProof, attempt = ""): void {
    this.count(`preparing${attempt}`, () => this.say(proof, "preparing"));
    this.count(`executing${attempt}`, () => this.say(proof, "executing"));
    this.count(`progress${attempt}`, () => this.say(proof, "executing", 0.5));
    this.count(`uploading${attempt}`, () => this.say(proof, "uploading"));
    this.count(`grant${attempt}`, () => this.core.grantOutput(proof));
  }

  /**
   * Adds waiting jobs like the one there is straight to the table, and wakes the core anew.
   * @param later how much later than that job they came, ms; negative: earlier
   */
  fill(jobs: number, later: number): void {
    const [newest] = this.#db.exec("SELECT id FROM jobs ORDER BY number DESC LIMIT 1");
    if (newest !== undefined) putCopies(this.#db, newest.id as JobId, jobs, later);
    this.core = this.#open();
  }

  summary(): void {
    if (!this.core.queueSummary(this.objects.workspaceId).ok) throw new Error("no summary");
  }

  /** What the scaler has learned is written once in ten seconds, whatever the number of jobs: no job's own row. */
  save(): void {
    this.now += 10_000;
    const before = this.#db.rowsWritten;
    this.core.wake();
    if (this.#db.rowsWritten - before !== 1) throw new Error("one row should have been written");
  }

  /** A job's rows are gone when this returns: its output has been deleted, its retention is over. */
  forget(id: JobId): void {
    const finishedAt = this.now;
    this.save();
    this.now += JOB_RETENTION_DAYS * DAY_MS + 1;
    this.core.outputsDeleted({ finishedAt, jobId: id });
    this.count("deletion", () => this.core.wake());
    const gone = this.core.getJob(this.objects.workspaceId, id);
    if (gone.ok) throw new Error("the job is still there");
    if (this.#db.exec("SELECT * FROM idempotency").length > 0) throw new Error("its key is still there");
  }
}

function withQueue<T>(work: (queue: CountedQueue) => T): Promise<T> {
  const stub = env.ENDPOINTS.getByName(`rows-${crypto.randomUUID()}`);
  return runInDurableObject(stub, (_, { storage }) => work(new CountedQueue(storage)));
}

describe("rows", () => {
  it("written in a job's whole life, deletion and Idempotency-Key included, are at most 12", async () => {
    const { written, total } = await withQueue((queue) => {
      const id = queue.count("enqueue", () => queue.enqueue());
      const proof = queue.count("lease", () => queue.take());
      queue.run(proof);
      queue.count("complete", () => queue.core.complete(proof, { outputs: [], phases: [] }, []));
      queue.forget(id);
      return { written: queue.written(), total: queue.total() };
    });
    expect(written).toEqual({
      enqueue: 3,
      lease: 2,
      preparing: 1,
      executing: 1,
      progress: 0,
      uploading: 1,
      grant: 0,
      complete: 2,
      deletion: 2,
    });
    expect(total).toBeLessThanOrEqual(12);
  });

  it("written for a job that a waiting replica gets at once are three: its own, its place among the running, its key", async () => {
    const written = await withQueue((queue) => {
      queue.wait();
      queue.count("enqueue", () => queue.enqueue());
      return queue.written();
    });
    expect(written).toEqual({ enqueue: 3 });
  });

  it("written for a second try are 11 more: its failure, its backoff and its lease with the phases", async () => {
    const { written, total } = await withQueue((queue) => {
      const id = queue.count("enqueue", () => queue.enqueue());
      const first = queue.count("lease", () => queue.take());
      queue.run(first);
      const error = { code: "out_of_memory" as const, message: "no memory" };
      queue.save();
      queue.count("fail", () => queue.core.fail(first, { error, phases: [] }));
      queue.now += 9_000;
      queue.count("ready again", () => queue.core.wake());
      const second = queue.count("lease 2", () => queue.take());
      queue.run(second, " 2");
      queue.count("complete", () => queue.core.complete(second, { outputs: [], phases: [] }, []));
      queue.forget(id);
      return { written: queue.written(), total: queue.total() };
    });
    expect(written).toMatchObject({ fail: 4, "ready again": 2, "lease 2": 2, "preparing 2": 1, "uploading 2": 1 });
    expect(total).toBe(12 + 11);
  });

  it("written for progress at 10 Hz are one in 5 s", async () => {
    const written = await withQueue((queue) => {
      queue.enqueue();
      const proof = queue.take();
      queue.say(proof, "executing");
      queue.count("a minute", () => {
        for (let message = 1; message <= 600; message += 1) {
          queue.now += 100;
          queue.say(proof, "executing", message / 600);
        }
      });
      return queue.written()["a minute"];
    });
    expect(written).toBe(60_000 / PROGRESS_PERSIST_MS);
  });

  it("written for a canary's counts are one in 5 s, however many jobs end", async () => {
    const rows = await withQueue((queue) => {
      const lives = (step: string, jobs: number) => {
        queue.count(step, () => {
          for (let job = 0; job < jobs; job += 1) {
            queue.enqueue();
            queue.core.complete(queue.take(), { outputs: [], phases: [] }, []);
          }
        });
        return queue.written()[step] ?? 0;
      };
      const before = lives("without a canary", 10);
      queue.beginCanary();
      const first = lives("in its first moment", 10);
      const second = lives("a moment later", 10);
      queue.now += PROGRESS_PERSIST_MS;
      return { before, first, second, third: lives("5 s later", 10) };
    });
    const { before } = rows;
    expect(rows).toEqual({ before, first: before + 1, second: before, third: before + 1 });
  });

  it.each([20_000, 100_000])(
    "read and written for a job do not grow with %i that wait",
    async (depth) => {
      const [short, long] = [await countAt(0), await countAt(depth)];
      for (const [step, { read, written }] of Object.entries(long)) {
        expect(read, step).toBeLessThanOrEqual((short[step]?.read ?? 0) + (MORE_READ[step] ?? 2));
        expect(written, step).toBe(short[step]?.written);
      }
    },
    120_000,
  );
});

/** Rows that a step reads more in a long queue, however long it is. */
const MORE_READ: Readonly<Record<string, number>> = {
  // A place in the middle, and the oldest job after the head has left, are looked for in one stretch of the lane.
  "place in the middle": STRETCH_KEYS_MAX,
  summary: STRETCH_KEYS_MAX,
  "summary again": STRETCH_KEYS_MAX,
  // The head of the lane is read once for so many jobs.
  lease: HEAD_KEYS,
};

/** The rows of the steps that a queue's length could make slow, with so many jobs waiting. */
function countAt(depth: number): Promise<Record<string, Rows>> {
  return withQueue((queue) => {
    const middle = queue.enqueue();
    queue.fill(depth / 2, -1);
    queue.fill(depth / 2, 1);
    queue.now += 1_000;
    // What is read once after waking is read here.
    queue.summary();
    queue.count("enqueue", () => queue.enqueue());
    queue.count("summary", () => queue.summary());
    queue.count("place in the middle", () => queue.core.getJob(queue.objects.workspaceId, middle));
    const proof = queue.count("lease", () => queue.take());
    queue.run(proof);
    queue.count("complete", () => queue.core.complete(proof, { outputs: [], phases: [] }, []));
    queue.count("summary again", () => queue.summary());
    return queue.rows;
  });
}
