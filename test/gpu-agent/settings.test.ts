import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readSettings, SettingsError, splitArgs } from "#gpu-agent/settings";

const noStdin = () => Promise.reject(new Error("standard input was read"));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-settings-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const base = ["--url", "https://example.com/edge"];

describe("the agent's settings", () => {
  it("come from flags before the environment", async () => {
    const environment = {
      PILOTLIGHT_URL: "http://other",
      PILOTLIGHT_JOIN_TOKEN: "plj_environment",
      COMFYUI_STAND_IN: "1",
    };
    const settings = await readSettings([...base, "--name", "gpu-1", "--slots", "2"], environment, noStdin);
    expect(settings).toMatchObject({
      url: "https://example.com/edge",
      joinToken: "plj_environment",
      name: "gpu-1",
      slots: 2,
      comfy: { kind: "stand-in", args: [] },
    });
    expect(settings.timings.drainMs).toBe(600_000);
    expect(settings.timings.hangMs).toBe(300_000);
  });

  it("name the region, or leave it out", async () => {
    const region = async (argv: string[], environment: Record<string, string> = {}) =>
      (await readSettings([...base, "--stand-in", ...argv], environment, noStdin)).region;
    expect(await region(["--region", "eu-west"], { PILOTLIGHT_REGION: "home" })).toBe("eu-west");
    expect(await region([], { PILOTLIGHT_REGION: "home" })).toBe("home");
    expect(await region([])).toBeUndefined();
  });

  it("say how many replicas share a card", async () => {
    const shared = async (argv: string[], environment: Record<string, string> = {}) =>
      (await readSettings([...base, "--stand-in", ...argv], environment, noStdin)).slotsPerGpu;
    expect(await shared([])).toBe(1);
    expect(await shared([], { PILOTLIGHT_SLOTS_PER_GPU: "3" })).toBe(3);
    expect(await shared(["--slots-per-gpu", "2"], { PILOTLIGHT_SLOTS_PER_GPU: "3" })).toBe(2);
    await expect(shared(["--slots-per-gpu", "0"])).rejects.toThrow("slotsPerGpu");
    await expect(shared(["--slots-per-gpu", "two"])).rejects.toThrow("--slots-per-gpu must be a number");
  });

  it("read the join token from standard input", async () => {
    const settings = await readSettings([...base, "--stand-in", "--join-token", "-"], {}, () =>
      Promise.resolve("plj_x\n"),
    );
    expect(settings.joinToken).toBe("plj_x");
  });

  it("keep the state below XDG_STATE_HOME unless told otherwise", async () => {
    const settings = await readSettings([...base, "--stand-in"], { XDG_STATE_HOME: folder }, noStdin);
    expect(settings.stateDirectory).toBe(join(folder, "pilotlight-agent"));
  });

  it("find the Python of a ComfyUI folder: .venv, then venv, then the system's", async () => {
    writeFileSync(join(folder, "main.py"), "");
    const python = async () => {
      const { comfy } = await readSettings([...base, "--comfyui-dir", folder], {}, noStdin);
      return comfy.kind === "spawn" ? comfy.python : null;
    };
    expect(await python()).toBe("python3");
    for (const name of ["venv", ".venv"]) {
      mkdirSync(join(folder, name, "bin"), { recursive: true });
      writeFileSync(join(folder, name, "bin", "python"), "");
      expect(await python()).toBe(join(folder, name, "bin", "python"));
    }
  });

  it("take several attached servers, one per slot", async () => {
    const { comfy } = await readSettings([...base, "--comfyui-url", "http://a:1, http://b:2/comfy"], {}, noStdin);
    expect(comfy).toEqual({ kind: "attach", urls: ["http://a:1", "http://b:2/comfy"] });
  });

  it("make builds when they are told to, with an interpreter and local sources only where the owner says so", async () => {
    const plain = await readSettings([...base, "--builds"], {}, noStdin);
    expect(plain.comfy).toEqual({ kind: "builds", pythons: [], allowFiles: false, metadata: false });
    const environment = { COMFYUI_BUILDS: "1", PILOTLIGHT_BUILD_PYTHON: "/opt/python3.11" };
    const named = await readSettings([...base, "--allow-file-sources"], environment, noStdin);
    expect(named.comfy).toEqual({ kind: "builds", pythons: ["/opt/python3.11"], allowFiles: true, metadata: false });
  });

  it.each([["--listen 0.0.0.0"], ["--liste=::"], ["--port 80"], ["--lowvram --out /elsewhere"], ["--tls-k k.pem"]])(
    "refuse to start a ComfyUI with %s: where it listens and writes is the agent's own to say",
    async (args) => {
      writeFileSync(join(folder, "main.py"), "");
      const read = (given: string) =>
        readSettings([...base, "--comfyui-dir", folder], { COMFYUI_ARGS: given }, noStdin);
      await expect(read(args)).rejects.toThrow("the agent chooses ComfyUI's address and folders itself");
      await expect(read("--lowvram --fast --base-directory /data --cpu")).resolves.toBeDefined();
    },
  );

  it.each([
    ["builds beside a ComfyUI", [...base, "--builds", "--comfyui-url", "http://a"], "exactly one"],
    ["no server", ["--stand-in"], "--url"],
    ["a server that is no web address", ["--url", "ftp://x", "--stand-in"], "--url"],
    ["no ComfyUI", base, "exactly one"],
    ["two ComfyUIs", [...base, "--stand-in", "--comfyui-url", "http://a"], "exactly one"],
    ["a folder without ComfyUI", [...base, "--comfyui-dir", "/nowhere"], "main.py"],
    ["a number that is none", [...base, "--stand-in", "--slots", "two"], "--slots"],
    [
      "a region in capitals",
      [...base, "--stand-in", "--region", "EU West"],
      "--region (or PILOTLIGHT_REGION): 1 to 40",
    ],
    ["an unknown flag", [...base, "--frobnicate"], "frobnicate"],
  ])("refuse %s, and say what to change", async (_, argv, message) => {
    const refused = readSettings(argv, {}, noStdin);
    await expect(refused).rejects.toThrow(SettingsError);
    await expect(refused).rejects.toThrow(message);
  });
});

it("splits arguments as a shell would", () => {
  expect(splitArgs(`--lowvram --a "b c" --d='e f'  g`)).toEqual(["--lowvram", "--a", "b c", "--d=e f", "g"]);
  expect(splitArgs("")).toEqual([]);
});
