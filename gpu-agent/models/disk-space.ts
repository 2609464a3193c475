/**
 * Room for a download, before it begins: what it needs and what the machine keeps in reserve. Where that is not free,
 * what was used longest ago goes, unless something needs it.
 */
import type { Stats } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { isCode } from "../state-directory.ts";
import type { FileLocks } from "./file-lock.ts";
import { isDiskFull, ModelFailure, shownBytes } from "./model-failure.ts";
import { readJournal } from "./partial-file.ts";
import type { Pins } from "./pins.ts";
import { blobPath, type StoreFolders } from "./store-folders.ts";

/** Two processes that look at the same free bytes would both take them, so one looks at a time. */
const SPACE_LOCK = "space";
/** A block of stat, by POSIX. */
const STAT_BLOCK_BYTES = 512;

export interface DiskSpaceOptions {
  readonly folders: StoreFolders;
  readonly locks: FileLocks;
  readonly pins: Pins;
  /** Kept free beside the models. */
  readonly reserveBytes: number;
  readonly freeBytes: (folder: string) => Promise<number>;
  readonly onEvict: (sha256: string, bytes: number) => void;
}

export interface StoredBlob {
  readonly sha256: string;
  readonly bytes: number;
  /** Links into builds, beside the store's own. */
  readonly links: number;
  /** Unix ms. */
  readonly usedAt: number;
}

export class DiskSpace {
  readonly #options: DiskSpaceOptions;

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
  }

  /**
   * Makes room for what is still missing of a download, whose lock is held.
   * @param begin opens the partial file; from then on the room counts as taken
   * @throws ModelFailure no_space; the signal's reason
   */
  async withRoomFor<T>(sha256: string, sizeBytes: number, signal: AbortSignal, begin: () => Promise<T>): Promise<T> {
    const { locks, folders, reserveBytes } = this.#options;
    const held = await locks.take(SPACE_LOCK, signal);
    try {
      const missing = Math.max(0, sizeBytes - (await bytesOnDisk(join(folders.partial, sha256))));
      const promised = await this.#promisedToOthers(sha256);
      const wanted = missing + promised + reserveBytes;
      const abandoned = await this.#abandoned(sha256);
      const evictable = await this.#evictable(sha256);
      const freeable = [...abandoned, ...evictable].reduce((sum, { bytes }) => sum + bytes, 0);
      // Where all of it would not be enough, none of it goes.
      if ((await this.#free()) + freeable >= wanted) {
        // Downloads that nobody goes on with are worth less than a whole model.
        for (const { name } of abandoned) if ((await this.#free()) < wanted) await this.#dropPartial(name);
        for (const { sha256: old } of evictable) if ((await this.#free()) < wanted) await this.evict(old);
      }
      const free = await this.#free();
      if (free >= wanted) return await begin();
      const others = promised > 0 ? `, ${shownBytes(promised)} for other downloads` : "";
      throw new ModelFailure(
        "no_space",
        `The disk has ${shownBytes(free)} free; ${shownBytes(missing)} are needed for the model, ` +
          `${shownBytes(reserveBytes)} stay in reserve${others}. What is left in the store is in use.`,
      );
    } finally {
      await held.release();
    }
  }

  /** All whole models, those used longest ago first. */
  async blobs(): Promise<StoredBlob[]> {
    const { folders } = this.#options;
    const found: StoredBlob[] = [];
    for (const shelf of await readdir(folders.blobs)) {
      for (const sha256 of await readdir(join(folders.blobs, shelf)).catch(() => [])) {
        const blob = await statIfThere(blobPath(folders, sha256));
        if (blob === null) continue;
        const used = await statIfThere(join(folders.used, sha256));
        found.push({ sha256, bytes: blob.size, links: blob.nlink - 1, usedAt: (used ?? blob).mtimeMs });
      }
    }
    return found.toSorted((one, other) => one.usedAt - other.usedAt || (one.sha256 < other.sha256 ? -1 : 1));
  }

  #free(): Promise<number> {
    return this.#options.freeBytes(this.#options.folders.root);
  }

  /** What living downloads were given room for and have not filled yet. */
  async #promisedToOthers(sha256: string): Promise<number> {
    const { folders, locks } = this.#options;
    let sum = 0;
    for (const name of await readdir(folders.partial)) {
      if (name === sha256 || !(await locks.isHeld(name))) continue;
      const journal = await readJournal(join(folders.partial, name));
      if (journal !== null) sum += Math.max(0, journal.sizeBytes - (await bytesOnDisk(join(folders.partial, name))));
    }
    return sum;
  }

  /** Downloads that nobody goes on with, the oldest first. */
  async #abandoned(but: string): Promise<{ name: string; bytes: number; at: number }[]> {
    const { folders, locks } = this.#options;
    const found: { name: string; bytes: number; at: number }[] = [];
    for (const name of await readdir(folders.partial)) {
      if (name === but || (await locks.isHeld(name))) continue;
      const folder = join(folders.partial, name);
      const at = (await statIfThere(join(folder, "journal")))?.mtimeMs ?? 0;
      found.push({ name, bytes: await bytesOnDisk(folder), at });
    }
    return found.toSorted((one, other) => one.at - other.at);
  }

  async #dropPartial(name: string): Promise<void> {
    const { folders, locks } = this.#options;
    const held = await locks.tryTake(name);
    if (held === null) return;
    try {
      await rm(join(folders.partial, name), { recursive: true, force: true });
    } finally {
      await held.release();
    }
  }

  async #evictable(but: string): Promise<StoredBlob[]> {
    const pinned = await this.#options.pins.all();
    return (await this.blobs()).filter(({ sha256, links }) => sha256 !== but && links === 0 && !pinned.has(sha256));
  }

  /**
   * Deletes a model that nothing needs. Its lock is held meanwhile, so that nobody is told that it is there and then
   * finds it gone.
   * @returns whether it went
   */
  async evict(sha256: string): Promise<boolean> {
    const { folders, locks, pins, onEvict } = this.#options;
    const held = await locks.tryTake(sha256);
    if (held === null) return false;
    try {
      const path = blobPath(folders, sha256);
      const blob = await statIfThere(path);
      if (blob === null || blob.nlink > 1 || (await pins.all()).has(sha256)) return false;
      await rm(path, { force: true });
      await rm(join(folders.used, sha256), { force: true });
      onEvict(sha256, blob.size);
      return true;
    } finally {
      await held.release();
    }
  }
}

/** The system's word for a full disk, in ours. Anything else comes back as it is. */
export function asNoSpace(error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  return new ModelFailure(
    "no_space",
    "The disk became full while the model arrived. What has arrived is kept and the download goes on from there.",
    { cause: error },
  );
}

/** What a partial file takes on the disk; holes take nothing. */
async function bytesOnDisk(folder: string): Promise<number> {
  return ((await statIfThere(join(folder, "bytes")))?.blocks ?? 0) * STAT_BLOCK_BYTES;
}

async function statIfThere(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isCode(error, "ENOENT") || isCode(error, "ENOTDIR")) return null;
    throw error;
  }
}
