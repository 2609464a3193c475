import type * as z from "zod";
import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  createWebhook,
  deleteWebhook,
  getDelivery,
  getWebhook,
  getWebhookSecret,
  listDeliveries,
  listenWebhook,
  listJobDeliveries,
  listWebhooks,
  patchWebhook,
  recoverWebhook,
  redeliver,
  reportDelivery,
  rotateWebhookSecret,
  testWebhook,
} from "#contract/api/webhooks";
import { LONG_POLL_MS } from "#contract/limits";
import type {
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

/** Which deliveries; all filters given must hold. */
export interface DeliveryQuery extends PageOf {
  readonly state?: DeliveryState | undefined;
  readonly event?: WebhookEvent | undefined;
  readonly job?: string | undefined;
}

export type DeliveryPage = AnswerOf<typeof listDeliveries>;

/**
 * Webhooks: who is told of jobs, and what became of each message. Where a webhook is named, `default` stands for those
 * that single jobs name.
 */
export class Webhooks {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Subscribes; `secret` is in this answer and behind `secret()`. */
  create(webhook: z.input<typeof NewWebhook>, options: CreateOptions = {}): Promise<Webhook> {
    return this.#transport.call(createWebhook, { body: webhook, ...options });
  }

  async list(options: CallOptions = {}): Promise<Webhook[]> {
    return (await this.#transport.call(listWebhooks, options)).data;
  }

  get(webhook: string, options: CallOptions = {}): Promise<Webhook> {
    return this.#transport.call(getWebhook, { params: { webhook }, ...options });
  }

  /** Changes, disables or enables it. */
  update(webhook: string, patch: z.input<typeof WebhookPatch>, options: CallOptions = {}): Promise<Webhook> {
    return this.#transport.call(patchWebhook, { params: { webhook }, body: patch, repeatable: true, ...options });
  }

  /** Deletes it; what is pending is discarded. */
  remove(webhook: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(deleteWebhook, { params: { webhook }, ...options });
  }

  secret(webhook: string, options: CallOptions = {}): Promise<WebhookSecret> {
    return this.#transport.call(getWebhookSecret, { params: { webhook }, ...options });
  }

  /** Makes a new secret; the old one signs beside it for 24 hours. */
  rotate(webhook: string, options: CallOptions = {}): Promise<WebhookSecret> {
    return this.#transport.call(rotateWebhookSecret, { params: { webhook }, ...options });
  }

  /** Sends an example message on the way that all messages go. */
  test(webhook: string, event: WebhookEvent = "webhook.test", options: CallOptions = {}): Promise<Delivery> {
    return this.#transport.call(testWebhook, { params: { webhook }, body: { event }, ...options });
  }

  /** Every delivery of it, newest first. */
  async *deliveries(
    webhook: string,
    query: DeliveryQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<Delivery, void, void> {
    yield* allPages((cursor) => this.deliveriesPage(webhook, { ...query, cursor }, options), query.cursor);
  }

  deliveriesPage(webhook: string, query: DeliveryQuery = {}, options: CallOptions = {}): Promise<DeliveryPage> {
    return this.#transport.call(listDeliveries, {
      params: { webhook },
      query: query as z.input<typeof listDeliveries.query>,
      ...options,
    });
  }

  /** Every delivery about a job, newest first. */
  async *ofJob(job: string, options: CallOptions = {}): AsyncGenerator<Delivery, void, void> {
    yield* allPages((cursor) =>
      this.#transport.call(listJobDeliveries, {
        params: { job },
        query: (cursor === undefined ? {} : { cursor }) as z.input<typeof listJobDeliveries.query>,
        ...options,
      }),
    );
  }

  delivery(webhook: string, delivery: string, options: CallOptions = {}): Promise<Delivery> {
    return this.#transport.call(getDelivery, { params: { webhook, delivery }, ...options });
  }

  /** Sends a message again, now, under its own id. */
  redeliver(webhook: string, delivery: string, options: CallOptions = {}): Promise<Delivery> {
    return this.#transport.call(redeliver, { params: { webhook, delivery }, ...options });
  }

  /** Sends again whatever has failed since a moment. @returns how many messages */
  async recover(webhook: string, since: Date, options: CallOptions = {}): Promise<number> {
    const body = { since: since.toISOString() };
    return (await this.#transport.call(recoverWebhook, { params: { webhook }, body, ...options })).recovered;
  }

  /**
   * Messages of a `listen` webhook; waits for the next one. What is not reported within 30 seconds comes again.
   * @returns none when nothing came in time
   */
  async listen(webhook: string, options: CallOptions & { readonly waitMs?: number } = {}): Promise<ListenedMessage[]> {
    const { waitMs = LONG_POLL_MS, ...rest } = options;
    const input = { params: { webhook }, body: { wait_ms: waitMs }, heldMs: waitMs, repeatable: true };
    return (await this.#transport.call(listenWebhook, { ...input, ...rest })).messages;
  }

  /** Says what became of a message that was listened to. */
  report(
    webhook: string,
    delivery: string,
    report: z.input<typeof DeliveryReport>,
    options: CallOptions = {},
  ): Promise<Delivery> {
    return this.#transport.call(reportDelivery, {
      params: { webhook, delivery },
      body: report,
      repeatable: true,
      ...options,
    });
  }
}
