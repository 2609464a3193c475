/** Types of GPU: the shipped table, and what a workspace changed or added. */
import * as z from "zod";
import { deleteGpuType, type GpuTypeChange, listGpuTypes, putGpuType } from "#contract/api/gpu-types";
import { GPU_PRICES_AS_OF, GPU_TYPES } from "#contract/gpu-types";
import type { WorkspaceId } from "#contract/ids";
import { GPU_TYPES_PER_WORKSPACE_MAX } from "#contract/limits";
import { type FieldError, Problem } from "#contract/problems";
import type { GpuTypeName } from "#contract/replica";
import {
  changedType,
  countGpuTypeChanges,
  deleteGpuTypeChange,
  findGpuTypeChange,
  isOwn,
  isShipped,
  ownType,
  podsWithGpuType,
  putGpuTypeChange,
  selectGpuTypes,
} from "#worker/catalog/gpu-types";
import { outdatePods } from "#worker/catalog/pods";
import type { Arrival } from "#worker/http/call";
import { fieldErrors } from "#worker/http/field-errors";
import { summary } from "#worker/http/json-body";
import { handle } from "#worker/http/router";
import { tellPods } from "#worker/placement/introduce-pod";

const list = handle(listGpuTypes, async ({ env, principal }) => ({
  data: await selectGpuTypes(env.CATALOG, principal.workspaceId),
  prices_as_of: GPU_PRICES_AS_OF,
}));

const put = handle(putGpuType, async (call) => {
  const { env, principal, params, body } = call;
  const { workspaceId } = principal;
  const name = params.gpu_type;
  const shipped = GPU_TYPES.find((type) => type.name === name);
  const type = shipped === undefined ? checkedOwnType(name, body) : changedType(shipped, checkedChange(name, body));
  const known = await findGpuTypeChange(env.CATALOG, workspaceId, name);
  if (known === undefined && (await countGpuTypeChanges(env.CATALOG, workspaceId)) >= GPU_TYPES_PER_WORKSPACE_MAX) {
    throw new Problem(
      "gpu_type_limit",
      `A workspace may change or add ${GPU_TYPES_PER_WORKSPACE_MAX} types of GPU; delete one first.`,
    );
  }
  await putGpuTypeChange(env.CATALOG, workspaceId, name, body, Date.now());
  if (type.own || (known !== undefined && isOwn(known))) tellAll(call, workspaceId);
  return type;
});

const remove = handle(deleteGpuType, async (call) => {
  const { env, principal, params } = call;
  const { workspaceId } = principal;
  const name = params.gpu_type;
  const known = await findGpuTypeChange(env.CATALOG, workspaceId, name);
  if (known === undefined) {
    if (isShipped(name)) return undefined;
    throw new Problem("gpu_type_not_found", `Your workspace has no GPU type "${name}".`);
  }
  if (!isShipped(name)) {
    const users = await podsWithGpuType(env.CATALOG, workspaceId, name);
    if (users.length > 0) {
      throw new Problem("gpu_type_in_use", `Pods name it among their cards or prices: ${users.join(", ")}.`);
    }
  }
  await deleteGpuTypeChange(env.CATALOG, workspaceId, name);
  if (isOwn(known)) tellAll(call, workspaceId);
  return undefined;
});

export const gpuTypeRoutes = [list, put, remove];

/** All pods of the workspace hear of its own types; those that do not now hear of them when they are next used. */
function tellAll(call: Arrival, workspaceId: WorkspaceId): void {
  call.waitUntil(outdatePods(call.env.CATALOG, workspaceId).then((pods) => tellPods(call, pods)));
}

/** @throws Problem invalid_body for fields that a shipped type does not let go of, and for a change of nothing */
function checkedChange(name: GpuTypeName, body: GpuTypeChange): GpuTypeChange {
  const errors: FieldError[] = (["title", "vram_mb", "bandwidth_gb_s", "matches"] as const)
    .filter((field) => body[field] !== undefined)
    .map((field) => ({
      path: `/${field}`,
      reason: `${name} is of the shipped table: its price_per_hour and suits can be set. Add a type under another name.`,
    }));
  if (errors.length === 0 && body.price_per_hour === undefined && body.suits === undefined) {
    errors.push({ path: "/price_per_hour", reason: "Give the price, or what it suits." });
  }
  if (errors.length > 0) throw new Problem("invalid_body", summary(errors), { errors });
  return body;
}

/** @throws Problem invalid_body for what an own type must have and this has not */
function checkedOwnType(name: GpuTypeName, body: GpuTypeChange) {
  try {
    return ownType(name, body);
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const errors = fieldErrors(error.issues).map((each) => ({
      ...each,
      reason: `${each.reason} ${name} is not in the shipped table, so it is a type of your own.`,
    }));
    throw new Problem("invalid_body", summary(errors), { errors });
  }
}
