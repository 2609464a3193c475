/** Runs a program for a step of a build: git, Python, pip, uv. */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pause } from "../control/backoff.ts";
import { isSameProcess, processIdentity } from "../process-identity.ts";
import { isCode, readIdentity } from "../state-directory.ts";
import { BuildFailed } from "./build-failed.ts";
import type { StepLog } from "./step-log.ts";

/** Answers that are read (a commit, a version) are short. */
const ANSWER_LENGTH_MAX = 1024 * 1024;
/** Between SIGTERM and SIGKILL: git and pip take their half-written files away. */
const STOP_MS = 3_000;
/** How long output that a dead program left behind is waited for. */
const CLOSE_MS = 1_000;

/** What every program of a build runs under. */
export interface StepSurroundings {
  readonly environment: NodeJS.ProcessEnv;
  readonly log: StepLog;
  /** Names the program that runs, so that the next agent can end it if this one is killed. */
  readonly childFile: string;
  readonly signal: AbortSignal;
}

export interface ProgramCall {
  readonly program: string;
  readonly args: readonly string[];
  /** Of the arguments, those worth a line of the log; left out: all. */
  readonly shown?: readonly string[];
  readonly cwd: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export interface ProgramEnd {
  /** Null: a signal ended it. */
  readonly code: number | null;
  /** What it wrote to stdout. */
  readonly answer: string;
}

/**
 * Runs a program to its end. Its output goes to the log.
 * @throws BuildFailed program_missing; the signal's reason, after the program and all it started have ended
 */
export async function runStepProgram(call: ProgramCall, around: StepSurroundings): Promise<ProgramEnd> {
  const { signal, log, childFile } = around;
  signal.throwIfAborted();
  log.line(`$ ${[call.program, ...(call.shown ?? call.args)].join(" ")}`);
  const child = spawn(call.program, [...call.args], {
    cwd: call.cwd,
    env: { ...around.environment, ...call.environment },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own: what pip and git start ends with them.
    detached: true,
  });
  // Before anything is awaited: a kill of the agent must not leave a program that nobody knows.
  if (child.pid !== undefined) writeFileSync(childFile, JSON.stringify(processIdentity(child.pid)), { mode: 0o600 });
  let answer = "";
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      log.line(line);
      if (stream === child.stdout && answer.length < ANSWER_LENGTH_MAX) answer += `${line}\n`;
    });
  }
  let stop: NodeJS.Timeout | undefined;
  const onAbort = () => {
    signalGroup(child, "SIGTERM");
    stop = setTimeout(() => signalGroup(child, "SIGKILL"), STOP_MS);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const code = await ended(child);
    signal.throwIfAborted();
    return { code, answer };
  } catch (error) {
    if (isCode(error, "ENOENT")) {
      throw new BuildFailed("program_missing", `This machine has no ${call.program}, which a build needs.`);
    }
    throw error;
  } finally {
    clearTimeout(stop);
    signal.removeEventListener("abort", onAbort);
    rmSync(childFile, { force: true });
  }
}

/** Resolves with the exit code when the program has ended and its output has been read. */
function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      signalGroup(child, "SIGKILL");
      const late = setTimeout(() => resolve(code), CLOSE_MS);
      child.once("close", () => {
        clearTimeout(late);
        resolve(code);
      });
    });
  });
}

/** Ends the program that an agent left behind when it was killed, if it still runs. */
export async function endLeftover(childFile: string): Promise<void> {
  const identity = readIdentity(childFile);
  if (identity === null) return;
  if (isSameProcess(identity)) {
    killGroup(identity.pid, "SIGKILL");
    while (isSameProcess(identity)) await pause(20);
  }
  rmSync(childFile, { force: true });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined) killGroup(child.pid, signal);
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nothing is left of it.
  }
}
