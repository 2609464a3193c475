import type { OwnerKey, WorkspaceId } from "#contract/ids";
import { ENDPOINTS_PER_WORKSPACE_MAX, JOB_RETENTION_DAYS } from "#contract/limits";
import type { JobFilter, JobSnapshot } from "#durable-objects/endpoint/rpc";
import { selectEndpointKeys } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isProblem } from "#worker/http/is-problem";
import { type LookedThrough, mergeNewest } from "#worker/jobs/merge-newest";
import { askEndpoint } from "#worker/placement/objects";

/** Living endpoints, and as many deleted ones whose jobs are still kept. */
const OBJECTS_ASKED_MAX = 2 * ENDPOINTS_PER_WORKSPACE_MAX;
/** Jobs of one page, as they come from the objects: far below what a Worker holds, also as JSON beside it. */
export const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** The least share of it for one object: dozens of usual jobs. */
const SHARE_BYTES_MIN = 128 * 1024;
const DAY_MS = 86_400_000;

/**
 * The newest jobs of a workspace, or of one endpoint, merged by id, newest first. Every object is asked, so the answer
 * never lags behind a submit.
 * @returns at most filter.limit jobs, fewer when they are very large or lie far apart; `next`: where to go on (`before`)
 */
export async function newestJobs(
  env: Env,
  workspaceId: WorkspaceId,
  only: OwnerKey | undefined,
  filter: Omit<JobFilter, "bytesMax">,
): Promise<LookedThrough<JobSnapshot>> {
  const keys =
    only === undefined
      ? await selectEndpointKeys(env.CATALOG, workspaceId, Date.now() - JOB_RETENTION_DAYS * DAY_MS, OBJECTS_ASKED_MAX)
      : [only];
  const bytesMax = Math.max(SHARE_BYTES_MIN, Math.floor(PAGE_BYTES_MAX / Math.max(1, keys.length)));
  const lists = await Promise.all(keys.map((key) => jobsOf(env, key, workspaceId, { ...filter, bytesMax })));
  return mergeNewest(lists, filter.limit);
}

async function jobsOf(
  env: Env,
  key: OwnerKey,
  workspaceId: WorkspaceId,
  filter: JobFilter,
): Promise<LookedThrough<JobSnapshot>> {
  try {
    return await askEndpoint(env, key, "repeatable", (endpoint) => endpoint.listJobs(workspaceId, filter));
  } catch (error) {
    // An object that never heard of its endpoint, or has forgotten a deleted one, has no jobs.
    if (isProblem(error, "endpoint_not_found")) return { jobs: [], next: null };
    throw error;
  }
}
