import { describe, expect, it } from "vitest";
import { EndpointId, makeId, NodeId, ownerKey, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import { PodCore } from "#durable-objects/pod/pod-core";
import { migrate } from "#durable-objects/sql/migrate";
import { podMigrations } from "#migrations/pod/all";
import { NodeDatabase } from "../queue/node-database.ts";
import { seededBytes } from "../seeded-bytes.ts";

const NOW = 1_800_000_000_000;

describe("a pod from before settings and trust", () => {
  it("goes on with its nodes, replicas and demands", () => {
    const bytes = seededBytes(4);
    const workspaceId = makeId(WorkspaceId, "ws", NOW, bytes);
    const podId = makeId(PodId, "pod", NOW, bytes);
    const nodeId = makeId(NodeId, "node", NOW, bytes, ownerKey(podId));
    const endpointId = makeId(EndpointId, "ep", NOW, bytes);
    const replicaId = makeId(ReplicaId, "rep", NOW, bytes, ownerKey(endpointId));
    const db = new NodeDatabase();
    migrate(
      db,
      podMigrations.filter(({ id }) => id <= 6),
      NOW,
    );
    db.exec("INSERT INTO pod (id, pod_id, workspace_id) VALUES (1, ?, ?)", podId, workspaceId);
    db.exec(
      `INSERT INTO nodes (id, name, agent_version, comfyui, gpus, slots, draining, online, joined_at, seen_at)
       VALUES (?, 'old', '1', 'spawned', '[]', 2, 0, 1, ?, ?)`,
      nodeId,
      NOW,
      NOW,
    );
    db.exec("INSERT INTO replicas VALUES (?, ?, ?, 0, 'ready', 0, 1, ?, ?)", replicaId, endpointId, nodeId, NOW, NOW);
    db.exec(
      "INSERT INTO demands (endpoint_id, version, wanted, needed, since, regions) VALUES (?, 3, 2, 2, ?, '[]')",
      endpointId,
      NOW,
    );
    const core = new PodCore(db, { now: () => NOW + 1_000, randomBytes: bytes }, null);
    expect(core.listNodes(workspaceId)).toMatchObject({
      nodes: [{ id: nodeId, online: true, cordoned: false, quarantine: null, slots_per_gpu: 1, inventory: null }],
    });
    const demand = { podId, workspaceId, endpointId, version: 4, wanted: 2, needed: 2, drain: [], regions: [] };
    const reply = core.setDemand({ ...demand, build: null, models: [], trials: [], warm: 0, calls: true });
    expect(reply).toMatchObject({ ok: true, floor: 0, idleTimeoutMs: null, room: 0 });
    expect(reply.ok ? reply.replicas.map((placed) => placed.replicaId) : []).toContain(replicaId);
    expect(reply.ok ? reply.replicas : []).toHaveLength(2);
  });
});
