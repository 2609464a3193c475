/** What the Worker and EndpointObjects may ask of a PodObject. Same rules as durable-objects/endpoint/rpc.ts. */
import type { JoinNode, NodePoll, NodePollAnswer } from "#contract/agent";
import type { EndpointId, NodeId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { NodeSummary } from "#contract/replica";
import type { NodeIdentity, Reply } from "#durable-objects/endpoint/rpc";
import type { Shortage } from "#durable-objects/replicas/place";

/** What an endpoint wants of its pod. The whole of it each time, so that it may arrive twice or out of order. */
export interface Demand {
  readonly podId: PodId;
  readonly endpointId: EndpointId;
  readonly workspaceId: WorkspaceId;
  /** Grows with each change; an older one than the last is ignored. */
  readonly version: number;
  /** Replicas to start up to. Those it has beyond that stay until they are named in `drain`. */
  readonly wanted: number;
  /** Replicas it has work for, or keeps as its warm floor: what it has beyond this may be reclaimed for others. */
  readonly needed: number;
  /** Replicas the endpoint has let go: they drain and stop. */
  readonly drain: readonly ReplicaId[];
  /** Regions in which its replicas may run; empty: any. */
  readonly regions: readonly string[];
}

export interface PlacedReplica {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
}

export interface DemandReply {
  readonly replicas: readonly PlacedReplica[];
  /** Why there are fewer than wanted. */
  readonly shortage: {
    readonly code: Shortage;
    /** The last error of replicas that keep crashing; null when it is not known. */
    readonly error: string | null;
  };
}

export interface PodRpc {
  configure(podId: PodId, workspaceId: WorkspaceId): Promise<Reply<object>>;
  /** The join token was checked by the Worker. */
  join(workspaceId: WorkspaceId, request: JoinNode): Promise<Reply<{ nodeId: NodeId }>>;
  /** Heartbeat. Answers at once when the wanted replicas differ from those reported, else when they do or after wait_ms. */
  pollNode(node: NodeIdentity, poll: NodePoll): Promise<Reply<{ answer: NodePollAnswer }>>;
  /** The client of that poll is gone. */
  abandonPoll(nodeId: NodeId, pollId: string): Promise<void>;
  setDemand(demand: Demand): Promise<Reply<DemandReply>>;
  /** Whether this pod placed that replica on that node for that endpoint: asked when a replica first reports. */
  verifyReplica(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): Promise<boolean>;
  listNodes(workspaceId: WorkspaceId): Promise<Reply<{ nodes: NodeSummary[] }>>;
}
