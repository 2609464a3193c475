import type { EndpointId, WorkspaceId } from "#contract/ids";
import type { CanaryConfig } from "#durable-objects/endpoint/canary";
import type { EndpointConfig, ReleaseNeeds } from "#durable-objects/endpoint/rpc";
import { findBuild } from "#worker/catalog/builds";
import { type EndpointRow, type EndpointWithRelease, findEndpoint, markApplied } from "#worker/catalog/endpoints";
import { findReleaseSummary } from "#worker/catalog/releases";
import type { Env } from "#worker/env";
import type { Arrival } from "#worker/http/call";
import { introducePod } from "#worker/placement/introduce-pod";
import { askEndpoint } from "#worker/placement/objects";

/** Two writers at once need two rounds; more than these is somebody changing it all the time. */
const ROUNDS_MAX = 3;

/**
 * Tells the endpoint's object what D1 says, until D1 has not changed while it was told: of two changes at once, the
 * later one must not be overwritten by the slower call.
 */
export async function applyConfig(env: Env, workspaceId: WorkspaceId, id: EndpointId): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const found = await findEndpoint(env.CATALOG, workspaceId, id);
    if (found === undefined) return;
    const { endpoint } = found;
    // The object will ask its pods for replicas at once.
    await Promise.all(endpoint.pods.map(({ pod_id }) => introducePod(env, pod_id, workspaceId)));
    const [needs, canary] = await Promise.all([needsOf(env, found), canaryOf(env, endpoint)]);
    await askEndpoint(env, endpoint.key, "repeatable", (object) => object.configure(configOf(endpoint, needs, canary)));
    const after = await findEndpoint(env.CATALOG, workspaceId, id);
    if (after === undefined || after.endpoint.version === endpoint.version) {
      await markApplied(env.CATALOG, id, endpoint.version);
      return;
    }
  }
}

/** After a change, which is in D1 and stands: an object that does not hear of it now is told at the next submit. */
export async function tellObject(call: Arrival, workspaceId: WorkspaceId, id: EndpointId): Promise<void> {
  try {
    await applyConfig(call.env, workspaceId, id);
  } catch (error) {
    const cause = error instanceof Error ? error.message.slice(0, 300) : typeof error;
    console.error(JSON.stringify({ event: "configure_failed", requestId: call.requestId, endpointId: id, cause }));
  }
}

async function canaryOf(env: Env, { id, canary: stored }: EndpointRow): Promise<CanaryConfig | undefined> {
  if (stored === null) return undefined;
  const release = await findReleaseSummary(env.CATALOG, id, stored.release);
  return {
    id: stored.id,
    release: stored.release,
    build: release?.build ?? null,
    weight: stored.weight,
    maxErrorRateIncrease: stored.max_error_rate_increase,
    maxLatencyRatio: stored.max_latency_ratio,
    minJobs: stored.min_jobs,
  };
}

/** What the active release needs on a machine; undefined when it has no build. */
async function needsOf(env: Env, { endpoint, release }: EndpointWithRelease): Promise<ReleaseNeeds | undefined> {
  if (release.build === null) return undefined;
  const build = await findBuild(env.CATALOG, endpoint.workspaceId, release.build);
  const models = new Set(build?.manifest.models.map(({ sha256 }) => sha256) ?? []);
  return { build: release.build, models: [...models] };
}

function configOf(
  endpoint: EndpointRow,
  needs: ReleaseNeeds | undefined,
  canary: CanaryConfig | undefined,
): EndpointConfig {
  return {
    endpointId: endpoint.id,
    workspaceId: endpoint.workspaceId,
    podId: endpoint.podId,
    pods: endpoint.pods.map(({ pod_id, lanes }) => ({ podId: pod_id, lanes })),
    ...(needs === undefined ? {} : { needs }),
    slug: endpoint.slug,
    release: endpoint.activeRelease,
    settings: endpoint.settings,
    ...(canary === undefined ? {} : { canary }),
  };
}
