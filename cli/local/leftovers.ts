/**
 * Programs that outlived the one that started them: after a kill -9 of the server, workerd goes on serving its port. Each
 * program we start carries the state folder and its role in its environment, which no other program can have by chance
 * and a reused process id does not inherit.
 */
import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";

export type Role = "server" | "runtime" | "agent";

const OWNER = "PILOTLIGHT_STARTED_FOR";
const ROLE = "PILOTLIGHT_STARTED_AS";
const GONE_WITHIN_MS = 5_000;
const LOOK_AGAIN_MS = 20;

/** Environment of a program started for a state folder. */
export function ownedEnvironment(stateRoot: string, role: Role): Record<string, string> {
  return { [OWNER]: realPath(stateRoot), [ROLE]: role };
}

/** One name for one folder, whichever link it was reached by. */
function realPath(stateRoot: string): string {
  try {
    return realpathSync(stateRoot);
  } catch {
    return stateRoot;
  }
}

/**
 * Kills what is left of earlier programs of this state folder in this role, and waits until they are gone.
 * @returns the ids of the processes it killed
 */
export async function killLeftovers(stateRoot: string, role: Role): Promise<number[]> {
  const killed: number[] = [];
  const deadline = Date.now() + GONE_WITHIN_MS;
  for (;;) {
    const found = (await processesOf(stateRoot, role)).filter((pid) => pid !== process.pid && pid !== process.ppid);
    if (found.length === 0) return killed;
    if (Date.now() > deadline) throw new Error(`Processes ${found.join(", ")} of an earlier run do not end`);
    for (const pid of found) {
      try {
        process.kill(pid, "SIGKILL");
        if (!killed.includes(pid)) killed.push(pid);
      } catch {
        // It ended by itself in between.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

/** Ids of the processes that were started for a state folder in a role, and what they started. */
export async function processesOf(stateRoot: string, role: Role): Promise<number[]> {
  const marks = [`${OWNER}=${realPath(stateRoot)}`, `${ROLE}=${role}`];
  if (process.platform === "linux") {
    const pids = (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name)).map(Number);
    const matches = await Promise.all(
      pids.map(async (pid) => {
        // Processes of others, and ones that end while we look, cannot be read. Those that ended and wait for their
        // parent have an empty environment.
        const environment = (await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "")).split("\0");
        const wanted = marks.map((mark) => Buffer.from(mark, "utf8").toString("latin1"));
        return wanted.every((mark) => environment.includes(mark));
      }),
    );
    return pids.filter((_, index) => matches[index]);
  }
  if (process.platform === "win32") return [];
  // macOS and the BSDs show the environment of one's own processes behind the command.
  const { stdout } = await promisify(execFile)("ps", ["-A", "-E", "-ww", "-o", "pid=,command="], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout
    .split("\n")
    .filter((line) => marks.every((mark) => ` ${line} `.includes(` ${mark} `)))
    .map((line) => Number.parseInt(line, 10));
}
