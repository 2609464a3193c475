/** A job's story in stretches of time: waiting, the cold start it waited for, each attempt's phases. */
import { isEnded, type JobRecord } from "#durable-objects/queue/job-record";
import type { LeaseRecord } from "#durable-objects/queue/lease";

export interface TimelineStretch {
  readonly phase: string;
  /** 0 before the first attempt. */
  readonly attempt: number;
  readonly startedAt: number;
  /** null while it lasts. */
  readonly ms: number | null;
}

/**
 * Stretches in the order in which they began, all by the server's clock except the lengths of an ended attempt's
 * phases, which the agent measured on the spot.
 */
export function timelineOf(job: JobRecord): TimelineStretch[] {
  const stretches: TimelineStretch[] = [];
  let waitingSince = job.createdAt;
  let attempt = 0;
  for (const lease of job.leases) {
    stretches.push(...waiting(attempt, waitingSince, lease.grantedAt, lease));
    stretches.push(...working(job, lease));
    waitingSince = lease.endedAt ?? lease.grantedAt;
    attempt = lease.attempt;
  }
  if (job.state === "queued") {
    stretches.push({ phase: attempt === 0 ? "waiting" : "retrying", attempt, startedAt: waitingSince, ms: null });
  } else if (isEnded(job) && job.finishedAt > waitingSince) {
    const ms = job.finishedAt - waitingSince;
    stretches.push({ phase: attempt === 0 ? "waiting" : "retrying", attempt, startedAt: waitingSince, ms });
  }
  return stretches;
}

/** The wait before a lease, cut around the parts of the replica's start that fell into it. */
function waiting(attempt: number, from: number, to: number, lease: LeaseRecord): TimelineStretch[] {
  const phase = attempt === 0 ? "waiting" : "retrying";
  const stretches: TimelineStretch[] = [];
  let at = from;
  for (const boot of lease.boot) {
    const start = Math.max(at, boot.startedAt);
    const end = Math.min(to, boot.startedAt + boot.ms);
    if (end <= start) continue;
    if (start > at) stretches.push({ phase, attempt, startedAt: at, ms: start - at });
    stretches.push({ phase: boot.phase, attempt, startedAt: start, ms: end - start });
    at = end;
  }
  if (to > at || stretches.length === 0) stretches.push({ phase, attempt, startedAt: at, ms: to - at });
  return stretches;
}

function working(job: JobRecord, lease: LeaseRecord): TimelineStretch[] {
  if (lease.endedAt !== null && lease.phases.length > 0) {
    let at = lease.grantedAt;
    return lease.phases.map(({ phase, ms }) => {
      const stretch = { phase, attempt: lease.attempt, startedAt: at, ms };
      at += ms;
      return stretch;
    });
  }
  const moves: { phase: string; at: number }[] = [{ phase: "assigned", at: lease.grantedAt }];
  for (const event of job.events) {
    if (event.type !== "phase" || event.at < lease.grantedAt || (lease.endedAt !== null && event.at > lease.endedAt))
      continue;
    const data = JSON.parse(event.data) as { phase: string; attempt: number };
    if (data.attempt === lease.attempt) moves.push({ phase: data.phase, at: event.at });
  }
  return moves.map((move, index) => {
    const end = moves[index + 1]?.at ?? lease.endedAt;
    return { phase: move.phase, attempt: lease.attempt, startedAt: move.at, ms: end === null ? null : end - move.at };
  });
}
