/** Memory and processor time of the programs under test, from /proc. */
import { readdir, readFile } from "node:fs/promises";

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  /** Milliseconds of processor time so far. */
  readonly busyMs: number;
}

/** Linux counts processor time in hundredths of a second, whatever the machine. */
const TICK_MS = 10;

/** Bytes of resident memory of every program of that name that descends from a process; 0 where there is no /proc. */
export async function memoryBelow(pid: number, name: string): Promise<number> {
  const sizes = await Promise.all((await descendants(pid, name)).map(residentBytes));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

/** Milliseconds of processor time that those programs have used; 0 where there is no /proc. */
export async function busyMsBelow(pid: number, name: string): Promise<number> {
  return (await descendants(pid, name)).reduce((sum, { busyMs }) => sum + busyMs, 0);
}

async function descendants(pid: number, name: string): Promise<Process[]> {
  const all = await processes();
  const below = new Set([pid]);
  for (let before = 0; before !== below.size; ) {
    before = below.size;
    for (const one of all) if (below.has(one.parent)) below.add(one.pid);
  }
  return all.filter((one) => below.has(one.pid) && one.name === name);
}

async function processes(): Promise<Process[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((entry) => /^[0-9]+$/.test(entry));
  const found = await Promise.all(
    pids.map(async (pid) => {
      // `pid (name) state parent …`; a name may hold brackets itself. The 14th and 15th are times: own and the kernel's.
      const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
      const match = /^\d+ \((.*)\) (.*)$/s.exec(stat);
      const fields = match?.[2]?.split(" ") ?? [];
      const [parent, own, kernel] = [fields[1], fields[11], fields[12]].map(Number);
      if (match?.[1] === undefined || parent === undefined || own === undefined || kernel === undefined) return [];
      return [{ pid: Number(pid), parent, name: match[1], busyMs: (own + kernel) * TICK_MS }];
    }),
  );
  return found.flat();
}

async function residentBytes({ pid }: Process): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
