import { describe, expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { json, scriptedServer } from "#test/client/scripted-server";

const NODE = {
  id: "node_00000000000000000000000001",
  pod_id: "pod_00000000000000000000000001",
  name: "cellar",
  region: "eu-west",
  online: true,
  draining: false,
  comfyui: "stand-in",
  gpus: [],
  slots: [{ slot: 0, replica_id: null }],
  agent_version: "0.1.0",
  joined_at: "2026-11-21T10:00:00.000Z",
  last_seen_at: "2026-11-21T10:00:00.000Z",
};

describe("node ls", () => {
  it("shows where each machine is", async () => {
    const attic = { ...NODE, id: "node_00000000000000000000000002", name: "attic", region: null };
    const server = await scriptedServer(json(200, { data: [NODE, attic] }));
    const { code, stdout } = await runHere(["node", "ls", "--pod", NODE.pod_id], {
      env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url, PILOTLIGHT_RETRY_S: "0" },
      isTerminal: true,
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^NODE +NAME +REGION /);
    expect(stdout).toMatch(/cellar +eu-west +online/);
    expect(stdout).toMatch(/attic +– +online/);
  });
});

describe("node join", () => {
  it.each([
    ["--region", ["--region", "EU West"], {}],
    ["PILOTLIGHT_REGION", [], { PILOTLIGHT_REGION: "eu_west" }],
  ])("refuses a name that is no region, given as %s, before anything starts", async (_, words, more) => {
    const argv = ["node", "join", "--url", "http://127.0.0.1:1", "--join-token", "plj_x", "--stand-in", ...words];
    const { code, stderr } = await runHere(argv, { env: more, isTerminal: true });
    expect(code).not.toBe(0);
    expect(stderr).toContain("--region: 1 to 40 lower-case letters, digits, inner hyphens");
  });
});
