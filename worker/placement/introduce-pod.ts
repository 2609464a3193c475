import type { PodId, WorkspaceId } from "#contract/ids";
import { ExpiringCache } from "#durable-objects/expiring-cache";
import type { Env } from "#worker/env";
import { askPod } from "#worker/placement/objects";

const PODS_REMEMBERED_MAX = 1_000;
const introduced = new ExpiringCache<true>(24 * 3_600_000, PODS_REMEMBERED_MAX);

/**
 * Tells a pod's object whose it is. Pods are rows that plain SQL may make, so their object hears of itself when it is
 * first needed: once for each isolate, which does no harm when it has heard before.
 */
export async function introducePod(env: Env, podId: PodId, workspaceId: WorkspaceId): Promise<void> {
  if (introduced.get(podId, Date.now()) === true) return;
  await askPod(env, podId, "repeatable", (pod) => pod.configure(podId, workspaceId));
  introduced.set(podId, true, Date.now());
}
