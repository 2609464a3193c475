/**
 * New replicas in the place of old ones: by hand, or because the active release needs another build. The new one comes
 * first where its pod has room, and the old one works until then; where there is no room, the old one goes first.
 */
import type { PodId, ReplicaId } from "#contract/ids";
import { expectedBuilds, heldUntil, outdated } from "#durable-objects/endpoint/builds-at-work";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isOnErrand } from "#durable-objects/endpoint/errands";
import { drain, endedAt } from "#durable-objects/endpoint/replica-life";
import { isCapacity, isOver, isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import type { DemandNumbers } from "#durable-objects/replicas/wanted";

/** Replicas that work until another one is ready in their place. */
function replaced(state: EndpointState): ReplicaRecord[] {
  return state.replicas
    .all()
    .filter((replica) => replica.replacedSince !== null && isCapacity(replica))
    .toSorted((a, b) => (a.replacedSince ?? 0) - (b.replacedSince ?? 0) || a.startedAt - b.startedAt);
}

/** What is asked of a pod, with one more for each replica there that is to be replaced. */
export function withReplacements(state: EndpointState, podId: PodId, numbers: DemandNumbers): DemandNumbers {
  const here = state.replicas.all().filter((replica) => replica.podId === podId && isCapacity(replica));
  const old = here.filter(({ replacedSince }) => replacedSince !== null);
  if (old.length === 0) return numbers;
  // What is there counts for the pod as had: wishing for less than that would start nothing.
  const kept = here.length - newReplicas(here, old).length;
  return { needed: numbers.needed, wanted: Math.max(numbers.wanted, kept) + old.length };
}

/** Replicas that have come to take another one's place, and have not yet. */
export function newcomers(state: EndpointState): ReadonlySet<ReplicaId> {
  const found = new Set<ReplicaId>();
  for (const { podId } of replaced(state)) {
    const here = capacity(state).filter((replica) => replica.podId === podId);
    const olds = here.filter(({ replacedSince }) => replacedSince !== null);
    for (const { id } of newReplicas(here, olds).slice(0, olds.length)) found.add(id);
  }
  return found;
}

/** Somebody wants a new replica in this one's place: one that starts after all that are there now. */
export function replace(state: EndpointState, replica: ReplicaRecord): void {
  if (replica.draining || replica.replacedSince !== null) return;
  const here = state.replicas.all().filter(({ podId }) => podId === replica.podId);
  state.replicas.put({ ...replica, replacedSince: Math.max(...here.map(({ startedAt }) => startedAt)) });
}

/** The next step, if it is time for one: an old replica goes, or the next one is chosen. */
export function advanceReplacements(state: EndpointState, now: number): void {
  if (state.config === null) return;
  const old = outdated(state, now);
  const until = old.length === 0 ? null : activeHeldUntil(state, now);
  if (until !== null) state.due(until);
  for (const each of replaced(state)) {
    const here = capacity(state).filter(({ podId }) => podId === each.podId);
    const fresh = newReplicas(here, [each]).find((replica) => !isStarting(replica.state));
    if (fresh !== undefined) state.replicas.put({ ...fresh, inPlaceOf: each.id });
    const isHeld = until !== null && old.some(({ id }) => id === each.id);
    if (fresh !== undefined || (!isHeld && hasNoRoom(state, each, here.length))) drain(state, each);
  }
  const next = until === null && replaced(state).length === 0 ? nextOutdated(state, old) : null;
  if (next === null) return;
  // One that nobody would start today needs no other in its place.
  const isSurplus = state.held(next.id) === 0 && capacity(state).length > wantedOf(state);
  if (isSurplus) drain(state, next);
  else replace(state, next);
}

/** Why a roll-out does not go on, in words; null: nothing holds it. */
export function rollOutHeld(state: EndpointState, now: number): string | null {
  const until = outdated(state, now).length === 0 ? null : activeHeldUntil(state, now);
  if (until === null) return null;
  const at = new Date(until).toISOString();
  return `the roll-out of release ${state.config?.release} is held until ${at}: its replicas crash and none works`;
}

function capacity(state: EndpointState): ReplicaRecord[] {
  return state.replicas.all().filter(isCapacity);
}

/** What all pods together were told. */
function wantedOf(state: EndpointState): number {
  return state.demands.all().reduce((sum, { wanted }) => sum + wanted, 0);
}

/** Of the replicas that count, those that may take the place of one of the old ones, and have taken no other's. */
function newReplicas(here: readonly ReplicaRecord[], olds: readonly ReplicaRecord[]): ReplicaRecord[] {
  const since = Math.min(...olds.map(({ replacedSince }) => replacedSince ?? Number.POSITIVE_INFINITY));
  return here.filter(
    ({ replacedSince, inPlaceOf, startedAt }) => replacedSince === null && inPlaceOf === null && startedAt > since,
  );
}

/** The pod has answered that it cannot give one more. One at work goes after its job; an idle one at once. */
function hasNoRoom(state: EndpointState, { podId }: ReplicaRecord, have: number): boolean {
  const told = state.demands.get(podId);
  return told !== null && told.wanted > have && isFull(state, podId);
}

/** What the pod said last is that its slots are taken, and since then none of them has been left, or is about to be. */
function isFull(state: EndpointState, podId: PodId): boolean {
  const told = state.demands.get(podId);
  if (told?.shortage?.code !== "all_slots_busy" || told.acknowledged !== told.version) return false;
  const { at } = told.shortage;
  return state.replicas
    .all()
    .filter((replica) => replica.podId === podId)
    .every((replica) =>
      isOver(replica.state) ? endedAt(replica) < at : isCapacity(replica) && !isStarting(replica.state),
    );
}

/** When replicas of the active release's build may be started in the place of others again; null: they may. */
function activeHeldUntil(state: EndpointState, now: number): number | null {
  const [active] = expectedBuilds(state) ?? [];
  return active === undefined ? null : heldUntil(state, active, now);
}

/**
 * One replica at a time that nobody needs for its build any more, an idle one before the others; null: none, or not now.
 * However many more are wanted: those that there is room for start with the new build anyway, and come first.
 */
function nextOutdated(state: EndpointState, old: readonly ReplicaRecord[]): ReplicaRecord | null {
  const here = capacity(state);
  // A replica that has tried a release which is to become active has its build already.
  if (state.releases.wish !== null || here.some((replica) => isStarting(replica.state))) return null;
  const isShort = here.length < wantedOf(state);
  const [first] = old
    .filter(({ id, podId }) => !isOnErrand(state, id) && (!isShort || isFull(state, podId)))
    .toSorted(
      (a, b) => state.held(a.id) - state.held(b.id) || state.presence.usedAt(a.id) - state.presence.usedAt(b.id),
    );
  return first ?? null;
}
