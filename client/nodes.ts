import { pause } from "#client/retry";
import type { CallOptions, Transport } from "#client/transport";
import {
  cordonNode,
  drainNode,
  getNode,
  listNodes,
  removeNode,
  trustNode,
  uncordonNode,
  undrainNode,
} from "#contract/api/pods";
import { METRICS_WATCHED_MS } from "#contract/limits";
import type { NodeSummary } from "#contract/replica";

/** Nodes: the machines of a pod. */
export class Nodes {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(pod: string, options: CallOptions = {}): Promise<NodeSummary[]> {
    return (await this.#transport.call(listNodes, { params: { pod }, ...options })).data;
  }

  /** With its latest figures: being asked for, they come each second for a while. */
  get(pod: string, node: string, options: CallOptions = {}): Promise<NodeSummary> {
    return this.#transport.call(getNode, { params: { pod, node }, ...options });
  }

  /** The node each second, until the caller stops reading or the signal says so. */
  async *watch(pod: string, node: string, options: CallOptions = {}): AsyncGenerator<NodeSummary, never, void> {
    for (;;) {
      yield await this.get(pod, node, options);
      await pause(METRICS_WATCHED_MS, options.signal);
    }
  }

  /** Its replicas finish their jobs and stop, and it gets nothing new. */
  drain(pod: string, node: string, options: CallOptions = {}): Promise<NodeSummary> {
    return this.#change(drainNode, pod, node, options);
  }

  undrain(pod: string, node: string, options: CallOptions = {}): Promise<NodeSummary> {
    return this.#change(undrainNode, pod, node, options);
  }

  /** It gets nothing new; what it runs stays. */
  cordon(pod: string, node: string, options: CallOptions = {}): Promise<NodeSummary> {
    return this.#change(cordonNode, pod, node, options);
  }

  uncordon(pod: string, node: string, options: CallOptions = {}): Promise<NodeSummary> {
    return this.#change(uncordonNode, pod, node, options);
  }

  /** Ends its quarantine. */
  trust(pod: string, node: string, options: CallOptions = {}): Promise<NodeSummary> {
    return this.#change(trustNode, pod, node, options);
  }

  /** Its replicas end and its session is void; its machine may join again with a token that lets it. */
  remove(pod: string, node: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(removeNode, { params: { pod, node }, ...options });
  }

  /** Doing it twice is doing it once. */
  #change(route: typeof drainNode, pod: string, node: string, options: CallOptions): Promise<NodeSummary> {
    return this.#transport.call(route, { params: { pod, node }, repeatable: true, ...options });
  }
}
