/** Starting and ending the programs of the local stack. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, renameSync, statSync } from "node:fs";
import { ownedEnvironment, type Role } from "#cli/local/leftovers";

/** A log above this is set aside when its program starts. */
const LOG_BYTES_MAX = 10 * 1024 * 1024;

export interface ChildPlan {
  /** A TypeScript program of this repository. */
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stateRoot: string;
  readonly role: Role;
  /** Gets the program's output; it is appended to. */
  readonly logFile: string;
}

export interface Child {
  readonly process: ChildProcess;
  /** Settles when the program has ended, with its exit code or its signal. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** SIGTERM, then SIGKILL for the whole group after `graceMs`. Resolves when it has ended. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Starts a program in a process group of its own, so that a Ctrl-C at the terminal reaches only us, and with an IPC
 * channel, so that it notices our end even after a kill -9.
 */
export function startChild(plan: ChildPlan): Child {
  const log = openLog(plan.logFile);
  let child: ChildProcess;
  try {
    const preload = new URL("./end-with-parent.ts", import.meta.url).href;
    child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", "--import", preload, plan.program, ...plan.args],
      {
        env: { ...process.env, ...plan.env, ...ownedEnvironment(plan.stateRoot, plan.role) },
        stdio: ["ignore", log, log, "ipc"],
        detached: true,
      },
    );
  } finally {
    closeSync(log);
  }
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: 1, signal: null }));
  });
  return {
    process: child,
    ended,
    stop: async (graceMs) => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => killGroup(child), graceMs);
      await ended;
      clearTimeout(timer);
      // What it started and did not end: a ComfyUI, workerd.
      killGroup(child);
    },
  };
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // The group is empty already.
  }
}

function openLog(path: string): number {
  try {
    if (statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.old`);
  } catch {
    // There is none yet.
  }
  return openSync(path, "a", 0o600);
}
