import { describe, expect, it } from "vitest";
import { EndpointId, makeId, PodId, WorkspaceId } from "#contract/ids";
import { DEFAULT_POD_SETTINGS } from "#contract/replica";
import { PodCore } from "#durable-objects/pod/pod-core";
import { SimulatedDatabase, StorageFailure } from "#test/simulation/simulated-database";
import { seededBytes } from "../seeded-bytes.ts";

const NOW = 1_800_000_000_000;

describe("a turn whose storage gives way", () => {
  it("leaves nothing behind in memory, at whichever statement it was", () => {
    let undone = 0;
    for (let statement = 1; statement < 60; statement += 1) {
      const bytes = seededBytes(statement);
      const ids = { workspaceId: makeId(WorkspaceId, "ws", NOW, bytes), podId: makeId(PodId, "pod", NOW, bytes) };
      const endpointId = makeId(EndpointId, "ep", NOW, bytes);
      const database = new SimulatedDatabase();
      const world = { now: () => NOW, randomBytes: bytes };
      const core = new PodCore(database, world, null);
      core.configure(ids.podId, ids.workspaceId);
      const machine = { name: "machine", agent_version: "1", comfyui: "stand-in", gpus: [], slots: 4 };
      const joined = core.join(ids.workspaceId, machine);
      if (!joined.ok) throw new Error(joined.code);
      const demand = {
        ...ids,
        endpointId,
        version: 1,
        drain: [],
        regions: [],
        build: null,
        models: [],
        trials: [],
        warm: 0,
        calls: true,
      };
      const settings = { ...DEFAULT_POD_SETTINGS, containers_max: 2 };
      for (const turn of [
        () => core.setDemand({ ...demand, wanted: 3, needed: 3 }),
        () => core.configure(ids.podId, ids.workspaceId, { version: 5, settings }),
        () => core.removeNode(ids.workspaceId, joined.nodeId),
      ]) {
        database.plan({ atStatement: statement, forGood: false });
        try {
          turn();
        } catch (error) {
          if (!(error instanceof StorageFailure)) throw error;
          undone += 1;
        }
        database.plan(null);
        const anew = new PodCore(database, world, null);
        expect(core.listNodes(ids.workspaceId)).toEqual(anew.listNodes(ids.workspaceId));
        // What was not stored is not known: told again, it is taken.
        expect(core.configure(ids.podId, ids.workspaceId, { version: 5, settings })).toEqual({ ok: true });
        expect(JSON.stringify(database.look("SELECT settings FROM pod"))).toContain("containers_max");
      }
    }
    expect(undone).toBeGreaterThan(20);
  });
});
