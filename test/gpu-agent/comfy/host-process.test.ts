import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { childEnvironment, freePort, HostProcess, killLeftovers, ProcessDied } from "#gpu-agent/comfy/host-process";
import { isSameProcess, processIdentity } from "#gpu-agent/process-identity";
import { readIdentity } from "#gpu-agent/state-directory";
import { comesTrue } from "#test/gpu-agent/quick-timings";

let slots: string;
beforeEach(() => {
  slots = mkdtempSync(join(tmpdir(), "pilotlight-process-"));
});
afterEach(async () => {
  await killLeftovers(slots);
  rmSync(slots, { recursive: true, force: true });
});

const slot = () => join(slots, "0");
const pidFile = () => join(slot(), "comfyui.pid");
const start = (script: string, stopMs = 5_000) =>
  HostProcess.start({
    program: process.execPath,
    args: ["-e", script],
    cwd: slots,
    environment: process.env,
    directory: slot(),
    stopMs,
  });

describe("a process of the agent's own", () => {
  it("is known by a file while it lives", async () => {
    const child = await start("setInterval(() => {}, 1000)");
    expect(readIdentity(pidFile())).toEqual(processIdentity(child.pid));
    await child.stop();
    expect(existsSync(pidFile())).toBe(false);
    expect(child.died.aborted).toBe(true);
  });

  it("that ends by itself leaves its last words, here and in its log", async () => {
    const child = await start('console.error("line 1"); console.log("line 2"); process.exit(3)');
    await comesTrue("it has ended", () => child.died.aborted);
    expect(child.died.reason).toBeInstanceOf(ProcessDied);
    expect((child.died.reason as Error).message).toBe("the process ended with exit code 3");
    expect((child.died.reason as ProcessDied).tail.split("\n").sort()).toEqual(["line 1", "line 2"]);
    await comesTrue("the log is written", () => readFileSync(join(slot(), "comfyui.log"), "utf8").includes("line 1"));
    const next = await start('console.error("line 3")');
    await comesTrue("it has ended", () => next.died.aborted);
    expect(readFileSync(join(slot(), "comfyui.log.1"), "utf8")).toContain("line 1");
  });

  it("that will not end is killed", async () => {
    const child = await start('process.on("SIGTERM", () => {}); setInterval(() => {}, 1000); console.log("up")', 200);
    await comesTrue("it is up", () => child.tail.includes("up"));
    const identity = processIdentity(child.pid);
    await child.stop();
    expect(isSameProcess(identity)).toBe(false);
  });

  it("takes with it what it started", async () => {
    const script = `
      const { spawn } = require("node:child_process");
      console.log("child " + spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]).pid);
      setInterval(() => {}, 1000);`;
    const child = await start(script);
    await comesTrue("it has a child", () => /child \d+/.test(child.tail));
    const grandchild = processIdentity(Number(/child (\d+)/.exec(child.tail)?.[1]));
    process.kill(child.pid, "SIGKILL");
    await comesTrue("its child is gone too", () => !isSameProcess(grandchild));
  });

  it("counts as dead when it says that its worker thread is", async () => {
    const child = await start(
      'console.error("Exception in thread Thread-4 (prompt_worker):\\nTraceback"); setInterval(() => {}, 1000)',
    );
    await comesTrue("it counts as dead", () => child.died.aborted);
    expect((child.died.reason as Error).message).toBe("its worker thread died");
    await child.stop();
  });

  it("that cannot be started says so", async () => {
    const starting = HostProcess.start({
      program: "/nowhere/python",
      args: [],
      cwd: slots,
      environment: {},
      directory: slot(),
      stopMs: 100,
    });
    await expect(starting).rejects.toThrow("ENOENT");
  });
});

describe("what an agent that was killed left behind", () => {
  it("is ended, if it is still the same process", async () => {
    const child = await start("setInterval(() => {}, 1000)");
    expect(await killLeftovers(slots)).toBe(1);
    await comesTrue("it has ended", () => child.died.aborted);
    expect(await killLeftovers(slots)).toBe(0);
  });

  it("is not confused with a process that got its number", async () => {
    mkdirSync(slot(), { recursive: true });
    writeFileSync(pidFile(), JSON.stringify({ pid: process.pid, started: "another time" }));
    expect(await killLeftovers(slots)).toBe(0);
    expect(existsSync(pidFile())).toBe(false);
  });

  it("may be nothing at all", async () => {
    expect(await killLeftovers(join(slots, "nowhere"))).toBe(0);
  });
});

it("finds a free port", async () => {
  expect(await freePort()).toBeGreaterThan(0);
});

it("keeps the agent's settings and secrets from what it starts", () => {
  const environment = { PATH: "/bin", HF_TOKEN: "hf_x", PILOTLIGHT_JOIN_TOKEN: "plj_x", PILOTLIGHT_URL: "http://x" };
  expect(childEnvironment(environment)).toEqual({ PATH: "/bin", HF_TOKEN: "hf_x" });
});
