import type { ReplicaReport } from "#contract/agent";
import type { NodeId, ReplicaId } from "#contract/ids";
import { REPLICA_LOST_MS } from "#contract/limits";
import type { Replica } from "#contract/replica";
import { capacityOf, numbersOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import type { PlacedReplica } from "#durable-objects/pod/rpc";
import { loseLease } from "#durable-objects/queue/transition";
import { enter, isCapacity, isOver, isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import { chance } from "#durable-objects/sql/database";

/** Crashed replicas are shown for this long, with their error. */
const CRASHED_SHOWN_MS = 60 * 60_000;

/** A replica the pod has placed becomes known, unless the news of its end was faster. */
export function admit(state: EndpointState, id: ReplicaId, nodeId: NodeId, now: number, gpuType?: string | null): void {
  if (state.hasEnded(id)) return;
  const { raisedAt } = state.demand;
  const requestedAt = raisedAt > 0 && raisedAt < now ? raisedAt : now;
  state.replicas.put({
    id,
    nodeId,
    gpuType,
    state: "placed",
    release: state.config?.release ?? 1,
    error: null,
    draining: state.config?.removed ?? true,
    startedAt: now,
    changes: [
      { state: "requested", at: requestedAt },
      { state: "placed", at: now },
    ],
    phases: [],
  });
}

/** The replica says how it stands. @returns null once its process is over */
export function report(
  state: EndpointState,
  known: ReplicaRecord,
  message: ReplicaReport,
  now: number,
): ReplicaRecord | null {
  if (isOver(known.state)) return null;
  if (message.state === "stopped") {
    loseLeases(state, known.id, message.error ?? "The replica stopped.", now);
    gone(state, known.id);
    return null;
  }
  const stated = message.state === "busy" ? "ready" : message.state === "requested" ? "placed" : message.state;
  // Who waits for work has started: news of its start is late then, and must not take it out of the choice.
  const isLate = isStarting(stated) && state.waiters.has(known.id);
  const entered = isLate ? known : enter(known, stated, now);
  const replica: ReplicaRecord = {
    ...entered,
    error: message.error ?? (stated === "crashed" ? "The replica crashed." : null),
    phases: message.phases.length > 0 ? message.phases : known.phases,
  };
  if (
    entered !== known ||
    replica.error !== known.error ||
    JSON.stringify(replica.phases) !== JSON.stringify(known.phases)
  ) {
    state.replicas.put(replica);
  }
  if (stated === "crashed") {
    loseLeases(state, known.id, replica.error ?? "The replica crashed.", now);
    state.due(now + CRASHED_SHOWN_MS);
    dismiss(state, known.id);
    return null;
  }
  if (stated === "draining") dismiss(state, known.id);
  if (stated === "ready" && entered !== known) state.used(known.id, now);
  return replica;
}

/** A replica that asks for work is ready. @returns null when it should stop */
export function polled(state: EndpointState, known: ReplicaRecord, now: number): ReplicaRecord | null {
  if (isOver(known.state) || known.state === "draining") return null;
  state.due(now + REPLICA_LOST_MS);
  if (!isStarting(known.state)) return known;
  const ready = enter(known, "ready", now);
  state.replicas.put(ready);
  state.used(ready.id, now);
  return ready;
}

/** Lets a replica go: it finishes the job in hand and stops. */
export function drain(state: EndpointState, replica: ReplicaRecord): void {
  if (replica.draining || isOver(replica.state)) return;
  state.replicas.put({ ...replica, draining: true });
  dismiss(state, replica.id);
}

/** The pod needs the slot. Given up only when the replica is idle and not needed here, judged now. */
export function reclaim(state: EndpointState, id: ReplicaId): boolean {
  const replica = state.replicas.get(id);
  if (replica === null || isOver(replica.state) || state.held(id) > 0) return false;
  if (replica.draining) return true;
  if (capacityOf(state).length <= numbersOf(state).needed) return false;
  drain(state, replica);
  return true;
}

/** The replica is no more. Its leases live on, for as long as somebody is heard under them, unless they are lost apart. */
export function gone(state: EndpointState, id: ReplicaId): void {
  state.replicaEnded(id);
  dismiss(state, id);
  const replica = state.replicas.get(id);
  if (replica !== null && replica.state !== "crashed") state.forgetReplica(id);
}

/** Takes the pod's word for which replicas there are. Those admitted since the question was sent are not missing. */
export function reconcile(state: EndpointState, placed: readonly PlacedReplica[], sentAt: number, now: number): void {
  const there = new Set(placed.map(({ replicaId }) => replicaId));
  for (const { replicaId, nodeId, gpuType } of placed) {
    const known = state.replicas.get(replicaId);
    if (known === null) admit(state, replicaId, nodeId, now, gpuType);
    else if (known.gpuType !== gpuType) state.replicas.put({ ...known, gpuType });
  }
  for (const replica of state.replicas.all()) {
    if (!there.has(replica.id) && !isOver(replica.state) && replica.startedAt < sentAt) {
      gone(state, replica.id);
    }
  }
}

/** Drains what is above max_replicas: idle replicas first, then starting ones, then those at work. */
export function drainSurplus(state: EndpointState): void {
  const max = state.config === null || state.config.removed ? 0 : state.config.settings.max_replicas;
  const capacity = capacityOf(state);
  const cost = (replica: ReplicaRecord): number => (state.held(replica.id) > 0 ? 2 : isStarting(replica.state) ? 1 : 0);
  const surplus = capacity.toSorted((a, b) => cost(a) - cost(b) || state.usedAt(a.id) - state.usedAt(b.id));
  for (const replica of surplus.slice(0, Math.max(0, capacity.length - max))) drain(state, replica);
}

/**
 * Drains replicas that have idled for too long and are not needed, the longest idle first.
 * @returns when the next one will have idled for too long
 */
export function drainIdle(state: EndpointState, now: number): number | null {
  const { config } = state;
  if (config === null) return null;
  const capacity = capacityOf(state);
  const timeout = config.settings.idle_timeout_s * 1_000;
  let spare = capacity.length - numbersOf(state).needed;
  const idle = capacity
    .filter((replica) => replica.state === "ready" && state.held(replica.id) === 0)
    .toSorted((a, b) => state.usedAt(a.id) - state.usedAt(b.id));
  for (const replica of idle) {
    if (spare <= 0) return null;
    const until = state.usedAt(replica.id) + timeout;
    if (until > now) return until;
    drain(state, replica);
    spare -= 1;
  }
  return null;
}

/**
 * Gives up on replicas that should have asked for work and did not: the pod is told to stop them. Those still starting are watched by the pod, through their node. Old crashes are forgotten.
 * @returns when to look again
 */
export function giveUpSilent(state: EndpointState, now: number): number | null {
  let due: number | null = null;
  const later = (at: number): void => {
    due = due === null ? at : Math.min(due, at);
  };
  for (const replica of state.replicas.all()) {
    if (isOver(replica.state)) {
      const until = (replica.changes.at(-1)?.at ?? replica.startedAt) + CRASHED_SHOWN_MS;
      if (until <= now) state.forgetReplica(replica.id);
      else later(until);
    } else if (isCapacity(replica) && !isStarting(replica.state)) {
      // One that holds a lease is watched by the lease.
      if (state.held(replica.id) > 0) continue;
      const until = Math.max(state.seenAt(replica.id), state.usedAt(replica.id)) + REPLICA_LOST_MS;
      if (until > now) later(until);
      else drain(state, replica);
    }
  }
  return due;
}

/** The replicas as the API shows them. */
export function listed(state: EndpointState): Replica[] {
  const { config } = state;
  if (config === null) return [];
  return state.replicas.all().map((replica) => ({
    id: replica.id,
    endpoint_id: config.endpointId,
    node_id: replica.nodeId,
    state: isOver(replica.state)
      ? replica.state
      : replica.draining
        ? "draining"
        : replica.state === "ready" && state.held(replica.id) > 0
          ? "busy"
          : replica.state,
    release: replica.release,
    error: replica.error,
    started_at: new Date(replica.startedAt).toISOString(),
    phases: [...replica.phases],
  }));
}

/** All leases of the replica are lost. */
export function loseLeases(state: EndpointState, id: ReplicaId, reason: string, now: number): void {
  for (const stored of state.jobs.runningOf(id)) {
    const job = state.live.renewed(stored);
    state.leaseEnded(job, loseLease(job, reason, now, chance(state.world)), "lost", [], now);
  }
}

/** Sends its waiting poll home with the word to stop. */
function dismiss(state: EndpointState, id: ReplicaId): void {
  const waiter = state.waiters.get(id);
  if (waiter !== undefined) state.answer(waiter, { lease: null, ended: [], stop: true });
}
