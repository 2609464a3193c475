/** A replica's long-poll for work: what it holds is compared with what it was given, then it takes part in the match. */
import type { CompleteLease, Lease, ReplicaPoll, ReplicaPollAnswer } from "#contract/agent";
import type { LeaseId, ReplicaId } from "#contract/ids";
import { LEASE_CONFIRM_MS, LONG_POLL_MS } from "#contract/limits";
import type { EndpointState, Waiter } from "#durable-objects/endpoint/endpoint-state";
import { errandOfPoll, notePoller, takeErrand } from "#durable-objects/endpoint/errands";
import { dispatch, presentLease, wireLease } from "#durable-objects/endpoint/matcher";
import { turnGate } from "#durable-objects/endpoint/release-gate";
import { polled } from "#durable-objects/endpoint/replica-life";
import type { Reply } from "#durable-objects/endpoint/rpc";
import type { RunningJob } from "#durable-objects/queue/job-record";
import { GIVE_BACK_QUIET_MS, LEASES_PER_REPLICA_MAX, lastHeardAt } from "#durable-objects/queue/lease";
import { handBack } from "#durable-objects/queue/transition";
import type { ReplicaRecord } from "#durable-objects/replicas/replica-record";
import { chance } from "#durable-objects/sql/database";

/** The replica must first be verified with the pod: `admitReplica`, then ask again. */
export interface Unverified {
  readonly type: "unverified";
}
export type PollOutcome =
  | { readonly type: "answered"; readonly reply: Reply<{ answer: ReplicaPollAnswer }> }
  /** The poll waits in the core; its answer comes as an effect within `ms`, or the shell abandons it then. */
  | { readonly type: "waiting"; readonly ms: number }
  | Unverified;

const EMPTY: ReplicaPollAnswer = { lease: null, ended: [], stop: false };

/**
 * A replica asks for work.
 * @param known the replica, verified before
 */
export function pollReplica(state: EndpointState, known: ReplicaRecord, poll: ReplicaPoll, now: number): PollOutcome {
  const { id } = known;
  state.presence.seen(id, now);
  // A new poll replaces the old one: whoever sent that has given up on it.
  const old = state.waiters.get(id);
  if (old !== undefined) state.answer(old, EMPTY);
  const replica = polled(state, known, now);
  const again = reconcile(state, id, poll, now);
  const ended = poll.leases.filter((held) => !lives(state, held.lease_id, held.token, id)).map((held) => held.lease_id);
  if (again !== null) return answered({ lease: again, ended, stop: false });
  notePoller(state, id, poll.verifies === true);
  const errand = errandOfPoll(state, id, poll, now);
  if (errand !== null) return answered({ lease: null, ended, stop: false, verify: { release: errand } });
  const waiter: Waiter = {
    replicaId: id,
    nodeId: known.nodeId,
    pollId: poll.poll_id,
    listed: poll.leases.map((held) => held.lease_id),
  };
  if (replica === null || replica.draining) {
    dispatch(state, now);
    return answered({ lease: null, ended, stop: true });
  }
  const overdue = takeErrand(state, replica, poll.poll_id, false, now);
  if (overdue !== null) return answered({ lease: null, ended, stop: false, verify: { release: overdue } });
  const lease = poll.leases.length < LEASES_PER_REPLICA_MAX ? matchNow(state, waiter, now) : null;
  const idle = lease === null && poll.leases.length === 0 ? takeErrand(state, replica, poll.poll_id, true, now) : null;
  if (idle !== null) return answered({ lease: null, ended, stop: false, verify: { release: idle } });
  const ms = Math.min(poll.wait_ms, LONG_POLL_MS);
  if (lease !== null || ended.length > 0 || ms === 0) return answered({ lease, ended, stop: false });
  state.waiters.set(id, waiter);
  return { type: "waiting", ms };
}

/**
 * A complete goes on as the poll it names, which lists no leases.
 * @returns how long it waits, ms; null when the replica has to ask: for now it gets nothing
 */
export function waitOn(state: EndpointState, replicaId: ReplicaId, message: CompleteLease): number | null {
  const { next_poll_id: pollId, next_wait_ms: wishMs } = message;
  const replica = state.replicas.get(replicaId);
  if (pollId === undefined || wishMs === undefined || replica === null) return null;
  // One whose late news has made it look unready gets nothing either, until it asks.
  if (replica.state !== "ready" || replica.draining || state.held(replicaId) > 0) return null;
  const old = state.waiters.get(replicaId);
  if (old !== undefined) state.answer(old, EMPTY);
  state.waiters.set(replicaId, { replicaId, nodeId: replica.nodeId, pollId, listed: [] });
  return Math.min(wishMs, LONG_POLL_MS);
}

/**
 * Compares what the replica says it holds with what it was given. What it does not list it has lost, unless it was
 * heard of so lately that the poll may be older.
 * @returns the lease that this very poll was answered with before
 */
function reconcile(state: EndpointState, replicaId: ReplicaId, poll: ReplicaPoll, now: number): Lease | null {
  const listed = new Set(poll.leases.map((held) => held.lease_id));
  let again: Lease | null = null;
  for (const stored of state.jobs.runningOf(replicaId)) {
    const job = state.live.renewed(stored);
    if (listed.has(job.lease.id)) continue;
    if (presentLease(job)?.pollId === poll.poll_id) {
      again = grantedTo(state, replicaId, poll.poll_id, now);
    } else if (job.lease.confirmed && now - lastHeardAt(job.lease) >= GIVE_BACK_QUIET_MS) {
      const after = handBack(job, "The replica no longer has the lease.", now, chance(state.world));
      state.leaseEnded(job, after, "lost", [], now);
    }
  }
  return again;
}

/** The living lease that a poll was answered with. Asking again before the first message starts its time anew. */
export function grantedTo(state: EndpointState, replicaId: ReplicaId, pollId: string, now: number): Lease | null {
  for (const job of state.jobs.runningOf(replicaId)) {
    const payload = presentLease(job)?.pollId === pollId ? state.jobs.payload(job.id) : null;
    if (payload === null) continue;
    if (job.lease.confirmed) return wireLease(state, job, payload, now);
    const waiting: RunningJob = { ...job, lease: { ...job.lease, until: now + LEASE_CONFIRM_MS } };
    state.jobs.putRunning(waiting, null);
    state.due(waiting.lease.until);
    return wireLease(state, waiting, payload, now);
  }
  return null;
}

function lives(state: EndpointState, leaseId: LeaseId, token: string, replicaId: ReplicaId): boolean {
  return state.jobs.runningOf(replicaId).some((job) => job.lease.id === leaseId && presentLease(job)?.token === token);
}

/** Gives what is to be tried to replicas that wait for work. */
export function sendErrands(state: EndpointState, now: number): void {
  turnGate(state, now);
  for (const waiter of [...state.waiters.values()]) {
    const replica = state.replicas.get(waiter.replicaId);
    if (replica === null || waiter.listed.length > 0) continue;
    const release = takeErrand(state, replica, waiter.pollId, true, now);
    if (release !== null) state.answer(waiter, { lease: null, ended: [], stop: false, verify: { release } });
  }
}

/** Lets this poll take part in a match with those that wait already. */
function matchNow(state: EndpointState, waiter: Waiter, now: number): Lease | null {
  const mark = state.effects.length;
  state.waiters.set(waiter.replicaId, waiter);
  dispatch(state, now);
  state.waiters.delete(waiter.replicaId);
  const mine = state.effects.findIndex(
    (effect, index) => index >= mark && effect.type === "poll_answered" && effect.replicaId === waiter.replicaId,
  );
  const effect = state.effects[mine];
  if (effect?.type !== "poll_answered") return null;
  state.effects.splice(mine, 1);
  return effect.answer.lease;
}

function answered(answer: ReplicaPollAnswer): PollOutcome {
  return { type: "answered", reply: { ok: true, answer } };
}
