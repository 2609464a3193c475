/** Why a job waits, and how long it should: the facts of this endpoint for the pure rules of the queue. */
import type { JobId } from "#contract/ids";
import { isTerminal, type JobWhy, type Lane } from "#contract/job";
import { refusal } from "#contract/problems";
import { buildLoads, hasBuild, nextBuildChange } from "#durable-objects/endpoint/builds-at-work";
import { capacityOf, numbersOf } from "#durable-objects/endpoint/demand";
import type { StoredShortage } from "#durable-objects/endpoint/demand-store";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isOnErrand } from "#durable-objects/endpoint/errands";
import { positionOf } from "#durable-objects/endpoint/job-snapshots";
import { batchHeldBack } from "#durable-objects/endpoint/matcher";
import { lanesOf, podsOf } from "#durable-objects/endpoint/pods-of-endpoint";
import { budgetHold, rateHold } from "#durable-objects/endpoint/queue-control";
import { rollOutHeld } from "#durable-objects/endpoint/replacement";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { coldStartMs, type PoolScaling } from "#durable-objects/endpoint/scaling";
import { etaMs } from "#durable-objects/queue/eta";
import { phaseOf, type QueuedJob } from "#durable-objects/queue/job-record";
import { hasJoined, joinsAt } from "#durable-objects/queue/joining";
import {
  type BatchFacts,
  type OtherBuild,
  type WaitFacts,
  waitReasons,
  waitSummary,
} from "#durable-objects/queue/wait-reasons";
import { FAST_FAILURE_MS } from "#durable-objects/replicas/crash-backoff";
import { isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** Crashes longer ago say nothing about the replica that is to come. */
const CRASHES_LOOKED_AT_MS = 10 * 60_000;
/** The states of a start, in order. */
const START: readonly string[] = ["requested", "placed", "preparing", "booting", "loading"];

/** Why a job has not started. */
export function whyJob(state: EndpointState, jobId: JobId, now: number): Reply<{ why: JobWhy }> {
  const job = state.jobs.get(jobId);
  if (job === null) return refusal("job_not_found", "There is no such job.");
  const shown = { job_id: job.id, state: job.state, phase: phaseOf(job) };
  if (job.state !== "queued") {
    const summary = isTerminal(job.state)
      ? `The job has ended: ${job.state}.`
      : `The job runs: ${shown.phase}, attempt ${job.attempt} of ${job.attemptsMax}.`;
    return { ok: true, why: { ...shown, position: null, eta_ms: null, reasons: [], summary } };
  }
  const position = positionOf(state, job) ?? 1;
  const eta = etaOf(state, position, job, now);
  const reasons = waitReasons(factsOf(state, job, position, eta, now));
  return { ok: true, why: { ...shown, position, eta_ms: eta, reasons, summary: waitSummary(reasons, eta) } };
}

/**
 * How long the job at a place of the queue should wait.
 * @param job null: an interactive one that is still to come
 * @returns ms; null when nobody knows, as while batch jobs leave the replicas that idle to others
 */
export function etaOf(state: EndpointState, place: number, job: QueuedJob | null, now: number): number | null {
  const lane = job?.lane ?? "interactive";
  const capacity = job === null ? capacityOf(state).filter(serving(state, lane)) : capacityFor(state, job);
  const { ready, idle } = working(state, capacity);
  const pool = state.scaling.poolOf(lane);
  const starts = pool === null ? [] : capacity.filter((replica) => isStarting(replica.state));
  const readies = starts
    .flatMap((replica) => (pool === null ? [] : [readyAt(pool, replica)]))
    .filter((at) => at !== null);
  const until = Math.max(
    job?.availableAt ?? now,
    budgetHold(state, now)?.until ?? now,
    rateHold(state, now, place)?.until ?? now,
    now,
  );
  const isForOthers = job !== null && mayBeHeldBack(job) && batchHeldBack(state, now).isHeldBack;
  return etaMs({
    place,
    ready: ready.length,
    idle: idle.length,
    starting: starts.length,
    readyInMs: readies.length === 0 ? null : Math.max(0, Math.min(...readies) - now),
    serviceMs: state.services.median(),
    heldMs: state.pause === null && !isForOthers ? until - now : null,
  });
}

function factsOf(state: EndpointState, job: QueuedJob, place: number, eta: number | null, now: number): WaitFacts {
  const capacity = capacityFor(state, job);
  const { ready, idle } = working(state, capacity);
  const elsewhere = capacityOf(state).length - capacity.length;
  const [starting] = capacity
    .filter((replica) => isStarting(replica.state))
    .toSorted((a, b) => START.indexOf(b.state) - START.indexOf(a.state) || a.startedAt - b.startedAt);
  const crashes = fastCrashes(state.replicas.all(), now);
  const { config } = state;
  const short = capacity.length + elsewhere < numbersOf(state).wanted ? shortageOf(state) : null;
  const pool = state.scaling.poolOf(job.lane);
  return {
    now,
    place,
    etaMs: eta,
    paused: state.pause,
    budget: budgetHold(state, now),
    rate: rateFacts(state, place, eta, now),
    replicas: {
      ready: ready.length,
      idle: idle.length,
      idleNodes: idle.map(({ nodeId }) => nodeId),
      starting:
        starting === undefined
          ? null
          : {
              id: starting.id,
              phase: starting.state,
              since: starting.changes.at(-1)?.at ?? starting.startedAt,
              doing: state.news.doing(starting.id) ?? undefined,
              readyAt: pool === null ? null : readyAt(pool, starting),
            },
      coldStartMs: pool === null ? null : coldStartMs(pool),
      elsewhere: capacity.some(({ nodeId }) => nodeId !== job.avoid?.nodeId),
      max: (config?.settings.max_replicas ?? 0) - elsewhere,
      crashes: crashes.length,
      crashError: crashes.at(-1)?.error ?? null,
    },
    shortage: short,
    scaling: pool?.last == null ? null : pool.last.reason,
    otherBuild: otherBuild(state, job, ready, now),
    batch: job.lane === "batch" && pool !== null ? batchFacts(state, job, pool, now) : null,
    joined: hasJoined(job) ? { at: joinsAt(job), expiresAt: job.expiresAt } : null,
    regions: config?.settings.regions ?? [],
    job: { availableAt: job.availableAt, avoid: job.avoid, lastError: lastErrorOf(job) },
  };
}

/** The bound on the starts of a minute, where it is what the job waits for the longest. */
function rateFacts(state: EndpointState, place: number, eta: number | null, now: number): WaitFacts["rate"] {
  const next = rateHold(state, now);
  if (next !== null) return { ...next, isAhead: false };
  const own = rateHold(state, now, place);
  return own === null || (eta !== null && own.until < now + eta) ? null : { ...own, isAhead: true };
}

function otherBuild(
  state: EndpointState,
  { release }: QueuedJob,
  ready: readonly ReplicaRecord[],
  now: number,
): OtherBuild | null {
  if (ready.length === 0 || ready.some(({ id }) => hasBuild(state, id, release))) return null;
  const change = nextBuildChange(state, buildLoads(state, now) ?? [], now);
  const isForIt = change !== null && change.to === state.releases.builds.get(release);
  return { ready: ready.length, changeAt: isForIt ? change.at : null, held: rollOutHeld(state, now) };
}

function batchFacts(state: EndpointState, job: QueuedJob, { batchDueAt }: PoolScaling, now: number): BatchFacts {
  const { until } = batchHeldBack(state, now);
  return { ownReplicaAt: batchDueAt, joinsAt: joinsAt(job), keptUntil: mayBeHeldBack(job) ? until : null };
}

/** One that had begun goes on with the next replica that idles. */
function mayBeHeldBack(job: QueuedJob): boolean {
  return job.lane === "batch" && !hasJoined(job) && job.attempt === 0;
}

/** What the pods lack: what the preferred one says counts first, but that it is empty says less than why another takes nothing. */
export function shortageOf(state: EndpointState): StoredShortage | null {
  const all = podsOf(state).flatMap((podId) => state.demands.get(podId)?.shortage ?? []);
  const told = all.find(({ code, error }) => code !== "no_node_online" || error !== null);
  return told ?? all[0] ?? null;
}

/** When a starting replica should be ready; null before any has been. */
function readyAt(pool: PoolScaling, replica: ReplicaRecord): number | null {
  const cold = coldStartMs(pool);
  return cold === null ? null : replica.startedAt + cold;
}

/** The replicas whose pods take the job: one that must start soon goes to whichever is free. */
function capacityFor(state: EndpointState, job: QueuedJob): ReplicaRecord[] {
  return hasJoined(job) ? capacityOf(state) : capacityOf(state).filter(serving(state, job.lane));
}

function serving(state: EndpointState, lane: Lane): (replica: ReplicaRecord) => boolean {
  return ({ podId }) => lanesOf(state, podId).includes(lane);
}

/** Of these replicas those that take jobs, and of them those without one. */
function working(
  state: EndpointState,
  capacity: readonly ReplicaRecord[],
): { readonly ready: ReplicaRecord[]; readonly idle: ReplicaRecord[] } {
  const ready = capacity.filter((replica) => !isStarting(replica.state));
  // One that tries a release takes no job meanwhile.
  return { ready, idle: ready.filter(({ id }) => state.held(id) === 0 && !isOnErrand(state, id)) };
}

/** Replicas that died lately at once, or soon after they got ready, oldest first. */
function fastCrashes(all: readonly ReplicaRecord[], now: number): ReplicaRecord[] {
  const at = (replica: ReplicaRecord): number => replica.changes.at(-1)?.at ?? replica.startedAt;
  return all
    .filter((replica) => replica.state === "crashed" && now - at(replica) < CRASHES_LOOKED_AT_MS)
    .filter((replica) => {
      const ready = replica.changes.findLast((change) => change.state === "ready")?.at ?? null;
      return ready === null || at(replica) - ready < FAST_FAILURE_MS;
    })
    .toSorted((a, b) => at(a) - at(b));
}

function lastErrorOf(job: QueuedJob): string | null {
  const retrying = job.events.findLast((event) => event.type === "retrying");
  if (retrying === undefined) return null;
  const { error } = JSON.parse(retrying.data) as { error: { code: string; message: string } };
  return `${error.code}: ${error.message}`;
}
