import type { HeldReplica, JoinNode, NodePoll, NodePollAnswer, PollOrder, WantedReplica } from "#contract/agent";
import { type EndpointId, makeId, NodeId, ownerKey, type PodId, ReplicaId, type WorkspaceId } from "#contract/ids";
import { LONG_POLL_MS, NODE_LOST_MS, NODE_SESSION_S } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { NodeSummary } from "#contract/replica";
import type { NodeIdentity, Reply } from "#durable-objects/endpoint/rpc";
import { type Farewell, type NodeRecord, PodStore, type SlotRecord } from "#durable-objects/pod/pod-store";
import { pollAge } from "#durable-objects/pod/poll-order";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import { retryDelayMs } from "#durable-objects/queue/retry";
import { afterCrash } from "#durable-objects/replicas/crash-backoff";
import { fitsRegion, type PlaceResult, place, type Wish } from "#durable-objects/replicas/place";
import { FAIR_TURN_MS, reclaim } from "#durable-objects/replicas/reclaim";
import { isOver } from "#durable-objects/replicas/replica-record";
import { chance, type SqlDatabase, type World } from "#durable-objects/sql/database";
import { hasSchema, migrate } from "#durable-objects/sql/migrate";
import { podMigrations } from "#migrations/pod/all";

/** What the outside must do or hear once a change is committed. */
export type PodEffect =
  | {
      readonly type: "poll_answered";
      readonly nodeId: NodeId;
      readonly pollId: string;
      readonly answer: NodePollAnswer;
    }
  | { readonly type: "arm"; readonly at: number }
  /** Tell the endpoint that this replica is no more; then `farewellTaken`. Untaken, it comes again by the alarm. */
  | { readonly type: "tell_gone"; readonly farewell: Farewell }
  /** Ask the endpoint whether this replica is idle and may go; then `reclaimAnswered`. */
  | { readonly type: "reclaim"; readonly endpointId: EndpointId; readonly replicaId: ReplicaId };

export type NodePollOutcome =
  | { readonly type: "answered"; readonly reply: Reply<{ answer: NodePollAnswer }> }
  | { readonly type: "waiting"; readonly ms: number };

interface NodeWaiter {
  readonly pollId: string;
  readonly reported: readonly HeldReplica[];
  /** When it is answered at the latest, Unix ms. */
  readonly until: number;
}

/** What this object remembers of a node and can do without. */
interface NodeMemory {
  seenAt: number;
  /** When its last poll came, or ended. Silence counts from here, unless a poll is open. */
  quietAt: number;
  /** The latest poll that was heard. */
  order: PollOrder | null;
  waiter: NodeWaiter | null;
  /** Slots that hold something this pod does not know, until the node has stopped it. */
  foreign: readonly number[];
  /** The last answer and when: an unfulfilled wish is repeated, but not in a tight loop. */
  told: { readonly signature: string; readonly at: number } | null;
  /** Poll ids seen, newest last: an older one again is a copy that got stuck on its way. */
  polls: readonly string[];
}

const POLLS_REMEMBERED = 16;
/** A wish the node has not fulfilled is repeated after this. */
const REPEAT_MS = 3_000;
/** A heartbeat is written this often; in between it lives in memory. */
const SEEN_PERSIST_MS = 30_000;
/** An alarm that is later than this was held up by the object's absence. */
const ALARM_LATE_MS = 3_000;
/** An endpoint that would not give up a replica is asked again after this. */
const RECLAIM_AGAIN_MS = 5_000;
/** A farewell that was not taken is repeated after about this, with backoff. */
const FAREWELL_REPEAT_MS = 2_000;
/** So much of a crash's error is kept. */
const ERROR_LENGTH_MAX = 1_000;
const NODE_FORGOTTEN_MS = NODE_SESSION_S * 1_000;

/** Capacity as one synchronous machine: nodes, slots, and who gets them. The shell does the waiting and calling. */
export class PodCore {
  readonly #db: SqlDatabase;
  readonly #world: World;
  readonly #store: PodStore;
  /** A node that this object has not heard itself counts as heard then. */
  #heardFrom: number;
  readonly #memory = new Map<NodeId, NodeMemory>();
  readonly #askedAt = new Map<ReplicaId, number>();
  #pod: { podId: PodId; workspaceId: WorkspaceId } | null = null;
  #armedAt: number | null;
  #effects: PodEffect[] = [];

  /** @param armedAt the alarm that is set already, Unix ms */
  constructor(db: SqlDatabase, world: World, armedAt: number | null) {
    this.#db = db;
    this.#world = world;
    this.#armedAt = armedAt;
    this.#store = new PodStore(db);
    this.#heardFrom = world.now();
    if (!hasSchema(db)) return;
    migrate(db, podMigrations, world.now());
    this.#pod = this.#store.pod();
    if (this.#pod === null) return;
    this.#mutate((now) => this.#giveTime(now));
  }

  takeEffects(): PodEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  podId(): PodId | null {
    return this.#pod?.podId ?? null;
  }

  configure(podId: PodId, workspaceId: WorkspaceId): Reply<object> {
    if (this.#pod !== null) {
      const same = this.#pod.podId === podId && this.#pod.workspaceId === workspaceId;
      return same ? { ok: true } : noPod();
    }
    migrate(this.#db, podMigrations, this.#world.now());
    return this.#mutate(() => {
      this.#store.putPod(podId, workspaceId);
      this.#pod = { podId, workspaceId };
      return { ok: true };
    });
  }

  join(workspaceId: WorkspaceId, request: JoinNode): Reply<{ nodeId: NodeId }> {
    const pod = this.#pod;
    if (pod === null || pod.workspaceId !== workspaceId) return noPod();
    return this.#mutate((now) => {
      const id = makeId(NodeId, "node", now, (length) => this.#world.randomBytes(length), ownerKey(pod.podId));
      this.#store.putNode({
        id,
        name: request.name,
        region: request.region ?? null,
        agentVersion: request.agent_version,
        comfyui: request.comfyui,
        gpus: request.gpus,
        slots: request.slots,
        draining: false,
        online: true,
        joinedAt: now,
        seenAt: now,
        order: null,
      });
      const memory = this.#remember(id);
      memory.seenAt = now;
      memory.quietAt = now;
      return { ok: true, nodeId: id };
    });
  }

  pollNode(identity: NodeIdentity, poll: NodePoll): NodePollOutcome {
    const known = this.#pod === null ? null : this.#store.node(identity.nodeId);
    if (known === null || this.#pod?.workspaceId !== identity.workspaceId || this.#pod.podId !== identity.podId) {
      return { type: "answered", reply: refusal("node_not_found", "The pod has no such node. Join again.") };
    }
    return this.#mutate((now): NodePollOutcome => {
      const memory = this.#remember(known.id);
      const age = pollAge(poll.order, memory.order ?? known.order);
      if (age === "displaced") return { type: "answered", reply: displaced() };
      // A poll that was overtaken says nothing of now. Whoever sent it has polled again, and gets the answer there.
      if (age === "late" || memory.polls.slice(0, -1).includes(poll.poll_id)) return this.#wantedAnswer(known.id);
      memory.polls = [...memory.polls.filter((id) => id !== poll.poll_id), poll.poll_id].slice(-POLLS_REMEMBERED);
      memory.order = poll.order ?? null;
      this.#replace(known.id, memory, now);
      memory.seenAt = now;
      const stated = statedBy(poll, known);
      const news = this.#noteReplicas(stated, poll.replicas, now);
      this.#noteNode(known, stated, news !== "none", now);
      this.#arrange(now);
      const ms = Math.min(poll.wait_ms, LONG_POLL_MS);
      const unfulfilled = !fulfils(poll.replicas, this.#wantedOn(known.id));
      const repeat = this.#repeatIn(memory, known.id, now);
      if (news === "ends" || ms === 0 || (unfulfilled && repeat === 0)) return this.#answerNode(known.id, now);
      const waitMs = unfulfilled ? Math.min(ms, repeat) : ms;
      memory.waiter = { pollId: poll.poll_id, reported: poll.replicas, until: now + waitMs };
      return { type: "waiting", ms: waitMs };
    });
  }

  /** The poll's time is over. @returns what the node should run, which it is told now */
  pollTimedOut(nodeId: NodeId, pollId: string): NodePollAnswer {
    if (this.#pod === null) return { replicas: [] };
    return this.#mutate((now) => {
      const replicas = this.#wantedOn(nodeId);
      const memory = this.#endPoll(nodeId, pollId, now);
      if (memory !== null) memory.told = { signature: JSON.stringify(replicas), at: now };
      return { replicas };
    });
  }

  /** The poll's client has gone: nobody is told anything, and from now on the node is silent until its next poll. */
  abandonPoll(nodeId: NodeId, pollId: string): NodePollAnswer {
    if (this.#pod === null) return { replicas: [] };
    return this.#mutate((now) => {
      this.#endPoll(nodeId, pollId, now);
      return { replicas: this.#wantedOn(nodeId) };
    });
  }

  setDemand(demand: Demand): Reply<DemandReply> {
    // Work may come before the first machine: the endpoint, whom the Worker has told its pod, vouches for it.
    const configured = this.configure(demand.podId, demand.workspaceId);
    if (!configured.ok) return configured;
    return this.#mutate((now): Reply<DemandReply> => {
      const known = this.#store.demand(demand.endpointId);
      if (known === null || demand.version > known.version) {
        this.#store.putDemand({
          endpointId: demand.endpointId,
          version: demand.version,
          regions: demand.regions,
          wanted: demand.wanted,
          needed: demand.needed,
          since: known === null || known.needed === 0 ? now : known.since,
        });
        this.#letGo(demand);
      }
      const { shortages } = this.#arrange(now);
      const replicas = this.#store.replicas().filter(({ endpointId }) => endpointId === demand.endpointId);
      return {
        ok: true,
        replicas: replicas.map(({ id, nodeId }) => ({ replicaId: id, nodeId })),
        shortage: shortages.get(demand.endpointId) ?? { code: "none", error: null },
      };
    });
  }

  verifyReplica(endpointId: EndpointId, replicaId: ReplicaId, nodeId: NodeId): boolean {
    const replica = this.#pod === null ? null : this.#store.replica(replicaId);
    return replica !== null && replica.endpointId === endpointId && replica.nodeId === nodeId;
  }

  listNodes(workspaceId: WorkspaceId): Reply<{ nodes: NodeSummary[] }> {
    const pod = this.#pod;
    if (pod === null) return { ok: true, nodes: [] };
    if (pod.workspaceId !== workspaceId) return noPod();
    const now = this.#world.now();
    const replicas = this.#store.replicas();
    const nodes = this.#store.nodes().map((node) => {
      const here = new Map(
        replicas.filter(({ nodeId }) => nodeId === node.id).map((replica) => [replica.slot, replica.id]),
      );
      const seenAt = Math.max(node.seenAt, this.#memory.get(node.id)?.seenAt ?? 0);
      return {
        id: node.id,
        pod_id: pod.podId,
        name: node.name,
        region: node.region,
        online: this.#isOnline(node, now),
        draining: node.draining,
        comfyui: node.comfyui,
        gpus: [...node.gpus],
        slots: Array.from({ length: node.slots }, (_, slot) => ({ slot, replica_id: here.get(slot) ?? null })),
        agent_version: node.agentVersion,
        joined_at: new Date(node.joinedAt).toISOString(),
        last_seen_at: new Date(seenAt).toISOString(),
      };
    });
    return { ok: true, nodes };
  }

  /** The endpoint has said whether it gives the replica up. */
  reclaimAnswered(replicaId: ReplicaId, given: boolean): void {
    if (this.#pod === null) return;
    this.#mutate((now) => {
      const replica = this.#store.replica(replicaId);
      if (given && replica !== null) this.#drain(replica);
      this.#arrange(now);
    });
  }

  /** The endpoint has heard that the replica is no more. */
  farewellTaken(replicaId: ReplicaId): void {
    this.#mutate(() => this.#store.deleteFarewell(replicaId));
  }

  /** The alarm rang. */
  wake(): void {
    this.#armedAt = null;
    if (this.#pod === null) return;
    this.#mutate((now) => {
      for (const node of this.#store.nodes()) {
        if (node.online && !this.#isOnline(node, now)) this.#lose(node, now);
        else if (!node.online && now - node.seenAt >= NODE_FORGOTTEN_MS) this.#store.deleteNode(node.id);
      }
      for (const farewell of this.#store.farewellsDue(now)) this.#say(farewell, now);
      this.#arrange(now);
    });
  }

  // --- inside a turn -----------------------------------------------------------------------------------------------

  #mutate<T>(work: (now: number) => T): T {
    const now = this.#world.now();
    const earlier = this.#effects;
    this.#effects = [];
    let result: T;
    try {
      result = this.#db.transaction(() => work(now));
    } catch (error) {
      this.#effects = earlier;
      throw error;
    }
    this.#answerChanged(now);
    this.#effects = [...earlier, ...this.#effects];
    this.#arm(now);
    return result;
  }

  #arm(now: number): void {
    if (this.#pod === null) return;
    const dues: (number | null)[] = [this.#store.nextFarewell()];
    for (const node of this.#store.nodes()) {
      dues.push(node.online ? this.#silentSince(node) + NODE_LOST_MS : node.seenAt + NODE_FORGOTTEN_MS);
    }
    const unmet = this.#wishes().filter((wish) => wish.have < wish.wanted);
    if (unmet.length > 0) {
      // A turn can end when somebody has waited long enough and somebody has had the slot long enough.
      const turns = [...unmet.map(({ since }) => since), ...this.#store.replicas().map(turnSince)];
      dues.push(...turns.map((since) => since + FAIR_TURN_MS).filter((due) => due > now));
      dues.push(this.#store.nextBackoffEnd(now));
      for (const askedAt of this.#askedAt.values()) dues.push(Math.max(now, askedAt + RECLAIM_AGAIN_MS));
    }
    const known = dues.filter((due) => due !== null);
    const lost = this.#armedAt !== null && this.#armedAt < now - 10_000;
    if (known.length === 0 && !lost) return;
    const at = known.length === 0 ? now + 1 : Math.max(now + 1, Math.min(...known));
    if (this.#armedAt !== null && !lost && this.#armedAt <= at) return;
    this.#armedAt = at;
    this.#effects.push({ type: "arm", at });
  }

  /**
   * Nodes are not lost because this object was away: each waking gives them the time to speak up. But not again and again
   * without a word from any of them, or an object that is thrown out of memory and woken by its alarm would never lose one.
   */
  #giveTime(now: number): void {
    const wokeAt = this.#store.wokeAt();
    const online = this.#store.nodes().filter((node) => node.online);
    if (online.length === 0) return;
    const missedAlarm = now > wokeAt + NODE_LOST_MS + ALARM_LATE_MS;
    if (missedAlarm || online.some((node) => node.seenAt > wokeAt)) this.#store.putWokeAt(now);
    else this.#heardFrom = wokeAt;
  }

  #remember(nodeId: NodeId): NodeMemory {
    const known = this.#memory.get(nodeId);
    if (known !== undefined) return known;
    const heard = { seenAt: this.#heardFrom, quietAt: this.#heardFrom };
    const memory: NodeMemory = { ...heard, order: null, waiter: null, foreign: [], told: null, polls: [] };
    this.#memory.set(nodeId, memory);
    return memory;
  }

  /**
   * Since when the node could have polled and did not. As long as a poll is open it has no reason to: a machine that has
   * died meanwhile is noticed when the poll ends, and one whose agent alone has died at once, because its connection ends.
   */
  #silentSince(node: NodeRecord): number {
    const memory = this.#memory.get(node.id);
    return memory?.waiter?.until ?? Math.max(node.seenAt, memory?.quietAt ?? this.#heardFrom);
  }

  #isOnline(node: NodeRecord, now: number): boolean {
    return node.online && now - this.#silentSince(node) < NODE_LOST_MS;
  }

  /** @returns the node's memory when it was this poll that waited */
  #endPoll(nodeId: NodeId, pollId: string, now: number): NodeMemory | null {
    const memory = this.#memory.get(nodeId);
    if (memory?.waiter?.pollId !== pollId) return null;
    memory.waiter = null;
    memory.quietAt = now;
    return memory;
  }

  /** @param force write it, because the poll has changed something else already */
  #noteNode(known: NodeRecord, stated: NodeRecord, force: boolean, now: number): void {
    const isFresh = now - known.seenAt < SEEN_PERSIST_MS && known.seenAt > this.#heardFrom;
    const same = JSON.stringify({ ...stated, order: null }) === JSON.stringify({ ...known, order: null });
    if (!force && same && isFresh) return;
    this.#store.putNode({ ...stated, seenAt: now });
    if (stated.region !== known.region) this.#drainMisplaced();
  }

  /** Takes note of what the node runs. @returns what has changed by it, the weightiest */
  #noteReplicas(node: NodeRecord, reported: readonly HeldReplica[], now: number): "none" | "states" | "ends" {
    const byId = new Map(reported.map((held) => [held.replica_id, held]));
    let ended = false;
    let entered = false;
    const here = this.#store.replicasOn(node.id);
    for (const replica of here) {
      const held = byId.get(replica.id);
      if (held === undefined) {
        // One that was never reported may be on its way to the node, unless it is not wanted any more.
        if (!replica.reported && !replica.draining) continue;
        this.#end(replica, "The node no longer has the replica.", now);
        ended = true;
      } else if (isOver(held.state)) {
        if (held.state === "crashed") this.#noteCrash(replica, held.error, now);
        this.#end(
          replica,
          held.error ?? (held.state === "crashed" ? "The replica crashed." : "The replica stopped."),
          now,
        );
        ended = true;
      } else if (this.#noteState(replica, held, node, now)) entered = true;
    }
    const known = new Set(here.map(({ id }) => id));
    this.#remember(node.id).foreign = reported
      .filter((held) => !known.has(held.replica_id) && !isOver(held.state))
      .map(({ slot }) => slot);
    if (ended) return "ends";
    return entered ? "states" : "none";
  }

  /** @returns whether it was news */
  #noteState(replica: SlotRecord, held: HeldReplica, node: NodeRecord, now: number): boolean {
    const works = held.state === "ready" || held.state === "busy";
    // Busy and ready follow each other with every job, and capacity does not care which it is.
    const state = held.state === "busy" ? "ready" : held.state;
    const draining = replica.draining || node.draining || replica.slot >= node.slots || state === "draining";
    if (replica.reported && state === replica.state && draining === replica.draining) return false;
    this.#store.updateReplica({
      ...replica,
      state,
      draining,
      reported: true,
      readyAt: replica.readyAt ?? (works ? now : null),
    });
    if (works && replica.readyAt === null) {
      const history = this.#store.history(replica.endpointId, node.id);
      this.#store.putHistory(replica.endpointId, node.id, {
        failures: history?.failures ?? 0,
        backoffUntil: history?.backoffUntil ?? 0,
        crashedAt: history?.crashedAt ?? 0,
        lastError: history?.lastError ?? null,
        lastReadyAt: now,
      });
    }
    return true;
  }

  #noteCrash(replica: SlotRecord, error: string | null | undefined, now: number): void {
    const known = this.#store.history(replica.endpointId, replica.nodeId);
    const after = afterCrash({ failures: known?.failures ?? 0, until: known?.backoffUntil ?? 0 }, replica.readyAt, now);
    this.#store.putHistory(replica.endpointId, replica.nodeId, {
      lastReadyAt: known?.lastReadyAt ?? 0,
      failures: after.failures,
      backoffUntil: after.until,
      crashedAt: now,
      lastError: error ? cut(error) : null,
    });
  }

  /** The replica is no more: its slot is free, and its endpoint will hear of it. */
  #end(replica: SlotRecord, reason: string, now: number, silent = false): void {
    this.#store.deleteReplica(replica.id);
    this.#askedAt.delete(replica.id);
    this.#say({ replicaId: replica.id, endpointId: replica.endpointId, reason, silent, tries: 0, dueAt: now }, now);
  }

  /** Says a farewell, and keeps it to be said again until it is taken. */
  #say(farewell: Farewell, now: number): void {
    const tries = farewell.tries + 1;
    const dueAt = now + FAREWELL_REPEAT_MS + retryDelayMs(tries, chance(this.#world));
    this.#store.putFarewell({ ...farewell, tries, dueAt });
    this.#effects.push({ type: "tell_gone", farewell });
  }

  #lose(node: NodeRecord, now: number): void {
    const memory = this.#remember(node.id);
    this.#store.putNode({ ...node, online: false, seenAt: Math.max(node.seenAt, Math.min(memory.seenAt, now)) });
    memory.foreign = [];
    memory.waiter = null;
    for (const replica of this.#store.replicasOn(node.id))
      this.#end(replica, `The node ${node.name} was not heard of.`, now, true);
  }

  #drain(replica: SlotRecord): void {
    if (!replica.draining) this.#store.updateReplica({ ...replica, draining: true });
  }

  /** Replicas the endpoint lets go, and those beyond what it wants that no node has begun to start. */
  #letGo(demand: Demand): void {
    const drain = new Set(demand.drain);
    const mine = this.#store.replicas().filter(({ endpointId }) => endpointId === demand.endpointId);
    for (const replica of mine) if (drain.has(replica.id)) this.#drain(replica);
    this.#drainMisplaced();
    const left = this.#store.replicas().filter(({ endpointId }) => endpointId === demand.endpointId);
    const kept = left.filter((replica) => !replica.draining);
    const unstarted = kept.filter(({ reported }) => !reported).toSorted((a, b) => b.placedAt - a.placedAt);
    for (const replica of unstarted.slice(0, Math.max(0, kept.length - demand.wanted))) this.#drain(replica);
  }

  /** Replicas that run where they may not any more finish their job and go. */
  #drainMisplaced(): void {
    const regionOf = new Map(this.#store.nodes().map(({ id, region }) => [id, region]));
    const allowed = new Map(this.#store.demands().map(({ endpointId, regions }) => [endpointId, regions]));
    for (const replica of this.#store.replicas()) {
      const regions = allowed.get(replica.endpointId) ?? [];
      if (!fitsRegion(regions, regionOf.get(replica.nodeId) ?? null)) this.#drain(replica);
    }
  }

  #wishes(): Wish[] {
    const replicas = this.#store.replicas();
    return this.#store.demands().map((demand) => ({
      ...demand,
      have: replicas.filter(({ endpointId, draining }) => endpointId === demand.endpointId && !draining).length,
    }));
  }

  /** Places what can be placed, and asks for idle replicas where somebody needs a slot and none is free. */
  #arrange(now: number): PlaceResult {
    const pod = this.#pod;
    if (pod === null) return { placements: [], shortages: new Map() };
    const replicas = this.#store.replicas();
    const nodes = this.#store.nodes().filter((node) => this.#isOnline(node, now) && !node.draining);
    const wishes = this.#wishes();
    const result = place({
      nodes: nodes.map((node) => {
        const taken = new Set(replicas.filter(({ nodeId }) => nodeId === node.id).map(({ slot }) => slot));
        for (const slot of this.#memory.get(node.id)?.foreign ?? []) taken.add(slot);
        return {
          id: node.id,
          region: node.region,
          free: Array.from({ length: node.slots }, (_, slot) => slot).filter((slot) => !taken.has(slot)),
        };
      }),
      wishes,
      history: (endpointId, nodeId) => this.#store.history(endpointId, nodeId),
      now,
    });
    for (const { endpointId, nodeId, slot } of result.placements) {
      const id = makeId(ReplicaId, "rep", now, (length) => this.#world.randomBytes(length), ownerKey(endpointId));
      this.#store.insertReplica({
        id,
        endpointId,
        nodeId,
        slot,
        state: "placed",
        draining: false,
        reported: false,
        placedAt: now,
        readyAt: null,
      });
    }
    this.#reclaim(result, nodes, now);
    return result;
  }

  /** Finds slots for those who need one: idle replicas of others, and in the end turns that have lasted too long. */
  #reclaim(result: PlaceResult, nodes: readonly NodeRecord[], now: number): void {
    const wishes = this.#wishes();
    const regionOf = new Map(nodes.map(({ id, region }) => [id, region]));
    const claims = wishes
      .filter(({ endpointId }) => result.shortages.get(endpointId)?.code === "all_slots_busy")
      .map(({ needed, have, ...wish }) => ({ ...wish, missing: Math.max(0, needed - have), starves: have === 0 }))
      .filter(({ missing }) => missing > 0);
    for (const [replicaId, askedAt] of this.#askedAt) {
      if (claims.length === 0 || now - askedAt >= RECLAIM_AGAIN_MS) this.#askedAt.delete(replicaId);
    }
    if (claims.length === 0) return;
    const holders = this.#store.replicas().flatMap((replica) => {
      const region = regionOf.get(replica.nodeId);
      return region === undefined ? [] : [{ ...replica, region, since: turnSince(replica) }];
    });
    const spare = new Map(wishes.map(({ endpointId, have, needed }) => [endpointId, Math.max(0, have - needed)]));
    const { ask, over } = reclaim(claims, holders, spare, now);
    for (const { id, endpointId } of ask) {
      if (this.#askedAt.has(id)) continue;
      this.#askedAt.set(id, now);
      this.#effects.push({ type: "reclaim", endpointId, replicaId: id });
    }
    for (const { id, endpointId } of over) {
      const replica = this.#store.replica(id);
      const demand = this.#store.demand(endpointId);
      if (replica !== null) this.#drain(replica);
      // Who gives up a turn goes to the end of the line.
      if (demand !== null) this.#store.putDemand({ ...demand, since: now });
    }
  }

  #wantedOn(nodeId: NodeId): WantedReplica[] {
    return this.#store.replicasOn(nodeId).map((replica) => ({
      replica_id: replica.id,
      slot: replica.slot,
      endpoint_id: replica.endpointId,
      action: replica.draining ? "drain" : "run",
    }));
  }

  /** How long to hold back an answer that would only repeat the last one, ms. */
  #repeatIn(memory: NodeMemory, nodeId: NodeId, now: number): number {
    const { told } = memory;
    if (told === null || told.signature !== JSON.stringify(this.#wantedOn(nodeId))) return 0;
    return Math.max(0, told.at + REPEAT_MS - now);
  }

  #answerNode(nodeId: NodeId, now: number): NodePollOutcome {
    const replicas = this.#wantedOn(nodeId);
    const memory = this.#remember(nodeId);
    memory.told = { signature: JSON.stringify(replicas), at: now };
    memory.quietAt = now;
    return this.#wantedAnswer(nodeId);
  }

  /** What the node should run, for somebody who need not be the node any more: it does not count as told. */
  #wantedAnswer(nodeId: NodeId): NodePollOutcome {
    return { type: "answered", reply: { ok: true, answer: { replicas: this.#wantedOn(nodeId) } } };
  }

  #answerWaiter(nodeId: NodeId, waiter: NodeWaiter, now: number): void {
    const memory = this.#remember(nodeId);
    memory.waiter = null;
    memory.quietAt = now;
    const replicas = this.#wantedOn(nodeId);
    memory.told = { signature: JSON.stringify(replicas), at: now };
    this.#effects.push({ type: "poll_answered", nodeId, pollId: waiter.pollId, answer: { replicas } });
  }

  /** A new poll replaces the old one. Whoever sent that has most likely gone, so it counts as told nothing. */
  #replace(nodeId: NodeId, memory: NodeMemory, now: number): void {
    const { waiter } = memory;
    memory.waiter = null;
    memory.quietAt = now;
    if (waiter === null) return;
    const answer = { replicas: this.#wantedOn(nodeId) };
    this.#effects.push({ type: "poll_answered", nodeId, pollId: waiter.pollId, answer });
  }

  /** Answers the waiting polls of nodes whose wanted replicas have changed. */
  #answerChanged(now: number): void {
    for (const [nodeId, memory] of this.#memory) {
      const { waiter } = memory;
      if (waiter === null || fulfils(waiter.reported, this.#wantedOn(nodeId))) continue;
      if (this.#repeatIn(memory, nodeId, now) === 0) this.#answerWaiter(nodeId, waiter, now);
    }
  }
}

/** Since when a replica has had its slot for working. */
function turnSince(replica: SlotRecord): number {
  return replica.readyAt ?? replica.placedAt;
}

/** Whether a node that runs these has nothing to start, drain or stop. */
function fulfils(reported: readonly HeldReplica[], wanted: readonly WantedReplica[]): boolean {
  const alive = new Map(reported.filter((held) => !isOver(held.state)).map((held) => [held.replica_id, held]));
  if (alive.size !== wanted.length) return false;
  return wanted.every((wish) => {
    const held = alive.get(wish.replica_id);
    return held !== undefined && (wish.action === "run" || held.state === "draining");
  });
}

/** The node as its poll states it. */
function statedBy(poll: NodePoll, known: NodeRecord): NodeRecord {
  return {
    ...known,
    region: poll.region ?? null,
    comfyui: poll.comfyui,
    gpus: poll.gpus,
    slots: poll.slots,
    draining: poll.draining,
    online: true,
    order: poll.order ?? null,
  };
}

/** No more than ERROR_LENGTH_MAX, and no half of a character at its end. */
function cut(text: string): string {
  return text.length <= ERROR_LENGTH_MAX ? text : text.slice(0, ERROR_LENGTH_MAX).replace(/[\uD800-\uDBFF]$/, "");
}

const displaced = (): Refusal =>
  refusal("node_not_found", "An agent that was started later speaks for this node now. Join again.");

const noPod = (): Refusal => refusal("pod_not_found", "There is no such pod.");
