import type { Endpoint } from "#contract/endpoint";
import type { EndpointSummary } from "#worker/catalog/endpoints";
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
    release: {
      number: release.number,
      digest: release.digest,
      inputs: release.inputs,
      outputs: release.outputs,
      classes: release.classes,
      warnings: release.warnings,
      created_at: iso(release.createdAt),
    },
    created_at: iso(endpoint.createdAt),
    updated_at: iso(endpoint.updatedAt),
    urls: { self, jobs: `${self}/jobs`, schema: `${self}/schema` },
  };
}
