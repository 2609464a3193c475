/** The deploy gate of a real endpoint with its pod, spoken to as agents and the Worker speak to it. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { VerificationReport } from "#contract/agent";
import type { EndpointSettings } from "#contract/endpoint";
import { ownerKey, type ReplicaId } from "#contract/ids";
import type { NodeIdentity } from "#durable-objects/endpoint/rpc";
import { eventually, must, Objects } from "./objects.ts";

const ACTIVATE = { cause: "activate", canary: null, force: false } as const;

/** An endpoint with one ready replica whose start has proven release 1. */
async function withProof(settings: Partial<EndpointSettings> = {}) {
  const objects = await Objects.open({ min_replicas: 1, max_replicas: 1, ...settings });
  await inCatalog(objects);
  const { node, replicaId } = await objects.machine();
  await report(objects, node, replicaId, 1);
  await eventually(async () => ((await gate(objects)).isActiveProven ? true : null));
  return { objects, node, replicaId };
}

/** The rows that an activation changes. */
async function inCatalog({ workspaceId, podId, endpointId }: Objects): Promise<void> {
  const now = Date.now();
  await env.CATALOG.batch([
    env.CATALOG.prepare("INSERT INTO workspaces (id, name, created_at) VALUES (?, 'w', ?)").bind(workspaceId, now),
    env.CATALOG.prepare("INSERT INTO pods (id, workspace_id, name, created_at) VALUES (?, ?, 'p', ?)").bind(
      podId,
      workspaceId,
      now,
    ),
    env.CATALOG.prepare(
      `INSERT INTO endpoints (id, key, workspace_id, pod_id, slug, name, settings, overrides, active_release,
         newest_release, version, applied_version, created_at, updated_at)
       VALUES (?, ?, ?, ?, 'picture', 'picture', '{}', '{}', 1, 3, 1, 1, ?, ?)`,
    ).bind(endpointId, ownerKey(endpointId), workspaceId, podId, now, now),
    ...[1, 2, 3].map((number) =>
      env.CATALOG.prepare(
        `INSERT INTO releases (endpoint_id, number, digest, graph, inputs, outputs, classes, warnings, overrides, created_at)
         VALUES (?, ?, ?, '{}', '[]', '[]', '[]', '[]', ?, ?)`,
      ).bind(endpointId, number, `digest-${number}`, JSON.stringify({ of: number }), now),
    ),
  ]);
}

function report(objects: Objects, node: NodeIdentity, replicaId: ReplicaId, proven?: number) {
  const said = { state: "ready" as const, phases: [], ...(proven === undefined ? {} : { proven }) };
  return must(objects.endpoint.reportReplica(node, replicaId, said));
}

async function gate({ endpoint, workspaceId }: Objects, ...releases: number[]) {
  return (await must(endpoint.releaseGate(workspaceId, releases))).gate;
}

async function wish({ endpoint, workspaceId }: Objects, release: number, more: object = {}) {
  return (await must(endpoint.wishRelease(workspaceId, { ...ACTIVATE, release, replaces: 1, ...more }))).decision;
}

/** Asks for work as an agent that takes errands does; the poll's id names the errand. */
async function ask({ endpoint }: Objects, node: NodeIdentity, replicaId: ReplicaId, pollId: string, waitMs = 0) {
  const poll = { poll_id: pollId, leases: [], verifies: true, wait_ms: waitMs };
  return (await must(endpoint.pollReplica(node, replicaId, poll))).answer;
}

/** Polls until an errand comes. */
function errand(objects: Objects, node: NodeIdentity, replicaId: ReplicaId, pollId: string) {
  let round = 0;
  return eventually(async () => {
    round += 1;
    const answer = await ask(objects, node, replicaId, `${pollId}-${String(round).padStart(6, "0")}`);
    return answer.verify == null ? null : { id: `${pollId}-${String(round).padStart(6, "0")}`, ...answer.verify };
  });
}

async function say(
  { endpoint }: Objects,
  node: NodeIdentity,
  replicaId: ReplicaId,
  said: Omit<VerificationReport, "release"> & { release?: number },
) {
  return (await must(endpoint.reportVerification(node, replicaId, { release: 2, ...said }))).answer;
}

async function row({ endpointId }: Objects) {
  const [found] = (
    await env.CATALOG.prepare("SELECT active_release, canary, version, overrides FROM endpoints WHERE id = ?")
      .bind(endpointId)
      .all<{ active_release: number; canary: string | null; version: number; overrides: string }>()
  ).results;
  if (found === undefined) throw new Error("there is no such endpoint");
  return found;
}

const active = (objects: Objects, release: number) =>
  eventually(async () => ((await row(objects)).active_release === release ? true : null));

async function lines({ endpoint, workspaceId }: Objects, release: number): Promise<string[]> {
  return (await must(endpoint.watchReleaseLog(workspaceId, release, 0, 0))).lines.map(({ text }) => text);
}

describe("an endpoint whose active release has never run", () => {
  it("takes another one at once, and says that it is not ready", async () => {
    const objects = await Objects.open();
    expect(await wish(objects, 2)).toBe("now");
    expect(await gate(objects, 1)).toMatchObject({
      isActiveProven: false,
      pending: null,
      releases: [{ release: 1, state: "verifying", forced: false, verification: [] }],
    });
  });
});

describe("an endpoint whose active release has run on a GPU", () => {
  it("keeps it until the new one has run there, then tells the catalog by itself, with the release's overrides", async () => {
    const { objects, node, replicaId } = await withProof();
    expect(await gate(objects, 1, 2)).toMatchObject({ releases: [{ state: "ready" }, { state: "untried" }] });
    expect(await wish(objects, 2)).toBe("waits");
    expect((await gate(objects)).pending).toMatchObject({ release: 2, canary: null, state: "verifying" });
    const { id, release } = await errand(objects, node, replicaId, "errand");
    expect(release).toBe(2);
    expect((await gate(objects, 2)).releases[0]).toMatchObject({
      state: "building",
      verification: [{ gpu_type: null, state: "building", replica_id: replicaId, finished_at: null }],
    });
    expect((await gate(objects)).pending).toMatchObject({ waits_for: "verification" });
    const log = { log: ["comparing", "running"], log_from: 0 };
    expect(await say(objects, node, replicaId, { errand: id, state: "verifying", ...log })).toEqual({
      stop: false,
      log_next: 2,
    });
    // The same report again, and a later one that repeats a line.
    await say(objects, node, replicaId, { errand: id, state: "verifying", ...log });
    expect((await row(objects)).active_release).toBe(1);
    await say(objects, node, replicaId, { errand: id, state: "ready", log: ["running", "done"], log_from: 1 });
    await active(objects, 2);
    expect(await row(objects)).toMatchObject({ version: 2, overrides: '{"of":2}', canary: null });
    const noted = await env.CATALOG.prepare("SELECT * FROM activations WHERE endpoint_id = ?")
      .bind(objects.endpointId)
      .all();
    expect(noted.results).toMatchObject([{ version: 2, release: 2, replaced: 1, cause: "activate" }]);
    const after = await eventually(async () => {
      const seen = await gate(objects, 2);
      return seen.pending === null ? seen : null;
    });
    expect(after).toMatchObject({ isActiveProven: true, releases: [{ state: "ready" }] });
    const said = await lines(objects, 2);
    expect(said.filter((line) => ["comparing", "running", "done"].includes(line))).toEqual([
      "comparing",
      "running",
      "done",
    ]);
    expect(said.at(-1)).toBe("Release 2 is the active one now.");
    // A rollback to what was ready before is at once.
    expect(await wish(objects, 1, { replaces: 2, cause: "rollback" })).toBe("now");
  });

  it("gives the same poll its errand again, and answers every message about it twice alike", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    const { id } = await errand(objects, node, replicaId, "lost");
    expect(await ask(objects, node, replicaId, id)).toMatchObject({ lease: null, verify: { release: 2 } });
    const ready = { errand: id, state: "ready" as const };
    expect(await say(objects, node, replicaId, ready)).toMatchObject({ log_next: 0 });
    expect(await say(objects, node, replicaId, ready)).toMatchObject({ stop: true });
    await active(objects, 2);
    expect((await gate(objects, 2)).releases[0]?.verification).toHaveLength(1);
    expect((await lines(objects, 2)).filter((line) => line.startsWith("Release 2 has run on"))).toHaveLength(1);
  });

  it("ends the wish where the release cannot run, with the reason, and keeps the old one", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    const { id } = await errand(objects, node, replicaId, "wrong");
    const error = "This ComfyUI has no node class Sharpen.";
    await say(objects, node, replicaId, { errand: id, state: "failed", error, final: true });
    const { pending, releases } = await gate(objects, 2);
    expect(pending).toBeNull();
    expect(releases[0]).toMatchObject({ state: "failed", verification: [{ state: "failed", error }] });
    expect((await row(objects)).active_release).toBe(1);
    expect((await lines(objects, 2)).join("\n")).toContain(error);
    const log = await must(objects.endpoint.watchReleaseLog(objects.workspaceId, 2, 0, 0));
    expect(log).toMatchObject({ ended: true, state: "failed" });
    // It goes on to work, and a second wish tries again.
    await objects.submit();
    expect((await ask(objects, node, replicaId, objects.pollId())).lease).not.toBeNull();
  });

  it("tries again when the replica gives up, and ends the wish after three tries without a result", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    for (const round of [1, 2, 3]) {
      const { id } = await errand(objects, node, replicaId, `round${round}`);
      if (round === 1) continue; // The next poll shows that it is not on it any more.
      await say(objects, node, replicaId, { errand: id, state: "failed", error: "ComfyUI died" });
    }
    const { pending, releases } = await gate(objects, 2);
    expect(pending).toBeNull();
    expect(releases[0]).toMatchObject({ state: "failed" });
    expect(releases[0]?.verification[0]?.error).toBe("3 tries ended without a result. The last one: ComfyUI died");
  });

  it("gives the errand to another replica when its machine dies in the middle", async () => {
    const { objects, node, replicaId } = await withProof({ min_replicas: 2, max_replicas: 2 });
    const other = await objects.machine();
    await report(objects, other.node, other.replicaId);
    await wish(objects, 2);
    await errand(objects, node, replicaId, "dying");
    await objects.endpoint.replicaGone(objects.podId, replicaId, "The machine is gone.", false);
    const { verification } = (await gate(objects, 2)).releases[0] ?? {};
    expect(verification).toMatchObject([{ state: "untried", error: "The machine is gone." }]);
    expect((await gate(objects)).pending).toMatchObject({ release: 2 });
    const again = await errand(objects, other.node, other.replicaId, "second");
    await say(objects, other.node, other.replicaId, { errand: again.id, state: "ready" });
    await active(objects, 2);
  });

  it("goes on after it was killed at any moment: in the middle of a try, and before the catalog was told", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    const { id } = await errand(objects, node, replicaId, "killed");
    await evictDurableObject(objects.endpointStub);
    expect((await gate(objects, 2)).pending).toMatchObject({ release: 2, waits_for: "verification" });
    await say(objects, node, replicaId, { errand: id, state: "ready" });
    await evictDurableObject(objects.endpointStub);
    await gate(objects);
    await eventually(async () => {
      await runDurableObjectAlarm(objects.endpointStub);
      return (await row(objects)).active_release === 2 ? true : null;
    });
    expect(await row(objects)).toMatchObject({ version: 2 });
  });

  it("takes the last wish: another release, or the active one, which ends what waits", async () => {
    const { objects, node, replicaId } = await withProof();
    expect(await wish(objects, 2)).toBe("waits");
    const { id } = await errand(objects, node, replicaId, "first");
    expect(await wish(objects, 3)).toBe("waits");
    expect((await gate(objects)).pending).toMatchObject({ release: 3 });
    // Whoever tries the other one hears that nobody waits for it any more.
    expect(await say(objects, node, replicaId, { errand: id, state: "verifying" })).toMatchObject({ stop: true });
    expect((await errand(objects, node, replicaId, "other")).release).toBe(3);
    expect(await wish(objects, 1)).toBe("active");
    expect((await gate(objects)).pending).toBeNull();
    expect((await row(objects)).active_release).toBe(1);
  });

  it("is told by the catalog's word that another release was made active meanwhile, and changes nothing", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    const { id } = await errand(objects, node, replicaId, "late");
    await env.CATALOG.prepare("UPDATE endpoints SET active_release = 3, version = 9 WHERE id = ?")
      .bind(objects.endpointId)
      .run();
    await say(objects, node, replicaId, { errand: id, state: "ready" });
    await eventually(async () => ((await gate(objects)).pending === null ? true : null));
    expect(await row(objects)).toMatchObject({ active_release: 3, version: 9 });
    expect((await lines(objects, 2)).at(-1)).toBe("Release 3 was made active meanwhile.");
    expect(await wish(objects, 2)).toBe("again");
  });

  it("is at once with force, and says so", async () => {
    const { objects } = await withProof();
    await wish(objects, 2);
    expect(await wish(objects, 3, { force: true })).toBe("now");
    const { pending, releases } = await gate(objects, 2, 3);
    expect(pending).toBeNull();
    expect(releases).toMatchObject([
      { release: 2, forced: false },
      { release: 3, forced: true, state: "untried" },
    ]);
  });

  it("gives a canary its place in the same way, once", async () => {
    const { objects, node, replicaId } = await withProof();
    const canary = { weight: 0.5, max_error_rate_increase: 0.05, max_latency_ratio: 1.5, min_jobs: 20 };
    expect(await wish(objects, 2, { canary })).toBe("waits");
    expect((await gate(objects)).pending).toMatchObject({ release: 2, canary });
    const { id } = await errand(objects, node, replicaId, "canary");
    await say(objects, node, replicaId, { errand: id, state: "ready" });
    const held = await eventually(async () => (await row(objects)).canary);
    expect(JSON.parse(held)).toMatchObject({ ...canary, release: 2, id: 2 });
    await eventually(async () => ((await gate(objects)).pending === null ? true : null));
    expect(await row(objects)).toMatchObject({ active_release: 1, version: 2 });
    const { results } = await must(objects.endpoint.canaryResults(objects.workspaceId));
    expect(results).toMatchObject({ state: "running" });
  });

  it("lets jobs go first for a while, and the release afterwards, though jobs wait", async () => {
    const { objects, node, replicaId } = await withProof();
    await objects.submit();
    await wish(objects, 2);
    const { lease, verify } = await ask(objects, node, replicaId, objects.pollId());
    if (lease === null) throw new Error("no lease");
    expect(verify ?? null).toBeNull();
    await objects.submit();
    // It has waited for half a minute.
    await runInDurableObject(objects.endpointStub, (_, { storage }) => {
      storage.sql.exec("UPDATE release_wish SET since = since - 30000");
    });
    await evictDurableObject(objects.endpointStub);
    const proof = { ...node, leaseId: lease.lease_id, token: lease.token };
    await must(objects.endpoint.progress(proof, { phase: "executing" }));
    await must(
      objects.endpoint.pollReplica(node, replicaId, {
        poll_id: objects.pollId(),
        leases: [{ lease_id: lease.lease_id, token: lease.token }],
        verifies: true,
        wait_ms: 0,
      }),
    );
    // The job ends without another in its place, though one waits; then the errand comes.
    const next = { outputs: [], phases: [], next_poll_id: objects.pollId() };
    expect(await must(objects.endpoint.complete(proof, next, []))).toMatchObject({ next: null });
    expect((await errand(objects, node, replicaId, "overdue")).release).toBe(2);
  });

  it("does not let go of a replica that is on an errand", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    await errand(objects, node, replicaId, "kept");
    await objects.configure({ min_replicas: 0, max_replicas: 1, idle_timeout_s: 1 });
    expect(await objects.endpoint.reclaimIdle(objects.podId, replicaId)).toBe(false);
    const { replicas } = await must(objects.endpoint.listReplicas(objects.workspaceId));
    expect(replicas.map(({ state }) => state)).not.toContain("draining");
  });

  it("asks nothing of agents that take no errands: the release waits for one that does", async () => {
    const { objects, node, replicaId } = await withProof();
    await wish(objects, 2);
    const { answer } = await must(objects.poll(node, replicaId));
    expect(answer.verify ?? null).toBeNull();
    expect((await gate(objects)).pending).toMatchObject({ release: 2 });
  });
});

describe("an endpoint without a machine", () => {
  it("waits, and says that no node is online", async () => {
    const { objects, node, replicaId } = await withProof();
    const goodbye = { poll_id: objects.pollId(), comfyui: "", gpus: [], slots: 1, draining: true, replicas: [] };
    await must(objects.pod.pollNode(node, { ...goodbye, wait_ms: 0 }));
    await objects.endpoint.replicaGone(objects.podId, replicaId, "gone", false);
    expect(await wish(objects, 2)).toBe("waits");
    const pending = await eventually(async () => {
      const now = (await gate(objects)).pending;
      return now?.waits_for === "node" ? now : null;
    });
    expect(pending.reason).toMatch(/^no_node_online:/);
    expect((await row(objects)).active_release).toBe(1);
  });
});
