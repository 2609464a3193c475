import type { PodId, ReplicaId } from "#contract/ids";
import { type Refusal, refusal } from "#contract/problems";
import type { CallGroup } from "#durable-objects/endpoint/call-group";
import type { EndpointCore } from "#durable-objects/endpoint/endpoint-core";
import type { EndpointEffect } from "#durable-objects/endpoint/endpoint-state";
import type { Unverified } from "#durable-objects/endpoint/replica-polls";
import type { NodeIdentity } from "#durable-objects/endpoint/rpc";
import type { Turn } from "#durable-objects/endpoint/turns";
import type { PodRpc } from "#durable-objects/pod/rpc";

/** What the calls of a replica need beside the core. */
export interface VouchingParts {
  readonly calls: CallGroup<EndpointCore, EndpointEffect>;
  readonly turn: Turn<EndpointCore>;
  readonly podOf: (podId: PodId) => PodRpc;
  /** Tells the pod what the endpoint wants, beside the call. */
  readonly sendDemand: (podId: PodId) => void;
}

/** Calls of replicas, for which their pod must vouch when they are first heard of. */
export class Vouching {
  readonly #parts: VouchingParts;

  constructor(parts: VouchingParts) {
    this.#parts = parts;
  }

  /**
   * Runs a call of a replica; where the core does not know it, again once the pod has vouched for it.
   * @param settle makes the answer from what the core says, as `CallGroup.enter` has it
   */
  async verified<Outcome extends object, Answer extends object>(
    node: NodeIdentity,
    replicaId: ReplicaId,
    call: (core: EndpointCore) => Outcome | Unverified,
    settle: (outcome: Exclude<Outcome, Unverified>) => Answer | Promise<Answer>,
  ): Promise<Answer | Refusal> {
    const { calls, turn, podOf, sendDemand } = this.#parts;
    const attempt = () =>
      calls.enter(call, (outcome) => (isUnverified(outcome) ? null : settle(outcome as Exclude<Outcome, Unverified>)));
    const first = await attempt();
    if (first !== null) return first;
    const endpointId = turn((core) => core.demand())?.endpointId;
    const unknown = refusal("replica_not_found", "The pod has no such replica on this node.");
    if (endpointId === undefined) return unknown;
    const askedAt = Date.now();
    const undecided = refusal("unavailable", "The pod has not heard of the node yet.", { retryAfterS: 1 });
    try {
      const pod = podOf(node.podId);
      if (!(await pod.verifyReplica(endpointId, replicaId, node.nodeId))) {
        return (await pod.mayReturn(endpointId, replicaId, node.nodeId)) ? undecided : unknown;
      }
    } catch (error) {
      console.error(JSON.stringify({ event: "replica_not_verified", replicaId, error: String(error) }));
      return refusal("unavailable", "The pod does not answer.", { retryAfterS: 1 });
    }
    turn((core) => core.admitReplica(node, replicaId, askedAt));
    // On which type of card it is comes with the pod's answer to a demand, and nothing else may call for one.
    sendDemand(node.podId);
    const second = await attempt();
    // The news of its node's silence came in between: the next question finds out which is newer.
    return second ?? (turn((core) => core.isReplicaInDoubt(replicaId)) ? undecided : unknown);
  }
}

function isUnverified(outcome: object): outcome is Unverified {
  return "type" in outcome && outcome.type === "unverified";
}
