/** Where a job's nodes save: each in a folder of its own, so that even a file nobody reported can be told by its place. */

import type { Lease } from "#contract/agent";
import { leaseNumber } from "#contract/ids";

const PREFIX_LENGTH_MAX = 120;
/** Below ComfyUI's input and output folders: holds one folder for each job in hand. */
export const JOBS_FOLDER = "jobs";

/** Where everything of a job lies, below ComfyUI's input and output folders. */
export function jobFolder({ job_id }: Pick<Lease, "job_id">): string {
  return `${JOBS_FOLDER}/${job_id}`;
}

/**
 * Where everything of a lease lies, in the job's folder. The job's next lease may begin while what the last one left is
 * still being deleted.
 */
export function leaseFolder(lease: Pick<Lease, "job_id" | "lease_id">): string {
  return `${jobFolder(lease)}/${leaseNumber(lease.lease_id)}`;
}

/**
 * The filename_prefix of a node under a lease: `jobs/<job>/<lease's number>/<node>/<name>`.
 * @param folder such as "jobs/job_…/1"
 * @param original the workflow's own prefix; its folders are dropped, since ComfyUI refuses some and callers see none
 */
export function jobPrefix(folder: string, node: string, original: string): string {
  const name = (original.split(/[/\\]/).at(-1) ?? "")
    .replace(/[\u0000-\u001f<>:"|?*]/g, "_")
    .slice(0, PREFIX_LENGTH_MAX);
  return `${folder}/${nodeFolder(node)}/${name.replace(/^\.+/, "") || "ComfyUI"}`;
}

/** A node id as a folder: ids of subgraphs hold colons. */
export function nodeFolder(node: string): string {
  return encodeURIComponent(node).replaceAll("%", "_").replaceAll(".", "-").slice(0, 100);
}
