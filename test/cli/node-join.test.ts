import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "#test/until";

let state: string;
let joining: ChildProcess | undefined;
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), "pilotlight-join-"));
});
afterEach(async () => {
  joining?.kill("SIGKILL");
  await rm(state, { recursive: true, force: true });
});

/** Joins a server that does not answer, which the agent tries for ever. @returns the agent's process id */
async function startJoining(through: "node" | "sh" = "node"): Promise<number> {
  const words = [
    ...[process.execPath, "cli/main.ts", "node", "join", "--stand-in", "--url", "http://127.0.0.1:1"],
    ...["--join-token", "plj_x", "--state-directory", state],
  ];
  const [program = "", ...args] = through === "node" ? words : ["sh", "-c", '"$@"; true', "sh", ...words];
  joining = spawn(program, args, {
    stdio: "ignore",
    env: { ...process.env, npm_lifecycle_event: "pilotlight", INIT_CWD: process.cwd() },
  });
  return await until("the agent's lock", async () => {
    const lock = await readFile(join(state, "agent.lock"), "utf8").catch(() => "");
    return lock === "" ? undefined : (JSON.parse(lock) as { pid: number }).pid;
  });
}

const isGone = (pid: number) => !existsSync(`/proc/${pid}`);

it.skipIf(process.platform !== "linux")("leaves no agent behind after a kill -9 of the command", async () => {
  const agent = await startJoining();
  joining?.kill("SIGKILL");
  await until("the agent's end", () => isGone(agent) || undefined);
  expect(isGone(agent)).toBe(true);
});

it.skipIf(process.platform !== "linux")(
  "takes one press that arrives twice for one, and ends with the agent",
  async () => {
    const agent = await startJoining();
    const ended = once(joining as ChildProcess, "exit");
    joining?.kill("SIGINT");
    joining?.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(isGone(agent)).toBe(true);
  },
);

it.skipIf(process.platform !== "linux")("ends when the shell that npm started it in is killed", async () => {
  const agent = await startJoining("sh");
  joining?.kill("SIGKILL");
  await until("the agent's end", () => isGone(agent) || undefined);
  expect(isGone(agent)).toBe(true);
});
