import type { ReplicaId } from "#contract/ids";
import type { StoredDemand } from "#durable-objects/endpoint/config-store";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { startsAreStopped } from "#durable-objects/endpoint/queue-control";
import type { DemandReply } from "#durable-objects/pod/rpc";
import { retryDelayMs } from "#durable-objects/queue/retry";
import { isCapacity, isOver, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import { type DemandNumbers, demandNumbers } from "#durable-objects/replicas/wanted";
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

export function capacityOf(state: EndpointState): ReplicaRecord[] {
  return state.replicas.all().filter(isCapacity);
}

export function numbersOf(state: EndpointState): DemandNumbers {
  const { config } = state;
  if (config === null) return { needed: 0, wanted: 0 };
  return demandNumbers({
    settings: config.settings,
    removed: config.removed,
    // What may not start for now needs no machine. The warm floor stays.
    queued: startsAreStopped(state) ? 0 : state.queuedTotal,
    running: state.running.size,
  });
}

/** Tells the pod, after this turn, when what the endpoint wants is no longer what the pod was told. */
export function planDemand(state: EndpointState, now: number): void {
  if (state.config === null) return;
  const told = state.demand;
  const numbers = numbersOf(state);
  const drain = state.replicas
    .all()
    .filter((replica) => replica.draining && !isOver(replica.state))
    .map(({ id }) => id)
    .sort();
  const more =
    numbers.wanted > told.wanted || numbers.needed > told.needed || drain.some((id) => !told.drain.includes(id));
  const less =
    numbers.wanted < told.wanted || numbers.needed < told.needed || told.drain.some((id) => !drain.includes(id));
  if (!less) state.lowerSince = null;
  else state.lowerSince ??= now;
  if (more || (state.lowerSince !== null && now - state.lowerSince >= DEMAND_SETTLE_MS)) {
    state.lowerSince = null;
    tell(state, { ...numbers, drain }, now);
  } else if (state.lowerSince !== null) state.due(state.lowerSince + DEMAND_SETTLE_MS);
}

/** Tells the pod the same numbers again as a new version, because where replicas may run has changed. */
export function retellDemand(state: EndpointState, now: number): void {
  const { wanted, needed, drain } = state.demand;
  tell(state, { wanted, needed, drain: [...drain] }, now);
}

function tell(state: EndpointState, wish: DemandNumbers & { drain: ReplicaId[] }, now: number): void {
  const told = state.demand;
  const dueAt = now + DEMAND_REPEAT_MS;
  state.demand = {
    ...told,
    ...wish,
    version: told.version + 1,
    raisedAt: wish.wanted > told.wanted ? now : told.raisedAt,
    tries: 1,
    dueAt,
  };
  state.due(dueAt);
  state.effect({ type: "send_demand" });
}

/** From the alarm: sends again what the pod has not answered, or what it should have fulfilled by now. */
export function repeatDemand(state: EndpointState, now: number): void {
  const told = state.demand;
  if (told.dueAt === null || told.dueAt > now) return;
  const tries = told.tries + 1;
  state.demand = { ...told, tries, dueAt: now + DEMAND_REPEAT_MS + retryDelayMs(tries, chance(state.world)) };
  state.effect({ type: "send_demand" });
}

/** The pod has answered a version. An older answer says nothing about the present one. */
export function acknowledgeDemand(
  state: EndpointState,
  version: number,
  { code, error }: DemandReply["shortage"],
  now: number,
): void {
  const told: StoredDemand = state.demand;
  if (version !== told.version) return;
  const satisfied = capacityOf(state).length >= told.needed && told.drain.length === 0;
  const shortage = code === "none" ? null : { code, error, at: now };
  const waits = shortage !== null && state.queuedTotal > 0;
  const dueAt = satisfied ? null : now + (waits ? SHORTAGE_REFRESH_MS : DEMAND_REFRESH_MS);
  const same = shortage === null && told.shortage === null;
  if (told.acknowledged === version && told.dueAt === null && dueAt === null && same) return;
  state.demand = { ...told, acknowledged: version, tries: 0, dueAt, shortage };
  if (dueAt !== null) state.due(dueAt);
}
