import type { OwnerKey, WorkspaceId } from "#contract/ids";
import { ENDPOINTS_PER_WORKSPACE_MAX, JOB_RETENTION_DAYS } from "#contract/limits";
import type { JobFilter, JobSnapshot } from "#durable-objects/endpoint/rpc";
import { selectEndpointKeys } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isProblem } from "#worker/http/is-problem";
import { askEndpoint } from "#worker/placement/objects";

/** Living endpoints, and as many deleted ones whose jobs are still kept. */
const OBJECTS_ASKED_MAX = 2 * ENDPOINTS_PER_WORKSPACE_MAX;
const DAY_MS = 86_400_000;

/**
 * The newest jobs of a workspace, or of one endpoint, merged by id, newest first. Every object is asked, so the answer
 * never lags behind a submit.
 * @returns at most filter.limit jobs; `more` when older ones fit too
 */
export async function newestJobs(
  env: Env,
  workspaceId: WorkspaceId,
  only: OwnerKey | undefined,
  filter: JobFilter,
): Promise<{ jobs: JobSnapshot[]; more: boolean }> {
  const keys =
    only === undefined
      ? await selectEndpointKeys(env.CATALOG, workspaceId, Date.now() - JOB_RETENTION_DAYS * DAY_MS, OBJECTS_ASKED_MAX)
      : [only];
  // One more than asked for from each tells whether there is a next page.
  const wanted = { ...filter, limit: filter.limit + 1 };
  const lists = await Promise.all(keys.map((key) => jobsOf(env, key, workspaceId, wanted)));
  const jobs = lists.flat().toSorted((a, b) => (a.id < b.id ? 1 : -1));
  return { jobs: jobs.slice(0, filter.limit), more: jobs.length > filter.limit };
}

async function jobsOf(env: Env, key: OwnerKey, workspaceId: WorkspaceId, filter: JobFilter): Promise<JobSnapshot[]> {
  try {
    const { jobs } = await askEndpoint(env, key, "repeatable", (endpoint) => endpoint.listJobs(workspaceId, filter));
    return jobs;
  } catch (error) {
    // An object that never heard of its endpoint, or has forgotten a deleted one, has no jobs.
    if (isProblem(error, "endpoint_not_found")) return [];
    throw error;
  }
}
