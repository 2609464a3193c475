/** Pods: allotments of GPUs, with the settings that their objects are told of. */
import { createPod, deletePod, getPod, listPods, type PodPatch, patchPod } from "#contract/api/pods";
import { makeId, PodId, type WorkspaceId } from "#contract/ids";
import { PODS_PER_WORKSPACE_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { DEFAULT_POD_SETTINGS, type PodSettings } from "#contract/replica";
import { isUniqueViolation } from "#worker/catalog/database";
import { selectGpuTypes } from "#worker/catalog/gpu-types";
import {
  countPods,
  endpointsOnPod,
  findPod,
  findUntoldDeletion,
  insertPod,
  markPodDeleted,
  type PodRow,
  podView,
  selectPods,
  updatePod,
} from "#worker/catalog/pods";
import type { Env } from "#worker/env";
import { handleOnce } from "#worker/http/idempotent";
import { handle } from "#worker/http/router";
import { askToldPod, endDeletion, tellPods, unknownPod } from "#worker/placement/introduce-pod";
import { requireKnownGpuTypes } from "#worker/pods/known-gpu-types";

/** Somebody who changes a pod between our reading and our writing makes us read again; more than this is no accident. */
const ROUNDS_MAX = 5;
/** So many are named in a refusal. */
const NODES_NAMED_MAX = 5;

const create = handleOnce(createPod, async (call, { at: now, randomBytes }) => {
  const { env, principal, body } = call;
  const { workspaceId } = principal;
  const id = makeId(PodId, "pod", now, randomBytes);
  const made = await findPod(env.CATALOG, workspaceId, id);
  if (made !== undefined) {
    await tellPods(call, [made]);
    return podView(made);
  }
  const settings = await settingsWith(env, workspaceId, DEFAULT_POD_SETTINGS, body);
  if ((await countPods(env.CATALOG, workspaceId)) >= PODS_PER_WORKSPACE_MAX) {
    throw new Problem("pod_limit", `A workspace may have ${PODS_PER_WORKSPACE_MAX} pods.`);
  }
  const row: PodRow = {
    id,
    workspaceId,
    name: body.name,
    settings,
    version: 1,
    appliedVersion: 0,
    createdAt: now,
    updatedAt: now,
  };
  await naming(body.name, () => insertPod(env.CATALOG, row));
  await tellPods(call, [row]);
  return podView(row);
});

const list = handle(listPods, async ({ env, principal }) => ({
  data: (await selectPods(env.CATALOG, principal.workspaceId)).map(podView),
}));

const get = handle(getPod, async ({ env, principal: { workspaceId }, params }) => {
  const row = await ownPod(env, workspaceId, params.pod);
  const { capacity } = await askToldPod(env, row.id, workspaceId, "repeatable", (pod) => pod.capacity(workspaceId));
  return { ...podView(row), capacity };
});

const patch = handle(patchPod, async (call) => {
  const { env, principal, params, body } = call;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const pod = await ownPod(env, principal.workspaceId, params.pod);
    const settings = await settingsWith(env, principal.workspaceId, pod.settings, body);
    const name = body.name ?? pod.name;
    const change = { name, settings, updatedAt: Date.now() };
    const changed = await naming(name, () => updatePod(env.CATALOG, pod, change));
    if (changed === undefined) continue;
    await tellPods(call, [changed]);
    return podView(changed);
  }
  throw new Problem("unavailable", "The pod is being changed by others all the time; try again.", { retryAfterS: 1 });
});

const remove = handle(deletePod, async ({ env, principal, params }) => {
  const { workspaceId } = principal;
  // Deleted before, but its object did not hear of it: the same call again finishes the work.
  const unfinished = await findUntoldDeletion(env.CATALOG, workspaceId, params.pod);
  if (unfinished !== undefined) {
    await endDeletion(env, workspaceId, params.pod, unfinished);
    return undefined;
  }
  const pod = await ownPod(env, workspaceId, params.pod);
  await refuseUsed(env, pod);
  await refuseOnline(env, pod);
  // The row goes first, so that no endpoint begins to use a pod whose object is being removed.
  const version = await markPodDeleted(env.CATALOG, workspaceId, pod.id, Date.now());
  if (version === undefined) {
    await refuseUsed(env, pod);
    throw unknownPod();
  }
  await endDeletion(env, workspaceId, pod.id, version);
  return undefined;
});

export const podRoutes = [create, list, get, patch, remove];

/** @throws Problem pod_not_found */
export async function ownPod(env: Env, workspaceId: WorkspaceId, podId: PodId): Promise<PodRow> {
  const pod = await findPod(env.CATALOG, workspaceId, podId);
  if (pod === undefined) throw unknownPod();
  return pod;
}

async function refuseUsed(env: Env, pod: PodRow): Promise<void> {
  const users = await endpointsOnPod(env.CATALOG, pod.workspaceId, pod.id);
  if (users.length === 0) return;
  throw new Problem("pod_in_use", `Endpoints use it: ${users.join(", ")}. Move them to another pod or delete them.`);
}

/** The object says so too when it is removed; asked before, a pod with machines is not gone even for a moment. */
async function refuseOnline(env: Env, { id, workspaceId }: PodRow): Promise<void> {
  const reply = await askToldPod(env, id, workspaceId, "repeatable", (pod) => pod.onlineNodes(workspaceId));
  const online = reply.nodes;
  if (online.length === 0) return;
  const names = online.slice(0, NODES_NAMED_MAX).map(({ name, id }) => `${name} (${id})`);
  const more = online.length > names.length ? `, and ${online.length - names.length} more` : "";
  throw new Problem("pod_in_use", `Nodes of it are online: ${names.join(", ")}${more}. Drain and remove them first.`);
}

/** Settings with the fields that a body gives. @throws Problem invalid_body for GPU types that nobody knows, and for a floor above the pod's containers */
async function settingsWith(
  env: Env,
  workspaceId: WorkspaceId,
  settings: PodSettings,
  { name: _, ...given }: PodPatch,
): Promise<PodSettings> {
  if ((given.gpu_types?.length ?? 0) > 0 || Object.keys(given.prices ?? {}).length > 0) {
    const known = await selectGpuTypes(env.CATALOG, workspaceId);
    requireKnownGpuTypes(
      given,
      known.map((type) => type.name),
    );
  }
  const changed = { ...settings, ...definedOf(given) };
  if (given.min_replicas !== undefined || given.containers_max !== undefined) requirePossibleFloor(changed);
  return {
    ...changed,
    gpu_types: [...new Set(changed.gpu_types)],
    regions: [...new Set(changed.regions)],
  };
}

/** @throws Problem invalid_body for a floor that could never be reached */
function requirePossibleFloor({ min_replicas, containers_max }: PodSettings): void {
  if (containers_max === null || min_replicas <= containers_max) return;
  const reason = `Must be at most containers_max, which is ${containers_max}.`;
  throw new Problem("invalid_body", "The warm floor is above the most replicas the pod may run.", {
    errors: [{ path: "/min_replicas", reason, allowed: { maximum: containers_max } }],
  });
}

function definedOf<T extends object>(fields: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}

/** Runs what may find the name taken. @throws Problem pod_name_taken */
async function naming<T>(name: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new Problem("pod_name_taken", `There is already a pod called "${name}"; take another name.`);
  }
}
