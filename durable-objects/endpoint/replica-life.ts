import type { ReplicaReport } from "#contract/agent";
import type { PodId, ReplicaId } from "#contract/ids";
import { REPLICA_LOST_MS } from "#contract/limits";
import { atInteractiveWork, capacityOf, numbersOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isOnErrand } from "#durable-objects/endpoint/errands";
import { poolOfPod } from "#durable-objects/endpoint/pods-of-endpoint";
import { noteBooted } from "#durable-objects/endpoint/scaling-events";
import type { PlacedReplica } from "#durable-objects/pod/rpc";
import { loseLease } from "#durable-objects/queue/transition";
import {
  enter,
  isCapacity,
  isOver,
  isStarting,
  mayReturn,
  type ReplicaRecord,
  returned,
} from "#durable-objects/replicas/replica-record";
import { chance } from "#durable-objects/sql/database";

/** Replicas that have ended are shown for this long: crashed ones with their error, all with their log. */
export const ENDED_SHOWN_MS = 60 * 60_000;
/** And no more than so many of them. */
const ENDED_KEPT = 50;

/**
 * A replica the pod has placed becomes known, unless the news of its end was faster.
 * @param askedAt when the pod was asked
 */
export function admit(
  state: EndpointState,
  {
    id,
    nodeId,
    podId,
    gpuType,
    slotsOnCard,
  }: Pick<ReplicaRecord, "id" | "nodeId" | "podId" | "gpuType" | "slotsOnCard">,
  askedAt: number,
  now: number,
): void {
  if (state.presence.hasEnded(id, askedAt)) return;
  const raisedAt = state.demands.get(podId)?.raisedAt ?? 0;
  const requestedAt = raisedAt > 0 && raisedAt < now ? raisedAt : now;
  state.replicas.put({
    id,
    nodeId,
    podId,
    gpuType,
    slotsOnCard,
    build: undefined,
    state: "placed",
    release: state.config?.release ?? 1,
    error: null,
    draining: mayNotWork(state, podId),
    replacedSince: null,
    inPlaceOf: null,
    startedAt: now,
    changes: [
      { state: "requested", at: requestedAt },
      { state: "placed", at: now },
    ],
    phases: [],
  });
}

function mayNotWork(state: EndpointState, podId: PodId): boolean {
  return state.config === null || state.config.removed || poolOfPod(state, podId) === null;
}

/**
 * The pod has the replica that it had given up: its node is back, and it never ended. It goes on as it was; its leases
 * are those that have not run out.
 * @param askedAt when the pod was asked
 */
export function takeBack(state: EndpointState, known: ReplicaRecord, askedAt: number, now: number): void {
  if (!mayReturn(known) || state.presence.hasEnded(known.id, askedAt)) return;
  state.presence.returned(known.id, now);
  const back = { ...returned(known, now), draining: mayNotWork(state, known.podId) };
  state.replicas.accounts.reopen(back, now);
  state.replicas.put(back);
  // Its silence is explained; from now on it is to be heard of again.
  state.presence.seen(known.id, now);
  state.due(now + REPLICA_LOST_MS);
}

/** Whether it speaks as one that goes on, while its pod has said that it is no more: the pod has to be asked. */
export function isInDoubt(known: ReplicaRecord, says: ReplicaReport["state"]): boolean {
  return mayReturn(known) && !isOver(says) && says !== "draining";
}

/** The replica says how it stands. @returns null once its process is over */
export function report(
  state: EndpointState,
  known: ReplicaRecord,
  message: ReplicaReport,
  now: number,
): ReplicaRecord | null {
  // The pod was faster to say that it is over; why, it says itself.
  const isCrashToo = known.state === "stopped" && message.state === "crashed";
  if (isOver(known.state) && !isCrashToo) {
    if (message.log !== undefined) state.news.save(known.id);
    state.news.ended(known.id);
    return null;
  }
  if (message.state === "stopped") {
    loseLeases(state, known.id, message.error ?? "The replica stopped.", now);
    gone(state, known.id, now, { error: message.error ?? null, unseenAt: null });
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
    ...remade(state, known, message),
  };
  if (
    entered !== known ||
    replica.error !== known.error ||
    replica.build !== known.build ||
    JSON.stringify(replica.phases) !== JSON.stringify(known.phases)
  ) {
    state.replicas.put(replica);
  }
  if (stated === "crashed") {
    ended(state, known.id, now);
    loseLeases(state, known.id, replica.error ?? "The replica crashed.", now);
    state.due(now + ENDED_SHOWN_MS);
    dismiss(state, known.id);
    return null;
  }
  if (stated === "draining") dismiss(state, known.id);
  if (stated === "ready" && entered !== known) {
    if (isStarting(known.state)) noteBooted(state, known, now);
    state.presence.used(known.id, now);
    state.news.save(known.id);
  }
  return replica;
}

/** The build it says it runs. One that has made itself one of the active release's needs no other in its place. */
function remade(
  state: EndpointState,
  known: ReplicaRecord,
  { build = known.build }: ReplicaReport,
): Pick<ReplicaRecord, "build" | "replacedSince"> {
  const isRemade = build !== known.build && known.build !== undefined && build === state.config?.needs?.build;
  return { build, replacedSince: isRemade ? null : known.replacedSince };
}

/** A replica that asks for work is ready. @returns null when it should stop */
export function polled(state: EndpointState, known: ReplicaRecord, now: number): ReplicaRecord | null {
  if (isOver(known.state) || known.state === "draining") return null;
  state.due(now + REPLICA_LOST_MS);
  if (!isStarting(known.state)) return known;
  const ready = enter(known, "ready", now);
  state.replicas.put(ready);
  state.effect({ type: "replica_changed" });
  noteBooted(state, known, now);
  state.presence.used(ready.id, now);
  state.news.save(ready.id);
  return ready;
}

/** Lets a replica go: it finishes the job in hand and stops. */
export function drain(state: EndpointState, replica: ReplicaRecord): void {
  if (replica.draining || isOver(replica.state)) return;
  state.replicas.put({ ...replica, draining: true });
  dismiss(state, replica.id);
}

/**
 * The pod needs the slot. Given up only when the replica is not needed here, judged now: when it idles, or does a batch job,
 * which it finishes first.
 * @param onlyBatch only in the latter case: another endpoint's backlog is to share with this one's, and must not cost the
 *   replicas that are kept for interactive jobs
 */
export function reclaim(state: EndpointState, id: ReplicaId, onlyBatch: boolean, now: number): boolean {
  const replica = state.replicas.get(id);
  if (replica === null || isOver(replica.state) || isOnErrand(state, id)) return false;
  if (atInteractiveWork(state).has(id)) return false;
  if (replica.draining) return true;
  if (onlyBatch && state.held(id) === 0) return false;
  if (capacityOf(state).length <= numbersOf(state).needed) return false;
  const pool = poolOfPod(state, replica.podId);
  if (pool !== null) state.scaling.takenBack(pool.name, now);
  drain(state, replica);
  return true;
}

export interface End {
  /** null: it went as it was told to. */
  readonly error: string | null;
  /** When its pod said so without having seen it; null: it is so for good. */
  readonly unseenAt: number | null;
}

/**
 * The replica is no more. Its leases live on, for as long as somebody is heard under them, unless they are lost apart.
 * @param at when its process was over, as far as anybody knows
 */
export function gone(state: EndpointState, id: ReplicaId, at: number, { error, unseenAt }: End): void {
  state.replicaEnded(id, unseenAt);
  const waiter = state.waiters.get(id);
  // One that is there all the same asks again, and finds out whether its pod takes it up.
  if (waiter !== undefined) state.answer(waiter, { lease: null, ended: [], stop: unseenAt === null });
  const replica = state.replicas.get(id);
  if (replica === null || isOver(replica.state)) return;
  state.effect({ type: "replica_changed" });
  const stopped = enter(replica, "stopped", at);
  const last = stopped.changes.at(-1);
  const isUnseen = unseenAt !== null && !replica.draining && replica.state !== "draining" && last !== undefined;
  const changes = isUnseen ? [...stopped.changes.slice(0, -1), { ...last, unseen: true as const }] : stopped.changes;
  state.replicas.put({ ...stopped, changes, error: error ?? replica.error });
  ended(state, id, at);
}

/** Its log is kept, and of those that ended long ago nothing. */
function ended(state: EndpointState, id: ReplicaId, now: number): void {
  state.news.save(id);
  state.news.ended(id);
  const over = state.replicas
    .all()
    .filter((replica) => isOver(replica.state))
    .toSorted((a, b) => endedAt(b) - endedAt(a));
  for (const [index, replica] of over.entries()) {
    if (index >= ENDED_KEPT || endedAt(replica) + ENDED_SHOWN_MS <= now) state.forgetReplica(replica.id);
  }
}

/** When it ended, if it has. */
export function endedAt(replica: ReplicaRecord): number {
  return replica.changes.at(-1)?.at ?? replica.startedAt;
}

/** Takes a pod's word for which replicas it has. Those admitted or taken back since the question was sent are not missing. */
export function reconcile(
  state: EndpointState,
  podId: PodId,
  placed: readonly PlacedReplica[],
  sentAt: number,
  now: number,
): void {
  const there = new Set(placed.map(({ replicaId }) => replicaId));
  for (const { replicaId, nodeId, gpuType, slotsOnCard } of placed) {
    const known = state.replicas.get(replicaId);
    if (known === null) admit(state, { id: replicaId, nodeId, podId, gpuType, slotsOnCard }, sentAt, now);
    else if (isOver(known.state)) takeBack(state, known, sentAt, now);
    else if (known.gpuType !== gpuType || known.slotsOnCard !== slotsOnCard) {
      state.replicas.put({ ...known, gpuType, slotsOnCard });
    }
  }
  for (const replica of state.replicas.all()) {
    if (replica.podId !== podId || there.has(replica.id) || isOver(replica.state)) continue;
    if (Math.max(replica.startedAt, state.presence.returnedAt(replica.id)) >= sentAt) continue;
    // One that was told to stop has done so just now, and said so to the pod alone. One that starts says nothing for minutes.
    const isQuiet = replica.draining || isStarting(replica.state);
    const aliveUntil = isQuiet ? now : (state.presence.aliveUntil(replica.id) ?? now);
    const end = replica.draining
      ? { error: null, unseenAt: null }
      : { error: "The pod no longer has the replica.", unseenAt: now };
    gone(state, replica.id, Math.min(now, aliveUntil), end);
  }
}

/** Drains what is on pods that the endpoint has left. */
export function drainLeft(state: EndpointState): void {
  for (const replica of state.replicas.all()) {
    if (state.config?.pods.every(({ podId }) => podId !== replica.podId)) drain(state, replica);
  }
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
      const until = endedAt(replica) + ENDED_SHOWN_MS;
      if (until <= now) state.forgetReplica(replica.id);
      // One that stopped as it should is worth no waking.
      else if (replica.state === "crashed") later(until);
    } else if (isCapacity(replica) && !isStarting(replica.state)) {
      // One that holds a lease is watched by the lease.
      if (state.held(replica.id) > 0) continue;
      const heardAt = Math.max(state.presence.seenAt(replica.id), state.presence.aliveUntil(replica.id) ?? 0);
      const until = Math.max(heardAt, state.presence.usedAt(replica.id)) + REPLICA_LOST_MS;
      if (until > now) later(until);
      else drain(state, replica);
    }
  }
  return due;
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
