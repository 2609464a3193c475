/**
 * The outputs of jobs that ended a moment ago, as this isolate has just told them: most are downloaded at once, by the
 * links in that very answer, and need not be asked for again. The outputs of a job that has ended do not change.
 */
import type { JobId, WorkspaceId } from "#contract/ids";
import type { JobSnapshot, StoredOutput } from "#durable-objects/endpoint/rpc";
import { ExpiringCache } from "#durable-objects/expiring-cache";

const REMEMBERED_MS = 30_000;
const REMEMBERED_MAX = 2_000;
/** A job of so many outputs is no answer to a call that waits; the memory stays small. */
const OUTPUTS_MAX = 20;
/** Far from the end of retention, so that an output that is remembered is not over. */
const ENDED_MS_MAX = 3_600_000;

const remembered = new ExpiringCache<readonly StoredOutput[]>(REMEMBERED_MS, REMEMBERED_MAX);

/** Remembers what the job holds, if it has just succeeded. */
export function rememberOutputs(workspaceId: WorkspaceId, job: JobSnapshot, nowMs: number): void {
  if (job.state !== "succeeded" || job.finishedAt === null || nowMs - job.finishedAt > ENDED_MS_MAX) return;
  if (job.outputs.length <= OUTPUTS_MAX) remembered.set(keyOf(workspaceId, job.id), job.outputs, nowMs);
}

/** @returns undefined when it is not known here: the job's object has to be asked */
export function rememberedOutput(
  workspaceId: WorkspaceId,
  jobId: JobId,
  name: string | undefined,
  nowMs: number,
): StoredOutput | undefined {
  return remembered.get(keyOf(workspaceId, jobId), nowMs)?.find((output) => output.name === name);
}

function keyOf(workspaceId: WorkspaceId, jobId: JobId): string {
  return `${workspaceId} ${jobId}`;
}
