import { type LeaseId, type OwnerKey, ownerKey, type ReplicaId, type WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { findKeyOwner } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isUnavailable } from "#worker/http/error-handler";

/**
 * The key of the endpoint that keeps a replica or lease, once the catalog has said that it is the node's workspace's.
 * A catalog that does not answer stops no running job: then the object itself, which knows its workspace, decides.
 */
export async function agentEndpointKey(env: Env, workspaceId: WorkspaceId, id: LeaseId | ReplicaId): Promise<OwnerKey> {
  const key = ownerKey(id);
  try {
    const owner = await findKeyOwner(env.CATALOG, key);
    if (owner !== undefined && owner.workspaceId === workspaceId) return key;
  } catch (error) {
    if (isUnavailable(error)) return key;
    throw error;
  }
  if (id.startsWith("rep_")) throw new Problem("replica_not_found", "There is no such replica.");
  throw new Problem("lease_lost", "There is no such lease.");
}
