import type { Lease } from "#contract/agent";
import type { NodeId, PodId, ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { LEASE_CONFIRM_MS, LEASE_MS } from "#contract/limits";
import { type Kept, keptNow } from "#durable-objects/autoscaler/batch-reserve";
import {
  buildLoads,
  changeBuild,
  hasBuild,
  isExpectedAt,
  nextBuildChange,
} from "#durable-objects/endpoint/builds-at-work";
import { capacityOf } from "#durable-objects/endpoint/demand";
import type { EndpointState, Waiter } from "#durable-objects/endpoint/endpoint-state";
import { isKeptForErrand, isOnErrand } from "#durable-objects/endpoint/errands";
import { expireQueued } from "#durable-objects/endpoint/expiry";
import type { JobPayload } from "#durable-objects/endpoint/job-rows";
import type { ReadyJob } from "#durable-objects/endpoint/job-store";
import { lapsedAt } from "#durable-objects/endpoint/last-offers";
import { lanesOf } from "#durable-objects/endpoint/pods-of-endpoint";
import { holdsStarts } from "#durable-objects/endpoint/queue-control";
import type { QueuedJob, RunningJob } from "#durable-objects/queue/job-record";
import { hasJoined, interactiveRank } from "#durable-objects/queue/joining";
import {
  AHEAD_SERVICE_MS_MAX,
  JOBS_AT_WORK_MAX,
  LEASES_PER_REPLICA_MAX,
  type LeaseRecord,
  makeToken,
} from "#durable-objects/queue/lease";
import { type BatchTurn, lanesInOrder } from "#durable-objects/queue/order";
import { grantLease } from "#durable-objects/queue/transition";
import { bootWithin } from "#durable-objects/replicas/boot";
import type { Build } from "#durable-objects/replicas/build-change";
import {
  type Candidate,
  inOrderOfChoice,
  mayOffer,
  mayTake,
  SURE_TAKER_WAIT_MS,
  suitedFor,
} from "#durable-objects/replicas/choose";
import { isCapacity, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** How many jobs from the head of a lane are looked at when the first ones avoid every waiting node. */
const LOOK_AHEAD = 16;

/** Hands ready jobs to waiting replicas until one of the two runs out. */
export function dispatch(state: EndpointState, now: number): void {
  while (state.waiters.size > 0 && state.queuedTotal > 0 && !holdsStarts(state, now)) {
    const candidates: Candidate[] = [];
    for (const waiter of state.waiters.values()) {
      if (mayWork(state, waiter.replicaId, now)) candidates.push(candidateOf(state, waiter.replicaId, waiter.nodeId));
    }
    if (candidates.length === 0) return;
    const match = bestMatch(state, inOrderOfChoice(candidates), now);
    const waiter = match === null ? undefined : state.waiters.get(match.candidate.replicaId);
    if (match === null || waiter === undefined) return;
    state.answer(waiter, { lease: grant(state, match.ready, waiter, now), ended: [], stop: false });
  }
}

/** A lease for this replica alone, if a job is ready for it; nobody waits. */
export function nextFor(
  state: EndpointState,
  replica: Pick<Waiter, "replicaId" | "nodeId" | "pollId">,
  now: number,
): Lease | null {
  if (state.queuedTotal === 0 || !mayWork(state, replica.replicaId, now) || holdsStarts(state, now)) return null;
  const match = bestMatch(state, [candidateOf(state, replica.replicaId, replica.nodeId)], now);
  return match === null ? null : grant(state, match.ready, replica, now);
}

/** Whether the replica may get one more lease. */
function mayWork(state: EndpointState, replicaId: ReplicaId, now: number): boolean {
  const replica = state.replicas.get(replicaId);
  return (
    replica !== null &&
    replica.state === "ready" &&
    !replica.draining &&
    state.config?.removed === false &&
    state.held(replicaId) < LEASES_PER_REPLICA_MAX &&
    state.atWork(replicaId) < JOBS_AT_WORK_MAX &&
    (!state.works(replicaId) || mayTakeAhead(state)) &&
    !isKeptForErrand(state, replicaId, now)
  );
}

/** Leases ahead are for short jobs: behind a long one, a job would wait that an idle replica could begin meanwhile. */
function mayTakeAhead(state: EndpointState): boolean {
  return (state.services.median() ?? 0) <= AHEAD_SERVICE_MS_MAX;
}

function candidateOf(state: EndpointState, replicaId: ReplicaId, nodeId: NodeId): Candidate {
  const [held, works] = [state.held(replicaId), state.works(replicaId)];
  const isMute = state.lastOffers.isMute(replicaId);
  return { replicaId, nodeId, held, works, lastUsedAt: state.presence.usedAt(replicaId), isMute };
}

/** A ready job, with the best candidate for it. */
interface Match {
  readonly ready: ReadyJob;
  readonly candidate: Candidate;
}

/** Replicas have several builds. */
interface BuildTurn {
  /** Of these one is to make itself another, so they take no jobs ahead: one has to idle. undefined: none is. */
  readonly from: Build | undefined;
  /** Idle ones of `from` take jobs of this build alone. undefined: of their own, too. */
  readonly to: Build | undefined;
}

/** The first job in order that one of the candidates may take, with the best such candidate. */
function bestMatch(state: EndpointState, candidates: readonly Candidate[], now: number): Match | null {
  expireQueued(state, now);
  const loads = buildLoads(state, now);
  if (loads === null) return firstMatch(state, candidates, null, now);
  const change = nextBuildChange(state, loads, now);
  if (change === null) return firstMatch(state, candidates, { from: undefined, to: undefined }, now);
  const { from, to, at } = change;
  if (at > now) {
    state.due(at);
    return firstMatch(state, candidates, { from: undefined, to: undefined }, now);
  }
  // The jobs that it would change for may be kept from it: then there are its own.
  return (
    firstMatch(state, candidates, { from, to }, now) ?? firstMatch(state, candidates, { from, to: undefined }, now)
  );
}

/** @param turn null: every replica takes jobs of every release */
function firstMatch(
  state: EndpointState,
  candidates: readonly Candidate[],
  turn: BuildTurn | null,
  now: number,
): Match | null {
  const lanes = lanesInOrder(batchTurn(state, now), now);
  const { builds } = state.releases;
  /** Builds whose next job waits for a replica that idles. */
  const waited = new Set<Build | undefined>();
  for (const line of joinedGoFirst(state) ? (["joined", ...lanes] as const) : lanes) {
    const lane = line === "joined" ? "batch" : line;
    const able = candidates.filter(({ replicaId }) => serves(state, replicaId, lane));
    const serving = servingOf(state, lane, lanes[0], able, now);
    for (const ready of readyFor(state, lane, candidates, turn)) {
      const { job } = ready;
      const isJoined = lane === "batch" && hasJoined(job);
      if (line === "joined" && !isJoined) break;
      // So many have expired at once that the next turn ends the rest.
      if (job.startedAt === null && job.expiresAt <= now) continue;
      const own = job.attempt === 0 ? serving : able.filter((one) => !one.works || serving.includes(one));
      // It must start soon: whichever pod has a replica free, whatever lanes that serves.
      const takers = isJoined ? candidates : own;
      if (takers.length === 0) break;
      const fitting = takers.filter((one) => fitOf(state, one, job.release, turn) !== "none");
      if (fitting.length === 0 || waited.has(builds.get(job.release))) continue;
      const suited = suitedFor(job, fitting);
      // It goes first, so nothing behind it that the same replicas run goes ahead of it either.
      if (suited.length === 0 && turn === null) return null;
      if (suited.length === 0) waited.add(builds.get(job.release));
      const may = ({ nodeId, replicaId }: Candidate): boolean =>
        mayTake(job.avoid, nodeId, otherNodes(state, nodeId), now) && mayBeOffered(state, job, replicaId, now);
      // One that has to change goes last, and of those the one that was not needed for longest.
      const candidate =
        suited.find((one) => fitOf(state, one, job.release, turn) === "has" && may(one)) ??
        suited.findLast((one) => fitOf(state, one, job.release, turn) === "changes" && may(one));
      if (candidate !== undefined) return { ready, candidate };
      if (job.avoid !== null) state.due(job.avoid.until);
    }
  }
  return null;
}

/** Whether a batch job that has joined the interactive ones, and waits in its own lane, comes before the first of them. */
function joinedGoFirst(state: EndpointState): boolean {
  if (state.waiting.joined() === 0) return false;
  const job = readyAt(state, "batch", 0)?.job;
  const first = readyAt(state, "interactive", 0)?.job;
  return job !== undefined && first !== undefined && hasJoined(job) && interactiveRank(job) < first.rank;
}

/** How a replica comes to a release's jobs: it has the build, makes itself one of it, or does neither now. */
function fitOf(
  state: EndpointState,
  { replicaId, held, works }: Candidate,
  release: number,
  turn: BuildTurn | null,
): "has" | "changes" | "none" {
  if (turn === null) return "has";
  const build = state.replicas.get(replicaId)?.build ?? null;
  const isGiver = build !== null && build === turn.from;
  if (isGiver && turn.to !== undefined) {
    const isFree = held === 0 && !isOnErrand(state, replicaId);
    return isFree && state.releases.builds.get(release) === turn.to ? "changes" : "none";
  }
  return hasBuild(state, replicaId, release) && !(isGiver && works) ? "has" : "none";
}

/** The first ready jobs of a lane; where replicas have several builds, of the releases that one of these comes to. */
function* readyFor(
  state: EndpointState,
  lane: Lane,
  candidates: readonly Candidate[],
  turn: BuildTurn | null,
): Generator<ReadyJob> {
  if (turn === null) {
    for (let place = 0; place < LOOK_AHEAD; place += 1) {
      const ready = readyAt(state, lane, place);
      if (ready === null) return;
      yield ready;
    }
    return;
  }
  const { releases } = state.waiting;
  const fitting = releases
    .all()
    .map(({ release }) => release)
    .filter((release) => candidates.some((one) => fitOf(state, one, release, turn) !== "none"));
  const ids = releases.first(lane, new Set(fitting), LOOK_AHEAD);
  for (const [place, id] of ids.entries()) {
    yield state.jobs.ready(id, (limit) => ids.slice(place + 1, place + 1 + limit));
  }
}

function batchTurn(state: EndpointState, now: number): BatchTurn {
  return {
    headSince: readyAt(state, "batch", 0)?.job.createdAt ?? null,
    startedAt: batchStartedAt(state, now),
    overtaken: state.scaling.batchOvertaken,
    isRunning: state.runningIn("batch") > 0,
  };
}

/** When a batch job last began; null: nobody knows, as after a step back of the clock. */
function batchStartedAt({ scaling }: EndpointState, now: number): number | null {
  const { batchStartedAt: at } = scaling;
  return at !== null && at <= now ? at : null;
}

/** The ready job of a lane that so many others come before. */
function readyAt(state: EndpointState, lane: Lane, place: number): ReadyJob | null {
  const id = state.waiting.ready(lane, place);
  return id === null ? null : state.jobs.ready(id, (limit) => state.waiting.readyAfter(lane, place, limit));
}

/** Whether the replica is one for a job whose last offer, if it had one, reached nobody. */
function mayBeOffered(state: EndpointState, job: QueuedJob, replicaId: ReplicaId, now: number): boolean {
  const lapsed = lapsedAt(job);
  if (lapsed === null) return true;
  const isAnySure = state.replicas.all().some((replica) => isCapacity(replica) && state.lastOffers.isSure(replica.id));
  const may = mayOffer(lapsed, state.lastOffers.isSure(replicaId), isAnySure, now);
  if (!may) state.due(lapsed + SURE_TAKER_WAIT_MS);
  return may;
}

/** Whether the endpoint has capacity on a node that is not this one. */
function otherNodes(state: EndpointState, nodeId: NodeId): boolean {
  return state.replicas.all().some((replica) => replica.nodeId !== nodeId && isCapacity(replica));
}

/**
 * The candidates that take jobs of a lane which have not begun yet: those that are kept free for interactive jobs take no
 * batch job. A replica that interactive jobs may come to takes none ahead: it would have to do two jobs before theirs.
 * None of that holds where a batch job has its turn: a replica that is never idle would take none at all. And one that had
 * begun goes on with the next replica that idles: who lost its first one must not wait for a pause.
 * @param first the lane that the next lease looks at first
 * @param able those whose pod serves the lane
 */
function servingOf(
  state: EndpointState,
  lane: Lane,
  first: Lane,
  able: readonly Candidate[],
  now: number,
): readonly Candidate[] {
  if (lane === "interactive" || state.waiting.queued(lane) === 0) return able;
  if (first === "batch") return able;
  const isExpected = (state.scaling.poolOf("interactive")?.reserve.quietAt(now) ?? null) !== null;
  const serving = able.filter(({ replicaId, works }) => !works || !isExpected || !isForInteractive(state, replicaId));
  const { isHeldBack, until } = batchHeldBack(state, now);
  if (!isHeldBack) return serving;
  // By then an idle replica is theirs, whatever else happens or does not.
  if (until !== null) state.due(until);
  return serving.filter(({ replicaId }) => !isForInteractive(state, replicaId));
}

/** Whether batch jobs leave all idle replicas to interactive ones, and until when, unless another one of these comes. */
export function batchHeldBack(
  state: EndpointState,
  now: number,
): { readonly isHeldBack: boolean; readonly until: number | null } {
  const shared = readyOf(state).filter(({ id }) => isForInteractive(state, id));
  const { replicas, fewerAt } = keptForInteractive(state, shared.length, now);
  const idle = shared.filter(({ id }) => !state.works(id)).length;
  const isHeldBack = replicas > 0 && idle <= replicas;
  return { isHeldBack, until: isHeldBack ? fewerAt() : null };
}

/** Whether interactive jobs that are still to come may go to a replica: its pod takes them, and they need its build. */
function isForInteractive(state: EndpointState, id: ReplicaId): boolean {
  return serves(state, id, "interactive") && isExpectedAt(state, id);
}

/** Whether the pod of a replica takes jobs of a lane. */
function serves(state: EndpointState, id: ReplicaId, lane: Lane): boolean {
  const podId = state.config?.pods.length === 1 ? state.config.podId : state.replicas.get(id)?.podId;
  return podId !== undefined && lanesOf(state, podId).includes(lane);
}

const NOTHING_KEPT: Kept = { replicas: 0, fewerAt: () => null };

/** @param ready replicas that take interactive jobs, at work or not */
function keptForInteractive(state: EndpointState, ready: number, now: number): Kept {
  const { config, scaling } = state;
  const pool = scaling.poolOf("interactive");
  if (config === null || pool === null || !pool.pool.lanes.includes("batch")) return NOTHING_KEPT;
  const capacity = capacityOf(state).length;
  const ceiling = config.settings.max_replicas;
  const isShort = pool.pool.pods.every(({ podId }) => isShortOn(state, podId));
  const fleet = {
    interactiveBusy: state.runningIn("interactive"),
    batchBusy: state.runningIn("batch"),
    ready,
    capacity,
    most: isShort ? Math.min(ceiling, capacity) : ceiling,
    dueAt: pool.batchDueAt,
    startedAt: batchStartedAt(state, now),
  };
  return keptNow(pool.reserve, fleet, now);
}

/** Whether the pod has said that it has no more, or took a replica back and did not place another. */
function isShortOn(state: EndpointState, podId: PodId): boolean {
  const told = state.demands.get(podId);
  if (told === null) return false;
  const here = capacityOf(state).filter((replica) => replica.podId === podId).length;
  return told.shortage !== null || (told.acknowledged === told.version && here < told.wanted);
}

function readyOf(state: EndpointState): ReplicaRecord[] {
  return state.replicas.all().filter(({ state: stands, draining }) => stands === "ready" && !draining);
}

function grant(
  state: EndpointState,
  { job, payload }: ReadyJob,
  to: Pick<Waiter, "replicaId" | "nodeId" | "pollId">,
  now: number,
): Lease | null {
  const { config, world } = state;
  if (config === null) return null;
  const replica = state.replicas.get(to.replicaId);
  changeBuild(state, to.replicaId, job.release, now);
  const running = grantLease(job, {
    token: makeToken(state.nextCounter(), (length) => world.randomBytes(length)),
    replicaId: to.replicaId,
    nodeId: to.nodeId,
    pollId: to.pollId,
    grantedAt: now,
    isAhead: state.works(to.replicaId),
    boot: replica === null ? [] : bootWithin(replica.changes, job.createdAt, now),
  });
  state.moved(job, running);
  state.presence.used(to.replicaId, now);
  return wireLease(state, running, payload(), now);
}

/** The present lease of a running job as the agent gets it. */
export function wireLease(state: EndpointState, job: RunningJob, payload: JobPayload, now: number): Lease | null {
  const record = presentLease(job);
  if (state.config === null || record === null) return null;
  return {
    lease_id: record.id,
    token: record.token as Lease["token"],
    job_id: job.id,
    endpoint_id: state.config.endpointId,
    attempt: job.attempt,
    release: job.release,
    inputs: payload.inputs,
    files: payload.files.map(({ key: _, ...file }) => file),
    timeout_ms: job.timeoutMs,
    confirm_within_ms: job.lease.confirmed ? LEASE_CONFIRM_MS : Math.max(1, job.lease.until - now),
    renew_within_ms: LEASE_MS,
  };
}

/** The record of the lease under which the job runs. */
export function presentLease(job: RunningJob): LeaseRecord | null {
  return job.leases.at(-1) ?? null;
}
