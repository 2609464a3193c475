import type * as z from "zod";
import { followEvents } from "#client/follow-events";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import {
  getReplica,
  getReplicaLogs,
  listReplicaSeconds,
  listReplicas,
  type ReplicaDay,
  ReplicaLogLine,
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

  /**
   * What it writes while it starts: the lines so far, and those that come, until it is ready or has ended.
   * @param from only lines with this number or a higher one
   */
  async *follow(
    endpoint: string,
    replica: string,
    options: CallOptions & { readonly from?: number } = {},
  ): AsyncGenerator<ReplicaLogLine, void, void> {
    const events = followEvents(this.#transport, {
      route: getReplicaLogs,
      params: { endpoint, replica },
      of: `replica ${replica} of ${endpoint}`,
      // An event's id is the number of the line that comes after it.
      afterSeq: options.from ?? 0,
      isLast: (type) => type === "end",
      signal: options.signal,
    });
    for await (const { type, data } of events) if (type === "line") yield ReplicaLogLine.parse(data);
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
