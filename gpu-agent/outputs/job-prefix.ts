/** Where a job's nodes save: each in a folder of its own, so that even a file nobody reported can be told by its place. */

const PREFIX_LENGTH_MAX = 120;

/**
 * The filename_prefix of a node for one attempt of one job: `jobs/<job>/<attempt>/<node>/<name>`.
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
