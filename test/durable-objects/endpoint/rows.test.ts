/** Rows are the bill, and rows that grow with the queue are the end of its speed: both are counted here. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { makeId, NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import { Objects, randomBytes } from "./objects.ts";

interface Rows {
  readonly read: number;
  readonly written: number;
}

/** One job's life over an object's real storage, counted step by step. */
async function countRows(backlog: number): Promise<Record<string, Rows>> {
  const objects = new Objects();
  const stub = env.ENDPOINTS.getByName(`rows-${objects.endpointId}`);
  return runInDurableObject(stub, (_, { storage }) => {
    const db = new ObjectStorageDatabase(storage);
    const core = new EndpointCore(db, { now: () => Date.now(), randomBytes }, null);
    const { endpointId, workspaceId, podId } = objects;
    core.configure({ endpointId, workspaceId, podId, slug: "picture", release: 1, settings: DEFAULT_SETTINGS });
    const nodeId = makeId(NodeId, "node", Date.now(), randomBytes, ownerKey(podId));
    const replicaId = makeId(ReplicaId, "rep", Date.now(), randomBytes, ownerKey(endpointId));
    const node = { workspaceId, podId, nodeId };
    core.admitReplica(node, replicaId);
    const take = () => {
      const outcome = core.pollReplica(node, replicaId, { poll_id: objects.pollId(), leases: [], wait_ms: 0 });
      const lease = outcome.type === "answered" && outcome.reply.ok ? outcome.reply.answer.lease : null;
      if (lease === null) throw new Error("no lease");
      return { ...node, leaseId: lease.lease_id, token: lease.token };
    };
    storage.transactionSync(() => {
      for (let job = 0; job < backlog; job += 1) core.enqueue(objects.request());
      for (let job = 0; job < backlog; job += 1) {
        core.complete(take(), { outputs: [], phases: [] }, []);
        core.enqueue(objects.request());
      }
    });
    // The first job of all also writes the demand and reserves tokens.
    core.enqueue(objects.request());
    core.complete(take(), { outputs: [], phases: [] }, []);

    const rows: Record<string, Rows> = {};
    const count = <T>(name: string, work: () => T): T => {
      const [read, written] = [db.rowsRead, db.rowsWritten];
      const result = work();
      rows[name] = { read: db.rowsRead - read, written: db.rowsWritten - written };
      return result;
    };
    count("enqueue", () => core.enqueue(objects.request()));
    const proof = count("lease", take);
    count("first word", () => core.progress(proof, { phase: "executing" }));
    const progress = { fraction: 0.5, nodes_done: 1, nodes_total: 2 };
    count("progress", () => core.progress(proof, { phase: "executing", progress }));
    count("phase", () => core.progress(proof, { phase: "uploading" }));
    count("grant", () => core.grantOutput(proof));
    count("complete", () => core.complete(proof, { outputs: [], phases: [] }, []));
    return rows;
  });
}

describe("rows", () => {
  it("written for a job are few, and none for progress", async () => {
    const rows = await countRows(0);
    const written = Object.fromEntries(Object.entries(rows).map(([step, { written: count }]) => [step, count]));
    expect(written).toEqual({ enqueue: 4, lease: 3, "first word": 1, progress: 0, phase: 1, grant: 0, complete: 3 });
  });

  it("read for a job do not grow with the jobs that wait or have ended", async () => {
    const [short, long] = [await countRows(20), await countRows(2_000)];
    for (const [step, { read, written }] of Object.entries(long)) {
      expect(read, step).toBeLessThanOrEqual((short[step]?.read ?? 0) + 10);
      expect(written, step).toBeLessThanOrEqual((short[step]?.written ?? 0) + 1);
    }
  });
});
