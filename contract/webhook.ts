/** Webhooks as callers see them; messages follow Standard Webhooks 1.0.0. */
import * as z from "zod";
import { Slug } from "#contract/endpoint";
import { DeliveryId, EndpointId, JobId, WebhookId, WorkspaceId } from "#contract/ids";
import { Job, JobEventType, JobOutput, JobProgress } from "#contract/job";
import { PersonText } from "#contract/person-text";

/** Everything that can be subscribed to. Add, never rename. */
export const WebhookEvent = z.enum([
  ...JobEventType.options,
  "release.ready",
  "release.failed",
  "webhook.disabled",
  "webhook.test",
]);
export type WebhookEvent = z.infer<typeof WebhookEvent>;

export const DEFAULT_WEBHOOK_EVENTS: readonly WebhookEvent[] = [
  "job.succeeded",
  "job.failed",
  "job.canceled",
  "job.expired",
  "webhook.disabled",
];

export const WEBHOOK_ID_HEADER = "webhook-id";
export const WEBHOOK_TIMESTAMP_HEADER = "webhook-timestamp";
export const WEBHOOK_SIGNATURE_HEADER = "webhook-signature";

/** A message's id: of its event, so the same for every destination and every try. Never holds a full stop. */
export const MessageId = z.string().regex(/^msg_[0-9a-z_]{1,80}$/);
export type MessageId = z.infer<typeof MessageId>;

export const Webhook = z
  .object({
    id: WebhookId,
    kind: z.enum(["http", "listen"]).meta({ description: "`listen`: a command that fetches its messages" }),
    url: z.string().nullable(),
    events: z.array(WebhookEvent),
    endpoint_id: EndpointId.nullable().meta({ description: "Only events of this endpoint; null: of all" }),
    description: z.string().nullable(),
    state: z.enum(["enabled", "disabled"]),
    disabled_reason: z.string().nullable(),
    disabled_at: z.iso.datetime().nullable(),
    failing_since: z.iso.datetime().nullable().meta({ description: "First failure since its last success" }),
    secrets: z.array(
      z.object({ hint: z.string(), created_at: z.iso.datetime(), expires_at: z.iso.datetime().nullable() }),
    ),
    created_at: z.iso.datetime(),
    secret: z.string().optional().meta({ description: "whsec_…; in the answers that make one" }),
  })
  .meta({ id: "Webhook" });
export type Webhook = z.infer<typeof Webhook>;

const Events = z.array(WebhookEvent).min(1).max(WebhookEvent.options.length);

export const NewWebhook = z
  .strictObject({
    kind: z.enum(["http", "listen"]).default("http"),
    url: z.string().max(4_096).optional().meta({ description: "Where to POST; left out for `listen`" }),
    events: Events.optional(),
    endpoint: z.union([EndpointId, Slug]).optional(),
    description: PersonText.max(500).optional(),
  })
  .meta({ id: "NewWebhook" });
export type NewWebhook = z.infer<typeof NewWebhook>;

export const WebhookPatch = z
  .strictObject({
    url: z.string().max(4_096).optional(),
    events: Events.optional(),
    description: PersonText.max(500).nullable().optional(),
    state: z.enum(["enabled", "disabled"]).optional(),
  })
  .meta({ id: "WebhookPatch" });
export type WebhookPatch = z.infer<typeof WebhookPatch>;

export const WebhookSecret = z
  .object({
    secret: z.string().meta({ description: "whsec_ and base64; signs `v1`" }),
    previous: z.string().nullable().meta({ description: "Signs as well until `previous_expires_at`" }),
    previous_expires_at: z.iso.datetime().nullable(),
    public_key: z.string().meta({ description: "whpk_ and base64; verifies `v1a` (Ed25519)" }),
  })
  .meta({ id: "WebhookSecret" });
export type WebhookSecret = z.infer<typeof WebhookSecret>;

export const DeliveryTry = z.object({
  at: z.iso.datetime(),
  status: z.int().nullable().meta({ description: "HTTP status; null when no answer came" }),
  ms: z.int().nonnegative(),
  error: z.string().nullable(),
  answer: z.string().nullable().meta({ description: "The first 4 kB of the answer's body" }),
});
export type DeliveryTry = z.infer<typeof DeliveryTry>;

export const DeliveryState = z.enum(["pending", "delivered", "failed", "discarded"]);
export type DeliveryState = z.infer<typeof DeliveryState>;

/** One message on its way to one destination, with all its tries. */
export const Delivery = z
  .object({
    id: DeliveryId,
    webhook_id: WebhookId.nullable().meta({ description: "null: the webhook of a single job" }),
    message_id: MessageId,
    event: WebhookEvent,
    job_id: JobId.nullable(),
    url: z.string().nullable(),
    state: DeliveryState,
    tries: z.array(DeliveryTry),
    next_try_at: z.iso.datetime().nullable(),
    created_at: z.iso.datetime(),
    body: z.string().meta({ description: "The bytes that are sent" }),
  })
  .meta({ id: "Delivery" });
export type Delivery = z.infer<typeof Delivery>;

/** What a message's body holds. `data` of a job event is the job without inputs; its outputs are links. */
export const WebhookMessage = z
  .object({
    type: WebhookEvent,
    timestamp: z.iso.datetime().meta({ description: "When the event happened" }),
    workspace_id: WorkspaceId,
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "WebhookMessage" });
export type WebhookMessage = z.infer<typeof WebhookMessage>;

const Example = z.literal(true).optional().meta({ description: "In examples alone: test messages and `trigger`" });

/** `data` of the events of a job. */
export const WebhookJob = Job.pick({
  id: true,
  endpoint: true,
  endpoint_id: true,
  release: true,
  state: true,
  lane: true,
  tags: true,
  attempt: true,
  error: true,
  created_at: true,
  started_at: true,
  finished_at: true,
})
  .extend({
    progress: JobProgress.optional().meta({ description: "In `job.progress` alone" }),
    outputs: z.array(
      JobOutput.pick({ name: true, kind: true, content_type: true, size: true, sha256: true }).extend({
        url: z.string().meta({ description: "Needs your key; the path alone where the API's address is not known" }),
      }),
    ),
    outputs_truncated: z.boolean().meta({ description: "There are more outputs than fit; the job has them all" }),
    test: Example,
  })
  .meta({ id: "WebhookJob" });

/** `data` of `release.ready` and `release.failed`. */
export const WebhookRelease = z
  .object({
    endpoint: z.string().meta({ description: "The endpoint's slug" }),
    endpoint_id: EndpointId,
    release: z.int().positive(),
    state: z.enum(["ready", "failed"]).meta({
      description: "`ready`: it has run on every type of card that is online; `failed`: it cannot run on one of them",
    }),
    gpu_type: z
      .string()
      .nullable()
      .meta({ description: "Of `release.failed`: where; null for machines without a known card" }),
    error: z.string().nullable().meta({ description: "Of `release.failed`: why, in words" }),
    at: z.iso.datetime(),
    test: Example,
  })
  .meta({ id: "WebhookRelease" });

/** `data` of `webhook.disabled`. */
export const WebhookDisabled = z
  .object({
    id: WebhookId,
    url: z.string().nullable(),
    reason: z.string(),
    failing_since: z.iso.datetime().nullable(),
    disabled_at: z.iso.datetime(),
    test: Example,
  })
  .meta({ id: "WebhookDisabled" });

/** What a listening command gets for each message; it POSTs `body` with `headers` and reports what came back. */
export const ListenedMessage = z.object({
  delivery_id: DeliveryId,
  event: WebhookEvent,
  headers: z.record(z.string(), z.string()),
  body: z.string(),
});
export type ListenedMessage = z.infer<typeof ListenedMessage>;

export const DeliveryReport = z.strictObject({
  /** Three digits are a status, whatever they mean: what is not taken here is handed out again and again. */
  status: z.int().min(100).max(999).nullable(),
  ms: z.int().nonnegative(),
  error: z.string().max(1_000).nullable(),
  answer: z.string().max(4_096).nullable(),
});
export type DeliveryReport = z.infer<typeof DeliveryReport>;
