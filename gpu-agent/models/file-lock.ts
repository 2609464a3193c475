/**
 * Locks between processes that share a folder, each with its holder's process number and start time. A lock whose
 * holder has ended is free, so nothing has to be cleaned after a crash.
 *
 * A lock is a row of numbered entries (`name.1`, `name.2`), and the highest number says who holds it. Whoever takes over creates the next
 * number, which only one process can do; whoever lets go creates the next one as well, and it says `free`. Deleting a
 * dead holder's entry and creating one's own would be two steps, between which another process does the same; the
 * highest number never disappears, so there are no two steps.
 *
 * An entry is a symbolic link that leads nowhere: it comes into being with its text, and takes no room of a disk that
 * is full, which is when locks are needed to make room.
 *
 * Processes must see each other: two containers that share the folder have to share the process numbers as well.
 */
import { createHash } from "node:crypto";
import { readdir, readlink, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { processIdentity } from "../process-identity.ts";
import { isCode } from "../state-directory.ts";

/** A waiting process looks this often. A download lasts minutes; between processes, nobody hears of its end at once. */
const LOOK_MS = 100;
const FREE = "free";
const NUMBER = /^[1-9][0-9]*$/;
/** Links of up to 59 characters lie in a file's own record on Linux's usual file systems. */
const STARTED_DIGITS = 24;

export interface HeldLock {
  /** Gives it back; a second call does nothing. */
  release(): Promise<void>;
}

export interface FileLocksOptions {
  /** It must exist. */
  readonly folder: string;
  /** Waits; throws the signal's reason when it fires first. */
  readonly pause: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export class FileLocks {
  readonly #folder: string;
  readonly #pause: FileLocksOptions["pause"];
  readonly #me = holderText(process.pid) ?? `${process.pid}.unknown`;

  constructor(options: FileLocksOptions) {
    this.#folder = options.folder;
    this.#pause = options.pause;
  }

  /**
   * Takes a lock, waiting for its holder if need be.
   * @param name letters and digits; it becomes part of a path
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
    const last = highest(await this.#numbers(name));
    if (last > 0 && (await isHeldBySomeone(this.#path(name, last)))) return null;

    if (!(await created(this.#path(name, last + 1), this.#me))) return null;
    const numbers = await this.#numbers(name);
    if (highest(numbers) > last + 1) {
      // The number was free because two others have come and gone meanwhile: the lock is further on.
      await rm(this.#path(name, last + 1), { force: true });
      return null;
    }
    // The one before stays, so that nobody who lists the folder at this moment sees none.
    const old = numbers.filter((each) => each < last);
    await Promise.all(old.map((each) => rm(this.#path(name, each), { force: true })));
    let isReleased = false;
    return {
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        await created(this.#path(name, last + 2), FREE);
      },
    };
  }

  /** Whether a living process holds it. */
  async isHeld(name: string): Promise<boolean> {
    const last = highest(await this.#numbers(name));
    return last > 0 && (await isHeldBySomeone(this.#path(name, last)));
  }

  #path(name: string, number: number): string {
    return join(this.#folder, `${name}.${number}`);
  }

  async #numbers(name: string): Promise<number[]> {
    const start = `${name}.`;
    const names = (await readdir(this.#folder)).filter((each) => each.startsWith(start));
    return names.map((each) => each.slice(start.length)).flatMap((each) => (NUMBER.test(each) ? [Number(each)] : []));
  }
}

/** @returns false when there is one already */
async function created(path: string, text: string): Promise<boolean> {
  try {
    await symlink(text, path);
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    throw error;
  }
}

/** A process as an entry names it; a reused number gives another text. Null when there is no such process. */
function holderText(pid: number): string | null {
  const { started } = processIdentity(pid);
  if (started === null) return null;
  return `${pid}.${createHash("sha256").update(started).digest("hex").slice(0, STARTED_DIGITS)}`;
}

function highest(numbers: readonly number[]): number {
  return Math.max(0, ...numbers);
}

async function isHeldBySomeone(path: string): Promise<boolean> {
  let text: string;
  try {
    text = await readlink(path);
  } catch (error) {
    // Gone since the folder was listed: another was faster and is now the holder, or was.
    if (isCode(error, "ENOENT")) return true;
    // Not one of ours, as a copied or damaged folder may have: it names nobody.
    if (isCode(error, "EINVAL")) return false;
    throw error;
  }
  const pid = Number(/^([1-9][0-9]{0,9})\./.exec(text)?.[1] ?? 0);
  return pid > 0 && holderText(pid) === text;
}
