/**
 * What jobs of one release left in ComfyUI's folders goes before a job of another one begins: previews, and files of nodes
 * that save where they like. What a job's own folders hold goes with the job.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { JOBS_FOLDER } from "../outputs/job-prefix.ts";
import type { ComfyFolders } from "./comfy-server.ts";
import type { ComfySession } from "./comfy-session.ts";

/** ComfyUI is asked this long to forget its history. */
const CLEAR_MS = 5_000;

/** Whether anything is left. @param jobs those in hand, whose folders stay */
export async function hasLeftovers(folders: ComfyFolders, jobs: ReadonlySet<string>): Promise<boolean> {
  for await (const _ of leftovers(folders, jobs)) return true;
  return false;
}

/**
 * Takes all of it away, and ComfyUI's memory of what it ran. Nothing may run meanwhile.
 * @throws when a file does not go
 */
export async function removeLeftovers(
  { server: { folders }, http }: ComfySession,
  jobs: ReadonlySet<string>,
): Promise<void> {
  if (folders === null) return;
  await http.clearHistory(AbortSignal.timeout(CLEAR_MS));
  for await (const path of leftovers(folders, jobs)) await rm(path, { recursive: true, force: true });
}

async function* leftovers(folders: ComfyFolders, jobs: ReadonlySet<string>): AsyncGenerator<string> {
  // ComfyUI's own folder there stays, since not every node makes it anew.
  for (const entry of await readdir(folders.temp, { recursive: true, withFileTypes: true })) {
    if (!entry.isDirectory()) yield join(entry.parentPath, entry.name);
  }
  for (const folder of [folders.input, folders.output]) {
    for (const name of await readdir(folder)) if (name !== JOBS_FOLDER) yield join(folder, name);
    const ofJobs = join(folder, JOBS_FOLDER);
    for (const job of await readdir(ofJobs).catch(() => [])) if (!jobs.has(job)) yield join(ofJobs, job);
  }
}
