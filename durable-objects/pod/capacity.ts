/** The pod's rows as what is counted of them. */
import type { PodCapacity } from "#contract/replica";
import { placeInput } from "#durable-objects/pod/arrange";
import type { PodState } from "#durable-objects/pod/pod-state";
import { capacityOf } from "#durable-objects/replicas/capacity";

/** How the pod stands now, counted of what placement looks at. */
export function capacityNow(state: PodState, now: number): PodCapacity {
  const nodes = state.nodes.all();
  const waiting = state.store
    .demands()
    .flatMap(({ endpointId, lackingSince }) => (lackingSince === null ? [] : [[endpointId, lackingSince] as const]));
  return capacityOf({
    nodesKnown: nodes.length,
    online: nodes
      .filter((node) => state.isOnline(node, now))
      .map(({ id, slots }) => ({ id, slots, foreign: state.memory.get(id)?.foreign ?? [] })),
    replicas: state.store.replicas(),
    place: placeInput(state, now),
    lackingSince: new Map(waiting),
  });
}
