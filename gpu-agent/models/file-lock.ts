/**
 * Locks between processes that share a folder: a file with its holder's process number and start time. A lock whose
 * holder has ended is free, so nothing has to be cleaned after a crash.
 *
 * A lock is a folder of numbered files, and the highest number says who holds it. Whoever takes over creates the next
 * number, which only one process can do. A holder that lets go leaves its number and writes that it is free. Deleting a
 * dead holder's file and creating one's own would be two steps, between which another process does the same; the
 * highest number never disappears, so there are no two steps.
 *
 * Processes must see each other: two containers that share the folder have to share the process numbers as well.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { isSameProcess, ProcessIdentity, processIdentity } from "../process-identity.ts";
import { isCode } from "../state-directory.ts";

/** A waiting process looks this often. A download lasts minutes; between processes, nobody hears of its end at once. */
const LOOK_MS = 100;

const Holder = z.union([
  z.strictObject({ process: ProcessIdentity, token: z.string() }),
  z.strictObject({ free: z.literal(true) }),
]);

export interface HeldLock {
  /** Gives it back; a second call does nothing. */
  release(): Promise<void>;
}

export interface FileLocksOptions {
  readonly folder: string;
  /** Waits; throws the signal's reason when it fires first. */
  readonly pause: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export class FileLocks {
  readonly #folder: string;
  readonly #pause: FileLocksOptions["pause"];
  readonly #me = processIdentity(process.pid);

  constructor(options: FileLocksOptions) {
    this.#folder = options.folder;
    this.#pause = options.pause;
  }

  /**
   * Takes a lock, waiting for its holder if need be.
   * @param name a name that may stand in a path
   * @param onWait called each time it is looked at and held by another
   * @throws the signal's reason
   */
  async take(name: string, signal?: AbortSignal, onWait?: () => Promise<void>): Promise<HeldLock> {
    for (;;) {
      signal?.throwIfAborted();
      const held = await this.tryTake(name);
      if (held !== null) return held;
      await onWait?.();
      await this.#pause(LOOK_MS, signal);
    }
  }

  /** Takes a lock if it is free. @returns null when another holds it, this process included */
  async tryTake(name: string): Promise<HeldLock | null> {
    const folder = join(this.#folder, name);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const last = highest(await readdir(folder));
    if (last > 0 && (await isHeldBySomeone(join(folder, String(last))))) return null;

    const mine = join(folder, String(last + 1));
    if (!(await this.#createWhole(folder, mine))) return null;
    const names = await readdir(folder);
    if (highest(names) > last + 1) {
      // The number was free because two others have come and gone meanwhile: the lock is further on.
      await rm(mine, { force: true });
      return null;
    }
    // The one before stays, so that nobody who lists the folder at this moment sees it empty.
    const old = names.filter((each) => numberOf(each) > 0 && numberOf(each) < last);
    await Promise.all(old.map((each) => rm(join(folder, each), { force: true })));
    let isReleased = false;
    return {
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        const temporary = join(folder, `.${process.pid}.${randomUUID()}`);
        await writeFile(temporary, JSON.stringify({ free: true }), { mode: 0o600 });
        await rename(temporary, mine);
      },
    };
  }

  /** Whether a living process holds it. */
  async isHeld(name: string): Promise<boolean> {
    const folder = join(this.#folder, name);
    const last = highest(await readdir(folder).catch(() => []));
    return last > 0 && (await isHeldBySomeone(join(folder, String(last))));
  }

  /** Creates the file with its content at once, so that no reader finds it empty. @returns false when it exists */
  async #createWhole(folder: string, path: string): Promise<boolean> {
    const temporary = join(folder, `.${process.pid}.${randomUUID()}`);
    try {
      await writeFile(temporary, JSON.stringify({ process: this.#me, token: randomUUID() }), { mode: 0o600 });
      await link(temporary, path);
      return true;
    } catch (error) {
      if (isCode(error, "EEXIST")) return false;
      throw error;
    } finally {
      await rm(temporary, { force: true });
    }
  }
}

function numberOf(name: string): number {
  return /^[1-9][0-9]*$/.test(name) ? Number(name) : 0;
}

function highest(names: readonly string[]): number {
  return names.reduce((most, name) => Math.max(most, numberOf(name)), 0);
}

/** A file that cannot be read was half written when the machine lost its power: nobody holds it. */
async function isHeldBySomeone(path: string): Promise<boolean> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    // Gone since the folder was listed: another was faster and is now the holder, or was.
    if (isCode(error, "ENOENT")) return true;
    throw error;
  }
  const holder = Holder.safeParse(asJson(text));
  return holder.success && "process" in holder.data && isSameProcess(holder.data.process);
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
