/** Naming a process so that a reused process number is not taken for it. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import * as z from "zod";

export const ProcessIdentity = z.strictObject({
  pid: z.int().positive(),
  /** When it started, in the system's own notation; null when the system does not say. */
  started: z.string().nullable(),
});
export type ProcessIdentity = z.infer<typeof ProcessIdentity>;

export function processIdentity(pid: number): ProcessIdentity {
  return { pid, started: startOf(pid) };
}

/** True when that very process still runs. */
export function isSameProcess(identity: ProcessIdentity): boolean {
  const started = startOf(identity.pid);
  return started !== null && (identity.started === null || started === identity.started);
}

function startOf(pid: number): string | null {
  if (process.platform === "linux") {
    const fields = statFields(pid);
    // A zombie has ended; only its parent has not noticed.
    return fields === null || fields[0] === "Z" ? null : `${bootId()}:${fields[19] ?? ""}`;
  }
  try {
    const text = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    return text === "" ? null : text;
  } catch {
    return null;
  }
}

/** Start times count from the boot, so the boot is part of the name. */
function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}

/** CPU time a process has used, in clock ticks, or null where the system does not say. */
export function cpuTicks(pid: number): number | null {
  const fields = process.platform === "linux" ? statFields(pid) : null;
  if (fields === null) return null;
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isFinite(ticks) ? ticks : null;
}

/** Bytes a process has read from disks, mapped files included, or null where the system does not say. */
export function diskBytesRead(pid: number): number | null {
  try {
    const found = /^read_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"));
    return found === null ? null : Number(found[1]);
  } catch {
    return null;
  }
}

/** The fields of /proc/<pid>/stat after the program's name, from the state on. */
function statFields(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}
