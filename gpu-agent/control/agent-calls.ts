/** The calls of /agent/v1, typed. Each one persists until it is answered, unless it says otherwise. */
import { randomUUID } from "node:crypto";
import * as z from "zod";
import {
  type CompleteLease,
  CompleteLeaseAnswer,
  type FailLease,
  JoinedNode,
  type JoinNode,
  LEASE_TOKEN_HEADER,
  type LeaseProgress,
  LeaseProgressAnswer,
  type NodePoll,
  NodePollAnswer,
  ReleaseForAgent,
  type ReplicaPoll,
  ReplicaPollAnswer,
  type ReplicaReport,
  ReplicaReportAnswer,
  type VerificationReport,
  VerificationReportAnswer,
} from "#contract/agent";
import type { SocketOutput } from "#contract/agent-socket";
import type { LeaseId, NodeId, ReplicaId } from "#contract/ids";
import type { HttpAnswer } from "../http-request.ts";
import type { ControlClient } from "./control-client.ts";
import { ControlError } from "./control-error.ts";
import { NotCarried, type ReplicaSocket } from "./replica-socket.ts";

/** The slowest link that is still waited for, bytes per ms. */
export const SLOWEST_BYTES_PER_MS = 64;

/** What every message about a lease needs. */
export interface LeaseProof {
  readonly lease_id: LeaseId;
  readonly token: string;
}

/** One is drawn for each lease, when it has come: Node has a stock of these, and would ask the system for other bytes. */
export function newPollId(): string {
  return randomUUID();
}

export class AgentCalls {
  readonly client: ControlClient;
  /** Carries the calls of each job while it is open. */
  readonly #socket: ReplicaSocket | null;
  constructor(client: ControlClient, socket: ReplicaSocket | null = null) {
    this.client = client;
    this.#socket = socket;
  }

  /** The calls of one replica, which has a socket. */
  over(socket: ReplicaSocket): AgentCalls {
    return new AgentCalls(this.client, socket);
  }

  /**
   * A try of a call of each job: over the socket while it is open, else over HTTP. A call that has to be tried again is
   * tried over HTTP: it may be this very one that some proxy does not let through, and only HTTP has a Retry-After.
   */
  #tryOf<T>(overSocket: (socket: ReplicaSocket) => Promise<T>, overHttp: () => Promise<T>): () => Promise<T> {
    let socket = this.#socket;
    return async () => {
      if (socket === null) return overHttp();
      try {
        return await overSocket(socket);
      } catch (error) {
        if (error instanceof NotCarried) return overHttp();
        if (error instanceof ControlError && error.retryable) socket = null;
        throw error;
      }
    };
  }

  join(joinToken: string, message: JoinNode, signal: AbortSignal): Promise<JoinedNode> {
    const request = { method: "POST", path: "nodes", json: message, bearer: joinToken, signal } as const;
    return this.client.persist("join", () => this.client.json(JoinedNode, request), signal);
  }

  /** One poll; a lost one is retried under the same id. */
  pollNode(nodeId: NodeId, poll: NodePoll, signal: AbortSignal): Promise<NodePollAnswer> {
    const request = { method: "POST", path: `nodes/${nodeId}/poll`, json: poll, signal } as const;
    return this.client.persist("node_poll", () => this.client.poll(NodePollAnswer, request), signal);
  }

  /**
   * One poll; a lost one is retried under the same id, so that a lease in a lost answer comes again. What a complete
   * went on as is not sent again: its answer is taken.
   */
  pollReplica(replicaId: ReplicaId, poll: ReplicaPoll, signal: AbortSignal): Promise<ReplicaPollAnswer> {
    const request = { method: "POST", path: `replicas/${replicaId}/poll`, json: poll, signal } as const;
    const attempt = this.#tryOf(
      (socket) => socket.poll(poll, signal),
      () => this.client.poll(ReplicaPollAnswer, request),
    );
    return this.client.persist("replica_poll", attempt, signal);
  }

  reportReplica(replicaId: ReplicaId, report: ReplicaReport, signal: AbortSignal): Promise<ReplicaReportAnswer> {
    const request = { method: "POST", path: `replicas/${replicaId}/state`, json: report, signal } as const;
    return this.client.persist("replica_state", () => this.client.json(ReplicaReportAnswer, request), signal);
  }

  reportVerification(
    replicaId: ReplicaId,
    report: VerificationReport,
    signal: AbortSignal,
  ): Promise<VerificationReportAnswer> {
    const request = { method: "POST", path: `replicas/${replicaId}/verifications`, json: report, signal } as const;
    return this.client.persist("verification", () => this.client.json(VerificationReportAnswer, request), signal);
  }

  release(replicaId: ReplicaId, release: number, signal: AbortSignal): Promise<ReleaseForAgent> {
    const request = { method: "GET", path: `replicas/${replicaId}/release?release=${release}`, signal } as const;
    return this.client.persist("release", () => this.client.json(ReleaseForAgent, request), signal);
  }

  /** One try only: the next beat comes soon anyway. */
  progress(
    lease: LeaseProof,
    message: LeaseProgress,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<LeaseProgressAnswer> {
    const request = { ...leaseRequest(lease, "progress"), json: message, timeoutMs, signal };
    const attempt = this.#tryOf(
      (socket) => socket.call({ call: "progress", ...proofOf(lease), body: message }, LeaseProgressAnswer, request),
      () => this.client.json(LeaseProgressAnswer, request),
    );
    return attempt();
  }

  /** @param message its `next_wait_ms` and `outputs_wait_ms` count only over the socket */
  complete(lease: LeaseProof, message: CompleteLease, signal: AbortSignal): Promise<CompleteLeaseAnswer> {
    // The server looks at every output before it answers, and those that were sent ahead are on their way first.
    const aheadMs = (this.#socket?.unsentBytes ?? 0) / SLOWEST_BYTES_PER_MS;
    const lookMs = message.outputs.length * 100 + (message.outputs_wait_ms ?? 0);
    const timeoutMs = this.client.timings.callMs + lookMs + Math.ceil(aheadMs);
    // Servers without sockets do not know these fields.
    const json = { ...message, next_wait_ms: undefined, outputs_wait_ms: undefined };
    const request = { ...leaseRequest(lease, "complete"), json, timeoutMs, signal };
    const attempt = this.#tryOf(
      (socket) => socket.complete({ call: "complete", ...proofOf(lease), body: message }, timeoutMs, signal),
      () => this.client.json(CompleteLeaseAnswer, request),
    );
    // A manifest that is refused for an output is refused again: something has to happen first.
    return this.client.persist("complete", attempt, signal, isAboutOutputs);
  }

  async fail(lease: LeaseProof, message: FailLease, signal: AbortSignal): Promise<void> {
    const request = { ...leaseRequest(lease, "fail"), json: message, signal };
    const attempt = this.#tryOf<unknown>(
      (socket) => socket.call({ call: "fail", ...proofOf(lease), body: message }, NoAnswer, this.#limits(signal)),
      () => this.client.done(request),
    );
    await this.client.persist("fail", attempt, signal);
  }

  async giveBack(lease: LeaseProof, reason: string, signal: AbortSignal): Promise<void> {
    const body = { reason: reason.slice(0, 1_000) };
    const request = { ...leaseRequest(lease, "release"), json: body, signal };
    const attempt = this.#tryOf<unknown>(
      (socket) => socket.call({ call: "release", ...proofOf(lease), body }, NoAnswer, this.#limits(signal)),
      () => this.client.done(request),
    );
    await this.client.persist("release_lease", attempt, signal);
  }

  /**
   * Sends a small output ahead, over the socket: the complete that names it finds out whether it arrived.
   * @param bytesOf read only when the socket takes them
   * @returns false when it does not
   */
  async sendAhead(
    lease: LeaseProof,
    output: Omit<SocketOutput, "lease" | "token"> & { readonly size: number },
    bytesOf: () => Promise<Uint8Array>,
  ): Promise<boolean> {
    const { size, ...said } = output;
    if (this.#socket?.takesOutput(size) !== true) return false;
    const bytes = await bytesOf();
    try {
      this.#socket.output({ ...proofOf(lease), ...said }, bytes);
      return true;
    } catch (error) {
      if (error instanceof NotCarried) return false;
      throw error;
    }
  }

  #limits(signal: AbortSignal) {
    return { timeoutMs: this.client.timings.callMs, signal };
  }

  /** One try: the caller writes the body to disk and starts over when it breaks. */
  input(lease: LeaseProof, index: number, timeoutMs: number, signal: AbortSignal): Promise<HttpAnswer> {
    return this.client.send({ ...leaseRequest(lease, `inputs/${index}`), method: "GET", timeoutMs, signal });
  }
}

/** A complete that is refused for what became of an output: the same one again would be, too. */
export function isAboutOutputs({ code }: ControlError): boolean {
  return code === "output_missing" || code === "output_pending";
}

/** `fail` and `release` are answered with nothing in particular. */
const NoAnswer = z.unknown();

function proofOf({ lease_id, token }: LeaseProof) {
  return { lease: lease_id, token };
}

/** A POST below the lease, carrying its token. */
export function leaseRequest(lease: LeaseProof, below: string) {
  return {
    method: "POST",
    path: `leases/${lease.lease_id}/${below}`,
    headers: { [LEASE_TOKEN_HEADER]: lease.token },
  } as const;
}
