import type { JoinNode, NodePoll, NodePollAnswer } from "#contract/agent";
import type { EndpointId, NodeId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import { LONG_POLL_MS, METRICS_UNWATCHED_MS, METRICS_WATCHED_MS, NODE_LOST_MS } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import { DEFAULT_POD_SETTINGS, type NodeMetrics, type NodeSummary, type PodCapacity } from "#contract/replica";
import type { NodeIdentity, ReplicaHeard, Reply } from "#durable-objects/endpoint/rpc";
import { arrange, isUnmet, RECLAIM_AGAIN_MS, wishesOf } from "#durable-objects/pod/arrange";
import { capacityNow } from "#durable-objects/pod/capacity";
import { answerDemand, forgetEndpoint } from "#durable-objects/pod/demands";
import { drainBeyondContainers, drainMisplaced, mismatchOf } from "#durable-objects/pod/evict";
import { heardAnswered, nextQuestion, watchDoubtful } from "#durable-objects/pod/in-doubt";
import {
  changeNode,
  forgetNode,
  joinNode,
  loseNode,
  NODE_FORGOTTEN_MS,
  removeNode,
} from "#durable-objects/pod/node-life";
import {
  answerChanged,
  answerFor,
  answerMisfits,
  answerWaiter,
  endPoll,
  fulfils,
  isWatched,
  repeatIn,
  replaceWaiter,
  tell,
  wantedOn,
} from "#durable-objects/pod/node-polls";
import { noteNode, noteReplicas, noteTrust, statedBy } from "#durable-objects/pod/node-reports";
import type { NodeRecord } from "#durable-objects/pod/node-store";
import { summaries, summaryOf } from "#durable-objects/pod/node-view";
import { endOverdue, nextOverdue } from "#durable-objects/pod/overdue";
import { noNode, noPod, type PodEffect, PodState } from "#durable-objects/pod/pod-state";
import type { PodRecord } from "#durable-objects/pod/pod-store";
import { pollAge } from "#durable-objects/pod/poll-order";
import type {
  Demand,
  DemandReply,
  GivenReplica,
  NamedNode,
  NodeChange,
  VersionedPodSettings,
} from "#durable-objects/pod/rpc";
import { takeUp } from "#durable-objects/pod/take-up";
import { nextTerms, tellTerms } from "#durable-objects/pod/terms";
import { FAIR_TURN_MS, turnEnds, turnOf } from "#durable-objects/replicas/reclaim";
import { isOver } from "#durable-objects/replicas/replica-record";
import { quarantineAt } from "#durable-objects/replicas/trust";
import type { SqlDatabase, World } from "#durable-objects/sql/database";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import { podMigrations } from "#migrations/pod/all";

export type NodePollOutcome =
  | { readonly type: "answered"; readonly reply: Reply<{ answer: NodePollAnswer }> }
  | { readonly type: "waiting"; readonly ms: number };

const POLLS_REMEMBERED = 16;
/** An alarm that should have rung so long ago was lost. */
const ALARM_LOST_MS = 10_000;

/** Capacity as one synchronous machine: nodes, slots, and who gets them. The shell does the waiting and calling. */
export class PodCore {
  readonly #state: PodState;
  #armedAt: number | null;

  /** @param armedAt the alarm that is set already, Unix ms */
  constructor(db: SqlDatabase, world: World, armedAt: number | null) {
    this.#state = new PodState(db, world);
    this.#armedAt = armedAt;
    if (!hasSchema(db)) return;
    migrate(db, podMigrations, world.now());
    this.#state.pod = this.#state.store.pod();
    if (this.#state.pod === null) return;
    this.#mutate((now) => this.#state.giveTime(now));
  }

  takeEffects(): PodEffect[] {
    const { effects } = this.#state;
    this.#state.effects = [];
    return effects;
  }

  podId(): PodId | null {
    return this.#state.pod?.podId ?? null;
  }

  // --- the pod -----------------------------------------------------------------------------------------------------

  /** @param told the pod's settings; older ones than the known are ignored */
  configure(podId: PodId, workspaceId: WorkspaceId, told?: VersionedPodSettings): Reply<object> {
    const { store, world, db } = this.#state;
    const known = this.#state.pod;
    if (known !== null && (known.podId !== podId || known.workspaceId !== workspaceId || known.removed)) return noPod();
    if (known !== null && (told === undefined || told.version <= known.version)) return { ok: true };
    if (known === null) migrate(db, podMigrations, world.now());
    return this.#mutate((now) => {
      if (known === null) store.insertPod(podId, workspaceId);
      const bare = { podId, workspaceId, settings: DEFAULT_POD_SETTINGS, ownTypes: [], version: 0, removed: false };
      const settled: PodRecord = {
        ...(known ?? bare),
        ...(told === undefined
          ? {}
          : { settings: told.settings, ownTypes: told.gpuTypes ?? [], version: told.version }),
      };
      if (told !== undefined) store.updatePod(settled);
      this.#state.pod = settled;
      if (known !== null) {
        drainMisplaced(this.#state);
        drainBeyondContainers(this.#state);
      }
      arrange(this.#state, now);
      if (known !== null) answerMisfits(this.#state, now);
      return { ok: true };
    });
  }

  /** The pod is deleted. Machines that are online keep it, so that nobody's work is cut off by mistake. */
  remove(workspaceId: WorkspaceId): Reply<object> {
    const pod = this.#state.pod;
    if (pod === null) return { ok: true };
    if (pod.workspaceId !== workspaceId) return noPod();
    const { nodes, store } = this.#state;
    const online = this.#online().length;
    if (online > 0) return refusal("pod_in_use", `${online} of its nodes are online. Remove them first.`);
    return this.#mutate((now) => {
      for (const node of nodes.all()) removeNode(this.#state, node, now);
      this.#state.pod = { ...pod, removed: true };
      store.updatePod(this.#state.pod);
      return { ok: true };
    });
  }

  // --- nodes -------------------------------------------------------------------------------------------------------

  /** @param nodeId the node it makes: the same one again is the same node */
  join(workspaceId: WorkspaceId, request: JoinNode, nodeId?: NodeId): Reply<{ nodeId: NodeId }> {
    const pod = this.#podOf(workspaceId);
    if (pod === null) return noPod();
    return this.#mutate((now) => joinNode(this.#state, pod, request, now, nodeId));
  }

  pollNode(identity: NodeIdentity, poll: NodePoll): NodePollOutcome {
    const known = this.#nodeOf(identity);
    if (known === null) return { type: "answered", reply: noNode() };
    return this.#mutate((now): NodePollOutcome => {
      const state = this.#state;
      const memory = state.remember(known.id);
      const last = memory.order ?? known.order;
      const age = pollAge(poll.order, last);
      if (age === "displaced") return { type: "answered", reply: displaced() };
      // A poll that was overtaken says nothing of now. Whoever sent it has polled again, and gets the answer there.
      if (age === "late" || memory.polls.slice(0, -1).includes(poll.poll_id)) {
        return { type: "answered", reply: { ok: true, answer: answerFor(state, known.id, now) } };
      }
      memory.polls = [...memory.polls.filter((id) => id !== poll.poll_id), poll.poll_id].slice(-POLLS_REMEMBERED);
      memory.order = poll.order ?? null;
      replaceWaiter(state, known.id, memory, now);
      memory.seenAt = now;
      const stated = statedBy(poll, known);
      noteTrust(state, known, poll, last?.start ?? null, now);
      if (!known.online) takeUp(state, stated, poll.replicas);
      const news = noteReplicas(state, stated, poll.replicas, now);
      noteNode(state, known, stated, news !== "none", now);
      if (poll.inventory !== undefined) state.putInventory(known.id, poll.inventory);
      memory.owesInventory = poll.slots_per_gpu !== undefined && state.diskOf(known.id).inventory === null;
      const mismatch = mismatchOf(state, stated);
      // Who has the wrong card finishes what it runs; then it is sent away.
      if (mismatch !== null && wantedOn(state, known.id).length === 0 && poll.replicas.every((r) => isOver(r.state))) {
        return { type: "answered", reply: refusal("gpu_mismatch", mismatch) };
      }
      endOverdue(state, now);
      arrange(state, now);
      const ms = Math.min(poll.wait_ms, LONG_POLL_MS);
      const unfulfilled = !fulfils(poll.replicas, wantedOn(state, known.id));
      const repeat = repeatIn(state, memory, known.id, now);
      const isUnawares = isWatched(memory, now) && !memory.knowsWatched;
      if (news === "ends" || ms === 0 || isUnawares || (unfulfilled && repeat === 0)) {
        return { type: "answered", reply: { ok: true, answer: tell(state, known.id, now) } };
      }
      const waitMs = unfulfilled ? Math.min(ms, repeat) : ms;
      memory.waiter = { pollId: poll.poll_id, reported: poll.replicas, until: now + waitMs };
      return { type: "waiting", ms: waitMs };
    });
  }

  /** The poll's time is over. @returns what the node should run, which it is told now */
  pollTimedOut(nodeId: NodeId, pollId: string): NodePollAnswer {
    if (this.#state.pod === null) return { replicas: [] };
    return this.#mutate((now) => {
      const waited = endPoll(this.#state, nodeId, pollId, now) !== null;
      return waited ? tell(this.#state, nodeId, now) : answerFor(this.#state, nodeId, now);
    });
  }

  /** The poll's client has gone: nobody is told anything, and from now on the node is silent until its next poll. */
  abandonPoll(nodeId: NodeId, pollId: string): NodePollAnswer {
    if (this.#state.pod === null) return { replicas: [] };
    return this.#mutate((now) => {
      endPoll(this.#state, nodeId, pollId, now);
      return answerFor(this.#state, nodeId, now);
    });
  }

  changeNode(workspaceId: WorkspaceId, nodeId: NodeId, change: NodeChange): Reply<{ node: NodeSummary }> {
    return this.#withNode(workspaceId, nodeId, (node, pod) =>
      this.#mutate((now) => {
        changeNode(this.#state, node, change);
        arrange(this.#state, now);
        return { ok: true, node: this.#summary(pod, this.#state.nodes.get(nodeId) ?? node, now) };
      }),
    );
  }

  removeNode(workspaceId: WorkspaceId, nodeId: NodeId): Reply<object> {
    return this.#withNode(workspaceId, nodeId, (node) =>
      this.#mutate((now) => {
        removeNode(this.#state, node, now);
        arrange(this.#state, now);
        return { ok: true };
      }),
    );
  }

  /** Somebody looks at the node: from now on it is asked for figures each second. Nothing is written. */
  watchNode(workspaceId: WorkspaceId, nodeId: NodeId): Reply<{ node: NodeSummary }> {
    return this.#withNode(workspaceId, nodeId, (node, pod) => {
      const now = this.#state.world.now();
      const memory = this.#state.remember(nodeId);
      if (!isWatched(memory, now)) memory.knowsWatched = false;
      memory.watchedAt = now;
      // Its next figures are up to fifteen seconds away, so it is told by the poll that waits, or by the next one.
      if (!memory.knowsWatched && memory.waiter !== null) answerWaiter(this.#state, nodeId, memory.waiter, now);
      return { ok: true, node: this.#summary(pod, node, now) };
    });
  }

  /** The node's figures live in this object's memory only. @returns when the next ones are due */
  reportMetrics(identity: NodeIdentity, figures: NodeMetrics): Reply<{ nextInMs: number }> {
    const node = this.#nodeOf(identity);
    if (node === null) return noNode();
    const unknown = figures.gpus.find(({ index }) => node.gpus.every((gpu) => gpu.index !== index));
    if (unknown !== undefined) {
      return refusal("invalid_body", `The figures are of a card ${unknown.index}, and the node has no such card.`);
    }
    const now = this.#state.world.now();
    const memory = this.#state.remember(node.id);
    memory.metrics = { figures, at: now };
    memory.knowsWatched = isWatched(memory, now);
    return { ok: true, nextInMs: memory.knowsWatched ? METRICS_WATCHED_MS : METRICS_UNWATCHED_MS };
  }

  replicasOn(identity: NodeIdentity): Reply<{ replicas: GivenReplica[] }> {
    const node = this.#nodeOf(identity);
    if (node === null) return noNode();
    const { store } = this.#state;
    const given = [...store.replicasOn(node.id), ...store.lostOn(node.id)];
    return { ok: true, replicas: given.map(({ id, endpointId }) => ({ replicaId: id, endpointId })) };
  }

  listNodes(workspaceId: WorkspaceId): Reply<{ nodes: NodeSummary[] }> {
    const { pod } = this.#state;
    if (pod === null) return { ok: true, nodes: [] };
    if (pod.workspaceId !== workspaceId) return noPod();
    return { ok: true, nodes: summaries(this.#state, pod, this.#state.world.now()) };
  }

  onlineNodes(workspaceId: WorkspaceId): Reply<{ nodes: NamedNode[] }> {
    const { pod } = this.#state;
    if (pod !== null && pod.workspaceId !== workspaceId) return noPod();
    return { ok: true, nodes: pod === null ? [] : this.#online().map(({ id, name }) => ({ id, name })) };
  }

  capacity(workspaceId: WorkspaceId): Reply<{ capacity: PodCapacity }> {
    if (this.#podOf(workspaceId) === null) return noPod();
    return { ok: true, capacity: capacityNow(this.#state, this.#state.world.now()) };
  }

  // --- endpoints ---------------------------------------------------------------------------------------------------

  setDemand(demand: Demand): Reply<DemandReply> {
    // Work may come before the first machine: the endpoint, whom the Worker has told its pod, vouches for it.
    const configured = this.configure(demand.podId, demand.workspaceId);
    if (!configured.ok) return configured;
    return this.#mutate((now) => ({ ok: true, ...answerDemand(this.#state, demand, now) }));
  }

  leave(endpointId: EndpointId, version: number): void {
    if (this.#state.pod === null) return;
    this.#mutate((now) => {
      forgetEndpoint(this.#state, endpointId, version);
      arrange(this.#state, now);
    });
  }

  verifyReplica(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): boolean {
    const replica = this.#state.pod === null ? null : this.#state.store.replica(replicaId);
    return replica !== null && replica.endpointId === endpointId && replica.nodeId === nodeId;
  }

  /** Whether it was given up with its node, of which nothing was heard since: what becomes of it shows when it comes back. */
  mayReturn(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): boolean {
    const lost = this.#state.pod === null ? null : this.#state.store.lost(replicaId);
    return lost !== null && lost.endpointId === endpointId && lost.nodeId === nodeId;
  }

  /** The endpoint has said whether it gives the replica up. */
  reclaimAnswered(replicaId: ReplicaId, given: boolean): void {
    if (this.#state.pod === null) return;
    this.#mutate((now) => {
      const replica = this.#state.store.replica(replicaId);
      if (given && replica !== null) this.#state.drain(replica);
      arrange(this.#state, now);
    });
  }

  /** The endpoint has said what it has heard of the replica. */
  heardAnswered(replicaId: ReplicaId, heard: ReplicaHeard): void {
    if (this.#state.pod === null) return;
    this.#mutate((now) => {
      heardAnswered(this.#state, replicaId, heard, now);
      arrange(this.#state, now);
    });
  }

  /** The endpoint has heard that the replica is no more. */
  farewellTaken(replicaId: ReplicaId): void {
    this.#mutate(() => this.#state.store.deleteFarewell(replicaId));
  }

  /**
   * Writes down which nodes have been quiet for some seconds, for the object that comes after this one.
   * @returns when to look again, Unix ms; null: when a poll has ended
   */
  noteQuiet(): number | null {
    const state = this.#state;
    if (state.pod === null) return null;
    const due = state.nextQuiet();
    if (due === null || due > state.world.now()) return due;
    this.#mutate((now) => state.noteQuiet(now));
    return state.nextQuiet();
  }

  /** The alarm rang. */
  wake(): void {
    this.#armedAt = null;
    const state = this.#state;
    if (state.pod === null) return;
    this.#mutate((now) => {
      for (const node of state.nodes.all()) {
        if (node.online && !state.isOnline(node, now)) loseNode(state, node, now);
        else if (!node.online && now - node.seenAt >= NODE_FORGOTTEN_MS) forgetNode(state, node);
      }
      for (const farewell of state.store.farewellsDue(now)) state.say(farewell, now);
      endOverdue(state, now);
      arrange(state, now);
    });
  }

  // --- inside a turn -----------------------------------------------------------------------------------------------

  /** The pod, if it is that workspace's and not deleted. */
  #podOf(workspaceId: WorkspaceId): PodRecord | null {
    const { pod } = this.#state;
    return pod === null || pod.workspaceId !== workspaceId || pod.removed ? null : pod;
  }

  #nodeOf({ workspaceId, podId, nodeId }: NodeIdentity): NodeRecord | null {
    return this.#podOf(workspaceId)?.podId === podId ? this.#state.nodes.get(nodeId) : null;
  }

  #online(): NodeRecord[] {
    const now = this.#state.world.now();
    return this.#state.nodes.all().filter((node) => this.#state.isOnline(node, now));
  }

  #withNode<T extends object>(
    workspaceId: WorkspaceId,
    nodeId: NodeId,
    work: (node: NodeRecord, pod: PodRecord) => Reply<T>,
  ): Reply<T> {
    const pod = this.#podOf(workspaceId);
    const node = pod === null ? null : this.#state.nodes.get(nodeId);
    return pod === null || node === null ? refusal("node_not_found", "There is no such node.") : work(node, pod);
  }

  #summary(pod: PodRecord, node: NodeRecord, now: number): NodeSummary {
    return summaryOf(this.#state, pod, node, this.#state.store.replicasOn(node.id), now);
  }

  /** One transaction. What became of the waiting polls, of the endpoints' terms and of the alarm follows from it. */
  #mutate<T>(work: (now: number) => T): T {
    const state = this.#state;
    const now = state.world.now();
    const earlier = state.effects;
    const { pod } = state;
    state.effects = [];
    let result: T;
    try {
      result = state.db.transaction(() => work(now));
    } catch (error) {
      state.effects = earlier;
      state.undone(pod);
      throw error;
    }
    answerChanged(state, now);
    tellTerms(state, now);
    watchDoubtful(state, now);
    state.effects = [...earlier, ...state.effects];
    this.#arm(now);
    return result;
  }

  #arm(now: number): void {
    const state = this.#state;
    if (state.pod === null) return;
    const nodes = state.nodes.all();
    const dues: (number | null)[] = [
      state.store.nextFarewell(),
      nextTerms(state),
      nextOverdue(state),
      nextQuestion(state),
    ];
    for (const node of nodes) {
      dues.push(node.online ? state.silentSince(node) + NODE_LOST_MS : node.seenAt + NODE_FORGOTTEN_MS);
    }
    const unmet = wishesOf(state).filter(isUnmet);
    if (unmet.length > 0) {
      // A turn can end when somebody has waited long enough and somebody has had the slot long enough.
      const waits = [...unmet.map(({ since }) => since), ...state.shortSince.values()];
      const ends = state.store.replicas().flatMap((replica) => turnEnds(turnOf(replica)));
      dues.push(...[...waits.map((since) => since + FAIR_TURN_MS), ...ends].filter((due) => due > now));
      dues.push(state.store.nextBackoffEnd(now));
      dues.push(...nodes.map(({ trust }) => quarantineAt(trust, now)?.until ?? null));
      for (const askedAt of state.askedAt.values()) dues.push(Math.max(now, askedAt + RECLAIM_AGAIN_MS));
    }
    const known = dues.filter((due) => due !== null);
    const lost = this.#armedAt !== null && this.#armedAt < now - ALARM_LOST_MS;
    if (known.length === 0 && !lost) return;
    const at = known.length === 0 ? now + 1 : Math.max(now + 1, Math.min(...known));
    if (this.#armedAt !== null && !lost && this.#armedAt <= at) return;
    this.#armedAt = at;
    state.effects.push({ type: "arm", at });
  }
}

const displaced = (): Refusal =>
  refusal("node_not_found", "An agent that was started later speaks for this node now. Join again.");
