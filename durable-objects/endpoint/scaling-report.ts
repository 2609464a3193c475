/** How many replicas the endpoint has and wants, why, and what is asked for by hand. */

import type { Scaling } from "#contract/api/scaling";
import { WARM_S_MAX } from "#contract/limits";
import { refusal } from "#contract/problems";
import { capacityIn, capacityOf, numbersOf } from "#durable-objects/endpoint/demand";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { verifyingNeed } from "#durable-objects/endpoint/release-gate";
import { rollOutHeld } from "#durable-objects/endpoint/replacement";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { coldStartMs, stepped } from "#durable-objects/endpoint/scaling";
import { worded } from "#durable-objects/endpoint/scaling-decide";
import { iso } from "#durable-objects/endpoint/shown-job";
import { shortageOf } from "#durable-objects/endpoint/why";
import type { Shortage } from "#durable-objects/replicas/place";
import { isOver, isStarting } from "#durable-objects/replicas/replica-record";

/** Why there are fewer replicas than are wanted, as the pods say. */
const LACKS: Readonly<Record<Shortage, string | null>> = {
  none: null,
  no_node_online: "no machine of the pod takes new work",
  region_unavailable: "no machine is in the endpoint's regions",
  all_slots_busy: "the pod has no free slot",
  crash_looping: "replicas crash, and the next try follows after a pause",
};

/** @param limit decisions that are shown at most */
export function scalingReport(state: EndpointState, limit: number, now: number): Reply<{ scaling: Scaling }> {
  const { config, scaling, queued } = state;
  if (config === null || config.removed) return refusal("endpoint_not_found", "There is no such endpoint.");
  const { policy, max_replicas: ceiling } = config.settings;
  const [first] = scaling.pools;
  const capacity = capacityOf(state);
  const ready = capacity.filter((replica) => !isStarting(replica.state));
  const busy = ready.filter(({ id }) => state.held(id) > 0).length;
  const floors = state.demands.all().reduce((sum, { floor }) => sum + floor, 0);
  const cold = first === undefined ? null : coldStartMs(first);
  const reasons = scaling.pools.flatMap((known) => {
    const { last } = known;
    if (last === null) return [];
    const have = capacityIn(state, known).length;
    return [worded(scaling.pools, known, stepped(have, Math.max(have, last.wanted), last.reason))];
  });
  const { hold } = scaling;
  const { wanted } = numbersOf(state);
  const lack = capacity.length < wanted ? LACKS[shortageOf(state)?.code ?? "none"] : null;
  return {
    ok: true,
    scaling: {
      policy,
      wanted,
      floor: Math.min(ceiling, Math.max(scaling.floor(now).replicas, floors, verifyingNeed(state))),
      ceiling,
      replicas: {
        starting: capacity.length - ready.length,
        idle: ready.length - busy,
        busy,
        draining: state.replicas.all().filter((replica) => replica.draining && !isOver(replica.state)).length,
      },
      waiting: { ...queued },
      cold_start_s: cold === null ? null : cold / 1_000,
      service_s: first?.serviceMs == null ? null : first.serviceMs / 1_000,
      reason: [...reasons, lack, rollOutHeld(state, now)].filter((reason) => reason !== null).join("; "),
      warm: hold === null || hold.until <= now ? null : { replicas: hold.replicas, until: iso(hold.until) },
      decisions: scaling.decisions(limit).map(({ at, from, to, reason }) => ({ at: iso(at), from, to, reason })),
    },
  };
}

/** Keeps so many replicas warm from now on, in place of what was asked for before. @param forMs at most WARM_S_MAX */
export function warm(state: EndpointState, replicas: number, forMs: number, now: number): void {
  const until = now + Math.min(forMs, WARM_S_MAX * 1_000);
  state.scaling.hold = { replicas, until };
  state.due(until);
}

/** What was asked for by hand is over. */
export function cool(state: EndpointState): void {
  if (state.scaling.hold !== null) state.scaling.hold = null;
}
