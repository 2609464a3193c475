/**
 * New replicas in the place of old ones: by hand, or because the active release needs another build. The new one comes
 * first where its pod has room, and the old one works until then; where there is no room, the old one goes first.
 */
import type { PodId, ReplicaId } from "#contract/ids";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { isOnErrand } from "#durable-objects/endpoint/errands";
import { drain } from "#durable-objects/endpoint/replica-life";
import { isCapacity, isStarting, type ReplicaRecord } from "#durable-objects/replicas/replica-record";
import type { DemandNumbers } from "#durable-objects/replicas/wanted";

/** While new replicas crash, no further old one goes: they are all that works. */
const CRASH_PAUSE_MS = 10 * 60_000;

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
  for (const old of replaced(state)) {
    const here = state.replicas.all().filter((replica) => replica.podId === old.podId && isCapacity(replica));
    const fresh = newReplicas(here, [old]).find((replica) => !isStarting(replica.state));
    if (fresh !== undefined) state.replicas.put({ ...fresh, inPlaceOf: old.id });
    if (fresh !== undefined || hasNoRoom(state, old, here.length)) drain(state, old);
  }
  if (replaced(state).length > 0) return;
  const next = nextOutdated(state, now);
  if (next === null) return;
  // One that nobody would start today needs no other in its place.
  const isSurplus = state.held(next.id) === 0 && capacity(state).length > wantedOf(state);
  if (isSurplus) drain(state, next);
  else replace(state, next);
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
  if (told === null || told.acknowledged !== told.version || told.wanted <= have) return false;
  return told.shortage?.code === "all_slots_busy";
}

/** The one build that replicas should have; undefined: nobody can tell, or two releases are at work side by side. */
function buildWanted({ config }: EndpointState): string | null | undefined {
  if (config === null || config.removed || config.canary !== undefined) return undefined;
  return config.needs?.build;
}

/** One that runs what its machine's owner installed takes any release. */
function isOutdated({ build }: ReplicaRecord, wanted: string | null): boolean {
  return build != null && build !== wanted;
}

/**
 * Whether a replica may take a job of a release. While builds change, jobs of the active release go to replicas that have
 * its build, and those of earlier ones to the others: else each replica that asks would remake itself at once.
 */
export function suitsBuild(state: EndpointState, replicaId: ReplicaId, release: number): boolean {
  const wanted = buildWanted(state);
  const replica = wanted === undefined ? null : state.replicas.get(replicaId);
  if (wanted === undefined || replica === null || replica.build == null) return true;
  const isOld = isOutdated(replica, wanted);
  if (release === state.config?.release) {
    return !isOld || !capacity(state).some((other) => isStarting(other.state) || !isOutdated(other, wanted));
  }
  return isOld || !capacity(state).some((other) => !isStarting(other.state) && isOutdated(other, wanted));
}

/** One replica at a time whose build is not the active release's, an idle one before the others; null: none, or not now. */
function nextOutdated(state: EndpointState, now: number): ReplicaRecord | null {
  const build = buildWanted(state);
  // A replica that has tried a release which is to become active has its build already.
  if (build === undefined || state.releases.wish !== null) return null;
  const here = capacity(state);
  const outdated = here.filter((replica) => isOutdated(replica, build) && !isOnErrand(state, replica.id));
  if (outdated.length === 0 || here.length < wantedOf(state)) return null;
  if (here.some((replica) => isStarting(replica.state))) return null;
  const works = here.some((replica) => replica.build === build);
  const fails = state.replicas
    .all()
    .some((replica) => replica.state === "crashed" && now - (replica.changes.at(-1)?.at ?? 0) < CRASH_PAUSE_MS);
  if (fails && !works) return null;
  const [first] = outdated.toSorted(
    (a, b) => state.held(a.id) - state.held(b.id) || state.presence.usedAt(a.id) - state.presence.usedAt(b.id),
  );
  return first ?? null;
}
