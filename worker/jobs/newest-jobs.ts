import type { OwnerKey, WorkspaceId } from "#contract/ids";
import { ENDPOINTS_PER_WORKSPACE_MAX, JOB_RETENTION_DAYS } from "#contract/limits";
import type { JobFilter, JobSnapshot } from "#durable-objects/endpoint/rpc";
import { selectEndpointKeys } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isProblem } from "#worker/http/is-problem";
import { askEndpoint } from "#worker/placement/objects";

/** Living endpoints, and as many deleted ones whose jobs are still kept. */
const OBJECTS_ASKED_MAX = 2 * ENDPOINTS_PER_WORKSPACE_MAX;
/** Jobs of one page, as they come from the objects: far below what a Worker holds, also as JSON beside it. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** The least share of it for one object: dozens of usual jobs. */
const SHARE_BYTES_MIN = 128 * 1024;
const DAY_MS = 86_400_000;

/**
 * The newest jobs of a workspace, or of one endpoint, merged by id, newest first. Every object is asked, so the answer
 * never lags behind a submit.
 * @returns at most filter.limit jobs, fewer when they are very large; `more` when older ones fit too
 */
export async function newestJobs(
  env: Env,
  workspaceId: WorkspaceId,
  only: OwnerKey | undefined,
  filter: Omit<JobFilter, "bytesMax">,
): Promise<{ jobs: JobSnapshot[]; more: boolean }> {
  const keys =
    only === undefined
      ? await selectEndpointKeys(env.CATALOG, workspaceId, Date.now() - JOB_RETENTION_DAYS * DAY_MS, OBJECTS_ASKED_MAX)
      : [only];
  const bytesMax = Math.max(SHARE_BYTES_MIN, Math.floor(PAGE_BYTES_MAX / Math.max(1, keys.length)));
  // One more than asked for from each tells whether there is a next page.
  const wanted = { ...filter, limit: filter.limit + 1, bytesMax };
  const lists = await Promise.all(keys.map((key) => jobsOf(env, key, workspaceId, wanted)));
  // Where a list was cut, older jobs of others may be newer than those it left out: the page ends there.
  const ends = lists.flatMap(({ jobs, cut }) => (cut ? (jobs.at(-1)?.id ?? []) : []));
  const jobs = lists
    .flatMap((list) => list.jobs)
    .filter((job) => ends.every((end) => job.id >= end))
    .toSorted((a, b) => (a.id < b.id ? 1 : -1));
  return { jobs: jobs.slice(0, filter.limit), more: jobs.length > filter.limit || ends.length > 0 };
}

async function jobsOf(
  env: Env,
  key: OwnerKey,
  workspaceId: WorkspaceId,
  filter: JobFilter,
): Promise<{ jobs: JobSnapshot[]; cut: boolean }> {
  try {
    return await askEndpoint(env, key, "repeatable", (endpoint) => endpoint.listJobs(workspaceId, filter));
  } catch (error) {
    // An object that never heard of its endpoint, or has forgotten a deleted one, has no jobs.
    if (isProblem(error, "endpoint_not_found")) return { jobs: [], cut: false };
    throw error;
  }
}
