import type { PodId, ReplicaId } from "#contract/ids";
import type { Lane } from "#contract/job";
import type { StoredDemand } from "#durable-objects/endpoint/demand-store";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { hasSeveralPods, hearRoom, holdRooms, isSilent, roomOf } from "#durable-objects/endpoint/pod-rooms";
import { podsOf } from "#durable-objects/endpoint/pods-of-endpoint";
import { soonStarting } from "#durable-objects/endpoint/queue-control";
import { trialsWanted, verifyingNeed } from "#durable-objects/endpoint/release-gate";
import { newcomers, withReplacements } from "#durable-objects/endpoint/replacement";
import type { PoolScaling } from "#durable-objects/endpoint/scaling";
import type { Demand, DemandReply } from "#durable-objects/pod/rpc";
import { retryDelayMs } from "#durable-objects/queue/retry";
import type { Pool } from "#durable-objects/replicas/pods-and-lanes";
import { isCapacity, isOver, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import { type DemandNumbers, type DemandTotal, type PodStanding, splitDemand } from "#durable-objects/replicas/wanted";
import { chance } from "#durable-objects/sql/database";

/**
 * A smaller demand is told only after it has stayed small for this long: calls that follow one another closely would
 * otherwise tell the pod twice for each job.
 */
export const DEMAND_SETTLE_MS = 2_000;
/** The first repeat of a demand the pod has not answered; further ones back off. */
const DEMAND_REPEAT_MS = 2_000;
/** As long as replicas are missing, the demand is told again at this pace, should the pod have lost it. */
const DEMAND_REFRESH_MS = 60_000;
/** While jobs wait for replicas that the pod does not have, it is asked again at this pace, so that `why` is up to date. */
const SHORTAGE_REFRESH_MS = 10_000;
/** Where several pods are asked again, those that are due within this are asked with the first: one alarm does. */
const ASKED_TOGETHER_MS = 1_000;

export function capacityOf(state: EndpointState): ReplicaRecord[] {
  return state.replicas.all().filter(isCapacity);
}

function capacityOn(state: EndpointState, podId: PodId): ReplicaRecord[] {
  return capacityOf(state).filter((replica) => replica.podId === podId);
}

/** Replicas that count, of a group of pods: of two of which one is to take the other's place, the one that works. */
export function capacityIn(state: EndpointState, { pool }: Pick<PoolScaling, "pool">): ReplicaRecord[] {
  const extra = newcomers(state);
  return capacityOf(state).filter(({ id, podId }) => !extra.has(id) && pool.pods.some((pod) => pod.podId === podId));
}

/** What the endpoint needs and wants on all of its pods together. */
export function numbersOf(state: EndpointState): DemandNumbers {
  const numbers = state.scaling.pools.map((known) => poolNumbers(state, known));
  return {
    needed: numbers.reduce((sum, { needed }) => sum + needed, 0),
    wanted: numbers.reduce((sum, { wanted }) => sum + wanted, 0),
  };
}

/**
 * @returns `needed` counts the jobs themselves: what is beyond it may go to others at once, whatever the scaler hopes for.
 * Batch jobs need one replica at most, however many of them wait or run: else a long backlog of one endpoint would keep
 * the warm floor and the interactive jobs of all others from the pod.
 */
export function poolNumbers(state: EndpointState, known: PoolScaling): DemandTotal {
  const { pool, last, ceiling } = known;
  const { config } = state;
  if (config === null || config.removed) return { needed: 0, wanted: 0, ceiling: 0 };
  const now = state.world.now();
  const floor = Math.max(ownFloor(state, known, now), pool.lanes.includes("interactive") ? verifyingNeed(state) : 0);
  const wanted = Math.max(Math.min(floor, config.settings.max_replicas), last?.wanted ?? 0);
  return { needed: Math.min(wanted, Math.max(floor, needOf(state, known, now))), wanted, ceiling };
}

/** The endpoint's own warm floor, which is the business of those who serve its interactive jobs. */
export function ownFloor(state: EndpointState, { pool }: PoolScaling, now: number): number {
  return pool.lanes.includes("interactive") ? state.scaling.floor(now).replicas : 0;
}

/** Interactive jobs that run or may start soon, and releases that a replica is to try. */
function callsIn(state: EndpointState, known: PoolScaling, now: number): number {
  const { pool } = known;
  if (!pool.lanes.includes("interactive")) return 0;
  return state.runningIn("interactive") + waitingSoon(state, known, now).interactive + verifyingNeed(state);
}

/** Interactive jobs that run or may start soon, and one replica for batch jobs that run or have waited for long enough. */
function needOf(state: EndpointState, known: PoolScaling, now: number): number {
  const { pool, batchDueAt } = known;
  const soon = waitingSoon(state, known, now);
  const isOverdue = batchDueAt !== null && batchDueAt <= now && soon.batch > 0;
  return (
    (pool.lanes.includes("interactive") ? state.runningIn("interactive") + soon.interactive : 0) +
    (pool.lanes.includes("batch") && (isOverdue || state.runningIn("batch") > 0) ? 1 : 0)
  );
}

/** Waiting jobs that a group's replicas take; what has joined the interactive ones counts as one of them. */
export type WaitingByLane = Readonly<Record<Lane, number>>;

export function waitingIn(state: EndpointState, { pool }: PoolScaling): WaitingByLane {
  const { waiting } = state;
  return {
    interactive: pool.lanes.includes("interactive") ? waiting.queued("interactive") + joinedFor(state, pool) : 0,
    batch: pool.lanes.includes("batch") ? waiting.queued("batch") : 0,
  };
}

/** Of those the ones that may start soon enough to be worth a replica now: interactive jobs go first, on whichever pod. */
export function waitingSoon(state: EndpointState, known: PoolScaling, now: number): WaitingByLane {
  const { interactive, batch } = waitingIn(state, known);
  const { jobs } = soonStarting(state, known, now);
  const ahead = known.pool.lanes.includes("interactive") ? interactive : state.waiting.queued("interactive");
  return { interactive: Math.min(interactive, jobs), batch: Math.min(batch, Math.max(0, jobs - ahead)) };
}

/**
 * Batch jobs that have joined the interactive ones and wait in a lane that is not the group's own: as many as it may start
 * replicas for. What the others have, or one where a machine of theirs may run it, stays theirs.
 */
export function joinedFor(state: EndpointState, pool: Pool): number {
  if (pool.lanes.includes("batch")) return 0;
  const joined = state.waiting.joined();
  if (joined === 0 || !hasMachine(state, pool)) return 0;
  const capacity = capacityOf(state);
  const own = capacity.filter(({ podId }) => pool.pods.some((pod) => pod.podId === podId)).length;
  const others = state.scaling.pools.some((other) => other.pool !== pool && hasMachine(state, other.pool)) ? 1 : 0;
  const left = (state.config?.settings.max_replicas ?? 0) - own - Math.max(others, capacity.length - own);
  return Math.max(0, Math.min(joined, left));
}

/** Whether a pod of the group may have a machine that runs it: none has said that it has not. */
function hasMachine({ cards }: EndpointState, { pods }: Pool): boolean {
  return pods.some(({ podId }) => cards.get(podId)?.length !== 0);
}

/** Jobs that run or may start soon. Batch jobs count once the oldest has waited for longer than it may. */
export function workOf(state: EndpointState, known: PoolScaling, now: number): number {
  const { pool, batchDueAt } = known;
  const { interactive, batch } = waitingSoon(state, known, now);
  const isOverdue = batchDueAt !== null && batchDueAt <= now;
  const running = pool.lanes.reduce((sum, lane) => sum + state.runningIn(lane), 0);
  return running + interactive + (isOverdue ? batch : 0);
}

/** Tells the pods, after this turn, when what the endpoint wants is no longer what they were told. */
export function planDemand(state: EndpointState, now: number): void {
  if (state.config === null) return;
  for (const known of state.scaling.pools) holdRooms(state, known.pool, missesSome(state, known), now);
  const wishes = wishesOf(state, now);
  // What one pod is asked for in another's place must not be asked of both.
  const isShifted = Array.from(wishes).some(([podId, { wanted }]) => wanted > (state.demands.get(podId)?.wanted ?? 0));
  for (const podId of podsOf(state)) {
    const told = state.demands.get(podId) ?? untold(podId, now);
    const { warm, calls, ...numbers } = wishes.get(podId) ?? NOTHING_WISHED;
    // After a waking only calls without a replica are worth a message.
    const reasons = state.reasonsTold.get(podId) ?? { warm, calls: calls && capacityOn(state, podId).length > 0 };
    state.reasonsTold.set(podId, reasons);
    const drain = state.replicas
      .all()
      .filter((replica) => replica.podId === podId && replica.draining && !isOver(replica.state))
      .map(({ id }) => id)
      .sort();
    const isNew = state.demands.get(podId) === null && numbers.wanted + numbers.trials.length + drain.length > 0;
    const more =
      isNew ||
      numbers.wanted > told.wanted ||
      numbers.needed > told.needed ||
      warm > reasons.warm ||
      (calls && !reasons.calls) ||
      numbers.trials.join() !== told.trials.join() ||
      drain.some((id) => !told.drain.includes(id));
    const less =
      numbers.wanted < told.wanted ||
      numbers.needed < told.needed ||
      warm < reasons.warm ||
      (!calls && reasons.calls) ||
      told.drain.some((id) => !drain.includes(id));
    const lowerSince = less ? (state.lowerSince.get(podId) ?? now) : null;
    const isGivenUp = isShifted && numbers.wanted < told.wanted;
    if (more || isGivenUp || (lowerSince !== null && now - lowerSince >= DEMAND_SETTLE_MS)) {
      state.lowerSince.delete(podId);
      state.reasonsTold.set(podId, { warm, calls });
      tell(state, told, { ...numbers, drain }, now);
    } else if (lowerSince !== null) {
      state.lowerSince.set(podId, lowerSince);
      state.due(lowerSince + DEMAND_SETTLE_MS);
    } else state.lowerSince.delete(podId);
    askForLost(state, podId, numbers.wanted, now);
  }
  askAgain(state, now);
}

/** The pod had given all it was asked for, and some of that is gone: it says why it gives no other. */
function askForLost(state: EndpointState, podId: PodId, wanted: number, now: number): void {
  const told = state.demands.get(podId);
  if (told === null || told.dueAt !== null || told.acknowledged !== told.version) return;
  if (capacityOn(state, podId).length >= Math.min(wanted, told.wanted)) return;
  const dueAt = now + DEMAND_REPEAT_MS;
  state.demands.put({ ...told, dueAt });
  state.due(dueAt);
}

interface PodWish extends DemandNumbers, Pick<Demand, "warm" | "calls"> {
  readonly trials: readonly (string | null)[];
}

const NOTHING_WISHED: PodWish = { needed: 0, wanted: 0, trials: [], warm: 0, calls: false };

/** What is wanted of each pod; nothing of those that are being left. */
function wishesOf(state: EndpointState, now: number): Map<PodId, PodWish> {
  const wishes = new Map<PodId, PodWish>();
  const asked = new Set<string | null>();
  const cards = trialsWanted(state);
  for (const known of state.scaling.pools) {
    const standings = known.pool.pods.map(({ podId }) => standingOf(state, podId));
    const total = poolNumbers(state, known);
    const shares = shared(state, known, standings, total);
    let warmLeft = Math.min(total.needed, ownFloor(state, known, now));
    const isCalled = total.needed > 0 && callsIn(state, known, now) > 0;
    known.pool.pods.forEach(({ podId }, index) => {
      // A card is tried on the first pod that has one; on the first pod of all where none has said so yet.
      const here = state.cards.get(podId) ?? [];
      const trials = cards.filter((card) => here.includes(card) && !asked.has(card));
      for (const card of trials) asked.add(card);
      const share = shares[index] ?? { needed: 0, wanted: 0 };
      const warm = Math.min(warmLeft, share.needed);
      warmLeft -= warm;
      // With a replica at hand calls come and go, and the pod need not hear of each.
      const told = (standings[index]?.have ?? 0) > 0 ? state.reasonsTold.get(podId)?.calls : undefined;
      const calls = share.needed > 0 && (told ?? isCalled);
      wishes.set(podId, { ...withReplacements(state, podId, share), trials, warm, calls });
    });
  }
  return wishes;
}

/**
 * Shares out what is wanted, and sees to it that what waits has a replica that may take it: jobs of a lane that the
 * preferred pods do not serve need one elsewhere.
 */
function shared(
  state: EndpointState,
  { pool }: PoolScaling,
  standings: readonly PodStanding[],
  total: DemandTotal,
): readonly DemandNumbers[] {
  const odd = oddLane(state, pool);
  if (odd === null || total.wanted === 0) return splitDemand(standings, total);
  const one = { needed: Math.min(1, total.needed), wanted: 1 };
  const serving = standings.filter((_, index) => pool.pods[index]?.lanes.includes(odd));
  const shares = splitDemand(
    serving.map((standing) => ({ ...standing, floor: 0 })),
    { ...one, ceiling: 1 },
  );
  const chosen = serving[shares.findIndex(({ wanted }) => wanted > 0)]?.podId;
  const isChosen = ({ podId }: PodStanding): boolean => podId === chosen;
  const rest = splitDemand(
    standings.map((each) => ({ ...each, room: each.room && each.room - Number(isChosen(each)) })),
    { needed: total.needed - one.needed, wanted: total.wanted - 1, ceiling: total.ceiling - 1 },
  );
  return standings.map((each, index) => {
    const { needed, wanted } = rest[index] ?? { needed: 0, wanted: 0 };
    return isChosen(each) ? { needed: needed + one.needed, wanted: wanted + one.wanted } : { needed, wanted };
  });
}

/** A lane that some of the pods do not serve, whose jobs wait and have no replica on those that do; null: there is none. */
function oddLane(state: EndpointState, { pods, lanes }: Pool): Lane | null {
  const odd = lanes.find((lane) => {
    const serving = pods.filter((pod) => pod.lanes.includes(lane));
    if (serving.length === pods.length || state.waiting.queued(lane) === 0) return false;
    return serving.every(({ podId }) => capacityOn(state, podId).length === 0);
  });
  return odd ?? null;
}

function standingOf(state: EndpointState, podId: PodId): PodStanding {
  const here = capacityOn(state, podId);
  const firm = atInteractiveWork(state);
  const said = roomOf(state, podId);
  return {
    podId,
    have: here.length,
    busy: here.filter(({ id }) => firm.has(id)).length,
    // Those that were placed since it said so have taken some of it.
    room: said && Math.max(0, said.replicas - here.filter(({ startedAt }) => startedAt > said.at).length),
    held: said?.held ?? 0,
    floor: state.demands.get(podId)?.floor ?? 0,
  };
}

/** Whether replicas are missing that one pod may start as well as another. */
function missesSome(state: EndpointState, known: PoolScaling): boolean {
  const { pool } = known;
  if (pool.pods.length < 2) return false;
  const have = pool.pods.reduce((sum, { podId }) => sum + capacityOn(state, podId).length, 0);
  const { wanted } = poolNumbers(state, known);
  return wanted > have || (wanted > 0 && oddLane(state, pool) !== null);
}

/**
 * While replicas are missing, pods whose word is believed until they answer again are asked again in time, also those of
 * which nothing is wanted; and at once one that had all it was asked for and has not any more.
 */
function askAgain(state: EndpointState, now: number): void {
  for (const known of state.scaling.pools) {
    if (!missesSome(state, known)) continue;
    for (const { podId } of known.pool.pods) {
      const told = state.demands.get(podId);
      if (told === null || told.tries > 0) continue;
      const said = roomOf(state, podId);
      if (said === null && capacityOn(state, podId).length >= told.wanted) continue;
      const dueAt = Math.max(now, (said?.at ?? 0) + refreshMs(state));
      if (told.dueAt !== null && told.dueAt <= dueAt) continue;
      state.demands.put({ ...told, dueAt });
      state.due(dueAt);
    }
  }
}

function refreshMs({ queuedTotal }: EndpointState): number {
  return queuedTotal > 0 ? SHORTAGE_REFRESH_MS : DEMAND_REFRESH_MS;
}

/** Replicas that hold an interactive job. */
export function atInteractiveWork(state: EndpointState): ReadonlySet<ReplicaId> {
  const found = new Set<ReplicaId>();
  for (const { replicaId, lane } of state.running.values()) if (lane === "interactive") found.add(replicaId);
  return found;
}

/** A pod that has not been told anything. Its versions begin with the clock, above all it was told in an earlier time. */
function untold(podId: PodId, now: number): StoredDemand {
  return {
    podId,
    version: now,
    wanted: 0,
    needed: 0,
    drain: [],
    trials: [],
    raisedAt: 0,
    acknowledged: 0,
    tries: 0,
    dueAt: null,
    shortage: null,
    floor: 0,
    idleTimeoutMs: null,
  };
}

/** Tells every pod the same again as a new version, because where replicas may run, or what they need, has changed. */
export function retellDemand(state: EndpointState, now: number): void {
  for (const told of state.demands.all()) tell(state, told, told, now);
}

function tell(
  state: EndpointState,
  told: StoredDemand,
  wish: DemandNumbers & { readonly drain: readonly ReplicaId[]; readonly trials: readonly (string | null)[] },
  now: number,
): void {
  const { wanted, needed, drain, trials } = wish;
  const dueAt = now + DEMAND_REPEAT_MS;
  state.demands.put({
    ...told,
    wanted,
    needed,
    drain,
    trials,
    version: told.version + 1,
    raisedAt: wanted > told.wanted ? now : told.raisedAt,
    // Of several pods, one that does not answer gets no more time to do so for being told something new.
    tries: hasSeveralPods(state) && told.acknowledged !== told.version ? Math.max(1, told.tries) : 1,
    dueAt,
  });
  state.due(dueAt);
  state.effect({ type: "send_demand", podId: told.podId });
}

/** From the alarm: sends again what a pod has not answered, or what it should have fulfilled by now. */
export function repeatDemand(state: EndpointState, now: number): void {
  const isDue = ({ dueAt }: StoredDemand): boolean => dueAt !== null && dueAt <= now;
  const isSoon = ({ dueAt, tries }: StoredDemand): boolean =>
    dueAt !== null && tries === 0 && dueAt <= now + ASKED_TOGETHER_MS;
  const all = state.demands.all();
  if (!all.some(isDue)) return;
  for (const told of all) {
    if (!isDue(told) && !isSoon(told)) continue;
    const tries = told.tries + 1;
    if (isSilent(state, told)) hearRoom(state, told.podId, { replicas: 0, held: 0 }, now);
    state.demands.put({ ...told, tries, dueAt: now + DEMAND_REPEAT_MS + retryDelayMs(tries, chance(state.world)) });
    state.effect({ type: "send_demand", podId: told.podId });
  }
}

/** When a demand has to be told, or told again; null: never. */
export function demandDue({ demands, lowerSince }: EndpointState): number | null {
  const dues = [
    ...demands.all().map(({ dueAt }) => dueAt),
    ...Array.from(lowerSince.values(), (since) => since + DEMAND_SETTLE_MS),
  ].filter((due) => due !== null);
  return dues.length === 0 ? null : Math.min(...dues);
}

/** What a pod is to be told now, the preferred one when none is named; null when there is no endpoint. */
export function demandOf({ config, demands, reasonsTold }: EndpointState, pod?: PodId): Demand | null {
  if (config === null) return null;
  const podId = pod ?? config.podId;
  const told = demands.get(podId);
  const { endpointId, workspaceId, settings, needs } = config;
  return {
    podId,
    endpointId,
    workspaceId,
    version: told?.version ?? 0,
    wanted: told?.wanted ?? 0,
    needed: told?.needed ?? 0,
    drain: told?.drain ?? [],
    trials: told?.trials ?? [],
    ...(reasonsTold.get(podId) ?? { warm: 0, calls: true }),
    regions: settings.regions,
    build: needs?.build ?? null,
    models: needs?.models ?? [],
  };
}

/** The pod has answered a version. An older answer says nothing about the present one. */
export function acknowledgeDemand(
  state: EndpointState,
  { podId, version }: Pick<StoredDemand, "podId" | "version">,
  reply: Omit<DemandReply, "replicas">,
  now: number,
): void {
  const { room, held = 0, lack = reply.shortage } = reply;
  hearRoom(state, podId, { replicas: room, held }, now);
  state.scaling.changed();
  const told = state.demands.get(podId);
  if (told === null || version !== told.version) return;
  const here = capacityOn(state, podId);
  const known = state.scaling.pools.find(({ pool }) => pool.pods.some((pod) => pod.podId === podId));
  const isMissing = known !== undefined && missesSome(state, known);
  const satisfied = !isMissing && here.length >= Math.max(told.needed, told.wanted) && told.drain.length === 0;
  // Why a pod can take no share of what is missing counts as well as why it does not have its own.
  const { code, error } = reply.shortage.code === "none" && isMissing ? lack : reply.shortage;
  const shortage = code === "none" ? null : { code, error, at: now, held };
  const dueAt = satisfied ? null : now + (shortage === null ? DEMAND_REFRESH_MS : refreshMs(state));
  const { floor, idleTimeoutMs } = reply;
  const same =
    shortage === null && told.shortage === null && floor === told.floor && idleTimeoutMs === told.idleTimeoutMs;
  if (told.acknowledged === version && told.dueAt === null && dueAt === null && same) return;
  state.demands.put({ ...told, acknowledged: version, tries: 0, dueAt, shortage, floor, idleTimeoutMs });
  if (dueAt !== null) state.due(dueAt);
}

/** Forgets the pods that the endpoint has left, all of them when it is deleted, once they have heard it and nothing of it runs there. */
export function forgetLeftPods(state: EndpointState): void {
  const { config, demands, replicas, reasonsTold } = state;
  for (const { podId, wanted, needed, dueAt, version } of demands.all()) {
    if (config === null || (!config.removed && config.pods.some((pod) => pod.podId === podId))) continue;
    const isDone = wanted === 0 && needed === 0 && dueAt === null;
    if (!isDone || replicas.all().some((replica) => replica.podId === podId && !isOver(replica.state))) continue;
    demands.delete(podId);
    reasonsTold.delete(podId);
    state.room.delete(podId);
    state.effect({ type: "leave_pod", podId, version });
  }
}
