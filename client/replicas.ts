import type * as z from "zod";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import {
  getReplica,
  getReplicaLogs,
  listReplicaSeconds,
  listReplicas,
  type ReplicaDay,
  replaceReplica,
  stopReplica,
} from "#contract/api/replicas";
import type { Replica } from "#contract/replica";

export type ReplicaLog = AnswerOf<typeof getReplicaLogs>;
/** `current`: those that run, and those that crashed within the hour; `ended`: stopped and crashed ones. */
export type ReplicasListed = z.output<typeof listReplicas.query>["state"];

/** The replicas of an endpoint. */
export class Replicas {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(endpoint: string, state: ReplicasListed = "current", options: CallOptions = {}): Promise<Replica[]> {
    return (await this.#transport.call(listReplicas, { params: { endpoint }, query: { state }, ...options })).data;
  }

  get(endpoint: string, replica: string, options: CallOptions = {}): Promise<Replica> {
    return this.#transport.call(getReplica, { params: { endpoint, replica }, ...options });
  }

  /** What it wrote while it started. @param from only lines with this number or a higher one */
  logs(endpoint: string, replica: string, from = 0, options: CallOptions = {}): Promise<ReplicaLog> {
    return this.#transport.call(getReplicaLogs, { params: { endpoint, replica }, query: { from }, ...options });
  }

  /** Stops it after the job in hand. */
  stop(endpoint: string, replica: string, options: CallOptions = {}): Promise<Replica> {
    return this.#transport.call(stopReplica, { params: { endpoint, replica }, repeatable: true, ...options });
  }

  /** Starts a new one, and stops this one when that one is ready. */
  replace(endpoint: string, replica: string, options: CallOptions = {}): Promise<Replica> {
    return this.#transport.call(replaceReplica, { params: { endpoint, replica }, repeatable: true, ...options });
  }

  /** What the time of all of them went to, by UTC day. @param days the first and the last, as 2026-11-21 */
  async seconds(
    endpoint: string,
    days: { readonly from?: string | undefined; readonly to?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<ReplicaDay[]> {
    const call = { params: { endpoint }, query: days as z.input<typeof listReplicaSeconds.query>, ...options };
    return (await this.#transport.call(listReplicaSeconds, call)).data;
  }
}
