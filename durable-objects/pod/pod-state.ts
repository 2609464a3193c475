import type { HeldReplica, NodePollAnswer, PollOrder } from "#contract/agent";
import { gpuTypeOf } from "#contract/gpu-types";
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { NODE_LOST_MS } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import {
  DEFAULT_POD_SETTINGS,
  type Gpu,
  type NodeInventory,
  type NodeMetrics,
  type PodSettings,
} from "#contract/replica";
import { type NodeRecord, NodeStore } from "#durable-objects/pod/node-store";
import { type Farewell, type PodRecord, PodStore, type SlotRecord } from "#durable-objects/pod/pod-store";
import { retryDelayMs } from "#durable-objects/queue/retry";
import { chance, type SqlDatabase, type World } from "#durable-objects/sql/database";

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
  | {
      readonly type: "reclaim";
      readonly endpointId: EndpointId;
      readonly replicaId: ReplicaId;
      /** Only if it does a batch job: for an endpoint that does not need it, and would use it as well. */
      readonly onlyBatch: boolean;
    }
  /** Ask the endpoint what it has heard of this replica; then `heardAnswered`. */
  | { readonly type: "ask_heard"; readonly endpointId: EndpointId; readonly replicaId: ReplicaId }
  /**
   * The endpoint should ask again: its share of the warm floor or its idle time is another (repeated by the alarm), or
   * a replica that was given up is there again (said once: the replica says so as well). When it says that it will not,
   * `leave` with the version that is known of it.
   */
  | { readonly type: "terms_changed"; readonly endpointId: EndpointId; readonly version: number };

export interface NodeWaiter {
  readonly pollId: string;
  readonly reported: readonly HeldReplica[];
  /** When it is answered at the latest, Unix ms. */
  readonly until: number;
}

/** What this object remembers of a node and can do without. */
export interface NodeMemory {
  /** When its last poll came; 0: none has come to this object. */
  seenAt: number;
  /** When its last poll came, or ended. Silence counts from here, unless a poll is open. */
  quietAt: number;
  /** The latest poll that was heard. */
  order: PollOrder | null;
  waiter: NodeWaiter | null;
  /** Slots that hold something this pod does not know, until the node has stopped it. */
  foreign: readonly number[];
  /** What it reported last; null: nothing since this object woke, or since it was given up. */
  reported: ReadonlySet<ReplicaId> | null;
  /** The last answer and when: an unfulfilled wish is repeated, but not in a tight loop. */
  told: { readonly signature: string; readonly at: number } | null;
  /** Poll ids seen, newest last: an older one again is a copy that got stuck on its way. */
  polls: readonly string[];
  /** Read from the table when it is first needed. */
  disk: NodeDisk | null;
  /** It knows what an inventory is, and this pod has none of it. */
  owesInventory: boolean;
  metrics: { readonly figures: NodeMetrics; readonly at: number } | null;
  /** When somebody last looked at its figures; 0: nobody did. */
  watchedAt: number;
  /** It knows that somebody looks. */
  knowsWatched: boolean;
}

/** Why a replica may be of no use: its endpoint may never have heard of it, or it may stay although it has no job. */
export interface Doubt {
  readonly because: "mute" | "draining";
  /** When its endpoint is asked, Unix ms; infinite: it has vouched for it. */
  readonly askAt: number;
  /** It was asked, and has not answered. */
  readonly isAsked: boolean;
}

/** What a node has on its disk. */
export interface NodeDisk {
  readonly inventory: NodeInventory | null;
  readonly builds: ReadonlySet<string>;
  readonly models: ReadonlySet<string>;
}

/** A farewell that was not taken is repeated after about this, with backoff. */
const FAREWELL_REPEAT_MS = 2_000;
/** An alarm that is later than this was held up by the object's absence. */
const ALARM_LATE_MS = 3_000;
/**
 * A node without an open poll for so long is noted as quiet. One that lives asks again within a second or two, so nothing
 * is written for it; an object is in memory for ten seconds after its last call.
 */
export const QUIET_NOTED_MS = 4_000;

/** What the pod's parts share: its tables, its memory, and what they ask of the outside. */
export class PodState {
  readonly db: SqlDatabase;
  readonly world: World;
  readonly store: PodStore;
  readonly nodes: NodeStore;
  readonly memory = new Map<NodeId, NodeMemory>();
  /** When endpoints were asked for replicas of theirs. */
  readonly askedAt = new Map<ReplicaId, number>();
  /** Replicas that are ready or on their way out, since this object woke. */
  readonly doubts = new Map<ReplicaId, Doubt>();
  /** How far replicas were in their start when that was last news: their state and progress, and when they entered it. */
  readonly moved = new Map<
    ReplicaId,
    { readonly mark: string; readonly at: number; readonly tellsProgress: boolean }
  >();
  /** Since when endpoints have had fewer replicas than they want because every slot is taken, Unix ms. */
  readonly shortSince = new Map<EndpointId, number>();
  /** When endpoints were last told to ask again, and how often. */
  readonly termsTold = new Map<EndpointId, { readonly tries: number; readonly again: number }>();
  pod: PodRecord | null = null;
  effects: PodEffect[] = [];
  /** A node that this object has not heard itself counts as heard then. */
  #heardFrom: number;

  constructor(db: SqlDatabase, world: World) {
    this.db = db;
    this.world = world;
    this.store = new PodStore(db);
    this.nodes = new NodeStore(db);
    this.#heardFrom = world.now();
  }

  get settings(): PodSettings {
    return this.pod?.settings ?? DEFAULT_POD_SETTINGS;
  }

  get heardFrom(): number {
    return this.#heardFrom;
  }

  /**
   * Nodes are not lost because this object was away: each waking gives them the time to speak up. But not again and again
   * without a word from any of them, or an object that is thrown out of memory and woken by its alarm would never lose one.
   * Nor does it give those time that were noted as quiet before, unless they should have been given up meanwhile: until
   * then the object could be reached, because a poll would have woken it.
   */
  giveTime(now: number): void {
    const online = this.nodes.all().filter((node) => node.online);
    const wasAway = online.some(({ quietAt }) => quietAt !== null && now > quietAt + NODE_LOST_MS + ALARM_LATE_MS);
    const owed = wasAway ? online : online.filter(({ quietAt }) => quietAt === null);
    if (owed.length === 0) return;
    for (const { id, seenAt, quietAt } of owed) if (quietAt !== null) this.nodes.putQuiet(id, seenAt, null);
    const wokeAt = this.store.wokeAt();
    const missedAlarm = now > wokeAt + NODE_LOST_MS + ALARM_LATE_MS;
    if (wasAway || missedAlarm || owed.some((node) => node.seenAt > wokeAt)) this.store.putWokeAt(now);
    else this.#heardFrom = wokeAt;
  }

  /** Whether this object has heard the node and has no poll of it, which is not written yet. */
  #isQuietUnnoted(node: NodeRecord): boolean {
    const memory = this.memory.get(node.id);
    if (!node.online || memory === undefined || memory.seenAt === 0 || memory.waiter !== null) return false;
    return node.quietAt !== memory.quietAt;
  }

  /** Writes down who has been without an open poll for QUIET_NOTED_MS. */
  noteQuiet(now: number): void {
    for (const node of this.nodes.all()) {
      const memory = this.memory.get(node.id);
      if (memory === undefined || !this.#isQuietUnnoted(node) || now - memory.quietAt < QUIET_NOTED_MS) continue;
      this.nodes.putQuiet(node.id, this.heardAt(node, now), memory.quietAt);
    }
  }

  /** When the next node is to be noted as quiet, Unix ms; null: all have a poll open, or are noted. */
  nextQuiet(): number | null {
    const dues = this.nodes.all().flatMap((node) => {
      const memory = this.memory.get(node.id);
      return memory !== undefined && this.#isQuietUnnoted(node) ? [memory.quietAt + QUIET_NOTED_MS] : [];
    });
    return dues.length === 0 ? null : Math.min(...dues);
  }

  /** A turn was undone: what was read or noted of the tables in it may never have been. */
  undone(pod: PodRecord | null): void {
    this.pod = pod;
    this.store.forget();
    this.nodes.forget();
    for (const memory of this.memory.values()) memory.disk = null;
  }

  remember(nodeId: NodeId): NodeMemory {
    const known = this.memory.get(nodeId);
    if (known !== undefined) return known;
    const memory: NodeMemory = {
      seenAt: 0,
      quietAt: this.#heardFrom,
      order: null,
      waiter: null,
      foreign: [],
      reported: null,
      told: null,
      polls: [],
      disk: null,
      owesInventory: false,
      metrics: null,
      watchedAt: 0,
      knowsWatched: false,
    };
    this.memory.set(nodeId, memory);
    return memory;
  }

  /**
   * Since when the node could have polled and did not. As long as a poll is open it has no reason to: a machine that has
   * died meanwhile is noticed when the poll ends, and one whose agent alone has died at once, because its connection ends.
   */
  silentSince(node: NodeRecord): number {
    const memory = this.memory.get(node.id);
    if (memory === undefined || memory.seenAt === 0) return node.quietAt ?? Math.max(node.seenAt, this.#heardFrom);
    return memory.waiter?.until ?? Math.max(node.seenAt, memory.quietAt);
  }

  isOnline(node: NodeRecord, now: number): boolean {
    return node.online && now - this.silentSince(node) < NODE_LOST_MS;
  }

  diskOf(nodeId: NodeId): NodeDisk {
    const memory = this.remember(nodeId);
    memory.disk ??= diskWith(this.nodes.inventory(nodeId));
    return memory.disk;
  }

  putInventory(nodeId: NodeId, inventory: NodeInventory): void {
    if (JSON.stringify(this.diskOf(nodeId).inventory) === JSON.stringify(inventory)) return;
    this.nodes.putInventory(nodeId, inventory);
    this.remember(nodeId).disk = diskWith(inventory);
  }

  /** The type of a card; null when neither the workspace nor the shipped table knows it. */
  gpuType(gpu: Gpu): string | null {
    return gpuTypeOf(gpu, this.pod?.ownTypes ?? []);
  }

  /** The card that a slot works on: slots go round the cards, as the agent deals them out. */
  cardOf({ gpus }: NodeRecord, slot: number): { readonly card: number; readonly gpu: Gpu | null } {
    const card = gpus.length === 0 ? slot : slot % gpus.length;
    return { card, gpu: gpus[card] ?? null };
  }

  /** When a replica last failed on the card with none getting ready there since; 0: none has. */
  failedAt(node: NodeRecord, card: number): number {
    const onCard = node.trust.failedSlots.filter(({ slot }) => this.cardOf(node, slot).card === card);
    return Math.max(0, ...onCard.map(({ at }) => at));
  }

  slotType(node: NodeRecord, slot: number): string | null {
    const { gpu } = this.cardOf(node, slot);
    return gpu === null ? null : this.gpuType(gpu);
  }

  /** What is on its way out is never taken back. */
  drain(replica: SlotRecord): void {
    if (!replica.draining) this.store.updateReplica({ ...replica, draining: true });
  }

  /** When the node last spoke, Unix ms: later than it was written, as long as this object is awake. */
  heardAt(node: NodeRecord, now: number): number {
    return Math.max(node.seenAt, Math.min(this.memory.get(node.id)?.seenAt ?? 0, now));
  }

  /**
   * The replica is no more: its slot is free, and its endpoint will hear of it.
   * @param heardAt nobody has said so, its node is only not heard of, since then; null: the node has said so
   */
  end(replica: SlotRecord, reason: string, now: number, heardAt: number | null = null): void {
    this.store.deleteReplica(replica.id);
    this.askedAt.delete(replica.id);
    this.moved.delete(replica.id);
    this.doubts.delete(replica.id);
    const { id: replicaId, endpointId } = replica;
    this.say({ replicaId, endpointId, reason, silent: heardAt !== null, heardAt, tries: 0, dueAt: now }, now);
  }

  /** Ends a replica that its node may go on with until it is told: nothing else may come into its slot before. */
  endUnasked(replica: SlotRecord, reason: string, now: number): void {
    this.end(replica, reason, now);
    if (!replica.reported) return;
    const memory = this.remember(replica.nodeId);
    memory.foreign = [...memory.foreign, replica.slot];
  }

  /** Says a farewell, and keeps it to be said again until it is taken. */
  say(farewell: Farewell, now: number): void {
    const tries = farewell.tries + 1;
    const dueAt = now + FAREWELL_REPEAT_MS + retryDelayMs(tries, chance(this.world));
    this.store.putFarewell({ ...farewell, tries, dueAt });
    this.effects.push({ type: "tell_gone", farewell });
  }
}

function diskWith(inventory: NodeInventory | null): NodeDisk {
  return { inventory, builds: new Set(inventory?.builds), models: new Set(inventory?.models) };
}

export const noPod = (): Refusal => refusal("pod_not_found", "There is no such pod.");

export const noNode = (): Refusal => refusal("node_not_found", "The pod has no such node. Join again.");
