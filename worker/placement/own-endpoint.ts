/** From a name in a request to an endpoint of the caller's own workspace. Foreign and unknown answer alike. */
import { type BatchId, type JobId, type OperationId, type OwnerKey, ownerKey, type WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import {
  type EndpointSummary,
  type EndpointWithRelease,
  findEndpoint,
  findEndpointCached,
  findKeyOwner,
} from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";

const detail = "There is no such endpoint.";

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
  if (!(await isOwn(env, workspaceId, key))) throw unknownJob();
  return key;
}

/** As {@link ownJobKey}, for a batch. */
export async function ownBatchKey(env: Env, workspaceId: WorkspaceId, batchId: BatchId): Promise<OwnerKey> {
  const key = ownerKey(batchId);
  if (!(await isOwn(env, workspaceId, key))) throw new Problem("batch_not_found", "There is no such batch.");
  return key;
}

/** As {@link ownJobKey}, for an operation. */
export async function ownOperationKey(env: Env, workspaceId: WorkspaceId, id: OperationId): Promise<OwnerKey> {
  const key = ownerKey(id);
  if (await isOwn(env, workspaceId, key)) return key;
  throw new Problem("operation_not_found", "There is no such operation.");
}

async function isOwn(env: Env, workspaceId: WorkspaceId, key: OwnerKey): Promise<boolean> {
  return (await findKeyOwner(env.CATALOG, key))?.workspaceId === workspaceId;
}

export function unknownJob(): Problem {
  return new Problem("job_not_found", "There is no such job.");
}
