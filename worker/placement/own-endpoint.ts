/** From a name in a request to an endpoint of the caller's own workspace. Foreign and unknown answer alike. */
import { type JobId, type OwnerKey, ownerKey, type WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import {
  type EndpointSummary,
  type EndpointWithRelease,
  findEndpoint,
  findEndpointCached,
  findKeyOwner,
} from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";

const detail = "Your workspace has no such endpoint.";

/** The endpoint as D1 has it now. */
export async function ownEndpoint(env: Env, workspaceId: WorkspaceId, name: string): Promise<EndpointWithRelease> {
  const found = await findEndpoint(env.CATALOG, workspaceId, name);
  if (found === undefined) throw new Problem("endpoint_not_found", detail);
  return found;
}

/** The endpoint as this isolate remembers it, at most CATALOG_CACHE_MS old. */
export async function ownEndpointCached(env: Env, workspaceId: WorkspaceId, name: string): Promise<EndpointSummary> {
  const found = await findEndpointCached(env.CATALOG, workspaceId, name);
  if (found === undefined) throw new Problem("endpoint_not_found", detail);
  return found;
}

/** The key of the object that keeps a job; the catalog knows it first, so that an invented id creates no object. */
export async function ownJobKey(env: Env, workspaceId: WorkspaceId, jobId: JobId): Promise<OwnerKey> {
  const key = ownerKey(jobId);
  const owner = await findKeyOwner(env.CATALOG, key);
  if (owner === undefined || owner.workspaceId !== workspaceId) throw unknownJob();
  return key;
}

export function unknownJob(): Problem {
  return new Problem("job_not_found", "Your workspace has no such job.");
}
