import * as z from "zod";
import { JobParams } from "#contract/api/jobs";
import { PageQuery, page } from "#contract/api/page";
import { route } from "#contract/api/route";
import { DeliveryId, JobId, WebhookId } from "#contract/ids";
import { LONG_POLL_MS } from "#contract/limits";
import {
  Delivery,
  DeliveryReport,
  DeliveryState,
  ListenedMessage,
  NewWebhook,
  Webhook,
  WebhookEvent,
  WebhookPatch,
  WebhookSecret,
} from "#contract/webhook";

const tag = "Webhooks";
/** `default` stands for the webhooks that single jobs name: it has a secret and deliveries, but no URL of its own. */
const WebhookOrDefault = z.union([WebhookId, z.literal("default")]);
const WebhookParams = z.object({ webhook: WebhookId });
const SourceParams = z.object({ webhook: WebhookOrDefault });
const DeliveryParams = SourceParams.extend({ delivery: DeliveryId });

export const createWebhook = route({
  id: "createWebhook",
  tag,
  method: "post",
  path: "/v1/webhooks",
  summary: "Subscribe a URL to events of the workspace",
  description: "Messages are signed as Standard Webhooks say (`v1` with the secret, `v1a` with the published key).",
  scope: "deploy",
  headers: z.object({ "idempotency-key": z.string().optional() }),
  idempotent: "catalog",
  body: NewWebhook,
  status: 201,
  returns: Webhook,
  problems: ["invalid_url", "webhook_limit", "endpoint_not_found"],
});
export const listWebhooks = route({
  id: "listWebhooks",
  tag,
  method: "get",
  path: "/v1/webhooks",
  summary: "Webhooks of the workspace",
  scope: "read",
  status: 200,
  returns: z.object({ data: z.array(Webhook) }),
  problems: [],
});
export const getWebhook = route({
  id: "getWebhook",
  tag,
  method: "get",
  path: "/v1/webhooks/{webhook}",
  summary: "A webhook",
  scope: "read",
  params: WebhookParams,
  status: 200,
  returns: Webhook,
  problems: ["webhook_not_found"],
});
export const patchWebhook = route({
  id: "patchWebhook",
  tag,
  method: "patch",
  path: "/v1/webhooks/{webhook}",
  summary: "Change a webhook, disable it, or enable it again",
  scope: "deploy",
  params: WebhookParams,
  body: WebhookPatch,
  status: 200,
  returns: Webhook,
  problems: ["webhook_not_found", "invalid_url"],
});
export const deleteWebhook = route({
  id: "deleteWebhook",
  tag,
  method: "delete",
  path: "/v1/webhooks/{webhook}",
  summary: "Delete a webhook; its pending messages are discarded",
  scope: "deploy",
  params: WebhookParams,
  status: 204,
  problems: ["webhook_not_found"],
});
export const getWebhookSecret = route({
  id: "getWebhookSecret",
  tag,
  method: "get",
  path: "/v1/webhooks/{webhook}/secret",
  summary: "The secret that signs; `default` for the webhooks of single jobs",
  scope: "deploy",
  params: SourceParams,
  status: 200,
  returns: WebhookSecret,
  problems: ["webhook_not_found"],
});
export const rotateWebhookSecret = route({
  id: "rotateWebhookSecret",
  tag,
  method: "post",
  path: "/v1/webhooks/{webhook}/rotate",
  summary: "Make a new secret; the old one signs beside it for 24 hours",
  scope: "deploy",
  params: SourceParams,
  idempotent: "catalog",
  status: 200,
  returns: WebhookSecret,
  problems: ["webhook_not_found"],
});
export const testWebhook = route({
  id: "testWebhook",
  tag,
  method: "post",
  path: "/v1/webhooks/{webhook}/test",
  summary: "Send an example message through the real delivery path",
  scope: "deploy",
  params: WebhookParams,
  body: z.strictObject({ event: WebhookEvent.default("webhook.test") }),
  bodyOptional: true,
  idempotent: "catalog",
  status: 202,
  returns: Delivery,
  problems: ["webhook_not_found", "webhook_disabled"],
});
export const listDeliveries = route({
  id: "listDeliveries",
  tag,
  method: "get",
  path: "/v1/webhooks/{webhook}/deliveries",
  summary: "Messages of a webhook with every try, newest first",
  scope: "read",
  params: SourceParams,
  query: PageQuery.extend({
    state: DeliveryState.optional(),
    event: WebhookEvent.optional(),
    job: JobId.optional(),
  }),
  status: 200,
  returns: page(Delivery),
  problems: ["webhook_not_found", "invalid_cursor"],
});
export const listJobDeliveries = route({
  id: "listJobDeliveries",
  tag,
  method: "get",
  path: "/v1/jobs/{job}/deliveries",
  summary: "Webhook messages about a job, with every try",
  scope: "read",
  params: JobParams,
  query: PageQuery,
  status: 200,
  returns: page(Delivery),
  problems: ["job_not_found", "invalid_cursor"],
});
export const getDelivery = route({
  id: "getDelivery",
  tag,
  method: "get",
  path: "/v1/webhooks/{webhook}/deliveries/{delivery}",
  summary: "One message with every try",
  scope: "read",
  params: DeliveryParams,
  status: 200,
  returns: Delivery,
  problems: ["webhook_not_found", "delivery_not_found"],
});
export const redeliver = route({
  id: "redeliver",
  tag,
  method: "post",
  path: "/v1/webhooks/{webhook}/deliveries/{delivery}/redeliver",
  summary: "Send a message again now, under its own id",
  scope: "deploy",
  params: DeliveryParams,
  idempotent: "catalog",
  status: 202,
  returns: Delivery,
  problems: ["webhook_not_found", "delivery_not_found", "webhook_disabled"],
});
export const recoverWebhook = route({
  id: "recoverWebhook",
  tag,
  method: "post",
  path: "/v1/webhooks/{webhook}/recover",
  summary: "Send again everything that failed since a moment",
  scope: "deploy",
  params: SourceParams,
  body: z.strictObject({ since: z.iso.datetime({ offset: true }) }),
  idempotent: "catalog",
  status: 202,
  returns: z.object({ recovered: z.int().nonnegative().meta({ description: "Messages that will be sent again" }) }),
  problems: ["webhook_not_found", "webhook_disabled"],
});
export const listenWebhook = route({
  id: "listenWebhook",
  tag,
  method: "post",
  path: "/v1/webhooks/{webhook}/listen",
  summary: "Fetch the messages of a `listen` webhook; waits for the next",
  description: "A message that is not reported within 30 seconds is handed out again.",
  scope: "deploy",
  params: WebhookParams,
  body: z.strictObject({ wait_ms: z.int().min(0).max(LONG_POLL_MS).default(LONG_POLL_MS) }),
  status: 200,
  returns: z.object({ messages: z.array(ListenedMessage) }),
  problems: ["webhook_not_found"],
});
export const reportDelivery = route({
  id: "reportDelivery",
  tag,
  method: "post",
  path: "/v1/webhooks/{webhook}/deliveries/{delivery}/report",
  summary: "Say what became of a message that was listened to",
  scope: "deploy",
  params: WebhookParams.extend({ delivery: DeliveryId }),
  body: DeliveryReport,
  status: 200,
  returns: Delivery,
  problems: ["webhook_not_found", "delivery_not_found"],
});
export const getWebhookKeys = route({
  id: "getWebhookKeys",
  tag,
  method: "get",
  path: "/.well-known/jwks.json",
  summary: "Public keys that verify `v1a` signatures of webhooks (JWKS, Ed25519)",
  scope: null,
  status: 200,
  returns: z.object({
    keys: z.array(
      z.object({
        kty: z.literal("OKP"),
        crv: z.literal("Ed25519"),
        use: z.literal("sig"),
        alg: z.literal("EdDSA"),
        kid: z.string(),
        x: z.string(),
        whpk: z.string().meta({ description: "The same key as Standard Webhooks write it" }),
      }),
    ),
  }),
  problems: [],
});
