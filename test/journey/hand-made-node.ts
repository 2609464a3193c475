/** A GPU machine whose every poll the test makes by itself: it can vanish in ways that no agent would. */
import { connect, type Socket } from "node:net";
import { AGENT_PROTOCOL, PROTOCOL_HEADER, type WantedReplica } from "#contract/agent";
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { LONG_POLL_MS } from "#contract/limits";
import { AgentCalls, newPollId } from "#gpu-agent/control/agent-calls";
import { ControlClient } from "#gpu-agent/control/control-client";
import { Timings } from "#gpu-agent/settings";
import { until } from "#test/until";

export class HandMadeNode {
  /** The ready ones, with the endpoint that each works for. */
  readonly replicas = new Map<ReplicaId, EndpointId>();
  /** Jobs that this node has run. */
  readonly done: string[] = [];
  readonly #calls: AgentCalls;
  readonly #url: string;
  readonly #slots: number;
  readonly #stop = new AbortController();
  readonly #loops: Promise<void>[] = [];
  #session = "";
  #nodeId: NodeId | null = null;

  private constructor(url: string, slots: number) {
    this.#url = url;
    this.#slots = slots;
    const timings = Timings.parse({});
    this.#calls = new AgentCalls(
      new ControlClient({ url, session: () => this.#session, log: () => undefined, timings }),
    );
  }

  /** Joins with so many slots. */
  static async join(url: string, joinToken: string, name: string, slots: number): Promise<HandMadeNode> {
    const node = new HandMadeNode(url, slots);
    const message = { name, agent_version: "1", comfyui: "hand-made", gpus: [], slots };
    const joined = await node.#calls.join(joinToken, message, node.#stop.signal);
    node.#session = joined.session;
    node.#nodeId = joined.node_id;
    return node;
  }

  /** Reports a ready replica on each slot as soon as the pod wants it, and goes on polling as a node. */
  async fill(): Promise<void> {
    this.#loops.push(this.#pollNode());
    await until("every slot has a replica", () => (this.replicas.size === this.#slots ? true : undefined));
  }

  async #pollNode(): Promise<void> {
    const { signal } = this.#stop;
    const { nodeId } = this;
    let held: WantedReplica[] = [];
    while (!signal.aborted) {
      const message = {
        ...{ poll_id: newPollId(), comfyui: "hand-made", gpus: [], slots: this.#slots, draining: false },
        replicas: held.map(({ replica_id, slot }) => ({ replica_id, slot, state: "ready" as const })),
        wait_ms: held.length === this.#slots ? LONG_POLL_MS : 200,
      };
      try {
        const answer = await this.#calls.pollNode(nodeId, message, signal);
        held = answer.replicas.filter(({ action }) => action === "run");
        for (const { replica_id, endpoint_id } of held) {
          if (this.replicas.has(replica_id)) continue;
          await this.#calls.reportReplica(replica_id, { state: "ready", phases: [] }, signal);
          this.replicas.set(replica_id, endpoint_id);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
  }

  /** Its credential. */
  get session(): string {
    return this.#session;
  }

  get nodeId(): NodeId {
    if (this.#nodeId === null) throw new Error("the node has not joined");
    return this.#nodeId;
  }

  /** Each replica of the endpoint takes job after job and ends it at once, without outputs. */
  work(endpointId: EndpointId): void {
    for (const [replica, own] of this.replicas) if (own === endpointId) this.#loops.push(this.#takeJobs(replica));
  }

  async #takeJobs(replica: ReplicaId): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const poll = { poll_id: newPollId(), leases: [], wait_ms: LONG_POLL_MS };
        const { lease } = await this.#calls.pollReplica(replica, poll, signal);
        if (lease === null) continue;
        await this.#calls.complete(lease, { outputs: [], phases: [] }, signal);
        this.done.push(lease.job_id);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
  }

  /**
   * Asks for work on a socket of its own, and waits until the server has begun to answer.
   * @returns the socket, whose poll waits at the server now
   */
  async openPoll(replica: ReplicaId): Promise<Socket> {
    const { hostname, port, host } = new URL(this.#url);
    const body = JSON.stringify({ poll_id: newPollId(), leases: [], wait_ms: LONG_POLL_MS });
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    let said = "";
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      said += bytes.toString("latin1");
    });
    socket.write(
      [
        `POST /agent/v1/replicas/${replica}/poll HTTP/1.1`,
        `host: ${host}`,
        `authorization: Bearer ${this.#session}`,
        `${PROTOCOL_HEADER}: ${AGENT_PROTOCOL}`,
        "content-type: application/json",
        `content-length: ${Buffer.byteLength(body)}`,
        "",
        body,
      ].join("\r\n"),
    );
    await until("the poll waits", () => (said.startsWith("HTTP/1.1 200") ? true : undefined));
    return socket;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#loops);
  }
}
