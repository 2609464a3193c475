/** The calls of /agent/v1, typed. Each one persists until it is answered, unless it says otherwise. */
import { randomBytes } from "node:crypto";
import {
  type CompleteLease,
  CompleteLeaseAnswer,
  type FailLease,
  JoinedNode,
  type JoinNode,
  LEASE_TOKEN_HEADER,
  type Lease,
  type LeaseProgress,
  LeaseProgressAnswer,
  type NodePoll,
  NodePollAnswer,
  ReleaseForAgent,
  type ReplicaPoll,
  ReplicaPollAnswer,
  type ReplicaReport,
  ReplicaReportAnswer,
} from "#contract/agent";
import type { LeaseId, NodeId, ReplicaId } from "#contract/ids";
import type { ControlClient } from "./control-client.ts";

/** What every message about a lease needs. */
export interface LeaseProof {
  readonly lease_id: LeaseId;
  readonly token: string;
}

export function newPollId(): string {
  return randomBytes(15).toString("base64url");
}

export class AgentCalls {
  readonly client: ControlClient;
  constructor(client: ControlClient) {
    this.client = client;
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

  /** One poll; a lost one is retried under the same id, so that a lease in a lost answer comes again. */
  pollReplica(replicaId: ReplicaId, poll: ReplicaPoll, signal: AbortSignal): Promise<ReplicaPollAnswer> {
    const request = { method: "POST", path: `replicas/${replicaId}/poll`, json: poll, signal } as const;
    return this.client.persist("replica_poll", () => this.client.poll(ReplicaPollAnswer, request), signal);
  }

  reportReplica(replicaId: ReplicaId, report: ReplicaReport, signal: AbortSignal): Promise<ReplicaReportAnswer> {
    const request = { method: "POST", path: `replicas/${replicaId}/state`, json: report, signal } as const;
    return this.client.persist("replica_state", () => this.client.json(ReplicaReportAnswer, request), signal);
  }

  release(replicaId: ReplicaId, release: number, signal: AbortSignal): Promise<ReleaseForAgent> {
    const request = { method: "GET", path: `replicas/${replicaId}/release?release=${release}`, signal } as const;
    return this.client.persist("release", () => this.client.json(ReleaseForAgent, request), signal);
  }

  /** One try only: the next beat comes soon anyway. */
  progress(lease: LeaseProof, message: LeaseProgress, timeoutMs: number, signal: AbortSignal) {
    return this.client.json(LeaseProgressAnswer, {
      ...leaseRequest(lease, "progress"),
      json: message,
      timeoutMs,
      signal,
    });
  }

  complete(lease: LeaseProof, message: CompleteLease, signal: AbortSignal): Promise<{ next: Lease | null }> {
    // The server looks at every output before it answers.
    const timeoutMs = this.client.timings.callMs + message.outputs.length * 100;
    const request = { ...leaseRequest(lease, "complete"), json: message, timeoutMs, signal };
    const attempt = () => this.client.json(CompleteLeaseAnswer, request);
    // A manifest that is refused for a missing output is refused again: the output has to be sent first.
    return this.client.persist("complete", attempt, signal, (error) => error.code === "output_missing");
  }

  async fail(lease: LeaseProof, message: FailLease, signal: AbortSignal): Promise<void> {
    const request = { ...leaseRequest(lease, "fail"), json: message, signal };
    await this.client.persist("fail", () => this.client.done(request), signal);
  }

  async giveBack(lease: LeaseProof, reason: string, signal: AbortSignal): Promise<void> {
    const request = { ...leaseRequest(lease, "release"), json: { reason: reason.slice(0, 1_000) }, signal };
    await this.client.persist("release_lease", () => this.client.done(request), signal);
  }

  /** One try: the caller writes the body to disk and starts over when it breaks. */
  input(lease: LeaseProof, index: number, timeoutMs: number, signal: AbortSignal): Promise<Response> {
    return this.client.send({ ...leaseRequest(lease, `inputs/${index}`), method: "GET", timeoutMs, signal });
  }
}

/** A POST below the lease, carrying its token. */
export function leaseRequest(lease: LeaseProof, below: string) {
  return {
    method: "POST",
    path: `leases/${lease.lease_id}/${below}`,
    headers: { [LEASE_TOKEN_HEADER]: lease.token },
  } as const;
}
