import type { Endpoint, Release } from "#contract/endpoint";
import type { EndpointRelease } from "#contract/release";
import type { EndpointRow, EndpointSummary } from "#worker/catalog/endpoints";
import type { ReleaseSummary } from "#worker/catalog/releases";
import { iso } from "#worker/jobs/job-view";

/** The endpoint as callers see it, with its active release. */
export function endpointView({ endpoint, release }: EndpointSummary, origin: string): Endpoint {
  const self = `${origin}/v1/endpoints/${endpoint.slug}`;
  return {
    id: endpoint.id,
    slug: endpoint.slug,
    name: endpoint.name,
    pod_id: endpoint.podId,
    settings: endpoint.settings,
    release: releaseFields(release),
    newest_release: endpoint.newestRelease,
    created_at: iso(endpoint.createdAt),
    updated_at: iso(endpoint.updatedAt),
    urls: { self, jobs: `${self}/jobs`, schema: `${self}/schema` },
  };
}

/** A release as callers see it, wherever it is shown. */
export function releaseFields(release: ReleaseSummary): Release {
  return {
    number: release.number,
    digest: release.digest,
    inputs: release.inputs,
    outputs: release.outputs,
    classes: release.classes,
    build: release.build,
    warnings: release.warnings,
    created_at: iso(release.createdAt),
  };
}

/** A release as its endpoint's list shows it. */
export function releaseView(endpoint: EndpointRow, release: ReleaseSummary): EndpointRelease {
  return {
    ...releaseFields(release),
    endpoint_id: endpoint.id,
    active: endpoint.activeRelease === release.number,
  };
}
