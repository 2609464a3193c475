/** What the Worker and EndpointObjects may ask of a PodObject. Same rules as durable-objects/endpoint/rpc.ts. */
import type { JoinNode, NodePoll, NodePollAnswer } from "#contract/agent";
import type { GpuMatch } from "#contract/gpu-types";
import type { EndpointId, NodeId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import type { NodeMetrics, NodeSummary, PodCapacity, PodSettings } from "#contract/replica";
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
  /**
   * Replicas it has work for, or keeps as its own warm floor: what it has beyond this may be reclaimed for others. The
   * pod's floor (`DemandReply.floor`) counts for `wanted` and never for this: it gives way to work.
   */
  readonly needed: number;
  /** Of those needed, how many are its own warm floor: batch jobs of others never take them. */
  readonly warm: number;
  /**
   * It needs them for interactive jobs, or did when it last had none here. Else for its warm floor, or for batch jobs: what
   * idles takes the only replica of one at work seldom.
   */
  readonly calls: boolean;
  /** Replicas the endpoint has let go: they drain and stop. */
  readonly drain: readonly ReplicaId[];
  /** Regions in which its replicas may run; empty: any. */
  readonly regions: readonly string[];
  /** What its active release needs on a machine: nodes that have it come first. */
  readonly build: string | null;
  /** sha256 of the weights it loads. */
  readonly models: readonly string[];
  /**
   * Types of card (null: unknown ones) on which one replica is wanted beside the others, so that a new release can be
   * tried there; where the endpoint has a replica on such a card already, nothing more is started.
   */
  readonly trials: readonly (string | null)[];
}

export interface PlacedReplica {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  /** Of the card its slot is on; null: none, or one the table does not know. */
  readonly gpuType: string | null;
  /** Slots of its node that share its card; 1: it has the card to itself. */
  readonly slotsOnCard: number;
}

export interface NamedNode {
  readonly id: NodeId;
  readonly name: string;
}

/** A replica that a node was given, and what it is of. */
export interface GivenReplica {
  readonly replicaId: ReplicaId;
  readonly endpointId: EndpointId;
}

export interface DemandReply {
  readonly replicas: readonly PlacedReplica[];
  /** Replicas of the pod's own warm floor that fall to this endpoint: it keeps at least so many on this pod. */
  readonly floor: number;
  /** No replica idles longer on this pod than this; null: as the endpoint's settings say. */
  readonly idleTimeoutMs: number | null;
  /** Replicas that could still be started for it here: free slots within the pod's containers. */
  readonly room: number;
  /**
   * Beyond that, replicas that could be started once others have ended that are in their way, and may in favour of them.
   * Left out, as `lack`, by a pod that runs the version before.
   */
  readonly held?: number | undefined;
  /** Types of the cards of nodes that are online and may run it, each once; null stands for those the table does not know. */
  readonly gpuTypes: readonly (string | null)[];
  /** Why there are fewer than wanted. */
  readonly shortage: Lack;
  /** What one more than there are would lack, wanted or not. */
  readonly lack?: Lack | undefined;
}

export interface Lack {
  readonly code: Shortage;
  /** The last error of replicas that keep crashing; null when it is not known. */
  readonly error: string | null;
}

/** The pod's settings as of that version, which grows with each change. */
export interface VersionedPodSettings {
  readonly version: number;
  readonly settings: PodSettings;
  /** The workspace's own types of card, which come before the shipped ones. */
  readonly gpuTypes?: readonly GpuMatch[] | undefined;
}

/** What an operator changes of a node; what is left out stays. */
export interface NodeChange {
  readonly cordoned?: boolean | undefined;
  /** true: what it runs drains as well. */
  readonly draining?: boolean | undefined;
  /** Trusts it again. */
  readonly quarantined?: false | undefined;
}

export interface PodRpc {
  /** Sent when the pod is made or changed, and before its first use; an older version than the known one is ignored. */
  configure(podId: PodId, workspaceId: WorkspaceId, settings?: VersionedPodSettings): Promise<Reply<object>>;
  /** The pod is deleted: nodes are told to join again, replicas end. Refused with `pod_in_use` while nodes are online. */
  remove(workspaceId: WorkspaceId): Promise<Reply<object>>;
  changeNode(workspaceId: WorkspaceId, nodeId: NodeId, change: NodeChange): Promise<Reply<{ node: NodeSummary }>>;
  /** Its replicas end, its session is void: the machine must join again. */
  removeNode(workspaceId: WorkspaceId, nodeId: NodeId): Promise<Reply<object>>;
  /** The latest figures; asking for them makes the node send them each second for a while. */
  watchNode(workspaceId: WorkspaceId, nodeId: NodeId): Promise<Reply<{ node: NodeSummary }>>;
  reportMetrics(node: NodeIdentity, metrics: NodeMetrics): Promise<Reply<{ nextInMs: number }>>;
  /**
   * The join token was checked by the Worker.
   * @param nodeId the node that this join makes, of this pod's key: the same one again is the same node. Left out: a fresh one
   */
  join(workspaceId: WorkspaceId, request: JoinNode, nodeId?: NodeId): Promise<Reply<{ nodeId: NodeId }>>;
  /** Heartbeat. Answers at once when the wanted replicas differ from those reported, else when they do or after wait_ms. */
  pollNode(node: NodeIdentity, poll: NodePoll): Promise<Reply<{ answer: NodePollAnswer }>>;
  /** The client of that poll is gone. */
  abandonPoll(nodeId: NodeId, pollId: string): Promise<void>;
  setDemand(demand: Demand): Promise<Reply<DemandReply>>;
  /** The endpoint wants nothing more, and asks no more. @param version of its last demand: one that came since is another's */
  leave(endpointId: EndpointId, version: number): Promise<void>;
  /** Whether this pod placed that replica on that node for that endpoint: asked when a replica first reports. */
  verifyReplica(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): Promise<boolean>;
  /**
   * Whether the replica was given up with its node and the node has not been heard of since. When it is, the pod takes
   * the replica up again or has it stopped; until then nobody knows.
   */
  mayReturn(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): Promise<boolean>;
  /**
   * What the node may read for: the replicas it has, those on their way out and those it had when it was given up, which
   * it may still have. Refused with `node_not_found` when it was removed.
   */
  replicasOn(node: NodeIdentity): Promise<Reply<{ replicas: GivenReplica[] }>>;
  /** All of them; of each only some of the builds and models that it has. */
  listNodes(workspaceId: WorkspaceId): Promise<Reply<{ nodes: NodeSummary[] }>>;
  onlineNodes(workspaceId: WorkspaceId): Promise<Reply<{ nodes: NamedNode[] }>>;
  /** How the pod stands: what there is to place replicas on, what is taken, and who waits. Nothing is written. */
  capacity(workspaceId: WorkspaceId): Promise<Reply<{ capacity: PodCapacity }>>;
}
