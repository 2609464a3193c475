/**
 * What the Worker and EndpointObjects may ask of a WebhooksObject, one per workspace: its subscriptions, what is to be
 * delivered, and every try. Same rules as durable-objects/endpoint/rpc.ts.
 */
import type { DeliveryId, EndpointId, JobId, WebhookId, WorkspaceId } from "#contract/ids";
import type {
  Delivery,
  DeliveryReport,
  DeliveryState,
  ListenedMessage,
  Webhook,
  WebhookEvent,
  WebhookPatch,
  WebhookSecret,
} from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import type { TryResult } from "#durable-objects/outbox/outcome";

/** Something that happened, written beside the change that made it so and handed over until it is taken. */
export interface OutboxEvent {
  /** `msg_…`: a function of the job and the event, so that handing it over twice makes one message. */
  readonly messageId: string;
  readonly type: WebhookEvent;
  readonly endpointId: EndpointId | null;
  readonly jobId: JobId | null;
  /** Unix ms, when it happened. */
  readonly at: number;
  /** JSON text of the message's `data`. */
  readonly data: string;
  /** The URL that the job itself names, when it asked for this event; workspace subscriptions get it either way. */
  readonly url: string | null;
}

/** Which events anybody in the workspace has subscribed to, so that nothing is written for those nobody wants. */
export interface Interest {
  /** Grows with every change. */
  readonly version: number;
  readonly events: readonly WebhookEvent[];
}

/** `default` stands for the webhooks of single jobs. */
export type WebhookSource = WebhookId | "default";

export interface DeliveryPage {
  readonly state?: DeliveryState;
  readonly event?: WebhookEvent;
  readonly jobId?: JobId;
  /** Only deliveries with an id below this one (older). */
  readonly before?: DeliveryId;
  readonly limit: number;
}

/**
 * What something new is made of; left out: of fresh chance. The same once more, because the first answer was lost, makes nothing new: it finds what
 * was made of it.
 */
export interface MadeOf {
  /** Unix ms; it becomes a part of the id. */
  readonly at: number;
  /** Chance, MADE_OF_BYTES of it. */
  readonly bytes: Uint8Array;
}

/** An id takes 17 of them, a secret 32. */
export const MADE_OF_BYTES = 64;

export interface WebhooksRpc {
  /** An endpoint asks to be told of the interest, now and at each change. */
  register(workspaceId: WorkspaceId, endpointId: EndpointId): Promise<Reply<{ interest: Interest }>>;
  /** The endpoint is gone. */
  unregister(workspaceId: WorkspaceId, endpointId: EndpointId): Promise<Reply<object>>;
  /** Takes events, in one commit; those known already are ignored. Answers with the interest as it is now. */
  accept(workspaceId: WorkspaceId, events: readonly OutboxEvent[]): Promise<Reply<{ interest: Interest }>>;

  create(
    workspaceId: WorkspaceId,
    webhook: {
      readonly kind: "http" | "listen";
      readonly url: string | null;
      readonly events: readonly WebhookEvent[];
      readonly endpointId: EndpointId | null;
      readonly description: string | null;
    },
    of?: MadeOf,
  ): Promise<Reply<{ webhook: Webhook }>>;
  list(workspaceId: WorkspaceId): Promise<Reply<{ webhooks: Webhook[] }>>;
  get(workspaceId: WorkspaceId, id: WebhookId): Promise<Reply<{ webhook: Webhook }>>;
  patch(workspaceId: WorkspaceId, id: WebhookId, patch: WebhookPatch): Promise<Reply<{ webhook: Webhook }>>;
  remove(workspaceId: WorkspaceId, id: WebhookId): Promise<Reply<object>>;
  secret(workspaceId: WorkspaceId, source: WebhookSource): Promise<Reply<{ secret: WebhookSecret }>>;
  rotate(workspaceId: WorkspaceId, source: WebhookSource, of?: MadeOf): Promise<Reply<{ secret: WebhookSecret }>>;

  /** Not called `test`: the runtime keeps that name, and no call of it arrives. */
  tryOut(
    workspaceId: WorkspaceId,
    id: WebhookId,
    event: WebhookEvent,
    of?: MadeOf,
  ): Promise<Reply<{ delivery: Delivery }>>;
  deliveries(
    workspaceId: WorkspaceId,
    source: WebhookSource | null,
    page: DeliveryPage,
  ): Promise<Reply<{ deliveries: Delivery[]; next: DeliveryId | null }>>;
  delivery(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): Promise<Reply<{ delivery: Delivery }>>;
  redeliver(workspaceId: WorkspaceId, source: WebhookSource, id: DeliveryId): Promise<Reply<{ delivery: Delivery }>>;
  /** @param since Unix ms */
  recover(workspaceId: WorkspaceId, source: WebhookSource, since: number): Promise<Reply<{ recovered: number }>>;
  /** Waits for messages of a `listen` webhook. */
  listen(workspaceId: WorkspaceId, id: WebhookId, waitMs: number): Promise<Reply<{ messages: ListenedMessage[] }>>;
  report(
    workspaceId: WorkspaceId,
    id: WebhookId,
    deliveryId: DeliveryId,
    report: DeliveryReport,
  ): Promise<Reply<{ delivery: Delivery }>>;
}

/** A message that is signed and goes out now. */
export interface Posting {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What the WebhooksObject of a workspace may ask of its couriers, which are objects of the same class. */
export interface CourierRpc {
  /** Makes one try with connections of its own, and says what came of it. */
  carry(posting: Posting): Promise<TryResult>;
}
