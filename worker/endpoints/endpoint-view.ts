import type { Canary, CanaryResults } from "#contract/canary";
import type { Endpoint, Release } from "#contract/endpoint";
import type { EndpointRelease } from "#contract/release";
import type { GateView } from "#durable-objects/endpoint/rpc";
import { iso } from "#durable-objects/endpoint/shown-job";
import type { EndpointRow, EndpointSummary } from "#worker/catalog/endpoints";
import type { ReleaseSummary } from "#worker/catalog/releases";
import { NO_WORDS, type ObjectWords } from "#worker/endpoints/object-words";

/**
 * The endpoint as callers see it, with its active release.
 * @param words what its object knows; left out in lists
 */
export function endpointView(
  { endpoint, release }: EndpointSummary,
  origin: string,
  { results, gate }: ObjectWords = NO_WORDS,
): Endpoint {
  const self = `${origin}/v1/endpoints/${endpoint.slug}`;
  return {
    id: endpoint.id,
    slug: endpoint.slug,
    name: endpoint.name,
    pod_id: endpoint.podId,
    pods: [...endpoint.pods],
    settings: endpoint.settings,
    release: releaseFields(release, gate),
    canary: canaryView(endpoint, results),
    pending: gate?.pending ?? null,
    newest_release: endpoint.newestRelease,
    created_at: iso(endpoint.createdAt),
    updated_at: iso(endpoint.updatedAt),
    urls: { self, jobs: `${self}/jobs`, schema: `${self}/schema` },
  };
}

/** A release as callers see it, wherever it is shown. */
export function releaseFields(release: ReleaseSummary, gate: GateView | null): Release {
  const standing = gate?.releases.find((one) => one.release === release.number);
  return {
    number: release.number,
    digest: release.digest,
    inputs: release.inputs,
    outputs: release.outputs,
    classes: release.classes,
    build: release.build,
    warnings: release.warnings,
    state: standing?.state ?? null,
    forced: standing?.forced ?? false,
    verification: [...(standing?.verification ?? [])],
    created_at: iso(release.createdAt),
  };
}

function canaryView({ canary }: EndpointRow, results: CanaryResults | null): Canary | null {
  if (canary === null) return null;
  const { id: _, since, ...settings } = canary;
  return { ...settings, since: iso(since), results };
}

/** A release as its endpoint's list shows it; with the results of the endpoint's canary when it is that one. */
export function releaseView(
  endpoint: EndpointRow,
  release: ReleaseSummary,
  { results, gate }: ObjectWords,
): EndpointRelease {
  return {
    ...releaseFields(release, gate),
    endpoint_id: endpoint.id,
    active: endpoint.activeRelease === release.number,
    canary: endpoint.canary?.release === release.number ? canaryView(endpoint, results) : null,
  };
}
