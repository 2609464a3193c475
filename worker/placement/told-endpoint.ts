import type { EndpointRpc, Reply } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isProblem } from "#worker/http/is-problem";
import { applyConfig } from "#worker/placement/apply-config";
import { askEndpoint, type Repeatable } from "#worker/placement/objects";
import { ownEndpoint } from "#worker/placement/own-endpoint";

/**
 * Asks the object of an endpoint that the catalog knows. An object that did not hear of its endpoint, or of its last
 * change, is told first: creating and changing an endpoint succeed even when its object does not answer.
 * @throws Problem with the object's refusal; endpoint_not_found when it was deleted meanwhile
 */
export async function askTold<T extends object>(
  env: Env,
  { endpoint }: EndpointSummary,
  repeatable: Repeatable,
  ask: (object: EndpointRpc) => Promise<Reply<T>>,
): Promise<T> {
  if (endpoint.appliedVersion < endpoint.version) await applyConfig(env, endpoint.workspaceId, endpoint.id);
  try {
    return await askEndpoint(env, endpoint.key, repeatable, ask);
  } catch (error) {
    if (!isProblem(error, "endpoint_not_found")) throw error;
    // Deleted meanwhile, as D1 will say, or an object that lost its configuration: then it is told again.
    await ownEndpoint(env, endpoint.workspaceId, endpoint.id);
    await applyConfig(env, endpoint.workspaceId, endpoint.id);
    return await askEndpoint(env, endpoint.key, repeatable, ask);
  }
}
