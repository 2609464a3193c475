/**
 * Everything the agent keeps on disk:
 *
 *   session.json        the node's credential
 *   joining.json        while it joins: the id under which it asks
 *   agent.lock          the running agent's process
 *   slots/<slot>/       one ComfyUI's folders: input output temp user, comfyui.log, comfyui.pid
 *   spool/              outputs and inputs on their way, emptied at every start
 *   builds/ models/     on machines that make builds: see builds/build-store.ts and models/store-folders.ts
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, open, rename, rm, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSameProcess, ProcessIdentity, processIdentity } from "./process-identity.ts";

export interface StatePaths {
  readonly root: string;
  readonly session: string;
  readonly joining: string;
  readonly lock: string;
  readonly slots: string;
  readonly spool: string;
}

export function statePaths(root: string): StatePaths {
  return {
    root,
    session: join(root, "session.json"),
    joining: join(root, "joining.json"),
    lock: join(root, "agent.lock"),
    slots: join(root, "slots"),
    spool: join(root, "spool"),
  };
}

/** Makes the folders, readable by their owner alone, and empties the spool. */
export async function prepareState(paths: StatePaths): Promise<void> {
  await mkdir(paths.root, { recursive: true, mode: 0o700 });
  await mkdir(paths.slots, { recursive: true, mode: 0o700 });
  await rm(paths.spool, { recursive: true, force: true });
  await mkdir(paths.spool, { recursive: true, mode: 0o700 });
}

/** Another agent works in this folder. */
export class StateInUse extends Error {}

/**
 * Takes the folder for this process; a lock whose process is gone counts as free.
 * @returns gives it back
 * @throws StateInUse
 */
export function lockState(paths: StatePaths): () => void {
  mkdirSync(paths.root, { recursive: true, mode: 0o700 });
  const mine = JSON.stringify(processIdentity(process.pid));
  for (let tries = 0; tries < 5; tries += 1) {
    try {
      writeFileSync(paths.lock, mine, { flag: "wx", mode: 0o600 });
      return () => rmSync(paths.lock, { force: true });
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
      const holder = readIdentity(paths.lock);
      if (holder !== null && isSameProcess(holder)) {
        throw new StateInUse(`another agent (process ${holder.pid}) uses ${paths.root}`);
      }
      rmSync(paths.lock, { force: true });
    }
  }
  throw new StateInUse(`${paths.lock} cannot be taken`);
}

/** The process a file names, or null when there is none to be read. */
export function readIdentity(path: string): ProcessIdentity | null {
  try {
    return ProcessIdentity.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return null;
  }
}

/** Writes beside the file and renames, so that a crash leaves the old content or the new. */
export async function writeFileAtomically(path: string, content: string, mode: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await open(temporary, "w", mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** Bytes that this user may still write to the disk a folder is on. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
