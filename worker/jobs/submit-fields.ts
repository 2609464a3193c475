import type { NewBatch } from "#contract/batch";
import type { NewJob } from "#contract/job";
import { EXPIRES_IN_S_DEFAULT, PRIORITY_DEFAULT } from "#contract/limits";
import type { EnqueueRequest } from "#durable-objects/endpoint/rpc";
import type { Principal } from "#worker/auth/principal";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Arrival } from "#worker/http/call";
import { checkedWebhook } from "#worker/jobs/job-webhook";

/**
 * What a submit says beside inputs, with the defaults of the service and of the endpoint.
 * @throws Problem invalid_url for the webhook
 */
export function submitFields(
  call: Arrival & { readonly principal: Principal; readonly body: NewJob | NewBatch },
  { endpoint }: EndpointSummary,
): Omit<EnqueueRequest, "release" | "inputs" | "files" | "canary" | "batchId" | "retryOf" | "idempotency"> {
  const { principal, body } = call;
  return {
    workspaceId: principal.workspaceId,
    keyId: principal.keyId,
    lane: body.lane,
    priority: body.priority ?? PRIORITY_DEFAULT,
    tags: body.tags,
    expiresInMs: (body.expires_in ?? EXPIRES_IN_S_DEFAULT) * 1000,
    timeoutMs: (body.timeout ?? endpoint.settings.timeout_s) * 1000,
    ...checkedWebhook(call, body.webhook),
  };
}
