/**
 * Keeps ComfyUI's temp folder small. Its previews stay until the process ends, and its cache goes on naming them: a
 * file may be deleted only together with the cache. So nothing is deleted until there is much to delete.
 */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ComfySession } from "./comfy-session.ts";

/** Thousands of previews, and far less than a model. */
export const TEMP_BYTES_MAX = 2 * 1024 ** 3;

/** @returns whether anything was deleted */
export async function keepTempSmall(session: ComfySession, bytesMax: number, signal: AbortSignal): Promise<boolean> {
  const { folders } = session.server;
  if (folders === null) return false;
  const files: { path: string; size: number }[] = [];
  for (const entry of await readdir(folders.temp, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.push({ path, size: (await stat(path).catch(() => ({ size: 0 }))).size });
  }
  if (files.reduce((sum, file) => sum + file.size, 0) <= bytesMax) return false;
  await session.http.freeMemory(signal);
  for (const { path } of files) await rm(path, { force: true });
  return true;
}
