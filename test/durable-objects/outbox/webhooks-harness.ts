import { EndpointId, JobId, makeId, ownerKey, type WebhookId, WorkspaceId } from "#contract/ids";
import type { WebhookEvent } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { eventMessageId } from "#durable-objects/outbox/message-id";
import type { TryResult } from "#durable-objects/outbox/outcome";
import type { DeliveryPage, OutboxEvent, WebhookSource } from "#durable-objects/webhooks/rpc";
import { newWebhookId } from "#durable-objects/webhooks/subscriptions";
import { WebhooksCore } from "#durable-objects/webhooks/webhooks-core";
import type { Sending } from "#durable-objects/webhooks/webhooks-state";
import { NodeDatabase } from "#test/durable-objects/queue/node-database";
import { seededBytes } from "#test/durable-objects/seeded-bytes";

export const OK: TryResult = { status: 204, ms: 20, error: null, answer: "", retryAfter: null };
export const answered = (status: number, more: Partial<TryResult> = {}): TryResult => ({ ...OK, status, ...more });
export const NO_ANSWER: TryResult = {
  status: null,
  ms: 15_000,
  error: "No whole answer came within 15 seconds.",
  answer: null,
  retryAfter: null,
};

/** A workspace's webhooks over SQLite in memory, with a clock, an alarm and a network that only the test moves. */
export class WebhooksHarness {
  readonly db: NodeDatabase;
  readonly #randomBytes: (length: number) => Uint8Array;
  readonly workspaceId: WorkspaceId;
  readonly endpointId: EndpointId;
  now = 1_800_000_000_000;
  armedAt: number | null = null;
  /** Tries that have gone out and have no outcome yet. */
  open: Sending[] = [];
  /** Every try that went out, oldest first. */
  readonly sent: (Sending & { readonly at: number })[] = [];
  tells = 0;
  readonly listened: WebhookId[] = [];
  core: WebhooksCore;
  #jobs = 0;

  constructor(seed = 1, publicUrl = "", db = new NodeDatabase()) {
    this.db = db;
    this.#randomBytes = seededBytes(seed);
    this.workspaceId = makeId(WorkspaceId, "ws", this.now, this.#randomBytes);
    this.endpointId = this.freshEndpoint();
    this.publicUrl = publicUrl;
    this.core = this.#opened();
  }

  readonly publicUrl: string;

  freshEndpoint(): EndpointId {
    return makeId(EndpointId, "ep", this.now, this.#randomBytes);
  }

  jobId(): JobId {
    this.#jobs += 1;
    return makeId(JobId, "job", this.now, this.#randomBytes, ownerKey(this.endpointId));
  }

  #opened(): WebhooksCore {
    return new WebhooksCore(this.db, this.#world(), this.publicUrl, this.armedAt);
  }

  #world() {
    return { now: () => this.now, randomBytes: this.#randomBytes };
  }

  call<T>(work: (core: WebhooksCore) => T): T {
    const result = work(this.core);
    this.#perform();
    return result;
  }

  /** The value of a call that must not be refused. */
  must<T extends object>(work: (core: WebhooksCore) => Reply<T>): T {
    const reply = this.call(work);
    if (!reply.ok) throw new Error(reply.code);
    return reply;
  }

  #perform(): void {
    for (const effect of this.core.takeEffects()) {
      if (effect.type === "arm") this.armedAt = effect.at;
      else if (effect.type === "tell") this.tells += 1;
      else if (effect.type === "listened") this.listened.push(effect.webhookId);
      else {
        this.open.push(effect.sending);
        this.sent.push({ ...effect.sending, at: this.now });
      }
    }
  }

  /** The process is killed: tries that were on their way have no outcome, and everything is read from the tables. */
  kill(): void {
    this.open = [];
    this.core = this.#opened();
    this.#perform();
  }

  /** Lets the time pass; the alarm rings when it is due. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (let rings = 0; this.armedAt !== null && this.armedAt <= until; rings += 1) {
      if (rings > 10_000) throw new Error("the alarm rings without end");
      this.now = Math.max(this.now, this.armedAt);
      this.armedAt = null;
      this.call((core) => core.wake());
    }
    this.now = until;
  }

  /** Lets the time pass while whatever goes out is answered at once. */
  live(ms: number, result: (sending: Sending) => TryResult): void {
    const until = this.now + ms;
    this.settle(result);
    while (this.armedAt !== null && this.armedAt <= until) {
      this.pass(Math.max(1, this.armedAt - this.now));
      this.settle(result);
    }
    this.now = until;
  }

  /** Lets the time pass until something goes out. */
  untilSent(ms: number): void {
    const until = this.now + ms;
    while (this.open.length === 0) {
      if (this.armedAt === null || this.armedAt > until) throw new Error("nothing goes out");
      this.pass(Math.max(1, this.armedAt - this.now));
    }
  }

  /** Gives a try its outcome. */
  answer(sending: Sending, result: TryResult): void {
    this.open = this.open.filter((one) => one !== sending);
    this.call((core) => core.tried(sending.deliveryId, sending.startedAt, result));
  }

  /** Answers whatever is on its way, and what follows from it, until nothing is. */
  settle(result: (sending: Sending) => TryResult): void {
    for (let count = 0; this.open[0] !== undefined; count += 1) {
      if (count > 10_000) throw new Error("it goes on without end");
      this.answer(this.open[0], result(this.open[0]));
    }
  }

  subscribe(
    events: readonly WebhookEvent[] = ["job.succeeded"],
    more: { url?: string; kind?: "http" | "listen"; endpointId?: EndpointId } = {},
  ): WebhookId {
    const kind = more.kind ?? "http";
    const id = newWebhookId(this.workspaceId, this.#world());
    const url = kind === "listen" ? null : (more.url ?? "https://hooks.example.com/pilotlight");
    const webhook = { kind, url, events, endpointId: more.endpointId ?? null, description: null };
    this.must((core) => core.create(this.workspaceId, id, webhook, { sealed: "sealed", hint: "whsec_…abcd" }));
    return id;
  }

  event(more: Partial<OutboxEvent> = {}): OutboxEvent & { readonly jobId: JobId } {
    const jobId = more.jobId ?? this.jobId();
    return {
      messageId: eventMessageId(jobId, 4),
      type: "job.succeeded",
      endpointId: this.endpointId,
      at: this.now,
      data: JSON.stringify({ id: jobId, state: "succeeded", outputs: [] }),
      url: null,
      ...more,
      jobId,
    };
  }

  publish(...events: OutboxEvent[]): void {
    this.must((core) => core.accept(this.workspaceId, this.endpointId, events));
  }

  webhook(id: WebhookId) {
    return this.must((core) => core.get(this.workspaceId, id)).webhook;
  }

  log(source: WebhookSource | null, page: Partial<DeliveryPage> = {}) {
    return this.must((core) => core.deliveries(this.workspaceId, source, { limit: 100, ...page }));
  }
}
