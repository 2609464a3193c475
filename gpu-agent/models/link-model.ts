/**
 * A model's place inside a build: a second name of the store's own bytes, so that it takes no room and no time. Never a
 * symbolic link: what it points to could be exchanged later, and ComfyUI would follow it out of the build.
 */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, link, lstat, mkdir, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import { ModelFilename, ModelType } from "#contract/build";
import { isSameProcess, ProcessIdentity, processIdentity } from "../process-identity.ts";
import { isCode } from "../state-directory.ts";
import { ModelFailure } from "./model-failure.ts";
import { sha256OfFile } from "./sha256-of-file.ts";
import { syncFolder } from "./store-folders.ts";

/** Another disk, a file system without hard links (FAT), one that allows no more of them. */
const CANNOT_LINK = ["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"];

export interface LinkedModel {
  /** Inside the build. */
  readonly path: string;
  /** `copy`: the build is on another file system, so the model takes its room twice. */
  readonly how: "hardlink" | "copy";
  /** It was there already. */
  readonly wasThere: boolean;
}

/**
 * @param blob the store's file
 * @param buildFolder a build's folder; it must exist
 * @throws ModelFailure path_refused; Error with the system's code
 */
export async function linkModel(
  blob: string,
  sha256: string,
  buildFolder: string,
  model: { readonly type: string; readonly filename: string },
): Promise<LinkedModel> {
  const path = await preparePlace(buildFolder, model);
  const folder = dirname(path);
  await sweepLeftovers(folder);
  const there = await howItIsThere(path, blob, sha256);
  if (there !== null) return { path, how: there, wasThere: true };
  const temporary = join(folder, leftoverName());
  try {
    const how = (await hardlinked(blob, temporary)) ? "hardlink" : await copied(blob, temporary, sha256);
    // Renamed into place, so that nobody finds half a copy under the model's name.
    await rename(temporary, path);
    await syncFolder(folder);
    return { path, how, wasThere: false };
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Makes the folders on the way, and proves that none of them leads out of the build. @returns the model's path */
async function preparePlace(
  buildFolder: string,
  { type, filename }: { readonly type: string; readonly filename: string },
): Promise<string> {
  // Parsed when the manifest was read; a path is worth a second look.
  if (!ModelType.safeParse(type).success || !ModelFilename.safeParse(filename).success) {
    throw new ModelFailure("path_refused", `${JSON.stringify(`${type}/${filename}`)} is no path inside a build.`);
  }
  const root = await realpath(buildFolder);
  const parts = ["models", type, ...filename.split("/")];
  let folder = root;
  for (const part of parts.slice(0, -1)) {
    folder = join(folder, part);
    await mkdir(folder, { mode: 0o755 }).catch((error: unknown) => {
      if (!isCode(error, "EEXIST")) throw error;
    });
    if (!(await lstat(folder)).isDirectory()) {
      const shown = relative(root, folder);
      throw new ModelFailure(
        "path_refused",
        `${shown} in the build is no folder of its own; nothing is put behind it.`,
      );
    }
  }
  const path = join(folder, parts.at(-1) ?? "");
  const real = await realpath(folder);
  if (real !== folder || !`${path}`.startsWith(`${root}${sep}`) || dirname(path) !== folder) {
    throw new ModelFailure("path_refused", `${JSON.stringify(filename)} leads out of the build.`);
  }
  return path;
}

/** How the very model is already in its place; null when nothing is there, or something else. */
async function howItIsThere(path: string, blob: string, sha256: string): Promise<LinkedModel["how"] | null> {
  const found = await lstat(path).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  });
  if (found === null || found.isSymbolicLink()) return null;
  if (found.isDirectory()) {
    throw new ModelFailure("path_refused", `${basename(path)} is a folder in the build, where a model belongs.`);
  }
  const own = await stat(blob);
  if (found.dev === own.dev && found.ino === own.ino) return "hardlink";
  if (found.size !== own.size || found.dev === own.dev) return null;
  return (await sha256OfFile(path)) === sha256 ? "copy" : null;
}

async function hardlinked(blob: string, path: string): Promise<boolean> {
  try {
    await link(blob, path);
    return true;
  } catch (error) {
    if (CANNOT_LINK.some((code) => isCode(error, code))) return false;
    throw error;
  }
}

async function copied(blob: string, path: string, sha256: string): Promise<"copy"> {
  // Where the file system can share the bytes of a copy, it does.
  await copyFile(blob, path, constants.COPYFILE_FICLONE);
  await chmod(path, 0o444);
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  if ((await sha256OfFile(path)) !== sha256) {
    throw new ModelFailure("wrong_hash", "The copy of the model into the build has other bytes than the store's file.");
  }
  return "copy";
}

/** Says whose it is, so that the next one can tell a crashed one's from one in the making. */
function leftoverName(): string {
  const { pid, started } = processIdentity(process.pid);
  return `.linking-${pid}-${encodeURIComponent(started ?? "")}-${randomUUID().slice(0, 8)}`;
}

/** Deletes what processes left that ended in the middle. */
async function sweepLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const [, pid, started] = /^\.linking-([0-9]+)-(.*)-[0-9a-f]{8}$/.exec(name) ?? [];
    if (pid === undefined || started === undefined) continue;
    const owner = ProcessIdentity.safeParse({ pid: Number(pid), started: decodeURIComponent(started) || null });
    if (owner.success && !isSameProcess(owner.data)) await rm(join(folder, name), { force: true });
  }
}
