import type { PodId } from "#contract/ids";
import type { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { Turn } from "#durable-objects/endpoint/turns";
import type { DemandReply, Lack, PodRpc } from "#durable-objects/pod/rpc";

const DELETED: Lack = { code: "no_node_online", error: "The pod has been deleted." };
/** What a pod that was deleted would answer: without this, who has left it would ask it for ever. */
const NOTHING_THERE: DemandReply = {
  replicas: [],
  floor: 0,
  idleTimeoutMs: null,
  room: 0,
  held: 0,
  gpuTypes: [],
  shortage: DELETED,
  lack: DELETED,
};

/** Tells pods what the endpoint wants, one message to each at a time. What fails is repeated by the alarm. */
export class DemandSender {
  readonly #turn: Turn<Pick<EndpointCore, "demand" | "demandAnswered" | "cardsHeard">>;
  readonly #podOf: (podId: PodId) => Pick<PodRpc, "setDemand">;
  readonly #endpoint: string | undefined;
  /** Pods that are being told. */
  readonly #sending = new Set<PodId>();
  /** Pods whose demand was not read since it changed. */
  readonly #changed = new Set<PodId>();

  /** @param endpoint its name, for the log */
  constructor(
    turn: Turn<Pick<EndpointCore, "demand" | "demandAnswered" | "cardsHeard">>,
    podOf: (podId: PodId) => Pick<PodRpc, "setDemand">,
    endpoint: string | undefined,
  ) {
    this.#turn = turn;
    this.#podOf = podOf;
    this.#endpoint = endpoint;
  }

  /** Sends the demand as it is by the time that the pod has taken what it is being told. Never throws. */
  async send(podId: PodId): Promise<void> {
    this.#changed.add(podId);
    if (this.#sending.has(podId)) return;
    this.#sending.add(podId);
    try {
      while (this.#changed.delete(podId)) {
        const demand = this.#turn((core) => core.demand(podId));
        if (demand === null) return;
        const sentAt = Date.now();
        const reply = await this.#podOf(demand.podId).setDemand(demand);
        if (!reply.ok) {
          console.error(JSON.stringify({ event: "demand_refused", endpointId: demand.endpointId, code: reply.code }));
          if (reply.code !== "pod_not_found") continue;
        }
        const answer = reply.ok ? reply : NOTHING_THERE;
        this.#turn((core) => core.demandAnswered(demand, answer, sentAt));
        this.#turn((core) => core.cardsHeard(demand.podId, answer.gpuTypes));
      }
    } catch (error) {
      console.error(JSON.stringify({ event: "demand_not_sent", endpoint: this.#endpoint, error: String(error) }));
    } finally {
      this.#sending.delete(podId);
    }
  }
}
