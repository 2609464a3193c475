/**
 * Where the model store keeps what, all on one file system:
 *
 *   blobs/sha256/ab/<sha256>   a whole, verified model; its name is given last, so that what has a name is whole
 *   partial/<sha256>/          a model on its way (partial-file.ts)
 *   used/<sha256>              empty; its time is when the model was last asked for
 *   pins/<name>.<process>.json what a living process needs (pins.ts)
 *   locks/<name>.<number>      between processes (file-lock.ts)
 */
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";

export interface StoreFolders {
  readonly root: string;
  readonly blobs: string;
  readonly partial: string;
  readonly used: string;
  readonly pins: string;
  readonly locks: string;
}

export function storeFolders(root: string): StoreFolders {
  return {
    root,
    blobs: join(root, "blobs", "sha256"),
    partial: join(root, "partial"),
    used: join(root, "used"),
    pins: join(root, "pins"),
    locks: join(root, "locks"),
  };
}

export async function makeStoreFolders(folders: StoreFolders): Promise<void> {
  for (const folder of Object.values(folders)) await mkdir(folder, { recursive: true, mode: 0o700 });
}

/** @param sha256 hexadecimal; it becomes part of a path */
export function blobPath(folders: StoreFolders, sha256: string): string {
  return join(folders.blobs, sha256.slice(0, 2), sha256);
}

/** Makes a folder's list of names durable, after a rename or a link. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
