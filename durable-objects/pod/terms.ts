/** What endpoints are told beside their replicas: their share of the pod's warm floor, and its idle time. */
import type { EndpointId } from "#contract/ids";
import type { PodState } from "#durable-objects/pod/pod-state";
import type { Terms } from "#durable-objects/pod/pod-store";
import { podFloors } from "#durable-objects/replicas/pod-floor";

/** An endpoint that was told to ask again and has not is told again after this; each time twice as long. */
const TERMS_REPEAT_MS = 2_000;
/** At the longest: an endpoint that does not answer costs six calls an hour. */
const TERMS_REPEAT_MS_MAX = 10 * 60_000;

/** Of one that has asked since it was told: nothing more is to be said, until there are other terms. */
const HEARD = { tries: 0, again: Number.POSITIVE_INFINITY };

/** The terms of every endpoint that wants, or wanted, something of this pod. */
export function termsNow(state: PodState): ReadonlyMap<EndpointId, Terms> {
  const { min_replicas, idle_timeout_s } = state.settings;
  const idleTimeoutMs = idle_timeout_s === null ? null : idle_timeout_s * 1_000;
  const demands = state.store.demands();
  const working = Map.groupBy(
    min_replicas === 0 ? [] : state.store.replicas().filter(({ draining }) => !draining),
    ({ endpointId }) => endpointId,
  );
  const floors = podFloors(
    min_replicas,
    demands.map(({ endpointId, needed, usedAt }) => ({
      endpointId,
      needed,
      usedAt,
      have: working.get(endpointId)?.length ?? 0,
    })),
  );
  return new Map(demands.map(({ endpointId }) => [endpointId, { floor: floors.get(endpointId) ?? 0, idleTimeoutMs }]));
}

/** The endpoint is answered, and with it told. @param isRepeat it has asked for the same before */
export function takeTerms(state: PodState, endpointId: EndpointId, isRepeat: boolean): Terms {
  const terms = termsNow(state).get(endpointId) ?? { floor: 0, idleTimeoutMs: null };
  const demand = state.store.demand(endpointId);
  const knew = same(demand?.told ?? null, terms);
  if (demand !== null && !knew) state.store.putDemand({ ...demand, told: terms });
  // Who says the same again when it is asked is there, and knows its share, whether it may have so many or not.
  const isHeard = knew && (isRepeat || state.termsTold.get(endpointId) === HEARD);
  if (isHeard && demand !== null && demand.wanted < terms.floor) state.termsTold.set(endpointId, HEARD);
  else state.termsTold.delete(endpointId);
  return terms;
}

/** Asks every endpoint whose terms are others than it knows, or seem to be, to ask again. */
export function tellTerms(state: PodState, now: number): void {
  if (state.pod === null || state.pod.removed) return;
  const terms = termsNow(state);
  for (const { endpointId, version, wanted, told } of state.store.demands()) {
    const present = terms.get(endpointId) ?? null;
    const last = state.termsTold.get(endpointId);
    // Who is there asks for the floor as soon as it hears of it; who is not must not keep it.
    const keeps = wanted >= (present?.floor ?? 0);
    const knows = same(told, present);
    // One that was never answered asks by itself until it is.
    if (told === null || (knows && keeps)) {
      state.termsTold.delete(endpointId);
      continue;
    }
    if (knows && last === undefined) {
      state.termsTold.set(endpointId, { tries: 0, again: now + TERMS_REPEAT_MS });
      continue;
    }
    if (last !== undefined && last.again > now && (knows || last !== HEARD)) continue;
    const tries = (last?.tries ?? 0) + 1;
    const again = now + Math.min(TERMS_REPEAT_MS_MAX, TERMS_REPEAT_MS * 2 ** Math.min(tries - 1, 20));
    state.termsTold.set(endpointId, { tries, again });
    state.effects.push({ type: "terms_changed", endpointId, version });
  }
}

/** When an endpoint is told again, Unix ms; null when all know their terms. */
export function nextTerms(state: PodState): number | null {
  const dues = [...state.termsTold.values()].map(({ again }) => again).filter(Number.isFinite);
  return dues.length === 0 ? null : Math.min(...dues);
}

function same(a: Terms | null, b: Terms | null): boolean {
  return a?.floor === b?.floor && a?.idleTimeoutMs === b?.idleTimeoutMs;
}
