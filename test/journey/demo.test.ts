import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { processesOf } from "#cli/local/leftovers";
import { Credentials, readJsonFile, stateFolderAt } from "#cli/local/state-folder";
import { checkPng } from "#cli/png-check";
import { runCli, System, startCli } from "#test/journey/system";
import { until } from "#test/until";

let state: string;
let pictures: string;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), "pilotlight-demo-"));
  pictures = await mkdtemp(join(tmpdir(), "pilotlight-pictures-"));
});
afterAll(async () => {
  await rm(state, { recursive: true, force: true });
  await rm(pictures, { recursive: true, force: true });
});

const left = async () =>
  (await Promise.all((["server", "runtime", "agent"] as const).map((role) => processesOf(state, role)))).flat();
const demo = () => runCli(["demo", "-o", pictures], { PILOTLIGHT_STATE_DIR: state, PILOTLIGHT_PORT: "0" });

describe("the demonstration", () => {
  it("runs from nothing, saves valid pictures, says what they are, and leaves nothing running", async () => {
    const { code, stdout, stderr } = await demo();
    expect(code, stdout + stderr).toBe(0);
    const names = (await readdir(pictures)).toSorted();
    expect(names).toEqual(["model-free-image.png", "text-to-image-image.png"]);
    for (const name of names) expect(checkPng(await readFile(join(pictures, name))).width).toBeGreaterThan(0);
    for (const said of [
      "the CPU stand-in runs the jobs",
      "This picture is the stand-in's placeholder: no model drew it.",
      /job\s+job_[0-9a-z]{26}/,
      /executing\s+[0-9]+/,
      `saved      ${join(pictures, "text-to-image-image.png")} (PNG, 1024 × 1024`,
      "curl -s http://127.0.0.1:",
      "/docs",
      "/openapi.json",
    ]) {
      expect(stdout).toMatch(said);
    }
    expect(await left()).toEqual([]);
  });

  it("runs again on what the first run left", async () => {
    const before = await readJsonFile(stateFolderAt(state).credentials, Credentials);
    const { code, stdout, stderr } = await demo();
    expect(code, stdout + stderr).toBe(0);
    expect(await readJsonFile(stateFolderAt(state).credentials, Credentials)).toEqual(before);
    expect(await left()).toEqual([]);
  });

  it("uses a server that runs already, and leaves it running", async () => {
    const system = await System.start({ state });
    try {
      const { code, stdout, stderr } = await demo();
      expect(code, stdout + stderr).toBe(0);
      expect(stdout).toContain(`${system.url} (it was running already)`);
      expect((await system.client.health()).status).toBe("ok");
      // A second server on the same state is refused, by name.
      const second = await runCli(["dev", "--json"], { PILOTLIGHT_STATE_DIR: state });
      expect(second.code).toBe(1);
      expect(second.stdout).toContain(system.url);
      expect(second.stdout).toContain("server_running");
    } finally {
      expect(await system.end("SIGINT")).toBe(0);
    }
    expect(await left()).toEqual([]);
  });

  it("explains a missing checkpoint and goes on with the workflow that needs none", async () => {
    const { code, stdout, stderr } = await runCli(["demo", "-o", pictures], {
      PILOTLIGHT_STATE_DIR: state,
      PILOTLIGHT_PORT: "0",
      COMFYUI_ARGS: "--fault-missing-model sd_xl_base_1.0.safetensors",
    });
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toContain("This ComfyUI cannot run it");
    expect(stdout).toContain("sd_xl_base_1.0.safetensors");
    expect(stdout).toContain("model-free-image.png");
  });

  it("ends with everything it started on Ctrl-C", async () => {
    const command = startCli(["demo", "-o", pictures], { PILOTLIGHT_STATE_DIR: state, PILOTLIGHT_PORT: "0" });
    await until("it submits its first job", () => (command.stdout().includes("job_") ? true : undefined));
    command.process.kill("SIGINT");
    expect(await command.ended).toBe(130);
    expect(await left()).toEqual([]);
  });
});
