/** The time-bound right of one replica to work on one job, and the token that proves it. */

import type * as z from "zod";
import type { PhaseTimes } from "#contract/agent";
import type { LeaseId, NodeId, RandomBytes, ReplicaId } from "#contract/ids";
import { LEASE_CONFIRM_MS, LEASE_MS, LEASE_RENEW_MS } from "#contract/limits";

/** How a lease ended. All but `completed` leave nothing behind. */
export type LeaseOutcome = "completed" | "failed" | "released" | "lost" | "canceled" | "timed_out";

/** A stretch of a replica's start that the job waited for. */
export interface BootStretch {
  readonly phase: string;
  readonly startedAt: number;
  readonly ms: number;
}

/** Everything that is remembered of one lease, for its whole life and as long as its job, inside the job's record. */
export interface LeaseRecord {
  readonly id: LeaseId;
  readonly token: string;
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  /** The poll that was answered with it; the same poll again gets it again. */
  readonly pollId: string;
  readonly attempt: number;
  readonly grantedAt: number;
  /**
   * Since when it uses the replica: from the grant on or, when it was granted ahead, since its agent first spoke under
   * it; null until then. It is what is billed (I9).
   */
  readonly beganAt: number | null;
  readonly endedAt: number | null;
  readonly outcome: LeaseOutcome | null;
  /** The agent has spoken under it, judged at its end: only such a lease is an attempt that used a GPU (I9). */
  readonly heard: boolean;
  readonly phases: z.infer<typeof PhaseTimes>;
  readonly boot: readonly BootStretch[];
}

/** The part of a lease that changes while it lives; inside a running job's record. */
export interface HeldLease {
  readonly id: LeaseId;
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  readonly grantedAt: number;
  /** Unix ms; not renewed by then, it is lost. */
  readonly until: number;
  /** The agent has spoken under this lease. */
  readonly confirmed: boolean;
}

/** Jobs that may use a replica's GPU, or are about to: the one it executes, and one ahead. */
export const JOBS_AT_WORK_MAX = 2;
/**
 * Leases a replica may hold at once: those, and one before them whose outputs still go up. Without it the GPU would idle
 * wherever sending a job's outputs takes longer than the next job.
 */
export const LEASES_PER_REPLICA_MAX = JOBS_AT_WORK_MAX + 1;
/**
 * Leases are given ahead where a job usually takes no longer than this, ms: a job that is held ahead waits about as long
 * for its replica as it would for any other. Beside longer jobs the few ms between two of them do not count.
 */
export const AHEAD_SERVICE_MS_MAX = 5_000;
/**
 * A poll that does not list a lease says that the agent has lost it, but only once nothing was heard under the lease
 * for this long: until then the poll may simply be older than the lease or than its last renewal.
 */
export const GIVE_BACK_QUIET_MS = LEASE_RENEW_MS + 2_000;

/**
 * After the object was away, a lease lives at least this long. An agent whose heartbeat failed tries again each second,
 * so this is plenty; more would keep the jobs of an agent that died meanwhile waiting for more than 45 s.
 */
export const GRACE_MS = 6_000;
/** A lease whose end the alarm missed by more than this was not ended because the object could not run. */
const ALARM_LATE_MS = 3_000;

/**
 * The lease as it stands when the object wakes. Messages could not arrive while it was away, so silence until then
 * proves nothing; but one that stays silent from one waking to the next is over, or a dead one would never end.
 * @param endsAt when the alarm is to end it: as late as the lease, or later by what may not have been written
 * @param wokeAt when leases were last given time in this way
 * @returns null when nothing is to be added
 */
export function graced(lease: HeldLease, endsAt: number, wokeAt: number, now: number): HeldLease | null {
  const heardSince = lastHeardAt(lease) > wokeAt;
  if (!heardSince && now <= endsAt + ALARM_LATE_MS) return null;
  const until = now + (lease.confirmed ? GRACE_MS : LEASE_CONFIRM_MS);
  return until > lease.until ? { ...lease, until } : null;
}

/** A token: a counter that only grows, so that newer beats older, and 96 random bits, so that none can be guessed. */
export function makeToken(counter: number, randomBytes: RandomBytes): string {
  return `${counter}.${Array.from(randomBytes(12), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** The living part of a lease as it begins. */
export function granted(lease: Pick<LeaseRecord, "id" | "replicaId" | "nodeId" | "grantedAt">): HeldLease {
  const { id, replicaId, nodeId, grantedAt } = lease;
  return { id, replicaId, nodeId, grantedAt, until: grantedAt + LEASE_CONFIRM_MS, confirmed: false };
}

/** The leases with the last one over. A lease ends once: one that is over stays as it is. */
export function closed(
  leases: readonly LeaseRecord[],
  end: Pick<LeaseRecord, "outcome" | "phases" | "heard"> & { readonly endedAt: number },
): readonly LeaseRecord[] {
  const last = leases.at(-1);
  return last === undefined || last.endedAt !== null ? leases : [...leases.slice(0, -1), { ...last, ...end }];
}

/** The leases after a message under the last one: one that was granted ahead has begun. */
export function begun(leases: readonly LeaseRecord[], at: number): readonly LeaseRecord[] {
  const last = leases.at(-1);
  return last === undefined || last.beganAt !== null ? leases : [...leases.slice(0, -1), { ...last, beganAt: at }];
}

/** The lease after a message under it. Never shortens it. */
export function renewed(lease: HeldLease, at: number): HeldLease {
  return { ...lease, confirmed: true, until: Math.max(lease.until, at + LEASE_MS) };
}

/** Whether the lease was granted ahead and its agent has not begun: fetching inputs meanwhile is no beginning. */
export function isHeldAhead(lease: HeldLease, record: Pick<LeaseRecord, "beganAt"> | null): boolean {
  return !lease.confirmed && record?.beganAt === null;
}

/** When the agent was last heard under the lease, as far as its end tells. */
export function lastHeardAt(lease: HeldLease): number {
  return lease.until - (lease.confirmed ? LEASE_MS : LEASE_CONFIRM_MS);
}
