import type { CanaryResults } from "#contract/canary";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isUnavailable } from "#worker/http/error-handler";
import { askTold } from "#worker/placement/told-endpoint";

/** What has come of the endpoint's canary; null without one, and when the object that counts does not answer now. */
export async function canaryResults(env: Env, found: EndpointSummary): Promise<CanaryResults | null> {
  if (found.endpoint.canary === null) return null;
  const { workspaceId } = found.endpoint;
  try {
    return (await askTold(env, found, "repeatable", (object) => object.canaryResults(workspaceId))).results;
  } catch (error) {
    // An endpoint can still be read, and its canary ended, while its object is away.
    if (isUnavailable(error)) return null;
    throw error;
  }
}
