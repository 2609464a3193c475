import type { EndpointObject } from "#durable-objects/endpoint/endpoint-object";
import type { ModelsObject } from "#durable-objects/models/models-object";
import type { PodObject } from "#durable-objects/pod/pod-object";
import type { WebhooksObject } from "#durable-objects/webhooks/webhooks-object";

/** Bindings of wrangler.toml, and secrets set beside it. */
export interface Env {
  readonly ENDPOINTS: DurableObjectNamespace<EndpointObject>;
  readonly PODS: DurableObjectNamespace<PodObject>;
  readonly WEBHOOKS: DurableObjectNamespace<WebhooksObject>;
  readonly MODELS: DurableObjectNamespace<ModelsObject>;
  readonly CATALOG: D1Database;
  readonly STORE: R2Bucket;
  readonly ASSETS: Fetcher;
  /** Signs links and node sessions; at least 32 bytes. */
  readonly SIGNING_SECRET: string;
  /** "true" on a developer's machine alone: URLs that callers give may point at loopback addresses. */
  readonly ALLOW_LOOPBACK_URLS: string;
  /** Where callers reach the API, without a slash at its end; "" when nobody has said. */
  readonly PUBLIC_URL: string;
  /** Secrets with which models are imported that are not for everybody; each goes to its own service alone. */
  readonly HF_TOKEN?: string;
  readonly CIVITAI_TOKEN?: string;
  /** Mirrors of these services; the services themselves when left out. */
  readonly HF_ENDPOINT?: string;
  readonly CIVITAI_ENDPOINT?: string;
}
