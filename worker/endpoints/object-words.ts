/** What the endpoint's object knows beside the catalog: how its canary fares, and how far its releases are. */
import type { CanaryResults } from "#contract/canary";
import type { GateView } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import { canaryResults } from "#worker/endpoints/canary-results";
import type { Env } from "#worker/env";
import { isUnavailable } from "#worker/http/error-handler";
import { askTold } from "#worker/placement/told-endpoint";

export interface ObjectWords {
  readonly results: CanaryResults | null;
  /** null while the object does not answer: an endpoint can still be read. */
  readonly gate: GateView | null;
}

/** In lists, where no object is asked. */
export const NO_WORDS: ObjectWords = { results: null, gate: null };

/** @param releases those that are shown, by number */
export async function objectWords(env: Env, found: EndpointSummary, releases: readonly number[]): Promise<ObjectWords> {
  const [results, gate] = await Promise.all([canaryResults(env, found), releaseGate(env, found, releases)]);
  return { results, gate };
}

/** How far the releases are; null while the object does not answer. */
export async function releaseGate(
  env: Env,
  found: EndpointSummary,
  releases: readonly number[],
): Promise<GateView | null> {
  const { workspaceId } = found.endpoint;
  try {
    return (await askTold(env, found, "repeatable", (object) => object.releaseGate(workspaceId, releases))).gate;
  } catch (error) {
    if (isUnavailable(error)) return null;
    throw error;
  }
}
