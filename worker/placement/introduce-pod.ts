/** Tells a pod's object whose it is and what the catalog says of it, and again until it has confirmed that. */
import type { PodId, WorkspaceId } from "#contract/ids";
import { CATALOG_CACHE_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import type { PodRpc } from "#durable-objects/pod/rpc";
import { selectOwnMatches } from "#worker/catalog/gpu-types";
import {
  findPod,
  findUntoldDeletion,
  forgetPodApplied,
  markPodApplied,
  type PodRow,
  restorePod,
} from "#worker/catalog/pods";
import type { Env } from "#worker/env";
import type { Arrival } from "#worker/http/call";
import { isProblem } from "#worker/http/is-problem";
import { askPod, type Repeatable } from "#worker/placement/objects";

const PODS_REMEMBERED_MAX = 1_000;
/** The version of each pod that this isolate knows its object to have. */
const told = new ExpiringCache<number>(24 * 3_600_000, PODS_REMEMBERED_MAX);
/** Pods that were compared with the catalog a moment ago. */
const compared = new ExpiringCache<true>(CATALOG_CACHE_MS, PODS_REMEMBERED_MAX);

/**
 * Makes sure that a pod's object knows the pod as the catalog has it. Pods are rows that plain SQL may make, so their
 * object hears of itself when it is first needed: once for each isolate and version, which does no harm when it has heard
 * before.
 * @throws Problem pod_not_found when the workspace has no such pod
 */
export async function introducePod(env: Env, podId: PodId, workspaceId: WorkspaceId): Promise<void> {
  const pod = await findPod(env.CATALOG, workspaceId, podId);
  if (pod === undefined) throw unknownPod();
  if (told.get(podId, Date.now()) === pod.version && pod.appliedVersion >= pod.version) return;
  await tellPod(env, pod);
}

/** Two writers at once may be heard in any order: the object keeps the higher version. */
async function tellPod(env: Env, { id, workspaceId, version, settings }: PodRow): Promise<void> {
  const gpuTypes = await selectOwnMatches(env.CATALOG, workspaceId);
  await askPod(env, id, "repeatable", (pod) => pod.configure(id, workspaceId, { version, settings, gpuTypes }));
  await markPodApplied(env.CATALOG, id, version);
  told.set(id, version, Date.now());
}

/** After a change, which is in the catalog and stands: an object that does not hear of it now hears of it later. */
export async function tellPods(call: Pick<Arrival, "env" | "requestId">, pods: readonly PodRow[]): Promise<void> {
  for (const pod of pods) {
    try {
      await tellPod(call.env, pod);
    } catch (error) {
      notTold(call.requestId, pod.id, error);
    }
  }
}

/**
 * Compares a pod with the catalog, at most each CATALOG_CACHE_MS: its nodes' heartbeats make sure that a change reaches
 * its object although nobody asks for it. Never throws, because no heartbeat may fail for want of the catalog.
 */
export async function refreshPod(
  { env, requestId }: Pick<Arrival, "env" | "requestId">,
  podId: PodId,
  workspaceId: WorkspaceId,
): Promise<void> {
  const now = Date.now();
  if (compared.get(podId, now) === true) return;
  compared.set(podId, true, now);
  try {
    const deletion = await findUntoldDeletion(env.CATALOG, workspaceId, podId);
    if (deletion === undefined) await introducePod(env, podId, workspaceId);
    else await endDeletion(env, workspaceId, podId, deletion);
  } catch (error) {
    // A deleted pod's nodes are told by the pod itself.
    if (!isProblem(error, "pod_not_found")) notTold(requestId, podId, error);
  }
}

/**
 * Has the object of a pod that is marked deleted go. Where it cannot, because a machine is online, the pod is restored.
 * @throws Problem pod_in_use when it is, and what the object's absence throws
 */
export async function endDeletion(env: Env, workspaceId: WorkspaceId, podId: PodId, version: number): Promise<void> {
  told.delete(podId);
  try {
    await askPod(env, podId, "repeatable", (pod) => pod.remove(workspaceId));
  } catch (error) {
    if (isProblem(error, "pod_in_use")) await restorePod(env.CATALOG, podId);
    throw error;
  }
  await markPodApplied(env.CATALOG, podId, version);
}

/**
 * Asks the object of a pod that the catalog knows, once it has been told of what the catalog says. One that lost what it
 * knew is told again.
 * @throws Problem with the object's refusal; pod_not_found when the workspace has no such pod
 */
export async function askToldPod<T extends object>(
  env: Env,
  podId: PodId,
  workspaceId: WorkspaceId,
  repeatable: Repeatable,
  ask: (pod: PodRpc) => Promise<Reply<T>>,
): Promise<T> {
  await introducePod(env, podId, workspaceId);
  try {
    return await askPod(env, podId, repeatable, ask);
  } catch (error) {
    if (!isProblem(error, "pod_not_found")) throw error;
    // What it confirmed it does not know any more.
    told.delete(podId);
    await forgetPodApplied(env.CATALOG, podId);
    await introducePod(env, podId, workspaceId);
    return await askPod(env, podId, repeatable, ask);
  }
}

export function unknownPod(): Problem {
  return new Problem("pod_not_found", "Your workspace has no such pod.");
}

function notTold(requestId: string, podId: PodId, error: unknown): void {
  const cause = error instanceof Error ? error.message.slice(0, 300) : typeof error;
  console.error(JSON.stringify({ event: "pod_not_told", requestId, podId, cause }));
}
