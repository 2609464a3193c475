/** Asks the policies how many replicas are worth having, and does what they say: lets go by name, starts by demand. */
import {
  type ScalerDecision,
  type ScalerObservation,
  type ScalerReplica,
  type ScalerSettings,
  WAITING_SEEN_MAX,
} from "#durable-objects/autoscaler/scaler";
import { earlier } from "#durable-objects/autoscaler/timed-stops";
import { capacityIn, ownFloor, waitingIn, waitingSoon, workOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isOnErrand } from "#durable-objects/endpoint/errands";
import { soonStarting, startsAreStopped } from "#durable-objects/endpoint/queue-control";
import { verifyingNeed } from "#durable-objects/endpoint/release-gate";
import { drain } from "#durable-objects/endpoint/replica-life";
import { type PoolScaling, startsForWorkOnly } from "#durable-objects/endpoint/scaling";
import { isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";

/** At the end of each turn: decides anew when something has happened that matters, as often as is worth it. */
export function decideScaling(state: EndpointState, now: number): void {
  const { config, scaling, replicas } = state;
  if (config === null || config.removed) return;
  const saveDue = scaling.saveDue();
  if (saveDue !== null) state.due(Math.max(saveDue, now + 1));
  const surroundings = {
    replicas: replicas.changes,
    isHeld: startsAreStopped(state),
    floor: scaling.floor(now).replicas,
  };
  if (!scaling.mustDecide(now, surroundings)) return;
  const turn = scaling.takeTurn(now, surroundings);
  if (turn !== "now") {
    state.due(turn.at);
    return;
  }
  drainOverstayed(state, now);
  let taken = 0;
  let to = 0;
  let reason: string | null = null;
  for (const known of scaling.pools) {
    known.batchDueAt = batchDueAt(state, known);
    known.ceiling = Math.max(0, config.settings.max_replicas - taken);
    const had = capacityIn(state, known).length;
    const before = targetOf(known, had);
    const stood = targetOf(known, known.had ?? had);
    const decision = decide(state, known, known.ceiling, now);
    const have = capacityIn(state, known).length;
    const after = targetOf(known, have);
    if (after !== before || reason === null) {
      const isPolicy = have !== had || decision.wanted > had;
      const news = isPolicy || known.had === null ? null : withoutPolicy(stood, after, had - known.had);
      reason = worded(scaling.pools, known, news === null ? decision.reason : `${news}; ${decision.reason}`);
    }
    known.had = have;
    to += after;
    taken += Math.max(after, 0);
  }
  if (reason !== null) scaling.decided(to, reason, now);
  // The replicas that were let go are no news: this decision was made of them.
  scaling.seen(replicas.changes);
  const due = scalingDue(state, now);
  if (due !== null) state.due(due);
}

/**
 * Why the number is another one though the policy neither starts replicas nor lets any go: crashes, stops by hand, late
 * starts, starts that are called off before they began.
 * @param stood the number as of the last decision
 * @param more how many have come since; negative: have gone
 */
function withoutPolicy(stood: number, now: number, more: number): string | null {
  if (now === stood) return null;
  if (now > stood) return `${replicas(now - stood)} more than before`;
  return more < 0 ? `${replicas(-more)} fewer than before` : `${replicas(stood - now)} fewer asked for`;
}

const replicas = (count: number): string => (count === 1 ? "1 replica" : `${count} replicas`);

/** Says which lane's replicas a reason is about, where lanes have their own. */
export function worded(pools: readonly PoolScaling[], { pool }: PoolScaling, reason: string): string {
  return pools.length === 1 ? reason : `${pool.name} lane: ${reason}`;
}

/** How many replicas there will be, if nothing else happens. */
function targetOf({ last }: PoolScaling, have: number): number {
  return Math.max(last?.wanted ?? 0, have);
}

/** When a decision may be another one, or has to be made; null: only when something happens. */
export function scalingDue(state: EndpointState, now: number): number | null {
  const { config, scaling } = state;
  if (config === null || config.removed) return null;
  const dues = [scaling.lookAgainAt(now), overstayedDue(state, now), scaling.saveDue()];
  for (const { pool, batchDueAt: due, reserve } of scaling.pools) {
    if (!pool.lanes.includes("batch") || state.waiting.queued("batch") === 0) continue;
    dues.push(due, reserve.quietAt(now));
  }
  // What is due now is done at the end of this turn.
  const later = dues.filter((due) => due !== null && due > now) as number[];
  return later.length === 0 ? null : Math.min(...later);
}

function decide(state: EndpointState, known: PoolScaling, ceiling: number, now: number): ScalerDecision {
  const told = settingsOf(state, known, ceiling, now);
  const late = startLater(state, known, now);
  const most = mostNow(state, known, told, late, now);
  const settings = { ...told, ceiling: most };
  const had = capacityIn(state, known).length;
  const said = known.scaler.decide(settings, observationOf(state, known, now));
  const isBound = most < ceiling && said.wanted >= most;
  for (const id of said.letGo) {
    const replica = state.replicas.all().find((one) => one.id === id);
    if (replica !== undefined && mayLetGo(state, known, replica, settings.floor)) drain(state, replica);
  }
  drainBeyond(state, known, ceiling);
  const forBatch = forBatchJobs(state, known, said, told.floor, now);
  // Nothing is started, and nothing kept, for those who may not begin: whatever else the policy finds, that is the cause.
  const isRate = late?.isFirst === true && said.wanted <= had;
  const reasons = [
    forBatch ?? (isRate ? null : said.reason),
    late?.reason ?? null,
    isBound && startsAreStopped(state) ? NOTHING_MAY_START : null,
    isBound && startsForWorkOnly(known, now) && !startsAreStopped(state) ? ONLY_FOR_WORK : null,
  ];
  const reason = had > ceiling ? `max_replicas allows ${ceiling}` : reasons.filter((each) => each !== null).join("; ");
  known.last = { ...said, reason, lookAgainAt: earlier(said.lookAgainAt, late?.moreAt ?? null) };
  return known.last;
}

/** Waiting jobs that starts_per_minute_max lets begin too late for a replica of now. */
interface StartLater {
  readonly reason: string;
  /** Interactive ones are among them, or the group takes none: then all who may begin earlier are here already. */
  readonly isFirst: boolean;
  /** When one of them is worth a replica by time alone, Unix ms. */
  readonly moreAt: number | null;
}

/** @returns null: all that wait may start soon, or none may at all */
function startLater(state: EndpointState, known: PoolScaling, now: number): StartLater | null {
  if (startsAreStopped(state)) return null;
  const { moreAt } = soonStarting(state, known, now);
  if (moreAt === null) return null;
  const all = waitingIn(state, known);
  const soon = waitingSoon(state, known, now);
  const [first = "interactive"] = known.pool.lanes;
  const [waiting, starting] = [all.interactive + all.batch, soon.interactive + soon.batch];
  if (starting === waiting) return null;
  const reason = `starts_per_minute_max lets ${starting === 0 ? "none" : starting} of ${waiting} waiting jobs start soon`;
  return { reason, isFirst: soon[first] < all[first], moreAt };
}

/** To a policy, what batch jobs get is a warm floor. @returns why it is there, where it is not one; null: as the policy says */
function forBatchJobs(
  state: EndpointState,
  known: PoolScaling,
  { wanted }: ScalerDecision,
  floor: number,
  now: number,
): string | null {
  const have = capacityIn(state, known).length;
  const isForThem = wanted === floor && have <= wanted && batchFloor(state, known, now) >= floor;
  return isForThem && floor > warmFloor(state, known, now) ? "batch jobs have waited as long as they may" : null;
}

const ONLY_FOR_WORK = "the pod has taken a replica back lately, so none is started ahead of work";

const NOTHING_MAY_START = "no job may start for now, so no replica is started";

/**
 * How many replicas there may be now: once a pod has taken one back, no more than there are, or there is work for. While
 * the queue is paused or its budget used up, jobs that come are none: a replica started for them would only cost. While
 * jobs wait for starts_per_minute_max, no more than there is work for: one that comes now begins after all of those.
 */
function mostNow(
  state: EndpointState,
  known: PoolScaling,
  { floor, ceiling }: Pick<ScalerSettings, "floor" | "ceiling">,
  late: StartLater | null,
  now: number,
): number {
  if (late?.isFirst) return Math.min(ceiling, Math.max(floor, workOf(state, known, now)));
  if (!startsForWorkOnly(known, now) && !startsAreStopped(state)) return ceiling;
  return Math.min(ceiling, Math.max(floor, capacityIn(state, known).length, workOf(state, known, now)));
}

function settingsOf(state: EndpointState, known: PoolScaling, ceiling: number, now: number): ScalerSettings {
  const { config } = state;
  if (config === null) throw new Error("the endpoint is not configured");
  const { settings } = config;
  return {
    policy: settings.policy,
    waitValue: settings.wait_value,
    targetP95WaitS: settings.target_p95_wait_s,
    floor: Math.min(ceiling, Math.max(warmFloor(state, known, now), batchFloor(state, known, now))),
    ceiling,
    idleTimeoutMs: idleTimeoutMs(state, known, settings.idle_timeout_s),
    queueDelayMs: settings.queue_delay_s * 1_000,
    jobsPerReplica: settings.jobs_per_replica,
    batchTargetWaitMs: settings.batch_target_wait_s * 1_000,
  };
}

/** The endpoint's own warm floor, and its share of its pods'. */
function warmFloor(state: EndpointState, { pool }: PoolScaling, now: number): number {
  const ofPods = pool.pods.reduce((sum, { podId }) => sum + (state.demands.get(podId)?.floor ?? 0), 0);
  const isFirst = pool.lanes.includes("interactive");
  return Math.max(isFirst ? Math.max(state.scaling.floor(now).replicas, verifyingNeed(state)) : 0, ofPods);
}

/**
 * The endpoint's idle time, cut to the longest that its pods allow: a policy that was told of more would start another
 * replica in the place of each one that its pod does not let idle. Where the policy finds the time by itself, it is left to.
 */
function idleTimeoutMs({ demands }: EndpointState, { pool }: PoolScaling, own: number | null): number | null {
  if (own === null) return null;
  const bounds = pool.pods.map(({ podId }) => demands.get(podId)?.idleTimeoutMs ?? Number.POSITIVE_INFINITY);
  return Math.min(own * 1_000, Math.max(...bounds));
}

/**
 * Batch jobs that have waited for long enough get a replica of their own beside those that are kept free for interactive
 * ones: to a policy, which knows nothing of what is kept free, an idle replica looks as if it were enough, or as if nobody
 * needed it. What there is for them stays until they are through.
 */
function batchFloor(state: EndpointState, known: PoolScaling, now: number): number {
  const isOverdue = known.batchDueAt !== null && known.batchDueAt <= now && !startsAreStopped(state);
  if (!known.pool.lanes.includes("batch") || !isOverdue || state.waiting.queued("batch") === 0) return 0;
  // Where interactive jobs run elsewhere, nothing is kept free for them here.
  if (!known.pool.lanes.includes("interactive"))
    return Math.max(1, Math.min(capacityIn(state, known).length, workOf(state, known, now)));
  return Math.max(warmFloor(state, known, now), state.runningIn("interactive")) + 1;
}

/** When the oldest batch job will have waited too long; null when none waits. */
function batchDueAt(state: EndpointState, { pool }: PoolScaling): number | null {
  const oldest = pool.lanes.includes("batch") ? state.waiting.oldestSeen("batch") : null;
  return oldest === null || state.config === null ? null : oldest + state.config.settings.batch_target_wait_s * 1_000;
}

function observationOf(state: EndpointState, known: PoolScaling, now: number): ScalerObservation {
  const { waiting } = state;
  // What may not start soon needs no machine.
  const { interactive: total, batch: batchWaiting } = waitingSoon(state, known, now);
  const seen = total === 0 ? [] : waiting.arrivals("interactive", Math.min(total, WAITING_SEEN_MAX));
  // Of those further back only the number is at hand: they count as coming after the ones in front.
  const rest = Array.from({ length: Math.min(total, WAITING_SEEN_MAX) - seen.length }, () => seen.at(-1) ?? now);
  const lanes = new Map(
    Array.from(state.running.values(), ({ replicaId, lane, beganAt }) => [replicaId, { lane, beganAt }]),
  );
  return {
    now,
    waiting: [...seen, ...rest],
    waitingTotal: total,
    batchWaiting,
    batchOldestAt: batchWaiting === 0 ? null : (waiting.oldestSeen("batch") ?? now),
    replicas: capacityIn(state, known).map((replica): ScalerReplica => {
      const { id } = replica;
      if (isStarting(replica.state)) return { id, state: "starting", since: replica.startedAt, lane: null };
      const job = lanes.get(id);
      if (job === undefined && !isOnErrand(state, id)) {
        return { id, state: "idle", since: state.presence.usedAt(id), lane: null };
      }
      return { id, state: "busy", since: job?.beganAt ?? state.presence.usedAt(id), lane: job?.lane ?? "interactive" };
    }),
  };
}

/**
 * Never one that works or tries a release, never below the warm floor, and never an idle one that work is there for. A
 * replica that only starts keeps nothing warm yet: it is no reason to let a ready one go.
 */
function mayLetGo(state: EndpointState, known: PoolScaling, replica: ReplicaRecord, floor: number): boolean {
  if (replica.draining || state.held(replica.id) > 0 || isOnErrand(state, replica.id)) return false;
  const capacity = capacityIn(state, known);
  if (!capacity.includes(replica)) return false;
  const counted = isStarting(replica.state) ? capacity : capacity.filter((one) => !isStarting(one.state));
  const podFloor = state.demands.get(replica.podId)?.floor ?? 0;
  if (counted.length <= floor || counted.filter(({ podId }) => podId === replica.podId).length <= podFloor)
    return false;
  return isStarting(replica.state) || capacity.length > workOf(state, known, state.world.now());
}

/**
 * Drains what is above the ceiling: starting replicas first, then idle ones, then those at work.
 * @returns how many
 */
function drainBeyond(state: EndpointState, known: PoolScaling, ceiling: number): number {
  const capacity = capacityIn(state, known);
  const cost = (replica: ReplicaRecord): number => (state.held(replica.id) > 0 ? 2 : isStarting(replica.state) ? 0 : 1);
  const surplus = capacity
    .toSorted((a, b) => cost(a) - cost(b) || state.presence.usedAt(a.id) - state.presence.usedAt(b.id))
    .slice(0, Math.max(0, capacity.length - ceiling));
  for (const replica of surplus) drain(state, replica);
  return surplus.length;
}

/** Lets go of replicas that have idled for longer than their pod allows, the longest idle first. */
export function drainOverstayed(state: EndpointState, now: number): void {
  for (const known of state.scaling.pools) {
    for (const { replica, until } of overstaying(state, known)) {
      if (until > now || !mayLetGo(state, known, replica, ownFloor(state, known, now))) continue;
      drain(state, replica);
      state.scaling.takenBack(known.pool.name, now);
    }
  }
}

function overstayedDue(state: EndpointState, now: number): number | null {
  const dues = state.scaling.pools.flatMap((known) => overstaying(state, known).map(({ until }) => until));
  const later = dues.filter((due) => due > now);
  return later.length === 0 ? null : Math.min(...later);
}

/** Idle replicas of pods that bound how long one idles, with until when they may. */
function overstaying(state: EndpointState, known: PoolScaling): { replica: ReplicaRecord; until: number }[] {
  const bounds = new Map(known.pool.pods.map(({ podId }) => [podId, state.demands.get(podId)?.idleTimeoutMs ?? null]));
  if ([...bounds.values()].every((bound) => bound === null)) return [];
  return capacityIn(state, known)
    .filter((replica) => replica.state === "ready" && state.held(replica.id) === 0)
    .toSorted((a, b) => state.presence.usedAt(a.id) - state.presence.usedAt(b.id))
    .flatMap((replica) => {
      const bound = bounds.get(replica.podId) ?? null;
      return bound === null ? [] : [{ replica, until: state.presence.usedAt(replica.id) + bound }];
    });
}
