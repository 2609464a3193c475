/**
 * What a node may read: what the replicas it was given need, and nothing once it is removed. A session says only which
 * node it is, and lives for months, so its pod is asked each time.
 */
import type { ReplicaId } from "#contract/ids";
import { CATALOG_CACHE_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import type { GivenReplica } from "#durable-objects/pod/rpc";
import type { NodeSession } from "#worker/auth/node-session";
import { anyReleaseNeedsModel } from "#worker/catalog/builds";
import type { Env } from "#worker/env";
import { askPod } from "#worker/placement/objects";

const NEEDS_REMEMBERED_MAX = 10_000;
/** Models that a node's endpoints were found to need: a release never changes, so that each range need not look again. */
const needed = new ExpiringCache<true>(CATALOG_CACHE_MS, NEEDS_REMEMBERED_MAX);

/** @throws Problem node_not_found when the node was removed, replica_not_found when it was not given that replica */
export async function requireGivenReplica(env: Env, node: NodeSession, id: ReplicaId): Promise<GivenReplica> {
  const replica = (await givenReplicas(env, node)).find(({ replicaId }) => replicaId === id);
  if (replica === undefined) throw new Problem("replica_not_found", "The pod has no such replica on this node.");
  return replica;
}

/**
 * Any release of the endpoints will do, not only the active one: replicas try new ones, and make their builds.
 * @throws Problem node_not_found when the node was removed, model_not_found when no replica it was given needs the model
 */
export async function requireNeededModel(env: Env, node: NodeSession, sha256: string): Promise<void> {
  const endpointIds = [...new Set((await givenReplicas(env, node)).map(({ endpointId }) => endpointId))].sort();
  const key = [sha256, ...endpointIds].join(" ");
  if (needed.get(key, Date.now()) === true) return;
  if (!(await anyReleaseNeedsModel(env.CATALOG, node.workspaceId, endpointIds, sha256))) {
    throw new Problem("model_not_found", "No release of the replicas on this node needs such a model.");
  }
  needed.set(key, true, Date.now());
}

async function givenReplicas(env: Env, { workspaceId, podId, nodeId }: NodeSession): Promise<GivenReplica[]> {
  const identity = { workspaceId, podId, nodeId };
  return (await askPod(env, podId, "repeatable", (pod) => pod.replicasOn(identity))).replicas;
}
