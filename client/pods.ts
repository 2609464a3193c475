import type { CallOptions, CreateOptions, Transport } from "#client/transport";
import { createJoinToken, listNodes, listPods } from "#contract/api/pods";
import type { JoinToken, NodeSummary, Pod } from "#contract/replica";

/** Pods: allotments of GPU capacity, and the nodes that joined them. */
export class Pods {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(options: CallOptions = {}): Promise<Pod[]> {
    return (await this.#transport.call(listPods, options)).data;
  }

  async nodes(pod: string, options: CallOptions = {}): Promise<NodeSummary[]> {
    return (await this.#transport.call(listNodes, { params: { pod }, ...options })).data;
  }

  /**
   * Makes a token with which machines join the pod; its text is in this answer and in no later one.
   * @param expiresInS seconds; a day when left out
   */
  createJoinToken(pod: string, expiresInS?: number, options: CreateOptions = {}): Promise<JoinToken> {
    const body = expiresInS === undefined ? {} : { expires_in: expiresInS };
    return this.#transport.call(createJoinToken, { params: { pod }, body, ...options });
  }
}
