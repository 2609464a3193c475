/** What a node's poll says of itself and of what it runs. */
import type { HeldReplica, NodePoll } from "#contract/agent";
import type { NodeId } from "#contract/ids";
import type { Gpu } from "#contract/replica";
import { drainMisplaced } from "#durable-objects/pod/evict";
import { isLeaving, type NodeRecord } from "#durable-objects/pod/node-store";
import { noteMoved } from "#durable-objects/pod/overdue";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { SlotRecord } from "#durable-objects/pod/pod-store";
import { afterCrash, FAST_FAILURE_MS, FAST_FAILURES_MAX, livedLong } from "#durable-objects/replicas/crash-backoff";
import type { NodeHistory } from "#durable-objects/replicas/place";
import { isOver } from "#durable-objects/replicas/replica-record";
import {
  afterCardSwap,
  afterFailureOn,
  afterFastFailure,
  afterLie,
  afterLongLife,
  afterReadyOn,
  afterReturn,
  afterStray,
  cardsOf,
  lieIn,
  type NodeTrust,
  sharedCard,
} from "#durable-objects/replicas/trust";

/** A heartbeat is written this often; in between it lives in memory. */
const SEEN_PERSIST_MS = 30_000;
/** So much of a crash's error is kept. */
const ERROR_LENGTH_MAX = 1_000;

/** The node as its poll states it. */
export function statedBy(poll: NodePoll, known: NodeRecord): NodeRecord {
  return {
    ...known,
    name: poll.name ?? known.name,
    agentVersion: poll.agent_version ?? known.agentVersion,
    region: poll.region ?? null,
    comfyui: poll.comfyui,
    gpus: poll.gpus,
    slots: poll.slots,
    slotsPerGpu: poll.slots_per_gpu ?? known.slotsPerGpu,
    draining: poll.draining,
    online: true,
    quietAt: null,
    order: poll.order ?? null,
  };
}

/** @param force write it, because the poll has changed something else already */
export function noteNode(state: PodState, known: NodeRecord, stated: NodeRecord, force: boolean, now: number): void {
  const isFresh = now - known.seenAt < SEEN_PERSIST_MS && known.seenAt > state.heardFrom;
  const same = JSON.stringify({ ...stated, order: null }) === JSON.stringify({ ...known, order: null });
  if (!force && same && isFresh) return;
  state.nodes.putStated({ ...stated, seenAt: now });
  const moved = stated.region !== known.region || JSON.stringify(stated.gpus) !== JSON.stringify(known.gpus);
  if (moved) drainMisplaced(state);
}

/** Weighs what the poll says against what was known of the node before it. */
export function noteTrust(
  state: PodState,
  known: NodeRecord,
  poll: NodePoll,
  lastStart: number | null,
  now: number,
): void {
  if (!known.online) judge(state, known.id, (trust) => afterReturn(trust, now));
  const start = poll.order?.start ?? null;
  // One that does not number its starts may have been started anew while it was away.
  const before = start === null && !known.online ? poll.gpus : known.gpus;
  const lie =
    lieIn(
      { gpus: poll.gpus, slots: poll.slots, slotsPerGpu: poll.slots_per_gpu ?? null, start },
      { gpus: before, slots: known.slots, slotsPerGpu: known.slotsPerGpu, start: lastStart },
    ) ?? twinOf(state, known, poll.gpus, now);
  if (lie !== null) judge(state, known.id, (trust) => afterLie(trust, lie, now));
  else if (cardsOf(poll.gpus) !== cardsOf(before)) judge(state, known.id, (trust) => afterCardSwap(trust, now));
}

/**
 * Whether a card of the node's is another's, who has joined before and is there: two agents on one machine, or an invented
 * one. A machine that joins anew leaves a node behind that is not heard of again.
 * @returns the reason in words; null when there is none
 */
export function twinOf(
  state: PodState,
  node: Pick<NodeRecord, "id" | "joinedAt">,
  gpus: readonly Gpu[],
  now: number,
): string | null {
  for (const other of state.nodes.all()) {
    const isEarlier = other.joinedAt < node.joinedAt || (other.joinedAt === node.joinedAt && other.id < node.id);
    if (!isEarlier || !state.isOnline(other, now)) continue;
    const memory = state.memory.get(other.id);
    const isThere = memory !== undefined && (memory.waiter !== null || memory.seenAt > node.joinedAt);
    const card = isThere ? sharedCard(gpus, other.gpus) : null;
    if (card !== null) return `Its card ${card} is that of the node ${other.name} (${other.id}) as well.`;
  }
  return null;
}

/** Takes note of what the node runs. @returns what has changed by it, the weightiest */
export function noteReplicas(
  state: PodState,
  node: NodeRecord,
  reported: readonly HeldReplica[],
  now: number,
): "none" | "states" | "ends" {
  const byId = new Map(reported.map((held) => [held.replica_id, held]));
  const lost: Ended[] = [];
  let ended = false;
  let entered = false;
  const here = state.store.replicasOn(node.id);
  for (const replica of here) {
    const held = byId.get(replica.id);
    const isUnasked = !replica.draining && !isLeaving(node);
    const hasFailed = isUnasked && !livedLong(replica.readyAt, now);
    if (held === undefined) {
      // One that was never reported may be on its way to the node, unless it is not wanted any more.
      if (!replica.reported && !replica.draining) continue;
      const reason = "The node no longer has the replica.";
      if (hasFailed) lost.push({ replica, reason });
      else if (!isUnasked) noteLife(state, replica, now);
      state.end(replica, reason, now);
      ended = true;
    } else if (isOver(held.state)) {
      const reason = held.error ?? (held.state === "crashed" ? "The replica crashed." : "The replica stopped.");
      if (held.state === "crashed") noteCrash(state, replica, held.error, now);
      else if (hasFailed) lost.push({ replica, reason });
      else {
        noteLife(state, replica, now);
        if (replica.readyAt !== null) judge(state, node.id, afterLongLife);
      }
      state.end(replica, reason, now);
      ended = true;
    } else {
      noteMoved(state, held, now);
      if (noteState(state, replica, held, node, now)) entered = true;
    }
  }
  noteLost(state, lost, now);
  noteForeign(state, node.id, here, reported, now);
  if (ended) return "ends";
  return entered ? "states" : "none";
}

interface Ended {
  readonly replica: SlotRecord;
  readonly reason: string;
}

/**
 * Replicas that have ended soon although nobody asked for it, with no word of a crash. A machine that starts its agent anew
 * loses all at once, which is one failure of each endpoint's and one of the machine. Those that have lived are no failure:
 * their endpoint may have told them to stop, and the pod hears of it later.
 */
function noteLost(state: PodState, lost: readonly Ended[], now: number): void {
  const byEndpoint = new Map(lost.map((each) => [each.replica.endpointId, each]));
  for (const { replica, reason } of byEndpoint.values()) notePause(state, replica, reason, now);
  const [first] = lost;
  if (first !== undefined) noteMachine(state, first.replica, first.reason, now);
  for (const { replica } of lost) judge(state, replica.nodeId, (trust) => afterFailureOn(trust, replica.slot, now));
}

/**
 * What it runs and was not given here holds its slot until it has stopped it. After a silence that is what it went on
 * with; under a living session it comes from nowhere, and speaks against the node.
 */
function noteForeign(
  state: PodState,
  nodeId: NodeId,
  here: readonly SlotRecord[],
  reported: readonly HeldReplica[],
  now: number,
): void {
  const memory = state.remember(nodeId);
  const known = new Set(here.map(({ id }) => id));
  const foreign = reported.filter((held) => !known.has(held.replica_id) && !isOver(held.state));
  memory.foreign = foreign.map(({ slot }) => slot);
  const before = memory.reported;
  memory.reported = new Set(reported.map(({ replica_id }) => replica_id));
  if (before === null) return;
  for (const held of foreign) {
    if (!before.has(held.replica_id)) judge(state, nodeId, (trust) => afterStray(trust, now));
  }
}

/** @returns whether it was news */
function noteState(state: PodState, replica: SlotRecord, held: HeldReplica, node: NodeRecord, now: number): boolean {
  const works = held.state === "ready" || held.state === "busy";
  // Busy and ready follow each other with every job, and capacity does not care which it is.
  const stated = held.state === "busy" ? "ready" : held.state;
  const draining = replica.draining || isLeaving(node) || replica.slot >= node.slots || stated === "draining";
  if (replica.reported && stated === replica.state && draining === replica.draining) return false;
  state.store.updateReplica({
    ...replica,
    state: stated,
    draining,
    reported: true,
    readyAt: replica.readyAt ?? (works ? now : null),
  });
  if (works && replica.readyAt === null) {
    judge(state, node.id, (trust) => afterReadyOn(trust, replica.slot));
    const history = state.store.history(replica.endpointId, node.id);
    state.store.putHistory(replica.endpointId, node.id, {
      failures: history?.failures ?? 0,
      backoffUntil: history?.backoffUntil ?? 0,
      crashedAt: history?.crashedAt ?? 0,
      lastError: history?.lastError ?? null,
      lastReadyAt: now,
    });
  }
  return true;
}

/** It has gone as it was told to: one that has run for long ends the row of failures before it. */
function noteLife(state: PodState, { endpointId, nodeId, readyAt }: SlotRecord, now: number): void {
  if (!livedLong(readyAt, now)) return;
  const history = state.store.history(endpointId, nodeId);
  if (history === null || history.failures === 0) return;
  state.store.putHistory(endpointId, nodeId, { ...history, failures: 0, backoffUntil: 0 });
}

function noteCrash(state: PodState, replica: SlotRecord, said: string | null | undefined, now: number): void {
  noteFailure(state, replica, said ? cut(said) : null, now);
}

/** The replica has failed here: its endpoint pauses on the node, and the machine is judged by it. */
export function noteFailure(state: PodState, replica: SlotRecord, error: string | null, now: number): void {
  notePause(state, replica, error, now);
  if (livedLong(replica.readyAt, now)) {
    judge(state, replica.nodeId, afterLongLife);
    return;
  }
  noteMachine(state, replica, error, now);
  judge(state, replica.nodeId, (trust) => afterFailureOn(trust, replica.slot, now));
}

function notePause(state: PodState, replica: SlotRecord, error: string | null, now: number): void {
  const { endpointId, nodeId, readyAt } = replica;
  const known = state.store.history(endpointId, nodeId);
  const failures = known === null || runsWell(state, { endpointId, nodeId }, known, now) ? 0 : known.failures;
  const after = afterCrash({ failures, until: known?.backoffUntil ?? 0 }, readyAt, now);
  state.store.putHistory(endpointId, nodeId, {
    lastReadyAt: known?.lastReadyAt ?? 0,
    failures: after.failures,
    backoffUntil: after.until,
    crashedAt: now,
    lastError: error,
  });
}

function noteMachine(state: PodState, replica: SlotRecord, error: string | null, now: number): void {
  const { endpointId, nodeId } = replica;
  const failure = {
    build: state.store.demand(endpointId)?.build ?? endpointId,
    runsElsewhere: [...(state.store.histories().get(endpointId) ?? [])].some(
      ([other, { lastReadyAt, failures }]) => other !== nodeId && lastReadyAt > 0 && failures < FAST_FAILURES_MAX,
    ),
    worksHere: state.store.replicasOn(nodeId).some((other) => other.id !== replica.id && livedLong(other.readyAt, now)),
    error,
  };
  judge(state, nodeId, (trust) => afterFastFailure(trust, failure, now));
}

/** Whether the endpoint has a replica on the node that has come to live long since the latest crash there. */
export function runsWell(
  state: PodState,
  { endpointId, nodeId }: Pick<SlotRecord, "endpointId" | "nodeId">,
  { crashedAt }: Pick<NodeHistory, "crashedAt">,
  now: number,
): boolean {
  return state.store
    .replicasOn(nodeId)
    .filter((replica) => replica.endpointId === endpointId && livedLong(replica.readyAt, now))
    .some(({ readyAt }) => (readyAt ?? 0) + FAST_FAILURE_MS > crashedAt);
}

/** Changes how far a node is trusted; what stays as it was is not written. */
export function judge(state: PodState, nodeId: NodeId, change: (trust: NodeTrust) => NodeTrust): void {
  const node = state.nodes.get(nodeId);
  if (node === null) return;
  const trust = change(node.trust);
  if (trust !== node.trust) state.nodes.putTrust(nodeId, trust);
}

/** No more than ERROR_LENGTH_MAX, and no half of a character at its end. */
function cut(text: string): string {
  return text.length <= ERROR_LENGTH_MAX ? text : text.slice(0, ERROR_LENGTH_MAX).replace(/[\uD800-\uDBFF]$/, "");
}
