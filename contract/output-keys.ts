import type { JobId, WorkspaceId } from "#contract/ids";
import { OUTPUT_RETENTION_DAYS } from "#contract/limits";

/**
 * Where R2 keeps what one attempt of a job stored: the Worker looks for it there, and the object that keeps the job takes
 * nothing from elsewhere.
 * @param token of the attempt's lease
 */
export function outputPrefix(workspaceId: WorkspaceId, jobId: JobId, token: string): string {
  return `out/d${OUTPUT_RETENTION_DAYS}/${workspaceId}/${jobId}/${token}/`;
}

/** Where R2 keeps one output of an attempt. @param index its number in the attempt */
export function outputKey(workspaceId: WorkspaceId, jobId: JobId, token: string, index: number): string {
  return `${outputPrefix(workspaceId, jobId, token)}${index}`;
}
