import type { EndpointObject } from "#durable-objects/endpoint/endpoint-object";
import type { PodObject } from "#durable-objects/pod/pod-object";

/** Bindings of wrangler.toml, and secrets set beside it. */
export interface Env {
  readonly ENDPOINTS: DurableObjectNamespace<EndpointObject>;
  readonly PODS: DurableObjectNamespace<PodObject>;
  readonly CATALOG: D1Database;
  readonly STORE: R2Bucket;
  readonly ASSETS: Fetcher;
  /** Signs links and node sessions; at least 32 bytes. */
  readonly SIGNING_SECRET: string;
  /** "true" on a developer's machine alone: URLs that callers give may point at loopback addresses. */
  readonly ALLOW_LOOPBACK_URLS: string;
}
