import { describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import { EndpointId, JobId, KeyId, makeId, NodeId, ownerKey, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import { numberOf } from "#durable-objects/endpoint/job-ids";
import { INLINE_PAYLOAD_LENGTH_MAX } from "#durable-objects/endpoint/job-rows";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { migrate } from "#durable-objects/sql/migrate";
import { queue } from "#migrations/endpoint/0001-queue";
import { absence } from "#migrations/endpoint/0002-absence";
import { cardTime } from "#migrations/endpoint/0015-card-time";
import { endpointMigrations } from "#migrations/endpoint/all";
import { seededBytes } from "../seeded-bytes.ts";
import { NodeDatabase } from "./node-database.ts";

const NOW = 1_800_000_000_000;
const randomBytes = seededBytes(7);
const endpointId = makeId(EndpointId, "ep", NOW, randomBytes);
const workspaceId = makeId(WorkspaceId, "ws", NOW, randomBytes);
const podId = makeId(PodId, "pod", NOW, randomBytes);
const keyId = makeId(KeyId, "key", NOW, randomBytes);
const nodeId = makeId(NodeId, "node", NOW, randomBytes, ownerKey(podId));
const replicaId = makeId(ReplicaId, "rep", NOW, randomBytes, ownerKey(endpointId));
const jobId = () => makeId(JobId, "job", NOW, randomBytes, ownerKey(endpointId));
const lease = (name: string) => `lse_${name.padEnd(26, "0")}`;
const large = `{"prompt":"${"x".repeat(INLINE_PAYLOAD_LENGTH_MAX)}"}`;

/** A database as the first two steps of the schema left it, with a job of each kind. */
function oldDatabase() {
  const db = new NodeDatabase();
  migrate(db, [queue, absence], NOW);
  const jobs = { queued: jobId(), running: jobId(), succeeded: jobId(), failed: jobId() };
  db.exec(
    "INSERT INTO config (id, endpoint_id, workspace_id, pod_id, slug, release, settings) VALUES (1, ?, ?, ?, 'picture', 1, ?)",
    endpointId,
    workspaceId,
    podId,
    JSON.stringify(DEFAULT_SETTINGS),
  );
  db.exec("INSERT INTO progress (id, counter_reserved) VALUES (1, 100)");
  db.exec(
    `INSERT INTO replicas (id, node_id, state, release, draining, started_at, changes, phases)
     VALUES (?, ?, 'ready', 1, 0, ?, '[]', '[]')`,
    replicaId,
    nodeId,
    NOW,
  );
  const insert = (id: JobId, columns: Record<string, string | number | null>, inputs: string, leases: string[]) => {
    const row: Record<string, string | number | null> = {
      id,
      lane: 0,
      priority: 5,
      rank: NOW - 300_000,
      release: 1,
      attempt: leases.length,
      attempts_max: 3,
      handbacks: 0,
      timeout_ms: 60_000,
      created_at: NOW,
      expires_at: NOW + 3_600_000,
      leases: JSON.stringify(leases),
      events: '[{"seq":1,"type":"queued","at":0,"data":"{}"}]',
      ...columns,
    };
    const names = Object.keys(row);
    db.exec(
      `INSERT INTO jobs (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`,
      ...Object.values(row),
    );
    db.exec(
      "INSERT INTO payloads (job_id, key_id, inputs, files, tags, idempotency_key) VALUES (?, ?, ?, '[]', '[\"t\"]', NULL)",
      id,
      keyId,
      inputs,
    );
    db.exec("INSERT INTO job_tags (tag, job_id) VALUES ('t', ?)", id);
    leases.forEach((name, at) => {
      const isOver = at < leases.length - 1 || row.state !== "running";
      db.exec(
        `INSERT INTO leases (id, job_id, token, replica_id, node_id, poll_id, attempt, granted_at, ended_at, outcome, phases, boot)
         VALUES (?, ?, ?, ?, ?, 'poll-1', ?, ?, ?, ?, '[{"phase":"executing","ms":7}]', '[]')`,
        name,
        id,
        `${at + 1}.${"0".repeat(24)}`,
        replicaId,
        nodeId,
        at + 1,
        NOW + at,
        isOver ? NOW + at + 1 : null,
        isOver ? (row.state === "succeeded" ? "completed" : "failed") : null,
      );
    });
  };
  insert(jobs.queued, { state: "queued" }, large, []);
  const living = { phase: "executing", deadline_at: NOW + 60_000, executing_at: NOW, started_at: NOW, confirmed: 1 };
  // Its leases' names sort against the order in which they were granted.
  insert(
    jobs.running,
    {
      state: "running",
      lease_id: lease("a"),
      replica_id: replicaId,
      node_id: nodeId,
      granted_at: NOW + 1,
      lease_until: NOW + 30_000,
      ...living,
    },
    '{"seed":18446744073709551615}',
    [lease("b"), lease("a")],
  );
  insert(jobs.succeeded, { state: "succeeded", finished_at: NOW, service_ms: 5, outputs: "[]" }, "{}", [lease("c")]);
  const error = JSON.stringify({ code: "out_of_memory", message: "no memory" });
  insert(jobs.failed, { state: "failed", finished_at: NOW, error }, "{}", [lease("d")]);
  db.exec("INSERT INTO idempotency_keys VALUES ('order-1', 'f1', ?, ?)", jobs.queued, NOW);
  return { db, jobs };
}

function must<T extends object>(reply: Reply<T>): T {
  if (!reply.ok) throw new Error(reply.code);
  return reply;
}

describe("the days of a database from before slots shared cards", () => {
  it("count as whole cards", () => {
    const db = new NodeDatabase();
    migrate(db, endpointMigrations.slice(0, endpointMigrations.indexOf(cardTime)), NOW);
    db.exec(
      `INSERT INTO replica_days (day, pod_id, gpu_type, cold_ms, idle_ms, busy_ms, started, crashed)
       VALUES (20000, ?, 'l4', 1000, 2000, 4000, 1, 0)`,
      podId,
    );
    migrate(db, endpointMigrations, NOW);
    expect(db.exec("SELECT busy_ms, card_ms FROM replica_days")).toEqual([{ busy_ms: 4_000, card_ms: 7_000 }]);
  });
});

describe("a database of the first schema", () => {
  const { db, jobs } = oldDatabase();
  let now = NOW + 1_000;
  const core = new EndpointCore(db, { now: () => now, randomBytes }, null);
  const job = (id: JobId) => must(core.getJob(workspaceId, id)).job;

  it("keeps its jobs as they were", () => {
    expect(job(jobs.queued)).toMatchObject({ state: "queued", position: 1, inputs: large, tags: ["t"], keyId });
    expect(job(jobs.running)).toMatchObject({
      state: "running",
      phase: "executing",
      attempt: 2,
      inputs: '{"seed":18446744073709551615}',
    });
    expect(job(jobs.succeeded)).toMatchObject({ state: "succeeded", outputs: [] });
    expect(job(jobs.succeeded).timeline).toMatchObject([{ phase: "waiting" }, { phase: "executing", ms: 7 }]);
    expect(job(jobs.failed)).toMatchObject({ state: "failed", error: { code: "out_of_memory" } });
    expect(must(core.queueSummary(workspaceId)).summary).toMatchObject({ running: 1, service_ms_p50: 5 });
    expect(db.exec("SELECT id FROM jobs WHERE dead = 1")).toEqual([{ id: jobs.failed }]);
    expect(db.exec("SELECT error_code FROM jobs WHERE error_code IS NOT NULL")).toEqual([
      { error_code: "out_of_memory" },
    ]);
  });

  it("keeps large payloads apart and takes small ones into the row", () => {
    expect(db.exec("SELECT job FROM payloads")).toEqual([{ job: numberOf(jobs.queued) }]);
    expect(db.exec("SELECT id FROM jobs WHERE inputs IS NULL")).toEqual([{ id: jobs.queued }]);
  });

  it("numbers the rows of its jobs as their ids say, and keeps their tags", () => {
    const all = Object.values(jobs);
    const numbered = db.exec("SELECT number, id FROM jobs").map((row) => [row.id, row.number]);
    expect(new Map(numbered as [JobId, number][])).toEqual(new Map(all.map((id) => [id, numberOf(id)])));
    const listed = must(core.listJobs(workspaceId, { limit: 10, bytesMax: 1_000_000, tag: "t" }));
    expect(listed.jobs.map(({ id }) => id)).toEqual(all.toSorted((a, b) => numberOf(b) - numberOf(a)));
  });

  it("knows its Idempotency-Keys", () => {
    const same = must(core.findReplay(workspaceId, { key: "order-1", fingerprint: "f1" }));
    expect(same.job?.id).toBe(jobs.queued);
    expect(must(core.findReplay(workspaceId, { key: "order-1", fingerprint: "f2" })).job).toBeNull();
  });

  it("has its leases in the rows of their jobs, in order, under their new names", () => {
    const [row] = db.exec("SELECT lease_id, leases FROM jobs WHERE id = ?", jobs.running);
    expect(row?.lease_id).toBe(`lse_${jobs.running.slice(4)}-2`);
    expect(JSON.parse(String(row?.leases))).toMatchObject([
      { attempt: 1, outcome: "failed", endedAt: NOW + 1, heard: true, phases: [{ phase: "executing", ms: 7 }] },
      { attempt: 2, outcome: null, endedAt: null, pollId: "poll-1", token: `2.${"0".repeat(24)}` },
    ]);
  });

  it("gives a job that ran back free of charge when its agent does not know the lease's new name", () => {
    now = NOW + 60_000;
    const poll = { poll_id: "poll-0002", leases: [], wait_ms: 0 };
    const outcome = core.pollReplica({ workspaceId, podId, nodeId }, replicaId, poll);
    // The same poll gets it again, as a third lease of a second attempt.
    expect(outcome).toMatchObject({
      type: "answered",
      reply: { ok: true, answer: { lease: { lease_id: `lse_${jobs.running.slice(4)}-3`, attempt: 2 } } },
    });
    expect(db.exec("SELECT handbacks FROM jobs WHERE id = ?", jobs.running)).toEqual([{ handbacks: 1 }]);
  });
});
