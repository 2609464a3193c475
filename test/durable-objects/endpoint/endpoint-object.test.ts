import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { JobId, leaseIdOf, makeId, NodeId, ownerKey, ReplicaId } from "#contract/ids";
import { OUTPUT_RETENTION_DAYS, WATCHERS_PER_JOB_MAX } from "#contract/limits";
import type { LeaseProof, StoredOutput } from "#durable-objects/endpoint/rpc";
import { eventually, must, Objects, randomBytes } from "./objects.ts";

describe("an object nobody has configured", () => {
  it("refuses everything in the words of its caller, and stores nothing", async () => {
    const objects = new Objects();
    const { endpoint, workspaceId, podId } = objects;
    const owner = ownerKey(objects.endpointId);
    const id = makeId(JobId, "job", Date.now(), randomBytes, owner);
    const nodeId = makeId(NodeId, "node", Date.now(), randomBytes, ownerKey(podId));
    const replicaId = makeId(ReplicaId, "rep", Date.now(), randomBytes, owner);
    const node = { workspaceId, podId, nodeId };
    const proof = {
      ...node,
      leaseId: leaseIdOf(id, 1),
      token: `1.${"0".repeat(24)}`,
    };
    const code = async (reply: Promise<object>) => (await reply) as { code?: string };
    const asked = {
      endpoint_not_found: [
        endpoint.enqueue(objects.request()),
        endpoint.listJobs(workspaceId, { limit: 1, bytesMax: 1_000_000 }),
        endpoint.queueSummary(workspaceId),
        endpoint.listReplicas(workspaceId),
        endpoint.remove(workspaceId),
      ],
      job_not_found: [
        endpoint.getJob(workspaceId, id),
        endpoint.waitForJob(workspaceId, id, 60_000),
        endpoint.watchJob(workspaceId, id, { seq: 0, version: 0 }, 60_000),
        endpoint.cancelJob(workspaceId, id),
      ],
      replica_not_found: [
        endpoint.reportReplica(node, replicaId, { state: "ready", phases: [] }),
        objects.poll(node, replicaId, { waitMs: 25_000 }),
      ],
      lease_lost: [
        endpoint.progress(proof, { phase: "executing" }),
        endpoint.inputFile(proof, 0),
        endpoint.grantOutput(proof),
        endpoint.complete(proof, { outputs: [], phases: [] }, []),
        endpoint.fail(proof, { error: { code: "execution_error", message: "" }, phases: [] }),
        endpoint.release(proof, ""),
      ],
    };
    for (const [expected, replies] of Object.entries(asked)) {
      for (const reply of replies) expect(await code(reply)).toMatchObject({ ok: false, code: expected });
    }
    expect(await endpoint.reclaimIdle(podId, replicaId)).toBe(false);
    await endpoint.replicaGone(podId, replicaId, "gone", false);
    await endpoint.abandonPoll(replicaId, "poll-0001");
    const left = await runInDurableObject(objects.endpointStub, async (_, state) => ({
      tables: state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '_cf_%'").toArray(),
      keys: (await state.storage.list()).size,
      alarm: await state.storage.getAlarm(),
    }));
    expect(left).toEqual({ tables: [], keys: 0, alarm: null });
  });
});

describe("a poll that waits", () => {
  it("is answered by the submit that brings a job", async () => {
    const objects = await Objects.open();
    await objects.submit();
    const { node, replicaId } = await objects.machine();
    const first = await objects.take(node, replicaId);
    await must(objects.endpoint.complete(first.proof, { outputs: [], phases: [] }, []));
    const waiting = objects.poll(node, replicaId, { waitMs: 25_000 });
    const id = await objects.submit();
    expect((await must(waiting)).answer.lease?.job_id).toBe(id);
    expect(await objects.job(id)).toMatchObject({ state: "running", phase: "assigned" });
  });

  it("ends by itself, by the next one, and when its client has gone", async () => {
    const objects = await Objects.open();
    await objects.submit();
    const { node, replicaId } = await objects.machine();
    const { proof } = await objects.take(node, replicaId);
    await must(objects.endpoint.complete(proof, { outputs: [], phases: [] }, []));
    const empty = { ok: true, answer: { lease: null, ended: [], stop: false } };
    expect(await objects.poll(node, replicaId, { waitMs: 20 })).toEqual(empty);
    const replaced = objects.poll(node, replicaId, { waitMs: 25_000 });
    const abandoned = objects.poll(node, replicaId, { waitMs: 25_000, pollId: "abandoned-poll" });
    expect(await replaced).toEqual(empty);
    await objects.endpoint.abandonPoll(replicaId, "abandoned-poll");
    expect(await abandoned).toEqual(empty);
    expect((await objects.job(await objects.submit())).state).toBe("queued");
  });

  it("is refused for a replica the pod has not placed, or placed elsewhere", async () => {
    const objects = await Objects.open({ max_replicas: 2 });
    await objects.submit();
    const { node, replicaId } = await objects.machine();
    const other = await objects.join();
    const foreign = makeId(ReplicaId, "rep", Date.now(), randomBytes, ownerKey(objects.endpointId));
    const refused = { ok: false, code: "replica_not_found" };
    expect(await objects.poll(other, replicaId)).toMatchObject(refused);
    expect(await objects.poll(node, foreign)).toMatchObject(refused);
    expect(await objects.endpoint.reportReplica(other, replicaId, { state: "ready", phases: [] })).toMatchObject(
      refused,
    );
  });
});

describe("those who wait for a job", () => {
  it("hear of its end", async () => {
    const objects = await Objects.open();
    const id = await objects.submit();
    const waiting = objects.endpoint.waitForJob(objects.workspaceId, id, 60_000);
    const { node, replicaId } = await objects.machine();
    const { proof } = await objects.take(node, replicaId);
    await must(objects.endpoint.complete(proof, { outputs: [], phases: [] }, []));
    expect((await must(waiting)).job.state).toBe("succeeded");
  });

  it("get it as it is when their time is over", async () => {
    const objects = await Objects.open();
    const id = await objects.submit();
    expect((await must(objects.endpoint.waitForJob(objects.workspaceId, id, 20))).job.state).toBe("queued");
  });

  it("hear of an end that only the alarm brings", async () => {
    const objects = await Objects.open();
    const id = await objects.submit({ expiresInMs: 30 });
    expect((await must(objects.endpoint.waitForJob(objects.workspaceId, id, 60_000))).job.state).toBe("expired");
  });

  it("see progress and previews as they come, and nothing twice", async () => {
    const objects = await Objects.open();
    const id = await objects.submit();
    const { node, replicaId } = await objects.machine();
    const { proof } = await objects.take(node, replicaId);
    const watch = (seq: number, version: number, waitMs: number) =>
      must(objects.endpoint.watchJob(objects.workspaceId, id, { seq, version }, waitMs));
    expect((await watch(0, 0, 60_000)).events.map(({ type }) => type)).toEqual(["queued", "started"]);
    const next = watch(2, 0, 60_000);
    const preview = { content_type: "image/jpeg" as const, data: "AAAA" };
    const progress = { fraction: 0.25, nodes_done: 1, nodes_total: 4 };
    await must(objects.endpoint.progress(proof, { phase: "assigned", progress, preview }));
    const seen = await next;
    expect(seen).toMatchObject({ events: [], progress, preview, ended: false });
    const end = watch(2, seen.version, 60_000);
    await must(objects.endpoint.cancelJob(objects.workspaceId, id));
    expect(await end).toMatchObject({ events: [{ seq: 3, type: "canceled" }], preview: null, ended: true });
    expect(await watch(3, seen.version, 60_000)).toMatchObject({ events: [], ended: true });
  });

  it("are bounded in number", async () => {
    const objects = await Objects.open();
    const id = await objects.submit();
    const wait = () => objects.endpoint.waitForJob(objects.workspaceId, id, 60_000);
    const waiting = Array.from({ length: WATCHERS_PER_JOB_MAX }, wait);
    expect(await wait()).toMatchObject({ ok: false, code: "too_many_watchers" });
    await must(objects.endpoint.cancelJob(objects.workspaceId, id));
    const replies = await Promise.all(waiting);
    expect(replies.every((reply) => reply.ok && reply.job.state === "canceled")).toBe(true);
  });
});

describe("an object that was thrown out of memory", () => {
  it("knows its jobs, its leases and its idempotency keys", async () => {
    const objects = await Objects.open();
    const idempotency = { key: "order-1", fingerprint: "f1" };
    const id = await objects.submit({ idempotency });
    const { node, replicaId } = await objects.machine();
    const { proof, lease } = await objects.take(node, replicaId);
    await evictDurableObject(objects.endpointStub);
    expect(await objects.job(id)).toMatchObject({ state: "running", attempt: 1 });
    expect(await objects.endpoint.enqueue(objects.request({ idempotency }))).toMatchObject({
      replayed: true,
      job: { id },
    });
    expect((await must(objects.poll(node, replicaId, { leases: [lease] }))).answer.ended).toEqual([]);
    await must(objects.endpoint.complete(proof, { outputs: [], phases: [] }, []));
    await evictDurableObject(objects.endpointStub);
    expect((await objects.job(id)).state).toBe("succeeded");
    expect(await objects.endpoint.complete(proof, { outputs: [], phases: [] }, [])).toEqual({
      ok: true,
      next: null,
    });
  });

  it("still has its alarm", async () => {
    const objects = await Objects.open();
    const id = await objects.submit({ expiresInMs: 300 });
    await evictDurableObject(objects.endpointStub);
    const state = await eventually(async () => {
      const row = await runInDurableObject(objects.endpointStub, (_, { storage }) =>
        storage.sql.exec<{ state: string }>("SELECT state FROM jobs WHERE id = ?", id).one(),
      );
      return row.state === "queued" ? null : row.state;
    });
    expect(state).toBe("expired");
  });
});

describe("the alarm", () => {
  it("deletes outputs after their retention, and whatever a failed attempt left", async () => {
    const objects = await Objects.open();
    const clean = await objects.submit();
    const { node, replicaId } = await objects.machine();
    const store = async (proof: Parameters<typeof objects.endpoint.grantOutput>[0], names: string[]) => {
      const { grant } = await must(objects.endpoint.grantOutput(proof));
      const keys = names.map((name) => `${grant.keyPrefix}${name}`);
      for (const key of keys) await env.STORE.put(key, "abc");
      return keys;
    };
    const first = await objects.take(node, replicaId);
    const [kept] = await store(first.proof, ["0"]);
    await must(succeed(objects, first.proof, kept ?? ""));
    const broken = await objects.submit();
    const second = await objects.take(node, replicaId);
    const litter = await store(second.proof, ["0", "1"]);
    const error = { code: "execution_error" as const, message: "it broke" };
    await must(objects.endpoint.fail(second.proof, { error, phases: [] }));
    const young = await objects.submit();
    const third = await objects.take(node, replicaId);
    const [fresh] = await store(third.proof, ["0"]);
    await must(succeed(objects, third.proof, fresh ?? ""));

    await runInDurableObject(objects.endpointStub, (_, { storage }) => {
      const ago = (OUTPUT_RETENTION_DAYS * 24 + 1) * 3_600_000;
      storage.sql.exec("UPDATE jobs SET finished_at = finished_at - ? WHERE id IN (?, ?)", ago, clean, broken);
    });
    expect(await objects.job(clean)).toMatchObject({ outputsExpired: true, outputs: [{ key: kept }] });
    await runDurableObjectAlarm(objects.endpointStub);
    for (const key of [kept ?? "", ...litter]) {
      await eventually(async () => ((await env.STORE.head(key)) === null ? "gone" : null));
    }
    expect(await env.STORE.head(fresh ?? "")).not.toBeNull();
    expect(await objects.job(young)).toMatchObject({ outputsExpired: false });
  });
});

describe("a store that does not answer", () => {
  it("holds up no alarm", async () => {
    const objects = await Objects.open();
    const old = await objects.submit();
    const { node, replicaId } = await objects.machine();
    const { proof } = await objects.take(node, replicaId);
    const { grant } = await must(objects.endpoint.grantOutput(proof));
    await must(succeed(objects, proof, `${grant.keyPrefix}0`));
    let release = () => {};
    const silence = new Promise<void>((resolve) => {
      release = resolve;
    });
    await runInDurableObject(objects.endpointStub, (instance, { storage }) => {
      const ago = (OUTPUT_RETENTION_DAYS * 24 + 1) * 3_600_000;
      storage.sql.exec("UPDATE jobs SET finished_at = finished_at - ? WHERE id = ?", ago, old);
      const opened = instance as unknown as { env: { STORE: Pick<R2Bucket, "delete"> } };
      opened.env = { ...opened.env, STORE: { delete: () => silence } };
    });
    try {
      await runDurableObjectAlarm(objects.endpointStub);
      const id = await objects.submit({ expiresInMs: 300 });
      await eventually(async () => {
        const row = await runInDurableObject(objects.endpointStub, (_, { storage }) =>
          storage.sql.exec<{ state: string }>("SELECT state FROM jobs WHERE id = ?", id).one(),
        );
        return row.state === "expired" ? row.state : null;
      });
    } finally {
      release();
    }
  });
});

/** Completes with one output of that key. */
function succeed(objects: Objects, proof: LeaseProof, key: string) {
  const stored = output(key);
  const { key: _, ...entry } = stored;
  return objects.endpoint.complete(proof, { outputs: [entry], phases: [] }, [stored]);
}

function output(key: string): StoredOutput {
  return {
    index: 0,
    name: "picture.png",
    output: "picture",
    kind: "image",
    filename: "picture.png",
    content_type: "image/png",
    size: 3,
    sha256: "0".repeat(64),
    key,
  };
}
