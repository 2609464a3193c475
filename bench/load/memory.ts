/** Memory of the programs under test, from /proc. */
import { readdir, readFile } from "node:fs/promises";

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
}

/** Bytes of resident memory of every program of that name that descends from a process; 0 where there is no /proc. */
export async function memoryBelow(pid: number, name: string): Promise<number> {
  const all = await processes();
  const below = new Set([pid]);
  for (let before = 0; before !== below.size; ) {
    before = below.size;
    for (const one of all) if (below.has(one.parent)) below.add(one.pid);
  }
  const sizes = await Promise.all(all.filter((one) => below.has(one.pid) && one.name === name).map(residentBytes));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

async function processes(): Promise<Process[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((entry) => /^[0-9]+$/.test(entry));
  const found = await Promise.all(
    pids.map(async (pid) => {
      // `pid (name) state parent …`; a name may hold brackets itself.
      const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
      const match = /^\d+ \((.*)\) \S (\d+)/s.exec(stat);
      return match === null ? [] : [{ pid: Number(pid), parent: Number(match[2]), name: match[1] ?? "" }];
    }),
  );
  return found.flat();
}

async function residentBytes({ pid }: Process): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
