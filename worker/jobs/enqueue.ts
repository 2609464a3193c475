import type { EnqueueRequest, JobSnapshot } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isProblem } from "#worker/http/is-problem";
import { applyConfig } from "#worker/placement/apply-config";
import { askEndpoint } from "#worker/placement/objects";
import { ownEndpoint } from "#worker/placement/own-endpoint";

/**
 * Puts a job into its endpoint's queue. An object that did not hear of its endpoint, or of its last change, is told
 * first: creating and changing an endpoint succeed even when its object does not answer.
 * @throws Problem queue_full, idempotency_key_reused, endpoint_not_found …
 */
export async function enqueue(
  env: Env,
  found: EndpointSummary,
  request: Omit<EnqueueRequest, "release">,
): Promise<{ job: JobSnapshot; replayed: boolean }> {
  const { endpoint } = found;
  if (endpoint.appliedVersion < endpoint.version) await applyConfig(env, endpoint.workspaceId, endpoint.id);
  const submit = () =>
    askEndpoint(env, endpoint.key, request.idempotency === undefined ? "once" : "repeatable", (object) =>
      object.enqueue({ ...request, release: found.release.number }),
    );
  try {
    return await submit();
  } catch (error) {
    if (!isProblem(error, "endpoint_not_found")) throw error;
    // Deleted meanwhile, as D1 will say, or an object that lost its configuration: then it is told again.
    await ownEndpoint(env, endpoint.workspaceId, endpoint.id);
    await applyConfig(env, endpoint.workspaceId, endpoint.id);
    return await submit();
  }
}
