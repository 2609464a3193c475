import type { EndpointPods, NewEndpoint } from "#contract/endpoint";
import type { PodId, WorkspaceId } from "#contract/ids";
import { Lane } from "#contract/job";
import { Problem } from "#contract/problems";
import { selectPods } from "#worker/catalog/pods";
import type { Env } from "#worker/env";

/**
 * The pods that a new endpoint runs on: those it names, or the workspace's oldest.
 * @throws Problem pod_not_found; invalid_body as {@link knownPods}, and when it names them in two ways
 */
export async function chosenPods(
  env: Env,
  workspaceId: WorkspaceId,
  { pod_id, pods }: Pick<NewEndpoint, "pod_id" | "pods">,
): Promise<EndpointPods> {
  if (pods !== undefined) {
    if (pod_id === undefined) return knownPods(env, workspaceId, pods);
    throw new Problem("invalid_body", "Name the pods in one way.", {
      errors: [{ path: "/pod_id", reason: "Must be left out where pods are given." }],
    });
  }
  if (pod_id !== undefined) return knownPods(env, workspaceId, [bothLanes(pod_id)]);
  const [oldest] = await selectPods(env.CATALOG, workspaceId);
  if (oldest === undefined) throw new Problem("pod_not_found", "Your workspace has no pod yet.");
  return [bothLanes(oldest.id)];
}

/**
 * The pods as they are, once the workspace has each of them and each lane is served.
 * @throws Problem pod_not_found; invalid_body when jobs of a lane could run nowhere
 */
export async function knownPods(env: Env, workspaceId: WorkspaceId, pods: EndpointPods): Promise<EndpointPods> {
  const own = new Set((await selectPods(env.CATALOG, workspaceId)).map(({ id }) => id));
  const foreign = pods.find(({ pod_id }) => !own.has(pod_id));
  if (foreign !== undefined) throw new Problem("pod_not_found", `Your workspace has no pod ${foreign.pod_id}.`);
  const unserved = Lane.options.find((lane) => !pods.some(({ lanes }) => lanes.includes(lane)));
  if (unserved !== undefined) {
    throw new Problem("invalid_body", `No pod serves the ${unserved} lane: its jobs would wait for ever.`, {
      errors: [{ path: "/pods", reason: `One of them must have "${unserved}" among its lanes.` }],
    });
  }
  return pods.map(({ pod_id, lanes }) => ({ pod_id, lanes: Lane.options.filter((lane) => lanes.includes(lane)) }));
}

function bothLanes(podId: PodId): EndpointPods[number] {
  return { pod_id: podId, lanes: [...Lane.options] };
}
