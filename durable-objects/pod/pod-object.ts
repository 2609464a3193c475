import { DurableObject } from "cloudflare:workers";
import type { JoinNode, NodePoll, NodePollAnswer } from "#contract/agent";
import { type EndpointId, type NodeId, ownerKey, type PodId, type ReplicaId, type WorkspaceId } from "#contract/ids";
import type { NodeMetrics, NodeSummary, PodCapacity } from "#contract/replica";
import { OpenPolls } from "#durable-objects/endpoint/open-polls";
import type { NodeIdentity, Reply } from "#durable-objects/endpoint/rpc";
import { PodCore } from "#durable-objects/pod/pod-core";
import { type PodEffect, QUIET_NOTED_MS } from "#durable-objects/pod/pod-state";
import type { Farewell } from "#durable-objects/pod/pod-store";
import type {
  Demand,
  DemandReply,
  GivenReplica,
  NamedNode,
  NodeChange,
  PodRpc,
  VersionedPodSettings,
} from "#durable-objects/pod/rpc";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import type { Env } from "#worker/env";

/** After a turn of the alarm that failed, the next one comes this much later. */
const ALARM_RETRY_MS = 10_000;

/** One pod's capacity. Decides nothing: the core does; here is the waiting and the calling of endpoints. */
export class PodObject extends DurableObject<Env> implements PodRpc {
  readonly #polls = new OpenPolls<NodePollAnswer>();
  #opened: PodCore | null = null;
  /** A look for quiet nodes is due. */
  #isLookDue = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      const world = {
        now: () => Date.now(),
        randomBytes: (length: number) => crypto.getRandomValues(new Uint8Array(length)),
      };
      const armedAt = await ctx.storage.getAlarm();
      this.#opened = new PodCore(new ObjectStorageDatabase(ctx.storage), world, armedAt);
      this.#turn(() => undefined);
    });
  }

  async configure(podId: PodId, workspaceId: WorkspaceId, settings?: VersionedPodSettings): Promise<Reply<object>> {
    return this.#turn((core) => core.configure(podId, workspaceId, settings));
  }

  async remove(workspaceId: WorkspaceId): Promise<Reply<object>> {
    return this.#turn((core) => core.remove(workspaceId));
  }

  async changeNode(
    workspaceId: WorkspaceId,
    nodeId: NodeId,
    change: NodeChange,
  ): Promise<Reply<{ node: NodeSummary }>> {
    return this.#turn((core) => core.changeNode(workspaceId, nodeId, change));
  }

  async removeNode(workspaceId: WorkspaceId, nodeId: NodeId): Promise<Reply<object>> {
    return this.#turn((core) => core.removeNode(workspaceId, nodeId));
  }

  async watchNode(workspaceId: WorkspaceId, nodeId: NodeId): Promise<Reply<{ node: NodeSummary }>> {
    return this.#turn((core) => core.watchNode(workspaceId, nodeId));
  }

  async reportMetrics(node: NodeIdentity, metrics: NodeMetrics): Promise<Reply<{ nextInMs: number }>> {
    return this.#turn((core) => core.reportMetrics(node, metrics));
  }

  async join(workspaceId: WorkspaceId, request: JoinNode, nodeId?: NodeId): Promise<Reply<{ nodeId: NodeId }>> {
    this.#noteQuietIn(QUIET_NOTED_MS);
    return this.#turn((core) => core.join(workspaceId, request, nodeId));
  }

  async pollNode(node: NodeIdentity, poll: NodePoll): Promise<Reply<{ answer: NodePollAnswer }>> {
    const outcome = this.#turn((core) => core.pollNode(node, poll));
    if (outcome.type === "answered") {
      this.#noteQuietIn(QUIET_NOTED_MS);
      return outcome.reply;
    }
    const answer = await this.#polls.wait(node.nodeId, poll.poll_id, outcome.ms, () =>
      this.#turn((core) => core.pollTimedOut(node.nodeId, poll.poll_id)),
    );
    this.#noteQuietIn(QUIET_NOTED_MS);
    return { ok: true, answer };
  }

  async abandonPoll(nodeId: NodeId, pollId: string): Promise<void> {
    this.#polls.answer(
      nodeId,
      pollId,
      this.#turn((core) => core.abandonPoll(nodeId, pollId)),
    );
  }

  async setDemand(demand: Demand): Promise<Reply<DemandReply>> {
    return this.#turn((core) => core.setDemand(demand));
  }

  async leave(endpointId: EndpointId, version: number): Promise<void> {
    this.#turn((core) => core.leave(endpointId, version));
  }

  async verifyReplica(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): Promise<boolean> {
    return this.#turn((core) => core.verifyReplica(endpointId, replicaId, nodeId));
  }

  async mayReturn(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): Promise<boolean> {
    return this.#turn((core) => core.mayReturn(endpointId, replicaId, nodeId));
  }

  async replicasOn(node: NodeIdentity): Promise<Reply<{ replicas: GivenReplica[] }>> {
    return this.#turn((core) => core.replicasOn(node));
  }

  async listNodes(workspaceId: WorkspaceId): Promise<Reply<{ nodes: NodeSummary[] }>> {
    return this.#turn((core) => core.listNodes(workspaceId));
  }

  async onlineNodes(workspaceId: WorkspaceId): Promise<Reply<{ nodes: NamedNode[] }>> {
    return this.#turn((core) => core.onlineNodes(workspaceId));
  }

  async capacity(workspaceId: WorkspaceId): Promise<Reply<{ capacity: PodCapacity }>> {
    return this.#turn((core) => core.capacity(workspaceId));
  }

  /** Never throws: the platform gives up on an alarm that fails too often. */
  override async alarm(): Promise<void> {
    try {
      this.#turn((core) => core.wake());
    } catch (error) {
      console.error(JSON.stringify({ event: "pod_alarm_failed", pod: this.ctx.id.name, error: String(error) }));
      await this.ctx.storage.setAlarm(Date.now() + ALARM_RETRY_MS);
    }
  }

  /** A node whose poll has ended polls again within a moment; else it is noted, before this object may be thrown out of memory. */
  #noteQuietIn(ms: number): void {
    if (this.#isLookDue) return;
    this.#isLookDue = true;
    setTimeout(() => {
      this.#isLookDue = false;
      try {
        const next = this.#turn((core) => core.noteQuiet());
        if (next !== null) this.#noteQuietIn(Math.max(0, next - Date.now()));
      } catch (error) {
        console.error(JSON.stringify({ event: "quiet_not_noted", pod: this.ctx.id.name, error: String(error) }));
      }
    }, ms);
  }

  /** One call into the core and, its commit done, what it asks of the outside. */
  #turn<T>(work: (core: PodCore) => T): T {
    if (this.#opened === null) throw new Error("the object is not open yet");
    const result = work(this.#opened);
    for (const effect of this.#opened.takeEffects()) this.#perform(effect);
    return result;
  }

  #perform(effect: PodEffect): void {
    switch (effect.type) {
      case "poll_answered":
        this.#polls.answer(effect.nodeId, effect.pollId, effect.answer);
        return;
      case "arm":
        // Part of the turn's own commit: nothing is awaited between its writes and this one.
        void this.ctx.storage.setAlarm(effect.at);
        return;
      case "tell_gone":
        this.ctx.waitUntil(this.#tellGone(effect.farewell));
        return;
      case "reclaim":
        this.ctx.waitUntil(this.#reclaim(effect.endpointId, effect.replicaId, effect.onlyBatch));
        return;
      case "ask_heard":
        this.ctx.waitUntil(this.#askHeard(effect.endpointId, effect.replicaId));
        return;
      case "terms_changed":
        this.ctx.waitUntil(this.#tellTerms(effect.endpointId, effect.version));
        return;
      default:
        throw new Error(`unhandled: ${JSON.stringify(effect satisfies never)}`);
    }
  }

  /** Tells an endpoint that its replica is no more. What fails is repeated by the alarm. */
  async #tellGone({ endpointId, replicaId, reason, silent, heardAt }: Farewell): Promise<void> {
    const podId = this.#turn((core) => core.podId());
    if (podId === null) return;
    try {
      const endpoint = this.env.ENDPOINTS.getByName(ownerKey(endpointId));
      await endpoint.replicaGone(podId, replicaId, reason, silent, heardAt);
      this.#turn((core) => core.farewellTaken(replicaId));
    } catch (error) {
      console.error(JSON.stringify({ event: "farewell_not_taken", replicaId, error: String(error) }));
    }
  }

  async #reclaim(endpointId: EndpointId, replicaId: ReplicaId, onlyBatch: boolean): Promise<void> {
    const podId = this.#turn((core) => core.podId());
    if (podId === null) return;
    try {
      const given = await this.env.ENDPOINTS.getByName(ownerKey(endpointId)).reclaimIdle(podId, replicaId, onlyBatch);
      this.#turn((core) => core.reclaimAnswered(replicaId, given));
    } catch (error) {
      console.error(JSON.stringify({ event: "reclaim_failed", replicaId, error: String(error) }));
    }
  }

  /** Asks an endpoint what it has heard of a replica. What fails is asked again by the alarm. */
  async #askHeard(endpointId: EndpointId, replicaId: ReplicaId): Promise<void> {
    const podId = this.#turn((core) => core.podId());
    if (podId === null) return;
    try {
      const heard = await this.env.ENDPOINTS.getByName(ownerKey(endpointId)).heardOf(podId, replicaId);
      this.#turn((core) => core.heardAnswered(replicaId, heard));
    } catch (error) {
      console.error(JSON.stringify({ event: "replica_not_asked_for", replicaId, error: String(error) }));
    }
  }

  /** Asks an endpoint to send its demand again. What fails is repeated by the alarm, until it has asked. */
  async #tellTerms(endpointId: EndpointId, version: number): Promise<void> {
    const podId = this.#turn((core) => core.podId());
    if (podId === null) return;
    try {
      const asks = await this.env.ENDPOINTS.getByName(ownerKey(endpointId)).podChanged(podId);
      if (!asks) this.#turn((core) => core.leave(endpointId, version));
    } catch (error) {
      console.error(JSON.stringify({ event: "terms_not_told", endpointId, error: String(error) }));
    }
  }
}
