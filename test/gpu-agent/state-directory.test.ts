import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isSameProcess, processIdentity } from "#gpu-agent/process-identity";
import {
  freeBytes,
  lockState,
  prepareState,
  StateInUse,
  statePaths,
  writeFileAtomically,
} from "#gpu-agent/state-directory";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "pilotlight-state-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("the state folder", () => {
  it("has one agent at a time", () => {
    const paths = statePaths(root);
    const unlock = lockState(paths);
    expect(() => lockState(paths)).toThrow(StateInUse);
    unlock();
    lockState(paths)();
  });

  it("is free again when its agent was killed, also when another process got its number", () => {
    const paths = statePaths(root);
    writeFileSync(paths.lock, JSON.stringify({ pid: process.pid, started: "another time" }));
    lockState(paths)();
    writeFileSync(paths.lock, "half a fi");
    lockState(paths)();
  });

  it("forgets what was on its way", async () => {
    const paths = statePaths(root);
    await prepareState(paths);
    writeFileSync(join(paths.spool, "half.png"), "x");
    await prepareState(paths);
    expect(() => statSync(join(paths.spool, "half.png"))).toThrow("ENOENT");
    expect(statSync(paths.spool).mode & 0o777).toBe(0o700);
  });

  it("gets files whole, with their mode", async () => {
    const path = join(root, "session.json");
    await writeFileAtomically(path, "one", 0o600);
    await writeFileAtomically(path, "two", 0o600);
    expect(readFileSync(path, "utf8")).toBe("two");
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("knows its free space", async () => {
    expect(await freeBytes(root)).toBeGreaterThan(0);
  });
});

describe("a process", () => {
  it("is itself while it runs, and nobody afterwards", async () => {
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    await once(child, "spawn");
    const identity = processIdentity(child.pid ?? 0);
    expect(isSameProcess(identity)).toBe(true);
    expect(isSameProcess({ ...identity, started: "another time" })).toBe(false);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(isSameProcess(identity)).toBe(false);
  });
});
