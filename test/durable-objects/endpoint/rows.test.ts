/** Rows are the bill, and rows that grow with the queue are the end of its speed: both are counted here. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { type JobId, makeId, NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { JOB_RETENTION_DAYS, PROGRESS_PERSIST_MS } from "#contract/limits";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { LeaseProof } from "#durable-objects/endpoint/rpc";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import { Objects, randomBytes } from "./objects.ts";

const DAY_MS = 86_400_000;

interface Rows {
  readonly read: number;
  readonly written: number;
}

/** A core over an object's real storage, with a clock that only the test moves, and its rows counted step by step. */
class CountedQueue {
  readonly objects = new Objects();
  readonly rows: Record<string, Rows> = {};
  readonly core: EndpointCore;
  readonly #db: ObjectStorageDatabase;
  readonly #node: { workspaceId: Objects["workspaceId"]; podId: Objects["podId"]; nodeId: NodeId };
  readonly #replicaId: ReplicaId;
  #keys = 0;
  now = Date.now();

  constructor(storage: DurableObjectStorage) {
    this.#db = new ObjectStorageDatabase(storage);
    this.core = new EndpointCore(this.#db, { now: () => this.now, randomBytes }, null);
    const { endpointId, workspaceId, podId } = this.objects;
    this.core.configure({ endpointId, workspaceId, podId, slug: "picture", release: 1, settings: DEFAULT_SETTINGS });
    const nodeId = makeId(NodeId, "node", this.now, randomBytes, ownerKey(podId));
    this.#node = { workspaceId, podId, nodeId };
    this.#replicaId = makeId(ReplicaId, "rep", this.now, randomBytes, ownerKey(endpointId));
    this.core.admitReplica(this.#node, this.#replicaId);
    // The first job of all also writes the demand and reserves tokens; its own rows are not to be counted later.
    this.enqueue();
    this.core.complete(this.take(), { outputs: [], phases: [] }, []);
    for (const table of ["jobs", "idempotency"]) this.#db.exec(`DELETE FROM ${table}`);
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

  /** A job's rows are gone when this returns: its output has been deleted, its retention is over. */
  forget(id: JobId): void {
    const finishedAt = this.now;
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
});
