import { demandDue, forgetLeftPods, repeatDemand } from "#durable-objects/endpoint/demand";
import { type EndpointState, OUTPUT_RETENTION_MS } from "#durable-objects/endpoint/endpoint-state";
import { expireQueued, SWEEP_ROWS_MAX } from "#durable-objects/endpoint/expiry";
import { forgetDue, forgetOldJobs } from "#durable-objects/endpoint/forgetting";
import type { EndedFiles } from "#durable-objects/endpoint/history-store";
import { joinInteractive } from "#durable-objects/endpoint/joining";
import { operationsDue, runOperations } from "#durable-objects/endpoint/operations";
import { holdsUntil } from "#durable-objects/endpoint/queue-control";
import { gateDue, sweepGate } from "#durable-objects/endpoint/release-gate";
import { giveUpSilent } from "#durable-objects/endpoint/replica-life";
import { drainOverstayed, scalingDue } from "#durable-objects/endpoint/scaling-decide";
import { handOverDue, repeatHandOver } from "#durable-objects/endpoint/telling";
import type { RunningJob } from "#durable-objects/queue/job-record";
import { cancel, loseLease, overrun } from "#durable-objects/queue/transition";
import { isOver } from "#durable-objects/replicas/replica-record";
import { chance } from "#durable-objects/sql/database";

/** When deleting outputs fails, or is interrupted, it is tried again after this. */
const PURGE_RETRY_MS = 60_000;

/** Does everything whose time has come. */
export function sweep(state: EndpointState, now: number): void {
  readyAgain(state, now);
  expireQueued(state, now);
  joinInteractive(state, now);
  endOverdueLeases(state, now);
  if (state.config?.removed) cancelLiving(state, now);
  runOperations(state, now);
  giveUpSilent(state, now);
  sweepGate(state, now);
  drainOverstayed(state, now);
  state.scaling.save(now);
  repeatDemand(state, now);
  forgetLeftPods(state);
  repeatHandOver(state, now);
  forgetOldJobs(state, now);
  state.idempotency.deleteOver(now, SWEEP_ROWS_MAX);
  const idle = state.replicas.all().every((replica) => isOver(replica.state));
  // The pods must have heard it, or they would start replicas for an endpoint that nobody remembers.
  const isForgotten = state.demands.all().length === 0;
  const isQuiet = isForgotten && state.outbox.isEmpty;
  if (state.config?.removed && idle && isQuiet && state.jobs.isEmpty()) state.effect({ type: "erase" });
}

/** Looks through everything for the next moment; single changes only say what they add. */
export function dueNext(state: EndpointState, now: number): void {
  const due = nextDue(state, now);
  if (due !== null) state.due(due);
}

/** The earliest moment at which `sweep` will have something to do. */
function nextDue(state: EndpointState, now: number): number | null {
  const dues: (number | null)[] = [
    state.jobs.nextQueuedDue(),
    state.expiry.nextDue(),
    state.joining.nextDue(now),
    state.idempotency.nextDue(),
    operationsDue(state, now),
    holdsUntil(state, now),
    demandDue(state),
    handOverDue(state, now),
    gateDue(state),
    scalingDue(state, now),
    giveUpSilent(state, now),
  ];
  for (const stored of state.jobs.running()) {
    const job = state.live.renewed(stored);
    dues.push(job.lease.until, overrunAt(state, job));
  }
  if (state.config?.removed && state.jobs.living(1).length > 0) dues.push(now + 1);
  const mark = state.configs.readPurgeMark();
  const ended = state.history.firstEndedAfter(mark);
  if (ended !== null)
    dues.push(ended + OUTPUT_RETENTION_MS <= now ? now + PURGE_RETRY_MS : ended + OUTPUT_RETENTION_MS);
  dues.push(forgetDue(state, now));
  const known = dues.filter((due) => due !== null);
  return known.length === 0 ? null : Math.min(...known);
}

/** Ended jobs whose outputs have been kept long enough, in the order of their end. */
export function outputsDue(state: EndpointState, now: number, limit: number): EndedFiles[] {
  return state.history.endedAfter(state.configs.readPurgeMark(), now - OUTPUT_RETENTION_MS, limit);
}

function readyAgain(state: EndpointState, now: number): void {
  for (const job of state.jobs.delayedUntil(now, SWEEP_ROWS_MAX)) state.moved(job, { ...job, availableAt: null });
}

function endOverdueLeases(state: EndpointState, now: number): void {
  for (const stored of state.jobs.running()) {
    const job = state.live.renewed(stored);
    if (job.lease.until <= now) {
      const reason = job.lease.confirmed ? "The replica was not heard of in time." : "The lease reached nobody.";
      state.leaseEnded(job, loseLease(job, reason, now, chance(state.world)), "lost", [], now);
    } else if (overrunAt(state, job) <= now) {
      state.leaseEnded(job, overrun(job, now, chance(state.world)), "timed_out", [], now);
    }
  }
}

/** When the job's phase has lasted too long. A job taken ahead waits for the one before it, however long that is. */
function overrunAt(state: EndpointState, job: RunningJob): number {
  const waitsItsTurn =
    job.executingAt === null &&
    state.jobs
      .runningOf(job.lease.replicaId)
      .some(
        (other) => other.id !== job.id && other.lease.grantedAt <= job.lease.grantedAt && other.executingAt !== null,
      );
  return waitsItsTurn ? Number.POSITIVE_INFINITY : Math.max(job.deadlineAt, state.graceUntil);
}

function cancelLiving(state: EndpointState, now: number): void {
  for (const job of state.jobs.living(SWEEP_ROWS_MAX)) {
    if (job.state === "running") state.leaseEnded(job, cancel(job, now), "canceled", [], now);
    else state.moved(job, cancel(job, now));
  }
}
