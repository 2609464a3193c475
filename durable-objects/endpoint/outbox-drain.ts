import type { WorkspaceId } from "#contract/ids";
import type { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { Turn } from "#durable-objects/endpoint/turns";
import type { WebhooksRpc } from "#durable-objects/webhooks/rpc";

/** Hands events to the workspace's WebhooksObject until none is left. What fails is repeated by the alarm. */
export class OutboxDrain {
  readonly #turn: Turn<Pick<EndpointCore, "handOver" | "handedOver" | "handOverFailed">>;
  readonly #webhooksOf: (workspaceId: WorkspaceId) => WebhooksRpc;
  readonly #endpoint: string | undefined;
  #isHandingOver = false;

  /** @param endpoint its name, for the log */
  constructor(
    turn: Turn<Pick<EndpointCore, "handOver" | "handedOver" | "handOverFailed">>,
    webhooksOf: (workspaceId: WorkspaceId) => WebhooksRpc,
    endpoint: string | undefined,
  ) {
    this.#turn = turn;
    this.#webhooksOf = webhooksOf;
    this.#endpoint = endpoint;
  }

  /** Does nothing when it is under way already: what is new is handed over then. */
  async handOver(): Promise<void> {
    if (this.#isHandingOver) return;
    this.#isHandingOver = true;
    try {
      for (;;) {
        const next = this.#turn((core) => core.handOver());
        if (next === null) return;
        const { workspaceId, endpointId } = next;
        const webhooks = this.#webhooksOf(workspaceId);
        const reply = next.register
          ? await webhooks.register(workspaceId, endpointId)
          : await webhooks.accept(workspaceId, next.events);
        if (!reply.ok) throw new Error(reply.code);
        this.#turn((core) => core.handedOver(next.register ? 0 : next.last, reply.interest));
      }
    } catch (error) {
      console.error(
        JSON.stringify({ event: "events_not_handed_over", endpoint: this.#endpoint, error: String(error) }),
      );
      this.#turn((core) => core.handOverFailed());
    } finally {
      this.#isHandingOver = false;
    }
  }
}
